// client.js URL REQUESTS: Node's http.Agent that keeps connections, and its fetch (undici), half each, with calls that are given up.
const http = require("http");
const [base, requests] = [process.argv[2], Number(process.argv[3])];
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const paths = ["account/1", "account/2", "transactions/1", "session", "list", "twin/a/1", "twin/b/2", "missing"];
const any = (from) => from[Math.floor(Math.random() * from.length)];

function call() {
  switch (Math.floor(Math.random() * 12)) {
    case 0:
      return { method: "HEAD", path: any(paths) };
    case 1:
      return { method: "POST", path: "json", body: "x".repeat(300) };
    case 2:
      return { path: "cached", headers: { "If-None-Match": '"v1"' } };
    case 3:
      return { path: "slow/200", patience: Math.random() * 40 };
    case 4:
      return { path: "large", patience: Math.random() * 6 };
    default:
      return { path: any(paths) };
  }
}

function byAgent({ method = "GET", path, headers = {}, body, patience = 5000 }) {
  return new Promise((done) => {
    const request = http.request(base + path, { agent, method, headers }, (response) => {
      response.resume();
      response.on("close", done);
    });
    const timer = setTimeout(() => request.destroy(), patience);
    request.on("error", done);
    request.on("close", () => {
      clearTimeout(timer);
      done();
    });
    request.end(body);
  });
}

async function byFetch({ method = "GET", path, headers = {}, body, patience = 5000 }) {
  try {
    const response = await fetch(base + path, { method, headers, body, signal: AbortSignal.timeout(Math.ceil(patience)) });
    await response.arrayBuffer();
  } catch {}
}

let left = requests;
async function worker(ask) {
  while (left-- > 0) await ask(call());
}
const workers = [];
for (let number = 0; number < 8; number++) workers.push(worker(number % 2 ? byAgent : byFetch));
Promise.all(workers).then(() => process.exit(0));
