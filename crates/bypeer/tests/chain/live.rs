//! The pairs of the test data, really run: with their files requests are lost, with what `chain` tells to change none.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// Clients that ask at the same time.
const CLIENTS: usize = 100;
/// Within so much.
const SPREAD: Duration = Duration::from_millis(10);

/// A load of bursts with pauses between them, around the time at which the last server closes.
struct Load {
    rounds: u32,
    /// Pauses from here, evenly.
    from: Duration,
    /// To here.
    to: Duration,
}

/// What became of a load.
#[derive(Debug, Default)]
struct Outcome {
    requests: u32,
    failed: u32,
}

#[test]
#[ignore = "needs nginx, gunicorn, long"]
fn nginx_and_gunicorn() {
    let load = Load {
        rounds: 20,
        from: Duration::from_millis(1_900),
        to: Duration::from_millis(2_300),
    };
    let place = Place::of("nginx-gunicorn");
    let faulty = place.nginx_gunicorn(&load);
    // The change is made as it was told, where it was told.
    let told = record(
        place.path(),
        &["client=4", "nginx@1.22:nginx.conf", "gunicorn:gunicorn.conf.py"],
    );
    place.apply(&told["pairs"][1]["findings"][0]["mends"][0]);
    assert_eq!(place.read("gunicorn.conf.py"), place.read("gunicorn-mended.conf.py"));
    let told = record(
        place.path(),
        &["client=4", "nginx@1.22:nginx.conf", "gunicorn:gunicorn.conf.py"],
    );
    assert_eq!(told["faults"], 0, "{told:#}");
    let mended = place.nginx_gunicorn(&load);
    eprintln!("nginx, gunicorn: {faulty:?}; with keepalive = 65: {mended:?}");
    assert!(faulty.failed > 0, "{faulty:?}");
    assert_eq!(mended.failed, 0, "{mended:?}");
    assert_eq!(mended.requests, faulty.requests);
}

#[test]
#[ignore = "needs haproxy, node, long"]
fn haproxy_and_node() {
    let load = Load {
        rounds: 10,
        from: Duration::from_millis(5_980),
        to: Duration::from_millis(6_010),
    };
    let place = Place::of("haproxy-node");
    let faulty = place.haproxy_node(&load);
    let told = record(place.path(), &["client=4", "haproxy:haproxy.cfg", "node@20=5"]);
    let mends = &told["pairs"][1]["findings"][0]["mends"];
    // First Node's, as it was told.
    let line = mends[0]["line"].as_str().unwrap();
    let script = place.read("server.js");
    assert!(script.contains("server.keepAliveTimeout = 5000;"));
    place.write("server.js", &script.replace("server.keepAliveTimeout = 5000;", line));
    let mended_node = place.haproxy_node(&load);
    // Then HAProxy's instead.
    place.write("server.js", &script);
    place.write(
        "haproxy.cfg",
        &place
            .read("haproxy.cfg")
            .replace("pool-purge-delay 5s", mends[1]["line"].as_str().unwrap()),
    );
    assert_eq!(place.read("haproxy.cfg"), place.read("haproxy-mended.cfg"));
    let mended_haproxy = place.haproxy_node(&load);
    eprintln!(
        "haproxy, node: {faulty:?}; with {line}: {mended_node:?}; with {}: {mended_haproxy:?}",
        mends[1]["line"]
    );
    assert!(faulty.failed > 0, "{faulty:?}");
    for mended in [mended_node, mended_haproxy] {
        assert_eq!((mended.failed, mended.requests), (0, faulty.requests));
    }
}

/// A copy of the configuration files.
struct Place(tempfile::TempDir);

impl Place {
    fn of(name: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for entry in fs::read_dir(data().join(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), place.path().join(entry.file_name())).unwrap();
        }
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Puts a line where it was told to go: in place of the one that is there.
    fn apply(&self, mend: &Value) {
        let (file, number) = mend["place"].as_str().unwrap().rsplit_once(':').unwrap();
        let number: usize = number.parse().unwrap();
        let text = self.read(file);
        let lines: Vec<&str> = text
            .lines()
            .enumerate()
            .map(|(index, line)| {
                if index + 1 == number {
                    mend["line"].as_str().unwrap()
                } else {
                    line
                }
            })
            .collect();
        self.write(file, &(lines.join("\n") + "\n"));
    }

