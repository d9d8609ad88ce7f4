//! The servers, and their configuration.

use super::{Site, Software};
use crate::misdelivered::clients;

const FILES: Site = Site {
    files: true,
    refuses_early: true,
    reads_chunks: false,
    hints: false,
    endless: false,
    upgrades: false,
};
const THREADS: Site = Site {
    files: false,
    refuses_early: false,
    reads_chunks: true,
    hints: false,
    endless: false,
    upgrades: false,
};
const EVENTS: Site = Site {
    files: false,
    refuses_early: true,
    reads_chunks: true,
    hints: true,
    endless: true,
    upgrades: false,
};

const NGINX: &str = r#"
daemon off;
user root;
worker_processes 2;
pid {dir}/nginx.pid;
error_log stderr crit;
events {}
http {
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_timeout 1s;
    client_max_body_size 100k;
    UPSTREAM
    server {
        listen {addr} backlog=1024;
        PLACE
    }
}
"#;
const APACHE: &str = r"
ServerRoot {dir}
ServerName localhost
PidFile {dir}/apache.pid
DefaultRuntimeDir {dir}
ErrorLog {dir}/error.log
LogLevel crit
Listen {addr}
DocumentRoot {dir}/htdocs
KeepAliveTimeout 1
LimitRequestBody 100000
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so
RequestReadTimeout header=2 body=2
";
const LIGHTTPD: &str = r#"
server.document-root = "{dir}/htdocs"
server.bind = "{host}"
server.port = {port}
server.max-keep-alive-idle = 1
server.max-request-size = 100
server.listen-backlog = 1024
"#;
const CADDY: &str = "
{
    admin off
    auto_https off
    servers {
        timeouts {
            idle 1s
        }
    }
}
http://{addr} {
    bind {host}
    root * {dir}/htdocs
    request_body {
        max_size 100KB
    }
    file_server
}
";
const TOMCAT: &str = r#"<Server port="-1">
  <Service name="Catalina">
    <Connector address="{host}" port="{port}" protocol="HTTP/1.1" keepAliveTimeout="1000" connectionTimeout="2000"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="{dir}/webapps"/>
    </Engine>
  </Service>
</Server>
"#;
const TOMCAT_FILES: &str = r#"<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>files</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
  </servlet>
  <servlet-mapping>
    <servlet-name>files</servlet-name>
    <url-pattern>/</url-pattern>
  </servlet-mapping>
</web-app>
"#;
const HAPROXY: &str = "global
  nbthread 2
defaults
  mode http
  timeout connect 3s
  timeout server 10s
  timeout client 5s
  timeout http-request 2s
  timeout http-keep-alive 1s
  http-reuse always
frontend web
  bind {addr}
  default_backend app
backend app
  server app {behind}
";
const PUMA: &str =
    "bind 'tcp://{addr}'\nthreads 1, 32\nworkers 0\nenvironment 'production'\npersistent_timeout 1\nearly_hints\n";
const FILES_OF_NGINX: &str = "root {dir}/htdocs;";
const UPSTREAM_OF_NGINX: &str = "upstream app { server {behind}; keepalive 8; }";
const PROXY_OF_NGINX: &str =
    r#"location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }"#;

const APP_JS: (&str, &str) = ("app.js", include_str!("../programs/app.js"));
const APP_GO: (&str, &str) = ("app.go", include_str!("../programs/app.go"));
const SITE_PY: (&str, &str) = ("site_app.py", include_str!("../programs/site.py"));
const GUNICORN: &str = "gunicorn --bind {addr} --chdir {dir} --worker-class gthread --threads 48 --keep-alive 1 --log-level critical site_app:application";
const GUNICORN_BEHIND: &str = "gunicorn --bind {behind} --chdir {dir} --worker-class gthread --threads 48 --keep-alive 1 --log-level critical site_app:application";

