// https.js ADDRESS PORT CERTIFICATE KEY: answers once a connection, with Connection: close. Who upgrades to WebSocket gets a ping of two bytes
// 50 ms behind each of its messages, and no answer.
const fs = require('fs');
const https = require('https');
const [address, port, cert, key] = process.argv.slice(2);
const server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, (request, response) => {
  response.setHeader('Connection', 'close');
  response.end('hello over tls from node\n');
});
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
  socket.on('data', () => setTimeout(() => socket.write(Buffer.from([0x89, 0])), 50));
  socket.on('error', () => {});
});
server.listen(Number(port), address);
