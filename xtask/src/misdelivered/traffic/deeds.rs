//! What a client does with one connection, or a few.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use super::Order;
use super::answer::{Answer, Reader};
use super::random::Random;
use crate::misdelivered::servers::Site;

/// Longer than any server here keeps an idle connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses that clients come from.
const SOURCES: u64 = 9;

/// One kind.
pub struct Deed {
    /// As the table has it.
    pub name: &'static str,
    pub weight: u64,
    pub fits: fn(&Site) -> bool,
    pub do_it: fn(&mut Asker<'_>) -> io::Result<()>,
}

const fn deed(
    name: &'static str,
    weight: u64,
    fits: fn(&Site) -> bool,
    do_it: fn(&mut Asker<'_>) -> io::Result<()>,
) -> Deed {
    Deed {
        name,
        weight,
        fits,
        do_it,
    }
}

const fn always(_: &Site) -> bool {
    true
}

fn application(site: &Site) -> bool {
    !site.files
}

/// All of them.
pub const DEEDS: &[Deed] = &[
    deed("kept alive", 30, always, kept),
    deed("pipelined in one write", 16, always, pipelined),
    deed("pipelined in pieces", 6, always, pipelined_in_pieces),
    deed("pipelined behind a large answer", 3, always, behind_a_large_answer),
    deed("a window of requests kept full", 6, always, window),
    deed("HEAD, 204, 304", 8, always, bodiless),
    deed("head and body in pieces", 5, always, in_pieces),
    deed("body in chunks", 4, |site| site.reads_chunks, chunked),
    deed("100-continue", 4, always, expects),
    deed("103", 3, |site| site.hints, hints),
    deed("413 before the body", 2, |site| site.refuses_early, refused),
    deed("401, then with authorization", 3, application, unauthorized),
    deed("malformed request", 2, always, malformed),
    deed("Connection: close", 4, always, closes),
    deed("half close", 3, always, half_close),
    deed("reset in wait", 6, application, reset_in_wait),
    deed("FIN in wait", 4, application, fin_in_wait),
    deed("given up, tried again elsewhere", 8, application, tried_again),
    deed("two at once from two addresses", 8, application, two_at_once),
    deed("long wait", 2, application, long_wait),
    deed("never answered", 3, |site| site.endless, never),
    deed("events without end", 2, |site| site.endless, events),
    deed("aborted in the answer", 4, always, aborted_in_answer),
    deed("aborted in the request", 4, always, aborted_in_request),
    deed(
        "left when it was answered, before the body",
        4,
        always,
        left_when_answered,
    ),
    deed("pipelined, then aborted", 3, always, pipelined_and_aborted),
    deed("idle until the server closes", 2, always, idle),
    deed("reused at the server's idle limit", 3, always, at_the_limit),
    deed("nothing said", 2, always, nothing),
    deed("another protocol", 2, |site| site.upgrades, upgraded),
];

/// Who does it.
pub struct Asker<'a> {
    order: Order,
    client: u64,
    random: &'a mut Random,
    sent: &'a AtomicU64,
    id: u64,
}

/// A connection and what was read of it.
struct Line {
    stream: TcpStream,
    reader: Reader,
}

impl Line {
    fn answer(&mut self, bodiless: bool) -> io::Result<Answer> {
        self.reader.answer(&mut self.stream, bodiless)
    }

    /// Reads until the server ends.
    fn until_it_ends(&mut self) -> io::Result<()> {
        while self.reader.more(&mut self.stream)? > 0 {}
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }

    /// Closes with a reset, whatever was read.
    fn reset(self) -> io::Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        Ok(())
    }
}