/// All of them. Redis has rows of its own.
pub const SOFTWARE: &[Software] = &[
    Software {
        name: "nginx",
        needs: &["nginx"],
        files: &[("nginx.conf", NGINX), ("UPSTREAM", ""), ("PLACE", FILES_OF_NGINX)],
        made_by: None,
        lines: &["nginx -e stderr -p {dir} -c {dir}/nginx.conf"],
        site: FILES,
        clients: &[&clients::WRK, &clients::WRK_PIPELINING, &clients::CURL],
    },
    Software {
        name: "Apache",
        needs: &["apache2"],
        files: &[("apache.conf", APACHE)],
        made_by: None,
        lines: &["apache2 -D FOREGROUND -f {dir}/apache.conf"],
        site: FILES,
        clients: &[&clients::AB, &clients::CURL, &clients::PYTHON],
    },
    Software {
        name: "lighttpd",
        needs: &["lighttpd"],
        files: &[("lighttpd.conf", LIGHTTPD)],
        made_by: None,
        lines: &["lighttpd -D -f {dir}/lighttpd.conf"],
        site: FILES,
        clients: &[&clients::AB, &clients::GO],
    },
    Software {
        name: "Caddy",
        needs: &["caddy"],
        files: &[("Caddyfile", CADDY)],
        made_by: None,
        lines: &["caddy run --config {dir}/Caddyfile --adapter caddyfile"],
        site: FILES,
        clients: &[&clients::WRK, &clients::NODE],
    },
    Software {
        name: "Tomcat",
        needs: &["java", "/usr/share/tomcat10/bin/bootstrap.jar"],
        files: &[
            ("conf/server.xml", TOMCAT),
            ("webapps/ROOT/WEB-INF/web.xml", TOMCAT_FILES),
            ("temp/none", ""),
        ],
        made_by: None,
        lines: &[
            "java -XX:TieredStopAtLevel=1 -cp /usr/share/tomcat10/bin/bootstrap.jar:/usr/share/tomcat10/bin/tomcat-juli.jar \
             -Dcatalina.home=/usr/share/tomcat10 -Dcatalina.base={dir} -Djava.io.tmpdir={dir}/temp \
             org.apache.catalina.startup.Bootstrap start",
        ],
        site: Site {
            refuses_early: false,
            ..FILES
        },
        clients: &[&clients::AB, &clients::PYTHON],
    },
    Software {
        name: "Node",
        needs: &["node"],
        files: &[APP_JS],
        made_by: None,
        lines: &["node {dir}/app.js {host} {port}"],
        site: Site {
            upgrades: true,
            ..EVENTS
        },
        clients: &[&clients::WRK_PIPELINING, &clients::NODE, &clients::PYTHON],
    },
    Software {
        name: "Node, one at a time",
        needs: &["node"],
        files: &[APP_JS],
        made_by: None,
        lines: &["node {dir}/app.js {host} {port} serial"],
        site: Site {
            upgrades: true,
            ..EVENTS
        },
        clients: &[&clients::GO, &clients::CURL],
    },
    Software {
        name: "Go net/http",
        needs: &["go"],
        files: &[APP_GO],
        made_by: Some("go build -o {dir}/app {dir}/app.go"),
        lines: &["{dir}/app {addr}"],
        site: EVENTS,
        clients: &[&clients::WRK_PIPELINING, &clients::GO, &clients::CURL],
    },
    Software {
        name: "gunicorn (gthread)",
        needs: &["gunicorn"],
        files: &[SITE_PY],
        made_by: None,
        lines: &[GUNICORN],
        site: THREADS,
        clients: &[&clients::PYTHON, &clients::NODE],
    },
    Software {
        name: "uvicorn",
        needs: &["uvicorn"],
        files: &[SITE_PY],
        made_by: None,
        lines: &[
            "uvicorn --host {host} --port {port} --app-dir {dir} --timeout-keep-alive 1 --log-level critical site_app:asynchronous",
        ],
        site: THREADS,
        clients: &[&clients::PYTHON, &clients::GO],
    },
    Software {
        name: "uWSGI (http11-socket)",
        needs: &["uwsgi"],
        files: &[SITE_PY],
        made_by: None,
        lines: &[
            "uwsgi --plugin python3 --master --die-on-term --need-app --disable-logging --wsgi-file {dir}/site_app.py \
             --http11-socket {addr} --socket-timeout 2 --threads 48",
        ],
        site: Site {
            reads_chunks: false,
            ..THREADS
        },
        clients: &[&clients::CURL, &clients::NODE],
    },
    Software {
        name: "Puma",
        needs: &["puma"],
        files: &[("config.ru", include_str!("../programs/config.ru")), ("puma.rb", PUMA)],
        made_by: None,
        lines: &["puma -q -C {dir}/puma.rb {dir}/config.ru"],
        site: Site { hints: true, ..THREADS },
        clients: &[&clients::AB, &clients::GO],
    },
    Software {
        name: "HAProxy before Node",
        needs: &["haproxy", "node"],
        files: &[("haproxy.cfg", HAPROXY), APP_JS],
        made_by: None,
        lines: &[
            "node {dir}/app.js {behind_host} {behind_port}",
            "haproxy -db -f {dir}/haproxy.cfg",
        ],
        site: EVENTS,
        clients: &[&clients::GO, &clients::PYTHON, &clients::CURL],
    },
    Software {
        name: "nginx before gunicorn",
        needs: &["nginx", "gunicorn"],
        files: &[
            ("nginx.conf", NGINX),
            ("UPSTREAM", UPSTREAM_OF_NGINX),
            ("PLACE", PROXY_OF_NGINX),
            SITE_PY,
        ],
        made_by: None,
        lines: &[GUNICORN_BEHIND, "nginx -e stderr -p {dir} -c {dir}/nginx.conf"],
        site: Site {
            refuses_early: true,
            ..THREADS
        },
        clients: &[&clients::NODE, &clients::PYTHON, &clients::AB],
    },
];

/// Redis.
pub const REDIS: Software = Software {
    name: "Redis",
    needs: &["redis-server"],
    files: &[],
    made_by: None,
    lines: &["redis-server --bind {host} --port {port} --save --dir {dir} --protected-mode no"],
    site: FILES,
    clients: &[&clients::REDIS_BENCHMARK, &clients::REDIS_CLI, &clients::REDIS_PY],
};
