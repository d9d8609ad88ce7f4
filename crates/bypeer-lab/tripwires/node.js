'use strict';
// Tripwires for an HTTP server in Node 12 to 20: they name the mechanism that is about to bring an answer to the wrong client, before it does.
//
//   node -r ./tripwire.js server.js        (or NODE_OPTIONS="-r ./tripwire.js")
//
// Each is one line on standard error that begins with TRIPWIRE and one of these words:
//   STRAY-CLOSE          fs.close or fs.closeSync is called with the number of an open connection
//   STALE-CLOSE          fs.close or fs.closeSync got EBADF: the number was closed already, and may be a connection's the next time
//   GC-CLOSE             a FileHandle was collected with its descriptor open
//   FD-ALIAS             a connection was accepted with a number that an open connection still believes to own
//   PARSER-DOUBLE-FREE   an HTTP parser was given back twice (once is enough: the second time is ignored, so that no swap comes of it)
//   PARSER-SHARED        the pool of parsers handed one out that it holds still: two connections will share it
//   FOREIGN-REQUEST      a request was read from another peer than its connection was accepted from
//   FOREIGN-ANSWER       an answer is about to go to another peer than the one that asked
//   SECOND-ANSWER        writeHead() or end() was called again on a response that was over
// Addresses and ports, descriptors, methods, paths without their query and stacks are told; no header and no body.
// A server that speaks HTTP without TLS is watched; TLS connections are not. It costs one getpeername() for each request and each answer. What native code closes it does not see: `bypeer watch --calls` does.

const fs = require('fs');
const http = require('http');

/** So many lines of a kind are printed. */
const MOST = 50;
const printed = new Map();

function say(kind, what, stack) {
  const count = (printed.get(kind) || 0) + 1;
  printed.set(kind, count);
  if (count > MOST) return;
  const last = count === MOST ? ' (the last of its kind that is printed)' : '';
  const line = `TRIPWIRE ${new Date().toISOString()} ${kind}: ${what}${stack ? `; at ${stack}` : ''}${last}\n`;
  try {
    // At once, for an abort may follow; and without process.stderr, whose first use opens descriptors of its own.
    fs.writeSync(2, line);
  } catch (error) {
    process.stderr.write(line);
  }
}

/** Who called, without this file and the inside of Node's http. */
function caller() {
  const lines = (new Error().stack || '').split('\n').slice(1).map((line) => line.trim().replace(/^at /, ''));
  return lines.filter((line) => !line.includes(__filename)).slice(0, 5).join(' < ');
}

const path = (request) => `${request.method} ${String(request.url).split('?')[0]}`;

/** The peer that the kernel knows now. socket.remoteAddress is kept from its first use: it cannot show a change. */
function peerNow(socket) {
  const handle = socket && socket._handle;
  if (!handle || typeof handle.getpeername !== 'function') return null;
  const peer = {};
  return handle.getpeername(peer) === 0 ? `${peer.address}:${peer.port}` : null;
}

// Connections by descriptor, and who they were when they were accepted.
const byNumber = new Map();
const accepted = new WeakMap();

function onConnection(socket) {
  const number = socket && socket._handle && socket._handle.fd;
  if (!(number >= 0)) return;
  const peer = peerNow(socket);
  const other = byNumber.get(number);
  if (other && other !== socket && !other.destroyed) {
    say('FD-ALIAS', `descriptor ${number} was accepted for ${peer}, and the open connection of ${accepted.get(other)} still has it`);
  }
  byNumber.set(number, socket);
  accepted.set(socket, peer);
  socket.once('close', () => { if (byNumber.get(number) === socket) byNumber.delete(number); });
}

function onRequest(request, response) {
  const socket = request.socket;
  const asker = accepted.get(socket);
  const from = peerNow(socket);
  if (asker && from && from !== asker) {
    say('FOREIGN-REQUEST', `${path(request)} was read from ${from} on the connection that was accepted from ${asker}`);
  }
  const { end, writeHead } = response;
  let over = false;
  const again = () => say('SECOND-ANSWER', `to ${path(request)} of ${asker}`, caller());
  response.writeHead = function headWritten() {
    if (over) again();
    return writeHead.apply(this, arguments);
  };
  response.end = function ended() {
    if (over) {
      again();
    } else {
      over = true;
      const to = peerNow(response.socket);
      if (asker && to && to !== asker) say('FOREIGN-ANSWER', `the answer to ${path(request)} of ${asker} goes to ${to}`, caller());
    }
    return end.apply(this, arguments);
  };
}

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function emitted(event, first, second) {
  if (event === 'connection') onConnection(first);
  if (event === 'request' && first && second) onRequest(first, second);
  return emit.apply(this, arguments);
};

// The pool of parsers.
try {
  const { parsers } = require('_http_common');
  const { alloc, free } = parsers;
  parsers.alloc = function allocated() {
    const parser = alloc.apply(this, arguments);
    if (this.list.includes(parser)) say('PARSER-SHARED', 'the pool handed out a parser that it holds still', caller());
    return parser;
  };
  parsers.free = function freed(parser) {
    if (!this.list.includes(parser)) return free.call(this, parser);
    say('PARSER-DOUBLE-FREE', 'the pool holds this parser already', caller());
    return true;
  };
} catch (error) {
  say('TRIPWIRE-OFF', `this Node does not show its pool of parsers: ${error.message}`);
}

// Descriptors that are closed by number.
function strayClose(name, number) {
  const socket = byNumber.get(number);
  if (socket && socket._handle && socket._handle.fd === number) {
    say('STRAY-CLOSE', `${name}(${number}) closes the open connection of ${accepted.get(socket)}`, caller());
  }
}
function staleClose(name, number, error, stack) {
  if (error && error.code === 'EBADF') say('STALE-CLOSE', `${name}(${number}) got EBADF`, stack);
}

const { close, closeSync } = fs;
fs.closeSync = function closedSync(number) {
  strayClose('closeSync', number);
  try {
    return closeSync.apply(this, arguments);
  } catch (error) {
    staleClose('closeSync', number, error, caller());
    throw error;
  }
};
fs.close = function closed(number, callback) {
  strayClose('close', number);
  if (typeof callback !== 'function') return close.apply(this, arguments);
  const stack = caller();
  return close.call(this, number, (error) => {
    staleClose('close', number, error, stack);
    callback(error);
  });
};

process.on('warning', (warning) => {
  if (/file descriptor.*garbage collection/i.test(warning.message)) say('GC-CLOSE', warning.message);
});
