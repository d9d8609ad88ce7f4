"""Starting servers and proxies in a network namespace."""

from judging import *
from lab import *
import glob


TOMCAT_JARS = ("tomcat10-*.jar", "*servlet-api*.jar", "tomcat-jakarta*.jar", "*annotations*.jar")
JETTY_JARS = ("jetty9-*.jar", "servlet-api*.jar", "*servlet*.jar")


def jars(*patterns):
    """A class path of Debian's jars."""
    return ":".join(sorted({path for pattern in patterns for path in glob.glob("/usr/share/java/" + pattern)}))


def address(host):
    return host.addr


def nginx(lab, host, body, port=8080, workers=1, tls=None, events="worker_connections 512;", main=""):
    root = lab.temp / f"nginx{len(lab.procs)}"
    (root / "html").mkdir(parents=True)
    os.chmod(root, 0o755)
    (root / "html/big.bin").write_bytes(os.urandom(4096) * 800)
    (root / "html/small.txt").write_text("hello nginx\n" * 20)
    (root / "html/mid.bin").write_bytes(os.urandom(60000))
    (root / "nginx.conf").write_text(
        f"user root; daemon off; {main} pid {root}/pid; error_log {root}/err.log info; worker_processes {workers};\nevents {{ {events} }}\nhttp {{ access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; root {root}/html;\n{body}\n}}\n"
    )
    p = lab.start(host, ["nginx", "-p", root, "-e", f"{root}/err.log", "-c", root / "nginx.conf"], port=port)
    p.root = root
    return p


def nginx_site(host, loc="", pre="", port=8080, ssl=False):
    s = f"ssl_certificate {BUILT}/tls.crt; ssl_certificate_key {BUILT}/tls.key;" if ssl else ""
    return f"server {{ listen {host.addr}:{port} {'ssl' if ssl else ''}; {s} {pre} location / {{ {loc} }} }}"


def apache(lab, host, body="", port=8080, mpm="event", modules=()):
    root = lab.temp / f"ap{len(lab.procs)}"
    (root / "htdocs").mkdir(parents=True)
    os.chmod(root, 0o755)
    (root / "htdocs/small.txt").write_text("hello apache\n" * 30)
    (root / "htdocs/big.bin").write_bytes(os.urandom(4096) * 800)
    ld = "".join(
        f"LoadModule {n}_module /usr/lib/apache2/modules/mod_{n}.so\n"
        for n in (f"mpm_{mpm}", "authz_core", "mime", "dir", *modules)
    )
    (root / "c").write_text(
        f"ServerRoot {root}\nServerName x.example\nPidFile {root}/pid\nErrorLog {root}/err.log\nTypesConfig /etc/mime.types\n{ld}Listen {host.addr}:{port}\nDocumentRoot {root}/htdocs\nStartServers 2\n<Directory {root}/htdocs>\nRequire all granted\n</Directory>\n{body}\n"
    )
    p = lab.start(host, ["apache2", "-DFOREGROUND", "-f", root / "c"], port=port)
    p.root = root
    return p


def lighttpd(lab, host, body="", port=8080, mods=()):
    root = lab.temp / f"li{len(lab.procs)}"
    (root / "html").mkdir(parents=True)
    os.chmod(root, 0o755)
    (root / "html/small.txt").write_text("hello lighttpd\n" * 30)
    (root / "html/big.bin").write_bytes(os.urandom(4096) * 800)
    m = ",".join(f'"{x}"' for x in mods)
    (root / "c").write_text(
        f'server.document-root="{root}/html"\nserver.bind="{host.addr}"\nserver.port={port}\nserver.modules=({m})\nserver.errorlog="{root}/err"\n{body}\n'
    )
    return lab.start(host, ["lighttpd", "-D", "-f", root / "c"], port=port)


def haproxy(lab, host, body, port=8080, glob=""):
    f = lab.temp / f"ha{len(lab.procs)}.cfg"
    f.write_text(
        f"global\n maxconn 300\n nbthread 1\n {glob}\ndefaults\n mode http\n timeout connect 3s\n timeout client 10s\n timeout server 10s\n{body}\n"
    )
    return lab.start(host, ["haproxy", "-db", "-f", f], port=port)


def gunicorn(lab, host, *o, port=8080, old=False, app="wsgi_app:app"):
    return lab.start(
        host,
        [PYTHON_OLD if old else PYTHON, "-m", "gunicorn", "--log-level=warning", "-b", f"{host.addr}:{port}", *o, app],
        port=port,
    )


def uvicorn(lab, host, *o, port=8080):
    return lab.start(
        host,
        [PYTHON, "-m", "uvicorn", "--log-level", "warning", "--host", host.addr, "--port", port, *o, "asgi_app:app"],
        port=port,
    )


