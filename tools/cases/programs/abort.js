// abort.js ADDRESS PORT: /reset writes half an answer and calls resetAndDestroy(), else a whole answer.
const http = require('http');
const [address, port] = process.argv.slice(2);
http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    if (request.url !== '/reset') return response.end('whole\n');
    response.writeHead(200, { 'Content-Length': 9000 });
    response.write('h'.repeat(3000));
    return setTimeout(() => request.socket.resetAndDestroy(), 40);
  });
}).listen(Number(port), address);
