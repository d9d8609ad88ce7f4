// app.js HOST PORT [serial]: the site on Node's server as it is. `serial`: one request is worked on at a time, in the order in which they came.
const http = require("http");
const [host, port, order] = process.argv.slice(2);
let queue = Promise.resolve();
let count = 0;

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function answer(request, response, body) {
  const [, first = "", second = "", third = ""] = request.url.split("?")[0].split("/");
  const json = (status, value, headers = {}) => {
    const text = JSON.stringify(value);
    const all = { "Content-Type": "application/json", ...headers };
    // Two in three say how long they are, the others come in chunks.
    if (count++ % 3 || status === 413) return response.writeHead(status, { ...all, "Content-Length": text.length }).end(text);
    response.writeHead(status, all);
    if (request.method === "HEAD") return response.end();
    response.write(text.slice(0, 5));
    setTimeout(() => response.end(text.slice(5)), 2);
  };
  switch (first) {
    case "account":
      return json(200, { kind: "account", balance: count, currency: "KES" });
    case "transactions":
      return json(200, { kind: "transactions", items: [...Array(count % 7).keys()].map((id) => ({ id, amount: id * 3 })) });
    case "session":
      return json(200, { status: "ok", session: "s" + count });
    case "list":
      return json(200, [count, 2, 3]);
    case "twin":
      return json(200, { id: third, value: count });
    case "echo":
      return json(200, { kind: "echo", token: second });
    case "changing":
      return count % 5 ? json(200, { rows: [1, 2], next: null }) : json(200, { error: "busy" });
    case "deprecated":
      return json(200, { error: "gone" });
    case "private":
      return json(401, { error: "who are you" }, { "WWW-Authenticate": "Basic" });
    case "large":
      return response.writeHead(200, { "Content-Length": 600000 }).end(request.method === "HEAD" ? "" : "x".repeat(600000));
    case "nothing":
      return response.writeHead(204).end();
    case "cached":
      if (request.headers["if-none-match"] === '"v1"') return response.writeHead(304, { ETag: '"v1"' }).end();
      return json(200, { kind: "cached" }, { ETag: '"v1"' });
    case "hints":
      response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
      return setTimeout(() => json(200, { kind: "hints" }), 3);
    case "slow":
      return setTimeout(() => json(200, { slept: Number(second) }), Number(second));
    case "never":
      return undefined;
    case "events": {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      const timer = setInterval(() => response.write("data: {}\n\n"), 10);
      return response.on("close", () => clearInterval(timer));
    }
    case "json":
      return json(200, { received: body });
    default:
      return json(404, { error: "no such page" });
  }
}

const server = http.createServer((request, response) => {
  if (request.url === "/reject") return response.writeHead(413, { Connection: "close" }).end("too large");
  let body = 0;
  request.on("data", (data) => (body += data.length));
  request.on("end", () => {
    if (order !== "serial") return answer(request, response, body);
    queue = queue.then(() => pause(Math.random() * 3)).then(() => {
      if (!response.destroyed) answer(request, response, body);
    });
  });
});
// A conversation that is no HTTP any more, and in which the server speaks first.
server.on("upgrade", (_, socket) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chatter\r\n\r\n");
  const timer = setInterval(() => socket.write("HTTP/1.1 is not spoken here\r\n\r\n"), 5);
  socket.on("data", (data) => socket.write(data));
  socket.on("error", () => {});
  socket.on("close", () => clearInterval(timer));
  socket.on("end", () => socket.end());
});
server.keepAliveTimeout = 700;
server.listen(Number(port), host, 1024);
