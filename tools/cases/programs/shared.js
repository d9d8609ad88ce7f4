// One connection to Redis, which so many callers share: shared.js HOST PORT CALLERS. A second one asks while the first one's script runs; each looks at its values.
const [host, port, callers] = process.argv.slice(2);
const Redis = require('ioredis');
const SLOW = "local t=redis.call('TIME') local function now(x) return x[1]*1000+math.floor(x[2]/1000) end local s=now(t) " +
  "repeat t=redis.call('TIME') until now(t)-s>250 return 'slow'";
(async () => {
  const redis = new Redis({ host, port: Number(port), enableReadyCheck: false });
  await new Promise((done) => redis.once('connect', done));
  const local = redis.stream.localPort;
  let wrong = 0;
  for (let i = 0; i < 60; i += 1) {
    await redis.set(`k${i % 7}`, `v${i}`);
    if (await redis.get(`k${i % 7}`) !== `v${i}`) wrong += 1;
  }
  if (Number(callers) > 1) {
    const first = redis.eval(SLOW, 0);
    await new Promise((done) => setTimeout(done, 130));
    const second = redis.get('k3');
    if (await first !== 'slow' || await second !== 'v59') wrong += 1;
  }
  for (let i = 0; i < 20; i += 1) if (await redis.get('k3') !== 'v59') wrong += 1;
  console.log(JSON.stringify({ port: local, ok: wrong === 0, error: wrong ? `${wrong} values were not those that were asked for` : '', status: Number(callers) }));
  await redis.quit();
})();
