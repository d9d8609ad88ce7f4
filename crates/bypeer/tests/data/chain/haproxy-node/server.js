const http = require("http");

const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    response.setHeader("Content-Length", "3");
    response.end("ok\n");
  });
});
server.keepAliveTimeout = 5000;
server.listen(18003, "127.0.0.1");
