// limits.js ADDRESS PORT [timeout|one|promise]: /ok is answered, /hang never, /broken with a chunked body into which an error page is written,
// /busy takes no more of a body than comes by itself, and closes after 900 ms. timeout: silence of 1 s ends a connection. one: a second
// connection is closed as soon as it was accepted. promise: idle connections are kept for 60 s and told so; SIGUSR2 closes all.
const http = require('http');
const [address, port, manner] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  if (request.url === '/busy') return setTimeout(() => request.socket.destroy(), 900);
  request.resume();
  if (request.url === '/hang') return undefined;
  if (request.url !== '/broken') return response.end('ok\n');
  response.write('b'.repeat(3000));
  return setTimeout(() => {
    request.socket.write('HTTP/1.1 500 Internal Server Error\r\n\r\n');
    request.socket.end();
  }, 30);
});
if (manner === 'timeout') server.setTimeout(1000);
if (manner === 'one') server.maxConnections = 1;
if (manner === 'promise') {
  server.keepAliveTimeout = 60000;
  process.on('SIGUSR2', () => server.closeAllConnections());
}
server.listen(Number(port), address);
