//! An actor at work: it takes one statement after the other, and tells of each what came of it.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddrV4;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::{Connection, pause, set};
use super::exchange::{
    Outcome, counted, note_request, pass_on, read_one_response, read_whole, write_bytes, write_request, write_response,
};
use super::failure::Failure;
use super::http::{Body, Framing, Head};
use super::marks::Marks;
use super::protocol::{Deed, FromActor, Job};
use super::script::{Line, Pause, Request, SocketOption, Statement};
use super::{UNABLE, locked};
use crate::random::Random;

/// How long a statement waits unless the script says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all threads of an actor have in common.
pub(super) struct Shared {
    pub(super) job: Job,
    random: Mutex<Random>,
    pub(super) marks: Marks,
    output: Mutex<Box<dyn Write + Send>>,
    listeners: Mutex<Vec<Listener>>,
    exit: Sender<i32>,
}

struct Listener {
    /// The offset to the round's port.
    port: u16,
    socket: Socket,
}

/// One thread of an actor.
pub(super) struct Actor {
    shared: Arc<Shared>,
    current: Option<Arc<Connection>>,
    names: HashMap<String, Arc<Connection>>,
    patience: Duration,
    /// How often a request may be sent again, and how often the last one still may.
    retries: u32,
    retries_left: u32,
    /// Options said before there was a connection.
    options: Vec<SocketOption>,
    /// It runs the block of a `serve`.
    serves: bool,
}

/// Why a block ended before its last statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A statement failed.
    Failed,
    /// `exit`.
    Exit,
}

impl Shared {
    pub(super) fn new(job: Job, output: Box<dyn Write + Send>, exit: Sender<i32>) -> Self {
        let (marks, listeners) = (Marks::default(), Mutex::default());
        let random = Mutex::new(Random::new(job.seed));
        Shared {
            job,
            random,
            marks,
            output: Mutex::new(output),
            listeners,
            exit,
        }
    }

    /// A pause's length, from the job's random numbers.
    fn length(&self, pause: Pause) -> Duration {
        let share = locked(&self.random).share();
        match pause {
            Pause::Between(least, most) => least + most.saturating_sub(least).mul_f64(share),
            Pause::About(mean) => mean.mul_f64(-(1.0 - share).ln()),
        }
    }