    /// A copy with free ports in place of those in the files, which another test may use.
    fn with_ports(&self, front: (&str, u16), back: (&str, u16)) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = text
                .replace(front.0, &front.1.to_string())
                .replace(back.0, &back.1.to_string());
            fs::write(copy.path().join(entry.file_name()), text).unwrap();
        }
        copy
    }

    fn nginx_gunicorn(&self, load: &Load) -> Outcome {
        let (front, back) = (free_port(), free_port());
        let copy = self.with_ports(("18000", front), ("18001", back));
        let folder = copy.path().to_string_lossy().into_owned();
        let _gunicorn = Server::start(
            copy.path(),
            &["gunicorn", "--config", "gunicorn.conf.py", "app:application"],
            back,
        );
        let conf = format!("{folder}/nginx.conf");
        let _nginx = Server::start(copy.path(), &["nginx", "-p", &folder, "-c", &conf], front);
        load.run(front)
    }

    fn haproxy_node(&self, load: &Load) -> Outcome {
        let (front, back) = (free_port(), free_port());
        let copy = self.with_ports(("18002", front), ("18003", back));
        let _node = Server::start(copy.path(), &["node", "server.js"], back);
        let _haproxy = Server::start(copy.path(), &["haproxy", "-db", "-f", "haproxy.cfg"], front);
        load.run(front)
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program that ends with the test, and all that it started.
struct Server(Child);

impl Server {
    fn start(folder: &Path, command: &[&str], port: u16) -> Server {
        let child = Command::new(command[0])
            .args(&command[1..])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join(format!("{}.log", command[0]))).unwrap())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
        let server = Server(child);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(folder.join(format!("{}.log", command[0]))).unwrap_or_default();
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{} does not listen: {}",
                command[0],
                log()
            );
            thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap_or(0));
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

impl Load {
    fn run(&self, port: u16) -> Outcome {
        let barrier = Barrier::new(CLIENTS);
        let outcome = Mutex::new(Outcome::default());
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (barrier, outcome) = (&barrier, &outcome);
                scope.spawn(move || self.client(client, port, barrier, outcome));
            }
        });
        outcome.into_inner().unwrap()
    }

    fn client(&self, client: usize, port: u16, barrier: &Barrier, outcome: &Mutex<Outcome>) {
        let mut connection: Option<TcpStream> = None;
        for round in 0..self.rounds {
            barrier.wait();
            // Each at its own moment of the burst, another one each time.
            let moment = (client as u32 * 7 + round * 13) % CLIENTS as u32;
            thread::sleep(SPREAD * moment / CLIENTS as u32);
            let open = connection
                .take()
                .or_else(|| TcpStream::connect(("127.0.0.1", port)).ok());
            let answered = open.and_then(post);
            let mut outcome = outcome.lock().unwrap();
            outcome.requests += 1;
            outcome.failed += u32::from(answered.is_none());
            drop(outcome);
            connection = answered;
            barrier.wait();
            let step = (self.to - self.from) * round / self.rounds;
            thread::sleep(self.from + step);
        }
    }
}

/// Sends a POST, which nobody may repeat, and reads the answer; the connection, if there was a good one.
fn post(mut connection: TcpStream) -> Option<TcpStream> {
    connection.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let request = b"POST / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 2\r\n\r\nhi";
    connection.write_all(request).ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match connection.read(&mut buffer).ok()? {
            0 => return None,
            count => answer.extend_from_slice(&buffer[..count]),
        }
        // An error page is a failure as soon as its first line is here.
        if answer.len() >= 12 && !answer.starts_with(b"HTTP/1.1 200") {
            return None;
        }
        if answer.ends_with(b"ok\n") {
            return Some(connection);
        }
    }
}
