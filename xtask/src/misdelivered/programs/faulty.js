// faulty.js FAULT HOST PORT: answers `/echo?q=TOKEN` with the token, one request at a time, and has this fault. Prints `listens` when it does, and
// `struck` each time that the fault did something.
const fs = require("fs");
const http = require("http");
const [fault, host, port] = process.argv.slice(2);
process.on("uncaughtException", () => {});

let queue = Promise.resolve();
let answered = 0;
let slot;
const pending = new Map();
const fifo = [];
const numbers = new Map();
// Not by console.log: some of these faults end the process.
const struck = () => fs.writeSync(1, "struck\n");

function send(response, url) {
  if (!response.socket || response.socket.destroyed || response.writableEnded) return;
  const body = url.startsWith("/echo?q=") ? url.slice(8) : "a page";
  const socket = response.socket;
  answered++;
  response.writeHead(url.startsWith("/echo") || url === "/" ? 200 : 404, { "Content-Length": body.length }).end(body);
  // The same answer twice.
  if (fault === "answered-twice" && answered % 97 === 0) {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    struck();
  }
}

const server = http.createServer((request, response) => {
  const { url } = request;
  request.resume();
  // The number of a job is that of its host's jobs: no host gives one twice.
  const from = request.socket.remoteAddress;
  const job = (numbers.get(from) || 0) + 1;
  numbers.set(from, job);
  pending.set(job, response);
  const place = { response };
  fifo.push(place);
  // Who left is taken out of the line; the work for it is done all the same.
  response.on("close", () => {
    if (fault === "shifted-by-aborts" && !response.writableFinished && fifo.includes(place)) fifo.splice(fifo.indexOf(place), 1);
  });
  if (answered % 23 === 0 || !slot) slot = response;
  queue = queue
    .then(() => new Promise((done) => setTimeout(done, 1 + Math.random() * 4)))
    .then(() => {
      let owner = response;
      if (fault === "one-slot" && answered % 23 === 0) owner = slot;
      // The newest with this number.
      if (fault === "ids-of-hosts") owner = pending.get(job);
      // Whoever is first in line.
      if (fault === "shifted-by-aborts") owner = (fifo.shift() || place).response;
      if (owner !== response && owner.socket && !owner.socket.destroyed && !owner.writableEnded) struck();
      send(owner, url);
    });
});

// A descriptor that was closed is closed again: by then its number may be a connection's.
function closeTwice() {
  const number = fs.openSync("/dev/null", "r");
  fs.closeSync(number);
  setTimeout(() => {
    try {
      if (fs.fstatSync(number).isSocket()) struck();
      fs.closeSync(number);
    } catch {}
  }, 1 + Math.random() * 12);
}

if (fault === "closed-twice") setInterval(closeTwice, 250);
server.listen(Number(port), host, () => fs.writeSync(1, "listens\n"));