    /// Says something to the lab. A lab that does not listen any more has closed the other pipe too, which ends the actor.
    pub(super) fn say(&self, message: &FromActor) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            let mut output = locked(&self.output);
            let _ = output.write_all(&line).and_then(|()| output.flush());
        }
    }

    fn listen(&self, backlog: i32, port: u16, options: &[SocketOption]) -> Result<(), Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        options.iter().try_for_each(|option| set(&socket, option))?;
        socket.bind(&offset(self.job.own, port).into())?;
        socket.set_nonblocking(true)?;
        socket.listen(backlog)?;
        locked(&self.listeners).push(Listener { port, socket });
        self.say(&FromActor::Listening);
        Ok(())
    }

    /// Takes the next connection, of any listener unless a port is said.
    ///
    /// It looks again and again, so that nobody holds the listener when another thread closes it: a listener that is
    /// waited for is not gone when it is closed.
    fn accept(&self, port: Option<u16>, deadline: Instant) -> Result<Connection, Failure> {
        loop {
            let listeners = locked(&self.listeners);
            let mut any = false;
            for listener in listeners
                .iter()
                .filter(|listener| port.is_none_or(|port| port == listener.port))
            {
                any = true;
                match listener.socket.accept() {
                    Ok((socket, peer)) => {
                        let peer = peer.as_socket_ipv4().ok_or(Failure::Errno(Errno::EAFNOSUPPORT))?;
                        return Ok(Connection::accepted(socket, peer));
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            drop(listeners);
            if !any {
                return Err(Failure::NotListening);
            }
            pause(deadline)?;
        }
    }
}

impl Actor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (current, names, options) = (None, HashMap::new(), vec![]);
        Actor {
            shared,
            current,
            names,
            patience: PATIENCE,
            retries: 0,
            retries_left: 0,
            options,
            serves: false,
        }
    }

    /// Runs a block.
    pub(super) fn run(&mut self, block: &[Line]) -> Result<(), Stop> {
        for line in block {
            if let Statement::Repeat { times, block } = &line.statement {
                for _ in 0..*times {
                    self.run(block)?;
                }
                continue;
            }
            if let Statement::WhileRequest { block } = &line.statement {
                while self.takes_request() {
                    self.run(block)?;
                }
                continue;
            }
            if let Statement::Exit(code) = line.statement {
                // Nobody receives if another thread was first.
                let _ = self.shared.exit.send(code);
                return Err(Stop::Exit);
            }
            let mut begun = Instant::now();
            let mut outcome = Outcome::default();
            let result = self.perform(line, &mut begun, &mut outcome);
            let failed = result.is_err();
            let ends = failed && !line.tried;
            if failed || outcome.told {
                let counts = matches!(line.statement, Statement::ReadResponse | Statement::ReadText(_))
                    || ends && !outcome.expected_end;
                self.tell(&line.text, begun, &outcome, result.err(), counts);
            }
            if ends && matches!(line.statement, Statement::Listen { .. }) {
                // Nobody can reach it: the round cannot be what the scenario says.
                let _ = self.shared.exit.send(UNABLE);
                return Err(Stop::Exit);
            }
            if ends {
                return Err(Stop::Failed);
            }
        }
        Ok(())
    }

    /// Reads the next request, if one comes within the script's timeout. That none came is no failure.
    fn takes_request(&mut self) -> bool {
        let line = Line {
            text: "read request".to_owned(),
            tried: true,
            statement: Statement::ReadRequest,
        };
        let mut begun = Instant::now();
        let mut outcome = Outcome::default();
        let result = self.perform(&line, &mut begun, &mut outcome);
        let came = result.is_ok();
        self.tell(&line.text, begun, &outcome, result.err(), false);
        came
    }

    fn tell(&self, what: &str, begun: Instant, outcome: &Outcome, failure: Option<Failure>, counts: bool) {
        let took = begun.elapsed();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ends = outcome
            .ends
            .or_else(|| self.current.as_ref().map(|current| (current.local, current.peer)));
        self.shared.say(&FromActor::Did(Deed {
            time: now.as_nanos() as i64,
            took: took.as_nanos() as u64,
            what: what.to_owned(),
            local: ends.and_then(|ends| ends.0),
            peer: ends.map(|ends| ends.1),
            bytes: outcome.bytes,
            expected: outcome.expected,
            status: outcome.status,
            error: failure.map(|failure| failure.to_string()),
            counts,
        }));
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    fn connection(&self) -> Result<Arc<Connection>, Failure> {
        self.current.clone().ok_or(Failure::NoConnection)
    }

    fn named(&self, name: &str) -> Result<Arc<Connection>, Failure> {
        self.names.get(name).cloned().ok_or(Failure::NoConnection)
    }

    fn take(&mut self, connection: Connection, name: Option<&String>) {
        let connection = Arc::new(connection);
        if let Some(name) = name {
            self.names.insert(name.clone(), Arc::clone(&connection));
        }
        self.current = Some(connection);
    }

    /// Does what one line says. `begun` is moved on when a try that failed was told already.
    fn perform(&mut self, line: &Line, begun: &mut Instant, outcome: &mut Outcome) -> Result<(), Failure> {
        let deadline = self.deadline();
        outcome.told = true;
        match &line.statement {
            Statement::Connect {
                host,
                port,
                name,
                within,
            } => {
                let peer = self.address(host.as_deref(), *port);
                let deadline = within.map_or(deadline, |within| Instant::now() + within);
                let connection = self.open(peer, deadline, outcome)?;
                self.take(connection, name.as_ref());
            }
            Statement::Accept { port, name } => {
                // The current connection, if any, has no part in a failure.
                let connection = self.shared.accept(*port, deadline);
                if connection.is_err() {
                    self.current = None;
                }
                self.take(connection?, name.as_ref());
            }
            Statement::Request(request) => {
                self.retries_left = self.retries;
                let connection = self.connection()?;
                let written = write_request(&connection, request, self.shared.job.server, deadline, outcome);
                if let Err(failure) = written {
                    self.send_again(failure, line, begun, outcome)?;
                    // The try that went well was told.
                    outcome.told = false;
                }
            }
            Statement::ReadResponse => self.read_response(line, begun, outcome)?,
            Statement::Forward { message, from, to } => {
                let (from, to) = (self.named(from)?, self.named(to)?);
                outcome.ends = Some((from.local, from.peer));
                let bytes = read_whole(&from, *message, deadline, outcome)?;
                outcome.ends = Some((to.local, to.peer));
                pass_on(&from, &to, *message);
                write_bytes(&to, &bytes, deadline, outcome)?;
            }
            Statement::CloseDescriptor(name) => {
                let connection = self.named(name)?;
                outcome.ends = Some((connection.local, connection.peer));
                connection.close_descriptor()?;
            }
            Statement::ReconnectIfClosed => {
                if self.connection()?.is_spoilt()? {
                    self.reconnect(deadline, outcome)?;
                }
            }
            Statement::ReconnectIfNotKept => {
                if locked(&self.connection()?.dialogue).not_kept {
                    self.reconnect(deadline, outcome)?;
                }
            }
            Statement::ReconnectIfIdle(limit) => {
                let connection = self.connection()?;
                let (since, announced) = {
                    let dialogue = locked(&connection.dialogue);
                    (dialogue.idle_since, dialogue.kept_for)
                };
                let idle = since.map(|since| since.elapsed());
                if idle.zip(limit.or(announced)).is_some_and(|(idle, limit)| idle >= limit) {
                    self.reconnect(deadline, outcome)?;
                }
            }
            Statement::Set(option) if self.current.is_none() => {
                outcome.told = false;
                self.options.push(*option);
            }
            Statement::Listen { .. }
            | Statement::StopListening
            | Statement::Serve { .. }
            | Statement::Thread { .. }
            | Statement::Use(_)
            | Statement::Mark(_)
            | Statement::Await(_)
            | Statement::Signal { .. }
            | Statement::Sleep(_)
            | Statement::Run { .. }
            | Statement::WhileRequest { .. }
            | Statement::Timeout(_)
            | Statement::Retry(_)
            | Statement::Repeat { .. }
            | Statement::Exit(_) => {
                outcome.told = false;
                self.arrange(line, deadline)?;
            }
            statement => {
                let connection = self.connection()?;
                self.work_on(&connection, statement, deadline, outcome)?;
            }
        }
        Ok(())
    }

    /// A statement that reads, writes or ends the current connection.
    fn work_on(
        &mut self,
        connection: &Arc<Connection>,
        statement: &Statement,
        deadline: Instant,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        match statement {
            Statement::Respond(respond) => {
                let over = respond.over.as_ref().map(|name| self.named(name)).transpose()?;
                let over = over.as_ref().unwrap_or(connection);
                outcome.ends = Some((over.local, over.peer));
                write_response(connection, over, respond, deadline, outcome)
            }
            Statement::WriteSize(size) => {
                outcome.expected = Some(*size);
                let mut body = Body::new(b"0123456789abcdef", *size, false);
                counted(connection.write(deadline, &mut |buffer| body.fill(buffer)), outcome)
            }
            Statement::WriteText(text) => write_bytes(connection, text, deadline, outcome),
            Statement::ReadHead => {
                let (head, bytes) = self.read_head(connection, deadline, outcome)?;
                outcome.bytes = bytes.len() as u64;
                let mut dialogue = locked(&connection.dialogue);
                if let Some(status) = head.status() {
                    let method = dialogue.outstanding.front().map(|request| request.method.clone());
                    outcome.status = Some(status);
                    dialogue.body = Some(head.response_body(status, method.as_deref())?);
                } else {
                    dialogue.body = Some(note_request(&head, &mut dialogue)?);
                }
                Ok(())
            }
            Statement::ReadBody => {
                let framing = locked(&connection.dialogue).body.take().ok_or(Failure::NoRequest)?;
                outcome.expected = framing.length();
                counted(framing.read(connection, deadline, &mut |_| {}), outcome)
            }
            Statement::ReadRequest => {
                let (head, _) = self.read_head(connection, deadline, outcome)?;
                let framing = note_request(&head, &mut locked(&connection.dialogue))?;
                outcome.expected = framing.length();
                counted(framing.read(connection, deadline, &mut |_| {}), outcome)
            }
            Statement::Read(size) => {
                outcome.expected = Some(*size);
                counted(connection.read(*size, deadline, &mut |_| {}), outcome)
            }
            Statement::ReadText(text) => {
                outcome.expected = Some(text.len() as u64);
                // Another answer may be shorter: it is told from the first byte that differs.
                while outcome.bytes < text.len() as u64 {
                    let rest = &text[outcome.bytes as usize..];
                    let mut came = vec![0; rest.len()];
                    let count = connection.receive(&mut came, deadline)?;
                    outcome.bytes += count as u64;
                    if count == 0 {
                        return Err(Failure::EndOfFile);
                    }
                    if !rest.starts_with(&came[..count]) {
                        return Err(Failure::AnothersResponse);
                    }
                }
                Ok(())
            }
            Statement::Receive(size) => {
                let mut buffer = vec![0; (*size).min(64 << 20) as usize];
                outcome.bytes = connection.receive(&mut buffer, deadline)? as u64;
                if outcome.bytes == 0 {
                    Err(Failure::EndOfFile)
                } else {
                    Ok(())
                }
            }
            Statement::ReadToEnd => counted(Framing::ToEnd.read(connection, deadline, &mut |_| {}), outcome),
            Statement::Drain { size, within } => {
                let deadline = Instant::now() + *within;
                match counted(connection.read(*size, deadline, &mut |_| {}), outcome) {
                    Err(Failure::EndOfFile | Failure::Timeout) => Ok(()),
                    result => result,
                }
            }
            Statement::GiveUp => {
                outcome.told = false;
                let mut dialogue = locked(&connection.dialogue);
                dialogue.not_kept = true;
                dialogue.outstanding.pop_back().map(drop).ok_or(Failure::NoRequest)
            }
            Statement::AwaitUnread(size) => {
                outcome.expected = Some(*size);
                outcome.bytes = connection.await_unread(*size, deadline)?;
                Ok(())
            }
            Statement::AwaitSent => connection.await_sent(deadline),
            Statement::AwaitFin => connection.await_fin(deadline),
            Statement::AwaitReset => connection.await_reset(deadline),
            Statement::Shutdown(side) => connection.shutdown(*side),
            Statement::Set(option) => connection.set(option),
            Statement::Close => connection.close(),
            Statement::Abort => {
                connection.set(&SocketOption::Linger(Some(Duration::ZERO)))?;
                connection.close()
            }
            _ => Ok(()),
        }
    }

    /// A statement that is about no connection.
    fn arrange(&mut self, line: &Line, deadline: Instant) -> Result<(), Failure> {
        match &line.statement {
            Statement::Listen { backlog, port } => {
                self.shared
                    .listen(*backlog, *port, &self.options)
                    .inspect_err(|failure| {
                        if !line.tried {
                            let own = offset(self.shared.job.own, *port);
                            self.shared
                                .say(&FromActor::Unable(format!("cannot listen on {own}: {failure}")));
                        }
                    })?
            }
            Statement::StopListening => locked(&self.shared.listeners).clear(),
            Statement::Serve { port, name, block } => self.serve(*port, name.clone(), Arc::clone(block)),
            Statement::Thread { block } => self.begin_thread(Arc::clone(block)),
            Statement::Use(name) => self.current = Some(self.named(name)?),
            Statement::Mark(name) => self.ask(name, &FromActor::Mark(name.clone()), deadline)?,
            Statement::Await(name) => self.wait(name, 0, deadline)?,
            Statement::Signal { host, signal } => {
                let (host, signal) = (host.clone(), *signal);
                self.ask(&signal_mark(&host), &FromActor::Signal { host, signal }, deadline)?;
            }
            Statement::Run { host, command } => {
                let (host, command) = (host.clone(), command.clone());
                self.ask(&format!("run {host}"), &FromActor::Run { host, command }, deadline)?;
            }
            Statement::Sleep(pause) => std::thread::sleep(self.shared.length(*pause)),
            Statement::Timeout(time) => self.patience = *time,
            Statement::Retry(times) => self.retries = *times,
            _ => {}
        }
        Ok(())
    }

    /// Says something, and waits for the answer.
    fn ask(&self, mark: &str, message: &FromActor, deadline: Instant) -> Result<(), Failure> {
        let before = self.shared.marks.count(mark);
        self.shared.say(message);
        self.wait(mark, before, deadline)
    }

    fn wait(&self, mark: &str, before: u64, deadline: Instant) -> Result<(), Failure> {
        if self.shared.marks.wait(mark, before, deadline) {
            Ok(())
        } else {
            Err(Failure::Timeout)
        }
    }

    /// Accepts for ever, in a thread of its own; each connection gets one too.
    fn serve(&self, port: Option<u16>, name: Option<String>, block: Arc<Vec<Line>>) {
        let template = self.for_connection();
        std::thread::spawn(move || {
            // `stop listening` ends it.
            let forever = Instant::now() + Duration::from_secs(86400);
            loop {
                let begun = Instant::now();
                let mut actor = template.for_connection();
                match actor.shared.accept(port, forever) {
                    Ok(connection) => actor.take(connection, name.as_ref()),
                    Err(Failure::NotListening) => return,
                    Err(failure) => {
                        actor.tell("serve", begun, &Outcome::default(), Some(failure), true);
                        return;
                    }
                }
                actor.tell("accept", begun, &Outcome::default(), None, false);
                let block = Arc::clone(&block);
                std::thread::spawn(move || {
                    let accepted = actor.current.clone();
                    if let (Err(Stop::Failed), Some(connection)) = (actor.run(&block), accepted) {
                        // As servers do; it may be closed already.
                        let _ = connection.close_once();
                    }
                });
            }
        });
    }

    /// Runs a block beside what follows, with the connections that there are.
    fn begin_thread(&self, block: Arc<Vec<Line>>) {
        let mut actor = self.for_connection();
        actor.current = self.current.clone();
        actor.serves = self.serves;
        std::thread::spawn(move || {
            // What failed was told.
            let _ = actor.run(&block);
        });
    }

    /// An actor with the same settings and no current connection.
    fn for_connection(&self) -> Actor {
        Actor {
            shared: Arc::clone(&self.shared),
            current: None,
            names: self.names.clone(),
            patience: self.patience,
            retries: self.retries,
            retries_left: 0,
            options: self.options.clone(),
            serves: true,
        }
    }

    fn address(&self, host: Option<&str>, port: u16) -> SocketAddrV4 {
        let job = &self.shared.job;
        let address = host.and_then(|host| job.hosts.get(host).copied()).unwrap_or(job.server);
        offset(address, port)
    }

    fn open(&self, peer: SocketAddrV4, deadline: Instant, outcome: &mut Outcome) -> Result<Connection, Failure> {
        Connection::open(peer, &self.options, deadline).map_err(|(failure, local)| {
            outcome.ends = Some((local, peer));
            failure
        })
    }

    /// Closes the current connection and opens it anew; its name goes with it.
    fn reconnect(&mut self, deadline: Instant, outcome: &mut Outcome) -> Result<(), Failure> {
        let old = self.connection()?;
        if !old.connected {
            // Whoever accepted a connection cannot open it again.
            return Err(Failure::NoConnection);
        }
        // A try before may have closed it and then failed to connect.
        old.close_once()?;
        let new = Arc::new(self.open(old.peer, deadline, outcome)?);
        for connection in self
            .names
            .values_mut()
            .filter(|connection| Arc::ptr_eq(connection, &old))
        {
            *connection = Arc::clone(&new);
        }
        self.current = Some(new);
        Ok(())
    }

    /// Reads the head of what the peer says next.
    fn read_head(
        &self,
        connection: &Connection,
        deadline: Instant,
        outcome: &mut Outcome,
    ) -> Result<(Head, Vec<u8>), Failure> {
        Head::read(connection, deadline).map_err(|(failure, lay_there)| {
            outcome.expected_end = self.serves && failure == Failure::EndOfFile && lay_there == 0;
            failure
        })
    }

    /// Reads the response to the oldest request that has none; sends the last request again where `retry` allows it.
    fn read_response(&mut self, line: &Line, begun: &mut Instant, outcome: &mut Outcome) -> Result<(), Failure> {
        loop {
            let connection = self.connection()?;
            let Err(failure) = read_one_response(&connection, self.deadline(), outcome) else {
                return Ok(());
            };
            let request = locked(&connection.dialogue).last.clone();
            if request.is_none() || self.retries_left == 0 {
                return Err(failure);
            }
            self.send_again(failure, line, begun, outcome)?;
            (*begun, *outcome) = (
                Instant::now(),
                Outcome {
                    told: true,
                    ..Outcome::default()
                },
            );
        }
    }

    /// Tells of the try that failed, connects anew and sends the last request again, as often as is left.
    fn send_again(
        &mut self,
        mut failure: Failure,
        line: &Line,
        begun: &mut Instant,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let old = self.connection()?;
        let Some(request) = locked(&old.dialogue).last.clone() else {
            return Err(failure);
        };
        while self.retries_left > 0 {
            self.tell(&line.text, *begun, outcome, Some(failure), false);
            self.retries_left -= 1;
            (*begun, *outcome) = (
                Instant::now(),
                Outcome {
                    told: true,
                    ..Outcome::default()
                },
            );
            match self.try_again(&request, outcome) {
                Ok(()) => return Ok(()),
                Err(again) => failure = again,
            }
        }
        Err(failure)
    }

    fn try_again(&mut self, request: &Arc<Request>, outcome: &mut Outcome) -> Result<(), Failure> {
        let begun = Instant::now();
        self.reconnect(self.deadline(), outcome)?;
        self.tell("retry: connect", begun, outcome, None, false);
        let begun = Instant::now();
        let connection = self.connection()?;
        write_request(&connection, request, self.shared.job.server, self.deadline(), outcome)?;
        self.tell(
            &format!("retry: request {} {}", request.method, request.path),
            begun,
            outcome,
            None,
            false,
        );
        Ok(())
    }
}

/// The name under which the lab answers to a signal.
fn signal_mark(host: &str) -> String {
    format!("signal {host}")
}

fn offset(address: SocketAddrV4, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*address.ip(), address.port().wrapping_add(port))
}
