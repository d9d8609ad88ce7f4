// node_server.js HOST PORT JSON
const http = require("http"),
    net = require("net"),
    https = require("https"),
    fs = require("fs");
const [, , host, port, js] = process.argv;
const o = JSON.parse(js || "{}");
function handler(q, s) {
    const p = q.url.split("?")[0].split("/").slice(1),
        k = p[0];
    if (k === "n") {
        q.resume();
        const b = Buffer.alloc(+p[1], "n");
        q.on("end", () => {
            s.setHeader("Content-Length", b.length);
            s.end(b);
        });
        return;
    }
    if (k === "413" || k === "early") {
        if (o.early === "destroy") {
            s.writeHead(413, { "Content-Length": 4 });
            s.end("big\n", () => q.destroy());
            return;
        }
        if (o.early === "close") {
            s.writeHead(413, { "Content-Length": 4, Connection: "close" });
            s.end("big\n");
            return;
        }
        s.writeHead(413, { "Content-Length": 4 });
        s.end("big\n");
        return;
    }
    if (k === "slow") {
        q.resume();
        setTimeout(() => s.end("slow\n"), 1000 * +p[1]);
        return;
    }
    if (k === "drip") {
        q.resume();
        let c = +p[1];
        s.writeHead(200, { "Content-Length": c * +p[3] });
        const t = setInterval(() => {
            s.write("d".repeat(+p[3]));
            if (--c <= 0) {
                clearInterval(t);
                s.end();
            }
        }, +p[2]);
        q.socket.on("close", () => clearInterval(t));
        return;
    }
    if (k === "reset") {
        q.resume();
        const part = +p[1],
            total = +(p[2] || 50000);
        const sk = q.socket;
        if (part > 0) {
            s.writeHead(200, { "Content-Length": total });
            s.write("r".repeat(part));
        }
        setTimeout(() => sk.resetAndDestroy(), +(p[3] || 60));
        return;
    }
    if (k === "destroy") {
        q.resume();
        const part = +p[1];
        if (part > 0) {
            s.writeHead(200, { "Content-Length": 50000 });
            s.write("r".repeat(part));
        }
        setTimeout(() => q.socket.destroy(), 60);
        return;
    }
    if (k === "whole") {
        q.resume();
        const sk = q.socket;
        s.end("w".repeat(+p[1]));
        setTimeout(() => sk.resetAndDestroy(), +(p[2] || 80));
        return;
    }
    if (k === "trail") {
        s.writeHead(200, { Trailer: "X-Sum" });
        s.write("abc");
        s.addTrailers({ "X-Sum": "1" });
        s.end();
        return;
    }
    if (k === "204") {
        s.writeHead(204);
        s.end();
        return;
    }
    if (k === "sse") {
        s.writeHead(200, { "Content-Type": "text/event-stream" });
        let c = 0;
        const t = setInterval(() => {
            s.write(`data: ${c}\n\n`);
            if (++c >= +p[1]) {
                clearInterval(t);
                s.end();
            }
        }, +p[2]);
        return;
    }
    q.resume();
    q.on("end", () => s.end("hello from node\n"));
}
let srv;
if (o.express) {
    const e = require("express")();
    e.use(require("express").text({ limit: "100kb", type: "*/*" }));
    e.post("/*any", (q, s) => s.send("got " + q.body.length));
    e.get("/*any", (q, s) => s.send("hello from express\n"));
    srv = http.createServer(e);
} else if (o.fastify) {
    const f = require("fastify")({
        bodyLimit: 100000,
        keepAliveTimeout: o.keepAliveTimeout || 72000,
        forceCloseConnections: false,
    });
    f.addContentTypeParser("*", { parseAs: "buffer" }, (q, b, d) => d(null, b));
    f.all("/*", async (q) => "hello from fastify\n");
    f.listen({ host, port: +port });
    srv = null;
} else if (o.tls)
    srv = https.createServer(
        { key: fs.readFileSync(o.tls + ".key"), cert: fs.readFileSync(o.tls + ".crt") },
        handler,
    );
else if (o.raw) {
    srv = net.createServer({ allowHalfOpen: !!o.half }, (sk) => {
        sk.on("error", () => {});
        if (o.raw === "fresh") {
            setTimeout(() => sk.resetAndDestroy(), +o.ms || 50);
            return;
        }
        if (o.raw === "echo") {
            sk.pipe(sk);
            return;
        }
        if (o.raw === "line") {
            sk.on("data", (d) => {
                const x = d.toString();
                if (x.startsWith("boom")) sk.resetAndDestroy();
                else if (x.startsWith("part")) {
                    sk.write("x".repeat(2000));
                    setTimeout(() => sk.resetAndDestroy(), 50);
                } else sk.write("+OK " + x);
            });
            return;
        }
    });
} else srv = http.createServer(handler);
if (srv) {
    if (o.keepAliveTimeout !== undefined) srv.keepAliveTimeout = o.keepAliveTimeout;
    if (o.buffer !== undefined) srv.keepAliveTimeoutBuffer = o.buffer;
    if (o.requestTimeout) {
        srv.requestTimeout = o.requestTimeout;
        srv.headersTimeout = o.requestTimeout;
    }
    if (o.maxRequestsPerSocket) srv.maxRequestsPerSocket = o.maxRequestsPerSocket;
    if (o.socketTimeout) srv.setTimeout(o.socketTimeout);
    srv.listen(+port, host, o.backlog || 511);
}
process.on("uncaughtException", (e) => console.error(e.message));
