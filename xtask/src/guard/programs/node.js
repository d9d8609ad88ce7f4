// node.js HOST PORT: Node's server as it is, 5 ms of work for each request. SIGTERM: no new connections, the work is finished, the idle
// ones are closed: what Node's documentation tells to do.
const http = require("http");
const [host, port] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => setTimeout(() => response.end("here you are\n"), 5));
});
server.listen(Number(port), host, 1024);
process.on("SIGTERM", () => {
  server.close();
  server.closeIdleConnections();
});