def hypercorn(lab, host, *o, port=8080, cfg=""):
    f = lab.temp / "hyper.toml"
    f.write_text(cfg)
    return lab.start(
        host, [PYTHON, "-m", "hypercorn", "-c", f, "-b", f"{host.addr}:{port}", *o, "asgi_app:app"], port=port
    )


def daphne(lab, host, *o, port=8080):
    return lab.start(
        host,
        [PYTHON, "-m", "daphne", "-b", host.addr, "-p", port, *o, "asgi_app:app"],
        port=port,
        env={"PYTHONPATH": str(PROGRAMS)},
    )


def waitress(lab, host, *o, port=8080):
    return lab.start(host, [PYTHON, "-m", "waitress", f"--listen={host.addr}:{port}", *o, "wsgi_app:app"], port=port)


def code(lab, host, text, port=8080, py=PYTHON):
    return lab.start(host, [py, "-c", text], port=port)


def cheroot(lab, host, opts="", port=8080):
    return code(
        lab,
        host,
        f"import wsgi_app;from cheroot import wsgi\ns=wsgi.Server(('{host.addr}',{port}),wsgi_app.app,{opts});s.start()",
        port,
    )


def werkzeug(lab, host, port=8080, opts="threaded=True"):
    return code(
        lab,
        host,
        f"import wsgi_app;from werkzeug.serving import run_simple\nrun_simple('{host.addr}',{port},wsgi_app.app,{opts})",
        port,
    )


def wsgiref(lab, host, port=8080):
    return code(
        lab,
        host,
        f"import wsgi_app;from wsgiref.simple_server import make_server\nmake_server('{host.addr}',{port},wsgi_app.app).serve_forever()",
        port,
    )


def bottle(lab, host, port=8080):
    return code(
        lab,
        host,
        f"from bottle import *\n@route('/<p:path>',method=['GET','POST'])\ndef f(p): return 'hello bottle'\nrun(host='{host.addr}',port={port},quiet=True)",
        port,
    )


def tornado(lab, host, opts="", port=8080):
    return code(
        lab,
        host,
        f"""
import asyncio,tornado.web,tornado.httpserver
class H(tornado.web.RequestHandler):
    async def get(self,p):
        x=p.split('/')
        if x[0]=='slow': await asyncio.sleep(float(x[1]))
        if x[0]=='drip':
            self.set_header('Content-Length',str(int(x[1])*int(x[3])))
            for i in range(int(x[1])): self.write(b'd'*int(x[3])); await self.flush(); await asyncio.sleep(float(x[2])/1000)
            return
        self.write(b'n'*int(x[1]) if x[0]=='n' else b'hello tornado')
    post=get
@tornado.web.stream_request_body
class E(tornado.web.RequestHandler):
    def prepare(self): self.set_status(413); self.finish('big')
    def data_received(self,c): pass
    def post(self): pass
async def m():
    s=tornado.httpserver.HTTPServer(tornado.web.Application([('/413',E),('/(.*)',H)]),{opts}); s.listen({port},'{host.addr}'); await asyncio.Event().wait()
asyncio.run(m())""",
        port,
    )


def aiohttpd(lab, host, opts="keepalive_timeout=75", port=8080, size=100000):
    return code(
        lab,
        host,
        f"""
from aiohttp import web;import asyncio
async def f(r):
    x=r.path.strip('/').split('/')
    if x[0]=='ws':
        w=web.WebSocketResponse(heartbeat=1.0); await w.prepare(r)
        async for m in w:
            if m.data=='bye': await w.close()
            else: await w.send_str(m.data)
        return w
    if x[0]=='early': return web.Response(status=401,text='no')
    if x[0]=='slow': await asyncio.sleep(float(x[1]))
    if x[0]=='drip':
        s=web.StreamResponse(headers={{'Content-Length':str(int(x[1])*int(x[3]))}}); await s.prepare(r)
        for i in range(int(x[1])): await s.write(b'd'*int(x[3])); await asyncio.sleep(float(x[2])/1000)
        return s
    if r.method=='POST': await r.read()
    return web.Response(body=b'n'*int(x[1]) if x[0]=='n' else b'hello aiohttp')
a=web.Application(client_max_size={size}); a.router.add_route('*','/{{p:.*}}',f); web.run_app(a,host='{host.addr}',port={port},print=None,{opts})""",
        port,
    )


def node(lab, host, port=8080, **o):
    return lab.start(host, ["node", PROGRAMS / "node_server.js", host.addr, port, json.dumps(o)], port=port)


def go(lab, host, *o, port=8080):
    return lab.start(host, [BUILT / "gotool", "serve", f"{host.addr}:{port}", *o], port=port)


def go_raw(lab, host, *o, port=8080):
    return lab.start(host, [BUILT / "gotool", "raw", f"{host.addr}:{port}", *o], port=port)


def jdk(lab, host, *o, port=8080, props=()):
    return lab.start(
        host,
        [
            "java",
            "-Xshare:auto",
            "-Xmx200m",
            *[f"-D{x}" for x in props],
            "-cp",
            BUILT,
            "JServer",
            host.addr,
            port,
            *o,
        ],
        port=port,
    )


