// node.js HOST PORT: Node's server as it is, 5 ms of work for each request. SIGTERM: no new connections, the work is finished, what is
// answered from now on says that the connection closes, the idle ones are closed.
const http = require("http");
const [host, port] = process.argv.slice(2);
let ending = false;
const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () =>
    setTimeout(() => {
      if (ending) response.setHeader("Connection", "close");
      response.end("here you are\n");
    }, 5)
  );
});
server.listen(Number(port), host, 1024);
process.on("SIGTERM", () => {
  ending = true;
  server.close();
  setInterval(() => server.closeIdleConnections(), 20).unref();
});
