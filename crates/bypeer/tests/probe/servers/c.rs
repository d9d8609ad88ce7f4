//! nginx, Apache, HAProxy, lighttpd.

use crate::hold::{Known, Limit, hold};
use crate::kernel::Left;
use crate::server::{Server, free_address};

/// nginx with lines for its server block.
pub fn nginx(settings: &str) -> Server {
    let conf = r#"
daemon off;
master_process off;
user root;
pid {dir}/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {
        listen {addr};
        SETTINGS
        location / { return 200 "hello from nginx\n"; }
    }
}
"#;
    Server::new()
        .file("nginx.conf", &conf.replace("SETTINGS", settings))
        .start("nginx -e stderr -p {dir} -c {dir}/nginx.conf")
}

/// Apache with the event MPM and lines of configuration.
pub fn apache(settings: &str) -> Server {
    let mut conf = r#"
ServerRoot {dir}
ServerName localhost
PidFile {dir}/apache.pid
DefaultRuntimeDir {dir}
ErrorLog {dir}/printed.log
Listen {addr}
DocumentRoot {dir}/htdocs
"#
    .to_owned();
    for module in ["mpm_event", "authz_core", "dir", "reqtimeout"] {
        conf += &format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n");
    }
    conf += settings;
    Server::new()
        .file("htdocs/index.html", "hello from Apache\n")
        .file("apache.conf", &conf)
        .start("apache2 -D FOREGROUND -f {dir}/apache.conf")
}

/// HAProxy with lines for its defaults section, in front of Python's threaded http.server.
pub fn haproxy(settings: &str) -> Server {
    let behind = free_address();
    let conf = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 3s\n  timeout server 10s\n{settings}\n\
         frontend web\n  bind {{addr}}\n  default_backend app\n\
         backend app\n  server app {behind}\n"
    );
    Server::new()
        .file("haproxy.cfg", &conf)
        .file("http_server.py", super::python::HTTP_SERVER)
        .start_at(
            behind,
            &format!(
                "python3 {{dir}}/http_server.py {} {} 30 application",
                behind.ip(),
                behind.port()
            ),
        )
        .start("haproxy -db -f {dir}/haproxy.cfg")
}

/// lighttpd with lines of configuration.
pub fn lighttpd(settings: &str) -> Server {
    let conf = r#"
server.document-root = "{dir}/htdocs"
server.bind = "{host}"
server.port = {port}
index-file.names = ("index.html")
"#;
    Server::new()
        .file("htdocs/index.html", "hello from lighttpd\n")
        .file("lighttpd.conf", &format!("{conf}{settings}\n"))
        .start("lighttpd -D -f {dir}/lighttpd.conf")
}

#[test]
#[ignore = "needs root, nginx"]
fn nginx_is_as_configured() {
    let server = nginx("keepalive_timeout 2s; client_header_timeout 1s; client_body_timeout 1s;");
    hold(
        &server,
        &Known {
            name: "nginx",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Is(2000)),
                (Left::AfterSeveral, Limit::Is(2000)),
                (Left::Unused, Limit::Is(1000)),
                (Left::InHead, Limit::Is(1000)),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}

#[test]
#[ignore = "needs root, apache2"]
fn apache_is_as_configured() {
    let server = apache("KeepAliveTimeout 2\nRequestReadTimeout header=1 body=1\n");
    hold(
        &server,
        &Known {
            name: "Apache event",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: Some(2),
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Is(2000)),
                (Left::AfterSeveral, Limit::Is(2000)),
                // The kernel keeps them from it until the first byte comes: TCP_DEFER_ACCEPT.
                (Left::Unused, Limit::None),
                (Left::InHead, Limit::Is(1000)),
                (Left::InBody, Limit::Is(1000)),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}

#[test]
#[ignore = "needs root, haproxy, python3"]
fn haproxy_is_as_configured() {
    let server = haproxy("  timeout client 3s\n  timeout http-request 1s\n  timeout http-keep-alive 2s");
    hold(
        &server,
        &Known {
            name: "HAProxy",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Is(2000)),
                (Left::AfterSeveral, Limit::Is(2000)),
                (Left::Unused, Limit::Is(1000)),
                (Left::InHead, Limit::Is(1000)),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}

#[test]
#[ignore = "needs long, root, lighttpd"]
fn lighttpd_is_as_configured() {
    let server = lighttpd("server.max-keep-alive-idle = 1\nserver.max-read-idle = 1");
    hold(
        &server,
        &Known {
            name: "lighttpd",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            // It looks once a second, and whether more whole seconds have passed.
            limits: &[
                (Left::AfterOne, Limit::Ticks(1000, 2100)),
                (Left::AfterSeveral, Limit::Ticks(1000, 2100)),
                (Left::Unused, Limit::Ticks(1000, 2100)),
                (Left::InHead, Limit::Ticks(1000, 2100)),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}
