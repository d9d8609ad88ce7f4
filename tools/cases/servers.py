"""Starting the servers and clients that many scenarios share."""

import pathlib

from lab import GO, PROGRAMS, PYTHON


def gunicorn(lab, host, *options, app="views:flask_app", python=PYTHON, port=8000, address=None):
    address = address or host.address
    return lab.start(
        host,
        [python, "-m", "gunicorn", "--log-level=warning", "-b", f"{address}:{port}", *options, app],
        port=port,
    )


def nginx(lab, host, body, port=80, ready=None, events="worker_connections 256;"):
    """Starts nginx in the foreground with this http{} body."""
    number = len(lab.processes)
    root = lab.temp / f"nginx{number}"
    root.mkdir(mode=0o755)
    conf = root / "nginx.conf"
    conf.write_text(
        f"user root; daemon off; pid {root}/pid; error_log {root}/error.log info; worker_processes 1;\n"
        f"events {{ {events} }}\nhttp {{ root /srv/www; access_log {root}/access.log; client_body_temp_path {root}/body;"
        f" proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fcgi; uwsgi_temp_path {root}/uwsgi;"
        f" scgi_temp_path {root}/scgi;\n{body}\n}}\n"
    )
    process = lab.start(host, ["nginx", "-p", root, "-e", f"{root}/error.log", "-c", conf], port=ready or port)
    process.root = root
    return process


def uwsgi(lab, host, *options, port=8000, app="plain_wsgi"):
    return lab.start(
        host,
        ["uwsgi-core", "--plugin", "python3", "--master", "--die-on-term", "--need-app", "--pythonpath", PROGRAMS,
         "--module", f"{app}:application", *options],
        port=port,
    )


def haproxy(lab, host, body, port=80):
    path = lab.temp / f"haproxy{len(lab.processes)}.cfg"
    path.write_text(
        "global\n  maxconn 200\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 3s\n  timeout client 10s\n"
        "  timeout server 10s\n" + body + "\n"
    )
    return lab.start(host, ["haproxy", "-db", "-f", path], port=port)


def apache(lab, host, body, port=80, modules=()):
    root = lab.temp / "apache"
    (root / "htdocs").mkdir(parents=True)
    (root / "htdocs" / "index.html").write_text("hello from apache\n" * 40)
    loaded = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in ("mpm_event", "authz_core", "mime", "dir", *modules)
    )
    conf = root / "httpd.conf"
    conf.write_text(
        f"ServerRoot {root}\nServerName shop.example\nPidFile {root}/pid\nErrorLog {root}/error.log\nTypesConfig /etc/mime.types\n"
        f"DefaultRuntimeDir {root}\nListen {host.address}:{port}\n{loaded}DocumentRoot {root}/htdocs\n"
        f"<Directory {root}/htdocs>\nRequire all granted\n</Directory>\n{body}\n"
    )
    process = lab.start(host, ["apache2", "-DFOREGROUND", "-f", conf], port=port)
    process.root = root
    return process


def node(lab, host, program, *arguments, port=8000):
    return lab.start(host, ["node", PROGRAMS / program, host.address, port, *arguments], port=port)


def python_program(lab, host, program, *arguments, port=8000):
    return lab.start(host, [PYTHON, PROGRAMS / program, host.address, port, *arguments], port=port)


def go_server(lab, host, *arguments, port=8000):
    return lab.start(host, [GO, "serve", f"{host.address}:{port}", *arguments], port=port)


def raw(lab, host, server, port, *steps, seconds=30):
    """A client that does exactly these steps (see `programs/rawhttp.py`)."""
    return lab.client(host, ["/usr/bin/python3", PROGRAMS / "rawhttp.py", server, port, *steps], seconds)


def python_client(lab, host, program, *arguments, seconds=60):
    """A client script of `programs/` in the virtual environment."""
    return lab.client(host, [PYTHON, PROGRAMS / program, *arguments], seconds)


def go_client(lab, host, *arguments, seconds=60):
    return lab.client(host, [GO, "get", *arguments], seconds)


def puma(lab, host):
    config = lab.temp / "config.ru"
    config.write_text('run lambda { |env| [200, {"Content-Type" => "text/plain"}, ["hello from puma\\n"]] }\n')
    settings = lab.temp / "puma.rb"
    settings.write_text(f'bind "tcp://{host.address}:8000"\npersistent_timeout 1\nthreads 1, 4\nworkers 0\nenvironment "production"\n')
    return lab.start(host, ["puma", "-C", settings, config], port=8000)


def lighttpd(lab, host, extra=""):
    root = lab.temp / "lighttpd"
    root.mkdir()
    (root / "index.html").write_text("hello from lighttpd\n" * 20)
    conf = root / "lighttpd.conf"
    conf.write_text(
        f'server.document-root = "{root}"\nserver.port = 80\nserver.bind = "{host.address}"\nindex-file.names = ("index.html")\n'
        f'server.max-keep-alive-idle = 1\nserver.errorlog = "{root}/error.log"\n{extra}\n'
    )
    return lab.start(host, ["lighttpd", "-D", "-f", conf], port=80)


def java(lab, host, program):
    """Runs a program with the jars of its own server alone: others bring older classes of the same names."""
    names = ("tomcat9-",) if program.startswith("Tomcat") else ("jetty9-", "servlet-api", "tomcat9-servlet-api", "tomcat9-jsp-api")
    jars = ":".join(str(path) for path in sorted(pathlib.Path("/usr/share/java").glob("*.jar")) if path.name.startswith(names))
    return lab.start(host, ["java", "-XX:TieredStopAtLevel=1", "-cp", jars, PROGRAMS / program, host.address, "8000"], port=8000)


def java_plain(lab, host, program, *options):
    return lab.start(host, ["java", "-XX:TieredStopAtLevel=1", *options, PROGRAMS / program, host.address, "8000"], port=8000)


def redis(lab, host, *options, port=6379):
    return lab.start(
        host, ["redis-server", "--port", port, "--bind", host.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no",
               *options], port=port)


def start_raw(lab, host, address, port, *steps):
    """The same client in the background; `collect` waits for it and takes its account."""
    return lab.start(host, ["/usr/bin/python3", PROGRAMS / "rawhttp.py", address, port, *steps])


def collect(lab, clients, seconds=20):
    for client in clients:
        client.wait(seconds)
        lab.take_accounts(client.log.read_text())
