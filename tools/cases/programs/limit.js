// A node server that refuses uploads over a limit, or answers without waiting for them: limit.js ADDRESS PORT destroy|end|express|early
const http = require('http');
const [address, port, manner] = process.argv.slice(2);

if (manner === 'express') {
  const express = require('express');
  const app = express();
  app.use(express.json({ limit: 1000 }));
  app.post('/', (request, response) => response.json({ stored: true }));
  app.listen(Number(port), address);
} else if (manner === 'early') {
  http.createServer((request, response) => {
    request.resume();
    response.writeHead(404, { 'Content-Length': 8 }).end('nothing\n');
  }).listen(Number(port), address);
} else {
  http.createServer((request, response) => {
    let seen = 0;
    request.on('data', (piece) => {
      seen += piece.length;
      if (seen > 100000 && !response.headersSent) {
        response.writeHead(413, { 'Content-Type': 'text/plain', Connection: 'close' });
        response.end('too large\n', () => { if (manner === 'destroy') request.destroy(); });
      }
    });
    request.on('end', () => { if (!response.headersSent) response.end('stored\n'); });
    request.on('error', () => {});
  }).listen(Number(port), address);
}
