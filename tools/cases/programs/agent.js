// A pooling client: agent.js URL METHOD undici|http COUNT GAP_MILLISECONDS
const [url, method, kind, count, gap] = process.argv.slice(2);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const tell = (port, ok, error, status) => console.log(
  JSON.stringify({ port: port || 0, ok, error: String(error || ''), status: status || 0 }));
const body = method === 'POST' ? 'a=1' : undefined;

let agent;
function withHttp() {
  const http = require('http');
  agent = agent || new http.Agent({ keepAlive: true });
  return new Promise((done) => {
    let port = 0;
    const request = http.request(url, { method, agent, timeout: 8000 }, (response) => {
      response.resume();
      response.on('end', () => { tell(port, true, '', response.statusCode); done(); });
      response.on('error', (error) => { tell(port, false, error, response.statusCode); done(); });
    });
    request.on('socket', (socket) => {
      port = socket.localPort || 0;
      socket.once('connect', () => { port = socket.localPort; });
    });
    request.on('error', (error) => { tell(port, false, `${error.code}: ${error.message}`); done(); });
    request.end(body);
  });
}

(async () => {
  if (kind === 'undici') {
    const undici = require('undici');
    const ports = [];
    require('diagnostics_channel').channel('undici:client:connected').subscribe(({ socket }) => ports.push(socket.localPort));
    const pool = new undici.Agent({ keepAliveTimeout: 60000, keepAliveMaxTimeout: 60000, connections: 1, keepAliveTimeoutThreshold: -60000 });
    for (let i = 0; i < Number(count); i += 1) {
      if (i) await wait(Number(gap));
      try {
        const response = await undici.request(url, { method, body, dispatcher: pool });
        await response.body.text();
        tell(ports[ports.length - 1], true, '', response.statusCode);
      } catch (error) { tell(ports[ports.length - 1], false, `${error.code}: ${error.message}`); }
    }
    await pool.close();
    return;
  }
  for (let i = 0; i < Number(count); i += 1) {
    if (i) await wait(Number(gap));
    await withHttp();
  }
  agent.destroy();
})();
