"""Answers that nobody asked for."""

from recipes import *


def misdelivered(name, done, server, code_, paths, right, delay=0):
    @case(name, done, server, "python")
    def _(lab):
        host = lab.one()
        lab.start(host, [*code_(host)], port=8080)
        lab.record(host)
        o = lab.run(
            host,
            [
                PYTHON,
                "-c",
                f"""
import http.client,json,time
for k in range(3):
    c=http.client.HTTPConnection('{host.addr}',8080,timeout=3); port=0; t=time.time(); got=[]; err=None
    try:
        for p in {paths!r}:
            c.request('GET',p); port=c.sock.getsockname()[1]; r=c.getresponse(); got.append([p,r.status,r.read().decode()[:80]]); time.sleep(.25)
    except Exception as e: err=type(e).__name__+': '+str(e)[:100]
    print(json.dumps(dict(port=port,t=t,client='python',status=200,bytes=0,error=err,ok=err is None,got=got))); c.close()
c=http.client.HTTPConnection('{host.addr}',8080,timeout=3); c.request('GET','/fine'); port=c.sock.getsockname()[1]; r=c.getresponse(); r.read(); c.close(); print(json.dumps(dict(port=port,t=time.time(),client='python',status=200,bytes=0,error=None,ok=True,got=[['/fine',200,{right!r}%'/fine']])))
""",
            ],
        )
        a = lab.take(o)
        if lab.code:
            raise Failed(lab.err)

        def judge(connection):
            for s in connection.saw:
                wrong = [g for g in s.get("got", []) if g[2] != right % g[0] and g[0] not in ("/bad",)]
                if wrong:
                    return verdict(
                        "misdelivered_response",
                        ["other"],
                        "server",
                        "answers as the client took them: " + json.dumps(s["got"]),
                        lost=True,
                    )
                if s["error"]:
                    return verdict(
                        "other",
                        ["misdelivered_response"],
                        "server",
                        "answers as the client took them: " + json.dumps(s["got"]) + " then " + s["error"],
                        lost=True,
                    )
            return default_judge(connection)

        return judge


def answers_304_then_500(host):
    return [
        PYTHON,
        "-c",
        f"""
import socketserver,time
class H(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            l=self.rfile.readline()
            if not l: return
            p=l.split()[1].decode()
            while self.rfile.readline().strip(): pass
            b=('this answers '+p).encode()
            if p=='/bad':
                self.wfile.write(b'HTTP/1.1 304 Not Modified\\r\\nETag: x\\r\\n\\r\\n'); time.sleep(.08); self.wfile.write(b'HTTP/1.1 500 Oops\\r\\nContent-Length: 4\\r\\n\\r\\noops')
            else: self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n'%len(b)+b)
socketserver.ThreadingTCPServer.allow_reuse_address=True
socketserver.ThreadingTCPServer(('{host.addr}',8080),H).serve_forever()""",
    ]


misdelivered(
    "misdelivered_node_raw_204_body",
    "a node net server answers 204 with a body, and HTTP goes on on the connection: the body is taken for the next answer",
    "node",
    lambda host: [
        "node",
        "-e",
        """
require('net').createServer(s=>{s.on('error',()=>{});s.on('data',d=>{const p=d.toString().split(' ')[1];const b='this answers '+p;if(p=='/bad'){s.write('HTTP/1.1 204 No Content\\r\\n\\r\\n');setTimeout(()=>s.write('HTTP/1.1 200 OK\\r\\nContent-Length: 17\\r\\n\\r\\nthis answers /bad'),80)}else s.write('HTTP/1.1 200 OK\\r\\nContent-Length: '+b.length+'\\r\\n\\r\\n'+b)})}).listen(8080,'%s')"""
        % host.addr,
    ],
    ["/bad", "/one", "/two"],
    "this answers %s",
)
misdelivered(
    "misdelivered_python_double_answer",
    "a python server writes its answer twice (80 ms apart) on a kept connection",
    "python",
    lambda host: [
        PYTHON,
        "-c",
        f"""
import socketserver
class H(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            l=self.rfile.readline()
            if not l: return
            p=l.split()[1].decode()
            while self.rfile.readline().strip(): pass
            b=('this answers '+p).encode(); a=b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n'%len(b)+b
            self.wfile.write(a)
            if p=='/bad': import time; time.sleep(.08); self.wfile.write(a)
socketserver.ThreadingTCPServer.allow_reuse_address=True
socketserver.ThreadingTCPServer(('{host.addr}',8080),H).serve_forever()""",
    ],
    ["/bad", "/one", "/two"],
    "this answers %s",
)
misdelivered(
    "misdelivered_wrong_length_python",
    "a python server declares Content-Length 6 and writes a whole second answer more",
    "python",
    lambda host: [
        PYTHON,
        "-c",
        f"""
import socketserver
class H(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            l=self.rfile.readline()
            if not l: return
            p=l.split()[1].decode()
            while self.rfile.readline().strip(): pass
            b=('this answers '+p).encode()
            if p=='/bad': self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nwrong\\n'),__import__('time').sleep(.08),self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nstale')
            else: self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n'%len(b)+b)
socketserver.ThreadingTCPServer.allow_reuse_address=True
socketserver.ThreadingTCPServer(('{host.addr}',8080),H).serve_forever()""",
    ],
    ["/bad", "/one"],
    "this answers %s",
)
misdelivered(
    "misdelivered_304_then_error",
    "a python server answers 304 and 80 ms later an error answer nobody asked for",
    "python",
    answers_304_then_500,
    ["/bad", "/one", "/two", "/three"],
    "this answers %s",
)