impl<'a> Asker<'a> {
    pub fn new(order: Order, client: u64, random: &'a mut Random, sent: &'a AtomicU64) -> Asker<'a> {
        Asker {
            order,
            client,
            random,
            sent,
            id: 0,
        }
    }

    fn connect(&mut self) -> io::Result<Line> {
        let source = self.client % SOURCES;
        self.connect_from(source)
    }

    fn connect_from(&mut self, source: u64) -> io::Result<Line> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        let source = Ipv4Addr::new(127, 0, 1, 1 + (source % SOURCES) as u8);
        bind(&socket, &SocketAddr::from((source, 0)))?;
        connect(&socket, &self.order.server)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Line {
            stream,
            reader: Reader::default(),
        })
    }

    fn path(&mut self) -> String {
        let number = self.random.between(1, 9);
        self.id += 1;
        let (client, id) = (self.client, self.id);
        let files = [
            format!("/account/{number}"),
            format!("/transactions/{number}"),
            format!("/twin/a/{number}"),
            format!("/twin/b/{number}"),
            format!("/account/{number}?page={id}"),
            "/session".into(),
            "/list".into(),
            "/cached".into(),
            "/deprecated".into(),
            "/missing".into(),
        ];
        if self.order.site.files || !self.random.once_in(4) {
            return self.random.one_of(&files).clone();
        }
        let token = self.random.next() % 1_000_000;
        self.random
            .one_of(&[
                format!("/echo/t{client}x{token}"),
                "/changing".into(),
                "/private".into(),
                "/nothing".into(),
            ])
            .clone()
    }

    /// A request without a body for this.
    fn request(&mut self, method: &str, path: &str, more: &str) -> String {
        self.sent.fetch_add(1, Relaxed);
        format!("{method} {path} HTTP/1.1\r\nHost: clean.example\r\n{more}\r\n")
    }

    fn get(&mut self) -> String {
        let path = self.path();
        self.request("GET", &path, "")
    }

    /// How many, one behind the other.
    fn several(&mut self, low: u64, high: u64) -> (u64, String) {
        let count = self.random.between(low, high);
        (count, (0..count).map(|_| self.get()).collect())
    }

    fn nap(&mut self, most_ms: u64) {
        let micros = self.random.between(0, most_ms * 1000);
        sleep(Duration::from_micros(micros));
    }
}

fn kept(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    for _ in 0..asker.random.between(2, 14) {
        let request = asker.get();
        line.write(&request)?;
        if line.answer(false)?.last {
            break;
        }
        asker.nap(12);
    }
    Ok(())
}

