//! The lines of settings.toml, given to the products and languages they are for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bypeer_diagnose::facts::{Parameter, Setting, Value, Version, setting_of_version, settings_of};

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("bypeer-paste-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs it with a text at its input, and gives what it said; that is shown if it fails.
fn accepts(command: &mut Command, input: &str, about: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading all.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{about}\n{input}\n{said}");
    said
}

/// The first version in what a command says of itself.
fn version_of(command: &mut Command) -> Version {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let mut words = said.split(|c: char| c.is_whitespace() || c == '/');
    words
        .find_map(|word| word.contains('.').then(|| Version::parse(word))?)
        .unwrap()
}

/// A setting with a value of its kind.
fn rendered(setting: &Setting) -> String {
    let values = [
        Value::Time(Duration::from_millis(59_500)),
        Value::Count(100),
        Value::Fixed,
    ];
    let line = match setting.takes_value() {
        true => values.iter().find_map(|value| setting.line(*value)),
        false => setting.line(Value::Fixed),
    };
    line.unwrap_or_else(|| panic!("{setting:?}")).text
}

fn of(software: &str, parameters: &[Parameter], version: &Version) -> String {
    let lines = parameters.iter().map(|parameter| {
        let setting = setting_of_version(software, *parameter, Some(version));
        rendered(setting.unwrap_or_else(|| panic!("{software} {parameter:?}")))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs nginx"]
fn nginx_takes_its_lines() {
    use Parameter::{BodyTimeout, HeaderTimeout, Idle, Lifetime, Linger, MaxBody, MaxRequests};
    let version = version_of(Command::new("nginx").arg("-v"));
    let accepted = of(
        "nginx",
        &[Idle, MaxRequests, Lifetime, HeaderTimeout, BodyTimeout, MaxBody, Linger],
        &version,
    );
    let announced = of("nginx", &[Parameter::AnnounceIdle], &version);
    let retry = of("nginx", &[Parameter::Retry, Parameter::ResponseTimeout], &version);
    let opened = [Parameter::PoolIdle, Parameter::PoolMaxRequests, Parameter::PoolLifetime];
    let opened = of("nginx", &opened, &version);
    let no_reuse = of("nginx", &[Parameter::NoReuse], &version);
    let folder = Folder::new("nginx");
    let path = folder.file(
        "nginx.conf",
        &format!(
            "pid {0}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{accepted}\n\
             upstream kept {{\nserver 127.0.0.1:1;\n{opened}\n}}\nupstream fresh {{\nserver 127.0.0.1:1;\n{no_reuse}\n}}\n\
             server {{\nlisten 127.0.0.1:1;\n{announced}\nlocation / {{\n{retry}\nproxy_pass http://kept;\n}}\n\
             location /fresh {{\nproxy_pass http://fresh;\n}}\n}}\n}}\n",
            folder.0.display()
        ),
    );
    accepts(
        Command::new("nginx").arg("-t").arg("-c").arg(&path),
        "",
        &std::fs::read_to_string(&path).unwrap(),
    );
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_takes_its_lines() {
    use Parameter::{Backlog, HeaderTimeout, Idle, NoReuse, PoolMaxRequests, ResponseTimeout, Retry};
    let version = version_of(Command::new("haproxy").arg("-v"));
    let front = of("haproxy", &[Idle, HeaderTimeout, Backlog], &version);
    let back = of("haproxy", &[ResponseTimeout, Retry, NoReuse], &version);
    let server = of("haproxy", &[PoolMaxRequests], &version);
    let folder = Folder::new("haproxy");
    let path = folder.file(
        "haproxy.cfg",
        &format!(
            "defaults\nmode http\ntimeout client 5s\ntimeout connect 5s\n\
             frontend front\nbind 127.0.0.1:1\n{front}\ndefault_backend back\nbackend back\n{back}\nserver one 127.0.0.1:2 {server}\n"
        ),
    );
    let text = std::fs::read_to_string(&path).unwrap();
    accepts(Command::new("haproxy").arg("-c").arg("-f").arg(&path), "", &text);
}

#[test]
#[ignore = "needs lighttpd"]
fn lighttpd_takes_its_lines() {
    let version = version_of(Command::new("lighttpd").arg("-v"));
    let lines = of("lighttpd", &[Parameter::Idle, Parameter::MaxRequests], &version);
    let folder = Folder::new("lighttpd");
    let path = folder.file(
        "lighttpd.conf",
        &format!("server.document-root = \"/\"\nserver.port = 1\n{lines}\n"),
    );
    let said = accepts(Command::new("lighttpd").arg("-tt").arg("-f").arg(&path), "", &lines);
    // An unknown key is only warned of.
    assert!(!said.contains("WARNING"), "{lines}\n{said}");
}

#[test]
#[ignore = "needs apache2"]
fn apache_takes_its_lines() {
    use Parameter::{Backlog, Idle, MaxBody, MaxRequests, NoReuse, PoolIdle, Retry};
    let version = version_of(Command::new("apache2").arg("-v"));
    let server = of("apache", &[Idle, MaxRequests, MaxBody, Backlog], &version);
    let [ttl, fresh, retry] = [PoolIdle, NoReuse, Retry].map(|parameter| of("apache-proxy", &[parameter], &version));
    let folder = Folder::new("apache");
    let modules: String = ["mpm_event", "env", "proxy", "proxy_http"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    let path = folder.file(
        "httpd.conf",
        &format!(
            "ServerRoot {0}\nPidFile {0}/pid\nDefaultRuntimeDir {0}\nErrorLog {0}/log\nServerName here\nListen 127.0.0.1:1\n{modules}\
             {server}\n{retry}\nProxyPass /kept http://127.0.0.1:2/ {ttl}\nProxyPass /fresh http://127.0.0.1:2/ {fresh}\n",
            folder.0.display()
        ),
    );
    let text = std::fs::read_to_string(&path).unwrap();
    accepts(Command::new("apache2").arg("-t").arg("-f").arg(&path), "", &text);
}

/// Every line of these products, each in what surrounds it.
fn each(software: &[&str], mut check: impl FnMut(&Setting, String)) {
    let mut checked = 0;
    for name in software {
        for setting in settings_of(name)
            .into_iter()
            .filter(|setting| setting.software == *name)
        {
            check(setting, rendered(setting));
            checked += 1;
        }
    }
    assert!(checked >= software.len(), "only {checked} lines");
}

#[test]
#[ignore = "needs python3"]
fn lines_for_python_are_python() {
    let check = "import ast, sys; ast.parse(sys.stdin.read())";
    let all = [
        "python-requests",
        "python-http-client",
        "httpx",
        "aiohttp-client",
        "aiohttp",
        "tornado",
        "twisted",
        "cheroot",
        "gunicorn",
    ];
    each(&all, |setting, text| {
        accepts(
            Command::new("python3").args(["-c", check]),
            &text,
            &format!("{setting:?}"),
        );
    });
}

#[test]
#[ignore = "needs node"]
fn lines_for_node_are_javascript() {
    // Some are part of an object.
    let check = "const text = require('fs').readFileSync(0, 'utf8');
        try { new Function(text); } catch { new Function(`return ({${text}})`); }";
    let all = ["node", "node-client", "undici", "axios", "got", "fastify"];
    each(&all, |setting, text| {
        accepts(Command::new("node").args(["-e", check]), &text, &format!("{setting:?}"));
    });
}

#[test]
#[ignore = "needs gofmt"]
fn lines_for_go_are_go() {
    each(&["go", "go-client"], |setting, text| {
        let text = match setting.place.strip_suffix("{}") {
            Some(kind) => format!("package p\nvar v = {kind}{{\n{text}\n}}\n"),
            None => format!("package p\nfunc f() {{\n{text}\n}}\n"),
        };
        accepts(Command::new("gofmt").arg("-e"), &text, &format!("{setting:?}"));
    });
}

#[test]
#[ignore = "needs ruby"]
fn lines_for_ruby_are_ruby_and_those_of_yaml_are_yaml() {
    each(
        &["ruby-net-http", "net-http-persistent", "puma", "webrick"],
        |setting, text| {
            let text = match setting.place.ends_with("(…)") {
                true => format!("new({text})"),
                false => text,
            };
            accepts(Command::new("ruby").arg("-c"), &text, &format!("{setting:?}"));
        },
    );
    let check = "require 'yaml'; YAML.load(STDIN.read).is_a?(Hash) or abort";
    each(&["envoy", "istio", "traefik", "ingress-nginx"], |setting, text| {
        accepts(Command::new("ruby").args(["-e", check]), &text, &format!("{setting:?}"));
    });
}
