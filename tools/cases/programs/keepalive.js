// keepalive.js ADDRESS PORT timeout MILLISECONDS | requests COUNT | mute
// A node server that closes idle connections, or closes each after so many requests without saying so.
const http = require('http');
const [address, port, what, value] = process.argv.slice(2);

const server = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    if (what === 'requests') {
      const socket = request.socket;
      socket.served = (socket.served || 0) + 1;
      response.setHeader('Connection', 'keep-alive');
      response.on('finish', () => { if (socket.served >= Number(value)) socket.destroySoon(); });
    }
    response.setHeader('Content-Type', 'text/plain');
    response.end('hello from node\n');
  });
});
if (what === 'timeout') server.keepAliveTimeout = Number(value);
server.listen(Number(port), address);