fn pipelined(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    for _ in 0..asker.random.between(1, 3) {
        let (count, requests) = asker.several(2, 8);
        line.write(&requests)?;
        for _ in 0..count {
            if line.answer(false)?.last {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn pipelined_in_pieces(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let (count, requests) = asker.several(2, 5);
    let mut rest = requests.as_str();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((asker.random.between(1, 90) as usize).min(rest.len()));
        line.write(piece)?;
        asker.nap(3);
        rest = behind;
    }
    for _ in 0..count {
        if line.answer(false)?.last {
            break;
        }
    }
    Ok(())
}

fn behind_a_large_answer(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let large = asker.request("GET", "/large", "");
    line.write(&large)?;
    line.reader.more(&mut line.stream)?;
    let (count, requests) = asker.several(1, 3);
    line.write(&requests)?;
    asker.nap(10);
    for _ in 0..=count {
        line.answer(false)?;
    }
    Ok(())
}

/// Never more than four on their way, never fewer while there is something to ask.
fn window(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let (mut owed, requests) = asker.several(4, 4);
    line.write(&requests)?;
    for _ in 0..asker.random.between(4, 16) {
        if line.answer(false)?.last {
            return Ok(());
        }
        owed -= 1;
        if asker.random.once_in(6) {
            asker.nap(40);
        }
        let request = asker.get();
        line.write(&request)?;
        owed += 1;
    }
    for _ in 0..owed {
        line.answer(false)?;
    }
    Ok(())
}

fn bodiless(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let path = asker.path();
    let head = asker.request("HEAD", &path, "");
    line.write(&head)?;
    line.answer(true)?;
    let nothing = asker.request("GET", "/nothing", "");
    line.write(&nothing)?;
    line.answer(false)?;
    // As a file has it, from the server itself.
    let whole = asker.request("HEAD", "/cached", "");
    line.write(&whole)?;
    line.answer(true)?;
    let since = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    let cached = asker.request(
        "GET",
        "/cached",
        if asker.order.site.files {
            since
        } else {
            "If-None-Match: \"v1\"\r\n"
        },
    );
    // With one behind it, at times in the same write.
    let next = asker.get();
    line.write(&(cached + &next))?;
    line.answer(false)?;
    line.answer(false)?;
    Ok(())
}

fn in_pieces(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let head = asker.request("POST", "/json", "Content-Length: 26\r\n");
    let whole = head + "abcdefghijklmnopqrstuvwxyz";
    let mut rest = whole.as_str();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((asker.random.between(1, 40) as usize).min(rest.len()));
        line.write(piece)?;
        asker.nap(4);
        rest = behind;
    }
    line.answer(false)?;
    let next = asker.get();
    line.write(&next)?;
    line.answer(false)?;
    Ok(())
}

fn chunked(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    for _ in 0..2 {
        let head = asker.request("POST", "/json", "Transfer-Encoding: chunked\r\n");
        line.write(&head)?;
        asker.nap(3);
        line.write("5\r\nhello\r\n")?;
        asker.nap(3);
        line.write("1\r\n!\r\n0\r\n\r\n")?;
        if line.answer(false)?.last {
            break;
        }
    }
    Ok(())
}

fn expects(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let head = asker.request("POST", "/json", "Content-Length: 5\r\nExpect: 100-continue\r\n");
    line.write(&head)?;
    // Some servers say it, others refuse, others wait for the body.
    line.stream.set_read_timeout(Some(Duration::from_millis(150)))?;
    let mut first = [0; 512];
    let read = line.stream.peek(&mut first).unwrap_or(0);
    line.stream.set_read_timeout(Some(PATIENCE))?;
    if read > 9 && !first.starts_with(b"HTTP/1.1 100") {
        // A final answer instead: whether the body has to follow is not said; so this is the end.
        return line.answer(false).map(|_| ());
    }
    line.write("hello")?;
    line.answer(false)?;
    Ok(())
}

fn hints(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    for _ in 0..asker.random.between(1, 4) {
        let request = asker.request("GET", "/hints", "");
        line.write(&request)?;
        line.answer(false)?;
    }
    Ok(())
}

fn refused(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let head = asker.request("POST", "/reject", "Content-Length: 300000\r\n");
    line.write(&(head + &"x".repeat(2000)))?;
    line.answer(false)?;
    Ok(())
}

fn unauthorized(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let first = asker.request("GET", "/private", "");
    line.write(&first)?;
    line.answer(false)?;
    let second = asker.request("GET", "/account/1", "Authorization: Basic bm9ib2R5OnNlY3JldA==\r\n");
    line.write(&second)?;
    line.answer(false)?;
    Ok(())
}

fn malformed(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    if asker.random.once_in(2) {
        let request = asker.get();
        line.write(&request)?;
        line.answer(false)?;
    }
    asker.sent.fetch_add(1, Relaxed);
    line.write("GET /account/1 HTTP/1.1\r\nHost: clean.example\r\nContent-Length: many\r\n\r\n")?;
    line.answer(false)?;
    line.until_it_ends()
}

fn closes(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let path = asker.path();
    let request = asker.request("GET", &path, "Connection: close\r\n");
    line.write(&request)?;
    line.answer(false)?;
    line.until_it_ends()
}

fn half_close(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let request = asker.get();
    line.write(&request)?;
    line.stream.shutdown(Shutdown::Write)?;
    line.answer(false)?;
    line.until_it_ends()
}

fn reset_in_wait(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let request = match asker.random.once_in(2) {
        true => asker.request("GET", "/slow/30", ""),
        false => asker.get(),
    };
    line.write(&request)?;
    asker.nap(25);
    line.reset()
}

fn fin_in_wait(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let path = *asker.random.one_of(&["/slow/30", "/account/4", "/echo/tired"]);
    let request = asker.request("GET", path, "");
    line.write(&request)?;
    asker.nap(20);
    Ok(())
}

/// What is not answered in time is asked again on a new connection, at times for something else, while the first one is still open.
fn tried_again(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut first = asker.connect()?;
    let slow = asker.random.between(30, 250);
    let path = *asker.random.one_of(&["/account/7", "/transactions/7", "/slow/"]);
    let path = if path == "/slow/" {
        format!("/slow/{slow}")
    } else {
        path.to_owned()
    };
    let request = asker.request("GET", &path, "");
    first.write(&request)?;
    let patience = asker.random.between(1, 60);
    first.stream.set_read_timeout(Some(Duration::from_millis(patience)))?;
    if first.answer(false).is_ok() {
        return Ok(());
    }
    let mut second = asker.connect()?;
    if asker.random.once_in(3) {
        drop(first);
        return ask_again(asker, &mut second, &path);
    }
    ask_again(asker, &mut second, &path)?;
    if asker.random.once_in(2) {
        return first.reset();
    }
    // Late, and read by nobody.
    sleep(Duration::from_millis(slow));
    Ok(())
}

fn ask_again(asker: &mut Asker<'_>, line: &mut Line, path: &str) -> io::Result<()> {
    let request = match asker.random.once_in(2) {
        true => asker.request("GET", path, ""),
        false => asker.get(),
    };
    line.write(&request)?;
    line.answer(false)?;
    Ok(())
}

fn two_at_once(asker: &mut Asker<'_>) -> io::Result<()> {
    let (one, other) = (asker.client, asker.client + 1);
    let mut first = asker.connect_from(one)?;
    let mut second = asker.connect_from(other)?;
    for _ in 0..asker.random.between(1, 4) {
        let (wait, next) = (asker.random.between(0, 40), asker.get());
        let slow = asker.request("GET", &format!("/slow/{wait}"), "");
        first.write(&slow)?;
        second.write(&next)?;
        second.answer(false)?;
        first.answer(false)?;
    }
    Ok(())
}

fn long_wait(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let wait = asker.random.between(500, 1800);
    let request = asker.request("GET", &format!("/slow/{wait}"), "");
    line.write(&request)?;
    line.answer(false)?;
    let next = asker.get();
    line.write(&next)?;
    line.answer(false)?;
    Ok(())
}

fn never(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let mut requests = asker.request("GET", "/never", "");
    if asker.random.once_in(3) {
        requests += &asker.get();
    }
    line.write(&requests)?;
    sleep(Duration::from_millis(300));
    Ok(())
}

fn events(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let request = asker.request("GET", "/events", "");
    line.write(&request)?;
    for _ in 0..asker.random.between(1, 8) {
        line.reader.more(&mut line.stream)?;
    }
    Ok(())
}

fn aborted_in_answer(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let request = asker.request("GET", "/large", "");
    line.write(&request)?;
    for _ in 0..asker.random.between(1, 4) {
        line.reader.more(&mut line.stream)?;
    }
    if asker.random.once_in(2) { line.reset() } else { Ok(()) }
}

fn aborted_in_request(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let head = asker.request("POST", "/json", "Content-Length: 900\r\n");
    let cut = asker.random.between(1, head.len() as u64) as usize;
    line.write(&head[..cut])?;
    if cut == head.len() {
        line.write("half of it")?;
    }
    asker.nap(5);
    if asker.random.once_in(2) { line.reset() } else { Ok(()) }
}

/// Who answers before the body has come may meet an end in its middle.
fn left_when_answered(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let path = asker.path();
    let head = asker.request("POST", &path, "Content-Length: 64\r\n");
    line.write(&head)?;
    line.stream.set_read_timeout(Some(Duration::from_millis(150)))?;
    let answered = line.answer(false).is_ok();
    line.stream.set_read_timeout(Some(PATIENCE))?;
    asker.nap(20);
    line.write(&"x".repeat(*asker.random.one_of(&[0, 0, 32, 64])))?;
    if answered && asker.random.once_in(3) {
        return Ok(());
    }
    line.stream.shutdown(Shutdown::Write)?;
    line.until_it_ends()
}

fn pipelined_and_aborted(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let (_, requests) = asker.several(2, 6);
    line.write(&requests)?;
    if asker.random.once_in(2) {
        line.answer(false)?;
    }
    asker.nap(3);
    if asker.random.once_in(2) { line.reset() } else { Ok(()) }
}

fn idle(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let request = asker.get();
    line.write(&request)?;
    line.answer(false)?;
    line.until_it_ends()
}

/// Where its close and the next request may cross.
fn at_the_limit(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let request = asker.get();
    line.write(&request)?;
    line.answer(false)?;
    let limit = *asker.random.one_of(&[700, 1000, 1700]);
    let about = asker.random.between(limit - 6, limit + 6);
    sleep(Duration::from_millis(about));
    let next = asker.get();
    line.write(&next)?;
    line.answer(false)?;
    Ok(())
}

fn nothing(asker: &mut Asker<'_>) -> io::Result<()> {
    let _line = asker.connect()?;
    asker.nap(60);
    Ok(())
}

fn upgraded(asker: &mut Asker<'_>) -> io::Result<()> {
    let mut line = asker.connect()?;
    let request = asker.request("GET", "/chat", "Connection: Upgrade\r\nUpgrade: chatter\r\n");
    line.write(&request)?;
    line.answer(false)?;
    for _ in 0..asker.random.between(1, 5) {
        line.write("GET off my lawn\r\n\r\n")?;
        line.reader.more(&mut line.stream)?;
    }
    Ok(())
}
