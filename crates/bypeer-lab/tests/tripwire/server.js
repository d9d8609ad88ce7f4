'use strict';
// A server that works one request off at a time, with a fault or none: node -r tripwire.js server.js FAULT
// Its clients are another process, so that descriptors are the server's alone. It ends by itself.
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { spawn } = require('child_process');
const { parsers } = require('_http_common');

const fault = process.argv[2];
let queue = Promise.resolve();
const later = (time) => new Promise((resolve) => setTimeout(resolve, time));
const pending = new Map();
let first = null;
let asked = 0;
let bothAsked;
const both = new Promise((resolve) => { bothAsked = resolve; });

/** A temporary file, as a well-behaved program uses it. */
function temporary() {
  const name = path.join(os.tmpdir(), `tripwire-${process.pid}-${Math.random()}`);
  const number = fs.openSync(name, 'w');
  fs.writeSync(number, 'x');
  fs.closeSync(number);
  fs.unlinkSync(name);
  fs.open(__filename, 'r', (error, opened) => { if (!error) fs.close(opened, () => {}); });
}

function theCleanUpThatDoesNotKnow() {
  fs.closeSync(first._handle.fd);
}

function answer(response, text) {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': text.length });
  response.end(text);
}

const server = http.createServer((request, response) => {
  const text = `answer to ${request.url}`;
  if (fault === 'map') pending.set('job-1', response);
  request.resume();
  asked += 1;
  if (asked === 2) bothAsked();
  queue = queue.then(async () => {
    // Of a fault's two requests the second comes while the first one waits.
    await (fault === 'none' ? later(5) : both);
    if (fault === 'none') temporary();
    try {
      answer(fault === 'map' ? pending.get('job-1') : response, text);
      if (fault === 'twice') answer(response, text);
    } catch (error) { /* that is the fault's affair */ }
  });
});
server.on('connection', (socket) => {
  socket.on('error', () => {});
  if (first) return;
  first = socket;
  // Before the second client comes, and while the first one waits.
  if (fault === 'stray') server.once('request', () => setImmediate(theCleanUpThatDoesNotKnow));
});
server.on('clientError', (error, socket) => socket.destroy());
process.on('uncaughtException', () => {});
if (fault === 'parser') {
  const parser = parsers.alloc();
  parsers.free(parser);
  parsers.free(parser);
}
if (fault === 'list') {
  const parser = parsers.alloc();
  parsers.list.push(parser, parser);
  parsers.free = () => true;
  parsers.alloc();
  process.exit(0);
}

// Many kinds of good requests, or two that meet.
const CLIENTS = `
const http = require('http'), net = require('net'), port = +process.argv[1], fault = process.argv[2];
const raw = (text, wait, sent = () => {}) => new Promise((done) => {
  const socket = net.connect(port, '127.0.0.1', () => socket.write(text, sent));
  socket.on('data', () => {}); socket.on('error', done); socket.on('close', done);
  setTimeout(() => socket.destroy(), wait);
});
const get = (path, agent, body) => new Promise((done) => {
  const request = http.request({ port, path, agent, method: body ? 'POST' : 'GET' }, (response) => response.resume().on('end', done));
  request.on('error', done); request.end(body);
});
(async () => {
  if (fault !== 'none') {
    let a;
    const sent = new Promise((done) => { a = raw('GET /a HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', 1000, done); });
    // A stray close is over when the first client sees the end.
    await (fault === 'stray' ? a : sent);
    await Promise.all([a, raw('GET /b HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', 500)]);
    return;
  }
  const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
  const all = [];
  for (let n = 0; n < 20; n += 1) all.push(get('/kept?secret=' + n, agent), get('/new', undefined, n % 2 ? 'body' : undefined));
  all.push(raw('GET /p HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nGET /q HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', 2500));
  all.push(raw('GET /gone HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', 5), raw('POST /cut HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 9\\r\\n\\r\\nab', 5), raw('nonsense\\r\\n\\r\\n', 50));
  all.push(raw('HEAD /h HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', 2500));
  await Promise.all(all); agent.destroy();
})();
`;
/** Closes a number twice, by either call, before anything else can be given it. */
function stale(done) {
  const number = fs.openSync(__filename, 'r');
  fs.closeSync(number);
  try { fs.closeSync(number); } catch (error) { /* EBADF */ }
  fs.close(number, () => done());
}

function serve() {
  server.listen(0, '127.0.0.1', () => {
    const clients = spawn(process.execPath, ['-e', CLIENTS, String(server.address().port), fault], { stdio: 'ignore', env: {} });
    clients.on('exit', () => {
      process.stdout.write('served\n');
      process.exit(0);
    });
  });
}

if (fault === 'stale') stale(serve);
else serve();
