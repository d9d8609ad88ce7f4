// node_client.js KIND JSON  kinds: agent, fetch, undici, axios
const http = require("http"),
    https = require("https");
const [, , kind, js] = process.argv;
const o = JSON.parse(js);
const tell = (x) => console.log(JSON.stringify(x));
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
async function agentWorker(w) {
    const lib = o.url.startsWith("https") ? https : http;
    const agent = new lib.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
    const one = (m, b, what) =>
        new Promise((res) => {
            const t = Date.now() / 1000;
            let port = 0,
                n = 0,
                st = 0,
                done = false;
            const fin = (e) => {
                if (done) return;
                done = true;
                tell({
                    port,
                    t,
                    client: "node",
                    status: st,
                    bytes: n,
                    error: e ? String(e.code || "") + " " + e.message : null,
                    ok: !e,
                    what,
                    wait: w,
                });
                res();
            };
            const q = lib.request(
                o.url,
                { agent, method: m, headers: b ? { "Content-Length": b.length } : {} },
                (r) => {
                    st = r.statusCode;
                    r.on("data", (d) => (n += d.length));
                    r.on("end", () => fin());
                    r.on("error", fin);
                    r.on("aborted", () => fin(new Error("aborted")));
                },
            );
            q.on("socket", (s) => {
                if (s.localPort) port = s.localPort;
                else s.once("connect", () => (port = s.localPort));
            });
            q.on("error", fin);
            if (o.timeout) q.setTimeout(o.timeout, () => q.destroy(new Error("client timeout")));
            if (o.abort)
                setTimeout(() => {
                    if (!done) q.destroy(new Error("client abort"));
                }, o.abort);
            q.end(b);
        });
    const body = o.body ? Buffer.alloc(o.body, "x") : undefined;
    if (o.do === "race") {
        await one("GET", null, "first");
        await sleep(w * 1000);
        await one(o.method || "GET", o.method === "POST" ? Buffer.alloc(64, "x") : null, "second");
    } else
        for (let i = 0; i < (o.n || 1); i++) {
            if (i) await sleep(o.gap || 0);
            await one(body ? "POST" : "GET", body);
        }
    await sleep(50);
    agent.destroy();
}
async function fetchWorker(w) {
    const { Agent, fetch, Pool } = require("undici");
    const d = new Agent({
        connections: 1,
        keepAliveTimeout: 60000,
        connect: { rejectUnauthorized: false },
        bodyTimeout: o.bodyTimeout,
    });
    let port = 0;
    d.on("connect", (u, targets) => {
        try {
            for (const t of targets) {
                for (const s of Object.getOwnPropertySymbols(t)) {
                    const v = t[s];
                    if (v && v.localPort) port = v.localPort;
                }
            }
        } catch (e) {}
    });
    const one = async (m, b, what) => {
        const t = Date.now() / 1000;
        let st = 0,
            n = 0,
            e = null;
        try {
            const c = new AbortController();
            let tm;
            if (o.abort) tm = setTimeout(() => c.abort(), o.abort);
            const r = await fetch(o.url, { method: m, body: b, dispatcher: d, signal: c.signal });
            st = r.status;
            n = (await r.arrayBuffer()).byteLength;
            clearTimeout(tm);
        } catch (x) {
            e = x.message + " " + ((x.cause && x.cause.code) || "");
        }
        tell({ port, t, client: kind, status: st, bytes: n, error: e, ok: !e, what, wait: w });
    };
    if (o.do === "race") {
        await one("GET", undefined, "first");
        await sleep(w * 1000);
        await one(o.method || "GET", o.method === "POST" ? "x".repeat(64) : undefined, "second");
    } else
        for (let i = 0; i < (o.n || 1); i++) {
            if (i) await sleep(o.gap || 0);
            await one(o.body ? "POST" : "GET", o.body ? "x".repeat(o.body) : undefined);
        }
    await sleep(50);
    await d.close().catch(() => {});
}
(async () => {
    const W = o.waits || Array(o.workers || 1).fill(0);
    const P = [];
    for (const w of W) {
        P.push((kind === "agent" ? agentWorker : fetchWorker)(w));
        await sleep(5);
    }
    await Promise.all(P);
})();
