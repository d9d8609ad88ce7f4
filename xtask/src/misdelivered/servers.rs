//! Real servers with one site, and how each is started.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::clients::{self, Client};

/// A virtual machine for Java takes its time on a machine that is busy.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// What a server can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Files only, in place of an application with waits, chunks and bodies.
    pub files: bool,
    /// Refuses a large body before it has it.
    pub refuses_early: bool,
    /// Reads bodies in chunks.
    pub reads_chunks: bool,
    /// Says `103 Early Hints`.
    pub hints: bool,
    /// Never answers where it should not, and sends events without end.
    pub endless: bool,
    /// Changes to another protocol.
    pub upgrades: bool,
}

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

/// A server, or one behind another.
pub struct Software {
    pub name: &'static str,
    /// Commands that it takes.
    pub needs: &'static [&'static str],
    /// A name in capitals is that of a part of the others.
    pub files: &'static [(&'static str, &'static str)],
    /// To be run before it is started.
    pub made_by: Option<&'static str>,
    /// Those behind it first. `{addr}`, `{host}`, `{port}` are its own; `{behind}` and its parts are those of the one behind.
    pub lines: &'static [&'static str],
    pub site: Site,
    /// Real clients that meet it.
    pub clients: &'static [&'static Client],
}

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

const APP_JS: (&str, &str) = ("app.js", include_str!("programs/app.js"));
const APP_GO: (&str, &str) = ("app.go", include_str!("programs/app.go"));
const SITE_PY: (&str, &str) = ("site_app.py", include_str!("programs/site.py"));
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
        files: &[("config.ru", include_str!("programs/config.ru")), ("puma.rb", PUMA)],
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

impl Software {
    /// What is not here of what it needs.
    pub fn lacks(&self) -> Option<&'static str> {
        self.needs.iter().copied().find(|need| !has(need))
    }
}

/// Whether a command, or a file, is there.
pub fn has(need: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    need.starts_with('/') && Path::new(need).exists()
        || std::env::split_paths(&path).any(|folder| folder.join(need).is_file())
}

/// Where nobody else is: in a network namespace of one's own all ports below those of clients are free, and a client that meets a server
/// which is being started again must not be given the server's own port.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(8000);
    SocketAddr::from(([127, 0, 0, 1], NEXT.fetch_add(1, Relaxed)))
}

/// A server that runs. Dropped, it and all that it started end.
pub struct Server {
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
    behind: SocketAddr,
    software: &'static Software,
    children: Vec<Child>,
}

impl Server {
    /// Starts it, and those behind it.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(software: &'static Software) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        // Servers that give up root must find their files.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let mut server = Server {
            address: own_address(),
            folder,
            behind: own_address(),
            software,
            children: Vec::new(),
        };
        let is_part = |name: &str| name.chars().all(char::is_uppercase);
        for (name, text) in software.files.iter().filter(|(name, _)| !is_part(name)) {
            let parts = software.files.iter().filter(|(name, _)| is_part(name));
            let text = parts.fold((*text).to_owned(), |text, (part, of_it)| text.replace(part, of_it));
            let path = server.folder.path().join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, server.filled(&text))?;
        }
        if software.site.files {
            server.write_files("htdocs")?;
            server.write_files("webapps/ROOT")?;
        }
        if let Some(line) = software.made_by {
            let output = server.command(line)?.output()?;
            ensure!(
                output.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        server.launch()?;
        Ok(server)
    }

    fn launch(&mut self) -> Result<()> {
        let last = self.software.lines.len() - 1;
        for (number, line) in self.software.lines.iter().enumerate() {
            let log = File::options().create(true).append(true).open(self.log())?;
            let mut command = self.command(line)?;
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0);
            self.children.push(command.spawn().with_context(|| (*line).to_owned())?);
            self.wait_for(if number == last { self.address } else { self.behind })?;
        }
        Ok(())
    }

    fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = self.children.last_mut().context("a process")?.try_wait()?;
            ensure!(
                ended.is_none() && began.elapsed() < STARTS_WITHIN,
                "{} does not listen: {}",
                self.software.name,
                fs::read_to_string(self.log()).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it, politely or not, and starts it again at the same address.
    ///
    /// # Errors
    /// When it does not listen again.
    pub fn restart(&mut self, politely: bool) -> Result<()> {
        self.end(politely);
        // Those that it had started may take a moment longer to die, and hold the socket.
        let began = Instant::now();
        while TcpStream::connect(self.address).is_ok() && began.elapsed() < ENDS_WITHIN {
            thread::sleep(Duration::from_millis(10));
        }
        self.launch()
    }

    /// Fails when it, or one behind it, has ended by itself.
    ///
    /// # Errors
    /// With what it printed.
    pub fn lives(&mut self) -> Result<()> {
        for child in &mut self.children {
            let ended = child.try_wait()?;
            ensure!(
                ended.is_none(),
                "{} has ended: {}",
                self.software.name,
                fs::read_to_string(self.folder.path().join("printed.log")).unwrap_or_default()
            );
        }
        Ok(())
    }

    fn end(&mut self, politely: bool) {
        // From the front to those behind.
        for child in self.children.iter_mut().rev() {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let tell = |signal| group.map(|group| kill_process_group(group, signal));
            if politely {
                let _ = tell(Signal::TERM);
                let began = Instant::now();
                while matches!(child.try_wait(), Ok(None)) && began.elapsed() < ENDS_WITHIN {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            // It may be gone already; those that it started are in its group.
            let _ = tell(Signal::KILL);
            let _ = child.wait();
        }
        self.children.clear();
    }

    /// The site as files: what is the same each time.
    fn write_files(&self, folder: &str) -> Result<()> {
        let root = self.folder.path().join(folder);
        let mut pages: Vec<(String, String)> = vec![
            ("session".into(), r#"{"status":"ok","session":"s1"}"#.into()),
            ("list".into(), "[1,2,3]".into()),
            ("cached".into(), r#"{"kind":"cached"}"#.into()),
            ("deprecated".into(), r#"{"error":"gone"}"#.into()),
            ("large".into(), "x".repeat(600_000)),
        ];
        for number in 1..10 {
            pages.push((
                format!("account/{number}"),
                format!(r#"{{"kind":"account","balance":{number},"currency":"KES"}}"#),
            ));
            pages.push((
                format!("transactions/{number}"),
                format!(r#"{{"kind":"transactions","items":[{{"id":{number}}}]}}"#),
            ));
            pages.push((format!("twin/a/{number}"), format!(r#"{{"id":"{number}","value":1}}"#)));
            pages.push((format!("twin/b/{number}"), format!(r#"{{"id":"{number}","value":2}}"#)));
        }
        for (name, text) in pages {
            let path = root.join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, text)?;
        }
        Ok(())
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("printed.log")
    }

    fn command(&self, line: &str) -> Result<Command> {
        let mut words = line.split_whitespace().map(|word| self.filled(word));
        let mut command = Command::new(words.next().context("a command")?);
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path());
        Ok(command)
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{addr}", &self.address.to_string())
            .replace("{host}", &self.address.ip().to_string())
            .replace("{port}", &self.address.port().to_string())
            .replace("{behind}", &self.behind.to_string())
            .replace("{behind_host}", &self.behind.ip().to_string())
            .replace("{behind_port}", &self.behind.port().to_string())
            .replace("{dir}", &self.folder.path().to_string_lossy())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(false);
    }
}