def tomcat(lab, host, *o, port=8080):
    return lab.start(
        host,
        [
            "java",
            "-Xmx256m",
            "-cp",
            f"{BUILT}:{jars(*TOMCAT_JARS)}",
            "TomcatServer",
            host.addr,
            port,
            *o,
        ],
        port=port,
    )


def jetty(lab, host, *o, port=8080):
    return lab.start(
        host,
        [
            "java",
            "-Xmx256m",
            "-cp",
            f"{BUILT}:{jars(*JETTY_JARS)}",
            "JettyServer",
            host.addr,
            port,
            *o,
        ],
        port=port,
    )


def puma(lab, host, cfg="", port=8080, *o):
    f = lab.temp / "puma.rb"
    f.write_text(f"bind 'tcp://{host.addr}:{port}'\nthreads 1,6\nenvironment 'production'\nlog_requests false\n{cfg}\n")
    return lab.start(host, ["puma", "-C", f, PROGRAMS / "config.ru", *o], port=port)


def thin(lab, host, *o, port=8080):
    return lab.start(
        host,
        ["thin", "-R", PROGRAMS / "config.ru", "-a", host.addr, "-p", port, "-e", "production", *o, "start"],
        port=port,
    )


def unicorn(lab, host, cfg="", port=8080):
    f = lab.temp / "uni.rb"
    f.write_text(f"listen '{host.addr}:{port}', :tcp_nodelay => true{cfg}\nworker_processes 2\n")
    return lab.start(host, ["unicorn", "-c", f, "-E", "none", PROGRAMS / "config.ru"], port=port)


def uwsgi(lab, host, *o, port=8080):
    return lab.start(
        host,
        [
            "uwsgi-core",
            "--plugin",
            "python3",
            "--master",
            "--die-on-term",
            "--need-app",
            "--pythonpath",
            PROGRAMS,
            "--module",
            "wsgi_app:app",
            *[str(x) for x in o],
        ],
        port=port,
    )


def redis(lab, host, *o, port=6379):
    return lab.start(
        host,
        ["redis-server", "--bind", host.addr, "--port", port, "--save", "", "--protected-mode", "no", *o],
        port=port,
    )


def memcached(lab, host, *o, port=11211):
    return lab.start(host, ["memcached", "-u", "root", "-l", host.addr, "-p", port, *o], port=port)


def php_builtin(lab, host, port=8080):
    (lab.temp / "r.php").write_text(
        "<?php $p=explode('/',trim($_SERVER['REQUEST_URI'],'/'));if($p[0]=='slow')usleep(1e6*$p[1]);if($p[0]=='413'){http_response_code(413);echo \"big\\n\";exit;}if($p[0]=='n'){echo str_repeat('n',$p[1]);exit;} echo \"hello php\\n\";"
    )
    return lab.start(host, ["php", "-S", f"{host.addr}:{port}", lab.temp / "r.php"], port=port)


def php_fpm(lab, host, port=9000, extra=""):
    d = lab.temp / "php"
    d.mkdir()
    os.chmod(d, 0o777)
    (d / "i.php").write_text(
        "<?php $q=$_GET['k']??'';if($q=='slow')usleep(1500000);if($q=='die'){echo str_repeat('p',30000);flush();ob_flush();posix_kill(getmypid(),9);} if($q=='big'){echo str_repeat('b',300000);exit;} if($q=='body'){file_get_contents('php://input');} echo \"hello fpm\\n\";"
    )
    (d / "c").write_text(
        f"[global]\nerror_log={d}/err\ndaemonize=no\n[www]\nuser=nobody\ngroup=nogroup\nlisten={host.addr}:{port}\npm=static\npm.max_children=3\n{extra}\n"
    )
    os.chmod(lab.temp, 0o777)
    lab.php = d
    return lab.start(host, ["php-fpm8.2", "-F", "-R", "-y", d / "c"], port=port)


def postgres(lab, host, *conf, port=5432):
    d = lab.temp / "pg"
    d.mkdir()
    command("chown", "postgres", d)
    subprocess.run(
        [
            "su",
            "postgres",
            "-s",
            "/bin/sh",
            "-c",
            f"/usr/lib/postgresql/15/bin/initdb -D {d}/d -A trust --no-sync >/dev/null",
        ],
        check=True,
        env=ENVIRONMENT,
    )
    with open(d / "d/pg_hba.conf", "a") as f:
        f.write("host all all 0.0.0.0/0 trust\n")
    o = " ".join(f"-c {x}" for x in conf)
    return lab.start(
        host,
        [
            "su",
            "postgres",
            "-s",
            "/bin/sh",
            "-c",
            f"exec /usr/lib/postgresql/15/bin/postgres -D {d}/d -h {host.addr} -p {port} -k {d} -c fsync=off {o}",
        ],
        port=port,
    )
