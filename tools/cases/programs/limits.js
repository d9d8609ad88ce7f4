// limits.js ADDRESS PORT [timeout|one|promise|supervised]: /ok is answered, /hang never, /missing with 404 and, 1.2 s later, a reset, as pools purge
// idle connections. /crash kills the process after 350 ms; another one takes its place. /broken is answered with a chunked body into which an error page is written,
// /busy takes no more of a body than comes by itself, and closes after 900 ms. timeout: silence of 1 s ends a connection. one: a second
// connection is closed as soon as it was accepted. promise: idle connections are kept for 60 s and told so; SIGUSR2 closes all.
const cluster = require('cluster');
const http = require('http');
const [address, port, manner] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  if (request.url === '/busy') return setTimeout(() => request.socket.destroy(), 900);
  request.resume();
  if (request.url === '/hang') return undefined;
  if (request.url === '/crash') return setTimeout(() => process.kill(process.pid, 'SIGKILL'), 350);
  if (request.url === '/missing') {
    response.writeHead(404, { 'Content-Length': 5 }).end('none\n');
    return setTimeout(() => request.socket.resetAndDestroy(), 1200);
  }
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
if (manner === 'supervised' && cluster.isPrimary) {
  cluster.fork();
  cluster.on('exit', () => cluster.fork());
} else {
  server.listen(Number(port), address);
}
