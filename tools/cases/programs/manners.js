// manners.js ADDRESS PORT: /slow has an answer of 20 000 bytes in 400 ms; /cut ends in its middle with a FIN; who asks with Expect hears 100,
// and then a reset.
const http = require('http');
const [address, port] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 20000 });
  let left = 20;
  const timer = setInterval(() => {
    if (request.url === '/cut' && left === 10) {
      clearInterval(timer);
      return request.socket.destroy();
    }
    response.write('s'.repeat(1000));
    if (--left === 0) {
      clearInterval(timer);
      response.end();
    }
  }, 20);
});
// As it is without this, node takes the end of what a client sends for its leaving.
server.httpAllowHalfOpen = true;
server.on('checkContinue', (request, response) => {
  response.writeContinue();
  setTimeout(() => request.socket.resetAndDestroy(), 60);
});
server.listen(Number(port), address);
