// surplus.js HOST PORT MODE: answers with the request's mark, and now and then with more than it was asked for. at-once: every hundredth
// answer is written twice. late: the second time 3 ms later. length: Content-Length counts characters, and there are more bytes.
const http = require("http");
const [host, port, mode] = process.argv.slice(2);
let count = 0;
const server = http.createServer((request, response) => {
  request.resume();
  const mark = request.headers["x-mark"] || "";
  const often = ++count % 100 === 0;
  const text = mode === "length" && often ? mark + "ä".repeat(24000) : `${mark} for doctors, bakers and cooks\n`;
  const socket = response.socket;
  // Who has gone does not get it twice.
  const write = (bytes) => socket.destroyed || socket.write(bytes, () => {});
  // 2 ms of work.
  setTimeout(() => {
    response.setHeader("Content-Type", "text/plain; charset=utf-8");
    response.setHeader("Content-Length", text.length);
    response.end(text);
    const again = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
    if (mode === "at-once" && often) write(again);
    if (mode === "late" && often) setTimeout(() => write(again), 3);
  }, 2);
});
// A write may still meet a reset: the process is not to end of it.
server.on("connection", (socket) => socket.on("error", () => {}));
server.listen(Number(port), host, 1024);
