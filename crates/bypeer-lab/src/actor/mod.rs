//! Actors: small servers and clients that do exactly what their script says, each a process of its own.
//!
//! An actor ([`act`]) reads a [`Job`] and obeys its [`Script`]. It talks to the lab in [`FromActor`] and [`ToActor`].

mod connection;
mod exchange;
mod failure;
mod http;
mod interpreter;
mod marks;
mod protocol;
mod script;
mod words;

use std::ffi::CString;
use std::io::{BufRead, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use protocol::{Deed, FromActor, Job, Signal, ToActor};
pub use script::{Declared, Line, Message, Request, Respond, Script, Side, SocketOption, Statement};

use interpreter::{Actor, Shared, Stop};

/// The actor could not begin.
const UNABLE: i32 = 2;

/// Runs an actor: reads its [`Job`] from the first line of `input`, obeys it, tells about it in `output`, and returns the
/// exit status when the round is over. The process must then end at once: sockets are open until it does.
///
/// The status is 0, or that of the script's `exit`, or 2 if there was nothing to do ([`FromActor::Unable`] says why).
pub fn act(mut input: impl BufRead + Send + 'static, output: impl Write + Send + 'static) -> i32 {
    let mut first = String::new();
    let job = match input.read_line(&mut first) {
        Ok(_) => serde_json::from_str::<Job>(&first).map_err(|error| format!("the first line is no job: {error}")),
        Err(error) => Err(format!("cannot read the job: {error}")),
    };
    let job = match job {
        Ok(job) => job,
        Err(why) => return unable(output, why),
    };
    if !job.host.is_empty() {
        // Threads inherit it. Nothing of the round depends on it: it is for who looks at processes from outside.
        let _ = rustix::thread::set_name(&process_name(&job.host));
    }
    let mut hosts: Vec<String> = job.hosts.keys().cloned().collect();
    if !job.hosts.contains_key("server") {
        hosts.push("server".to_owned());
    }
    let script = match Script::parse(&job.script, &hosts) {
        Ok(script) => script,
        Err(error) => return unable(output, format!("the script cannot be read: {error}")),
    };

    let (exit, exited) = channel();
    let shared = Arc::new(Shared::new(job, Box::new(output), exit.clone()));
    let listener = Arc::clone(&shared);
    std::thread::spawn(move || {
        let status = listen_to_lab(input, &listener);
        let _ = exit.send(status);
    });
    std::thread::spawn(move || {
        let ended = Actor::new(Arc::clone(&shared)).run(&script.lines);
        if ended != Err(Stop::Exit) {
            shared.say(&FromActor::Ended);
        }
    });
    exited.recv().unwrap_or(UNABLE)
}

/// What the process of a host's actor is called: `lab-server`. Linux keeps 15 bytes of a name.
pub fn process_name(host: &str) -> CString {
    let name: Vec<u8> = format!("lab-{host}")
        .bytes()
        .filter(|byte| *byte != 0)
        .take(15)
        .collect();
    CString::new(name).unwrap_or_default()
}

fn unable(mut output: impl Write, why: String) -> i32 {
    if let Ok(line) = serde_json::to_string(&FromActor::Unable(why)) {
        let _ = writeln!(output, "{line}").and_then(|()| output.flush());
    }
    UNABLE
}

/// Until the round is over. Returns the exit status.
fn listen_to_lab(input: impl BufRead, shared: &Shared) -> i32 {
    for line in input.lines() {
        let Ok(line) = line else { return 0 };
        match serde_json::from_str(&line) {
            Ok(ToActor::Marked(name)) => shared.marks.set(name),
            Ok(ToActor::Over) => return 0,
            Err(error) => {
                shared.say(&FromActor::Unable(format!("cannot understand {line:?}: {error}")));
                return UNABLE;
            }
        }
    }
    0
}

/// A panic elsewhere does not make what a mutex holds unusable.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
