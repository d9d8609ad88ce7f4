// https.js ADDRESS PORT CERTIFICATE KEY: answers once a connection, with Connection: close.
const fs = require('fs');
const https = require('https');
const [address, port, cert, key] = process.argv.slice(2);
https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, (request, response) => {
  response.setHeader('Connection', 'close');
  response.end('hello over tls from node\n');
}).listen(Number(port), address);
