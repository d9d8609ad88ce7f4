// silent.js HOST PORT MILLISECONDS: Node's server with a limit for idle connections, of which its answers say nothing. Who writes
// `Connection: keep-alive` of their own writes no `Keep-Alive: timeout`.
const http = require("http");
const [host, port, limit] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    response.setHeader("Connection", "keep-alive");
    response.end("here you are\n");
  });
});
server.keepAliveTimeout = Number(limit);
server.listen(Number(port), host, 1024);
