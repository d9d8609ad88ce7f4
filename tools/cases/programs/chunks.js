// chunks.js ADDRESS PORT: chunked answers, with trailers at /trailers.
const http = require('http');
const [address, port] = process.argv.slice(2);
http.createServer((request, response) => {
  const trailers = request.url === '/trailers';
  response.writeHead(200, { 'Content-Type': 'text/plain', ...(trailers ? { Trailer: 'Checked' } : {}) });
  response.write('one\n'.repeat(500));
  setTimeout(() => {
    response.write('two\n'.repeat(300));
    if (trailers) response.addTrailers({ Checked: 'yes' });
    response.end();
  }, 20);
}).listen(Number(port), address);
