// silent.js PORT: Node's server with a limit for idle connections, of which the answers say nothing: who writes `Connection: keep-alive`
// of their own writes no `Keep-Alive: timeout`.
const http = require("http");
const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    response.setHeader("Connection", "keep-alive");
    response.end("here you are\n");
  });
});
server.keepAliveTimeout = 500;
server.listen(Number(process.argv[2]), undefined, 1024);
