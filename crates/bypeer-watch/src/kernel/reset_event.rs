use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bypeer_diagnose::testimony::ResetPath;
use bypeer_wire::Timestamp;

/// A reset that this machine's kernel decided to send: one `tcp:tcp_send_reset` event.
///
/// netfilter's `REJECT --reject-with tcp-reset` makes no such event, nor does a reset that only passes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetEvent {
    /// `CLOCK_REALTIME`; the trace has microseconds.
    pub time: Timestamp,
    /// Who sends it. IPv4 addresses of IPv6 sockets are unmapped.
    pub source: SocketAddr,
    /// To whom; `0.0.0.0:0` when the socket found was a listener.
    pub destination: SocketAddr,
    /// The socket's state without `TCP_`: `CLOSE`, `ESTABLISHED`, `TIME_WAIT`; `UNKNOWN` without a socket.
    pub state: String,
    /// `enum sk_rst_reason` without `SK_RST_REASON_`: `TCP_ABORT_ON_CLOSE`. `None` before Linux 6.10.
    pub reason: Option<String>,
    /// Whether it answers a segment that just came in; otherwise this end gave up by itself.
    pub answers: bool,
    /// Functions of the kernel, innermost first, beginning with the one that sends; empty where the kernel gave no stack
    /// (Linux 6.18 gives none when a timer fires on an idle processor).
    pub stack: Vec<String>,
}

/// Any event of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// `tcp:tcp_send_reset`.
    Sent {
        /// It.
        event: ResetEvent,
        /// Name of the task that ran: who closed, or for an answer anybody.
        task: String,
        /// Its thread id, as the first process namespace counts.
        tid: u32,
    },
    /// `tcp:tcp_receive_reset`: a reset came and was believed.
    Received {
        /// `CLOCK_REALTIME`.
        time: Timestamp,
        /// The socket's own end.
        local: SocketAddr,
        /// Its peer.
        remote: SocketAddr,
        /// The kernel's own number of the socket.
        cookie: u64,
    },
    /// `sock:inet_sk_error_report` for TCP: the program will get an error. A reset that came makes one too.
    Failed {
        /// `CLOCK_REALTIME`.
        time: Timestamp,
        /// The socket's own end.
        local: SocketAddr,
        /// Its peer.
        remote: SocketAddr,
        /// `errno`.
        error: i32,
    },
}

impl TraceEvent {
    /// When.
    pub fn time(&self) -> Timestamp {
        match self {
            TraceEvent::Sent { event, .. } => event.time,
            TraceEvent::Received { time, .. } | TraceEvent::Failed { time, .. } => *time,
        }
    }
}

impl ResetEvent {
    /// By which way through the kernel it came: from the stack, and from the reason where one way has several reasons or
    /// where there is no stack.
    pub fn path(&self) -> ResetPath {
        match (path(&self.stack), self.reason.as_deref()) {
            (ResetPath::Other, _) if self.stack.is_empty() && self.answers => ResetPath::Answer,
            (ResetPath::Other, Some("TCP_KEEPALIVE_TIMEOUT")) if self.stack.is_empty() => ResetPath::Timer,
            (ResetPath::Other, Some("TCP_ABORT_ON_CLOSE")) if self.stack.is_empty() => ResetPath::CloseUnread,
            // __tcp_close() has these too: TCP_LINGER2 below zero, and too many orphans.
            (ResetPath::CloseUnread, Some("TCP_ABORT_ON_LINGER" | "TCP_ABORT_ON_MEMORY")) => ResetPath::Other,
            (path, _) => path,
        }
    }
}

/// The way that a stack shows, innermost function first. The innermost function that names a way decides: what stands
/// below it is only what the processor did when a segment or a timer came in between.
pub fn path(stack: &[String]) -> ResetPath {
    let mut disconnects = false;
    for function in stack {
        match bare(function) {
            "tcp_v4_send_reset" | "tcp_v6_send_reset" => return ResetPath::Answer,
            "tcp_diag_destroy" | "tcp_abort" => return ResetPath::Killed,
            "inet_csk_listen_stop" => return ResetPath::ListenerClosed,
            "__inet_stream_connect" | "inet_stream_connect" => return ResetPath::Disconnected,
            "tcp_disconnect" => disconnects = true,
            "__tcp_close" | "tcp_close" if disconnects => return ResetPath::LingerZero,
            "__tcp_close" | "tcp_close" => return ResetPath::CloseUnread,
            "tcp_keepalive_timer"
            | "tcp_write_timer"
            | "tcp_write_timer_handler"
            | "tcp_out_of_resources"
            | "tcp_write_timeout"
            | "tcp_probe_timer"
            | "tcp_delack_timer"
            | "run_timer_softirq" => {
                return ResetPath::Timer;
            }
            _ => {}
        }
    }
    ResetPath::Other
}

/// A function's name without the offset that some options print and without the compiler's `.isra.0` or `.part.0`.
fn bare(function: &str) -> &str {
    let name = function.split(['+', ' ']).next().unwrap_or(function);
    name.split('.').next().unwrap_or(name)
}

/// Reads the text of a trace as `trace_pipe` gives it, in any pieces.
#[derive(Debug, Default)]
pub(super) struct TraceText {
    /// The beginning of a line whose end has not come.
    line: String,
    /// In the order of the trace.
    events: VecDeque<Read>,
    /// Those that are no reset sent.
    others: Vec<TraceEvent>,
    /// Where `=>` lines belong: to the event, or nowhere.
    stack_of: Option<usize>,
    /// How many events have been handed out, so that indices stay good.
    given: usize,
    lost: u64,
    unreadable: u64,
}

#[derive(Debug)]
struct Read {
    event: ResetEvent,
    task: String,
    cpu: String,
    waits_for_stack: bool,
}

impl TraceText {
    /// Takes the next piece of text. `offset` is what to add to the trace's clock, in nanoseconds, to get real time.
    pub(super) fn push(&mut self, text: &str, offset: i64, stacks: bool) {
        self.line.push_str(text);
        let whole = self.line.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.line.drain(..whole).collect();
        for line in lines.lines() {
            self.read(line, offset, stacks);
        }
    }

    /// Whether an event's stack, which the kernel writes a moment after it, is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        !self.line.is_empty() || self.events.iter().any(|read| read.waits_for_stack)
    }

    /// What has been read, in the order of the trace.
    pub(super) fn take(&mut self) -> Vec<ResetEvent> {
        self.given += self.events.len();
        self.stack_of = None;
        self.events.drain(..).map(|read| read.event).collect()
    }

    /// The same with all other events.
    pub(super) fn take_all(&mut self) -> Vec<TraceEvent> {
        self.given += self.events.len();
        self.stack_of = None;
        let sent = self.events.drain(..).map(|read| {
            let (task, tid) = read.task.rsplit_once('-').unwrap_or((&read.task, ""));
            TraceEvent::Sent {
                task: task.to_owned(),
                tid: tid.parse().unwrap_or(0),
                event: read.event,
            }
        });
        let mut events: Vec<TraceEvent> = sent.chain(std::mem::take(&mut self.others)).collect();
        events.sort_by_key(TraceEvent::time);
        events
    }

    /// Events that the kernel says it dropped, stacks among them.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Events whose text was not understood.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn read(&mut self, line: &str, offset: i64, stacks: bool) {
        if let Some(function) = line.trim_start().strip_prefix("=> ") {
            let index = self.stack_of.and_then(|index| index.checked_sub(self.given));
            if let Some(read) = index.and_then(|index| self.events.get_mut(index)) {
                push_frame(&mut read.event.stack, function.trim());
            }
            return;
        }
        self.stack_of = None;
        if let Some((cpu, count)) = lost(line) {
            self.lost = self.lost.saturating_add(count);
            // The stacks of these may be what was lost; waiting for them would be in vain.
            let of_cpu = |read: &&mut Read| read.cpu.trim_start_matches('0') == cpu.trim_start_matches('0');
            self.events
                .iter_mut()
                .filter(of_cpu)
                .for_each(|read| read.waits_for_stack = false);
        } else if let Some(prefix) = line.strip_suffix(": <stack trace>") {
            let Some(context) = Context::parse(prefix) else { return };
            // An interrupt that comes between an event and its stack leaves both of its own before that stack: the
            // latest without a stack is the one.
            let is_its = |read: &Read| read.waits_for_stack && read.cpu == context.cpu && read.task == context.task;
            if let Some(index) = self.events.iter().rposition(is_its) {
                self.events[index].waits_for_stack = false;
                self.stack_of = Some(self.given + index);
            }
        } else if let Some((prefix, fields)) = line.split_once(" tcp_send_reset: ") {
            let prefix = prefix.strip_suffix(':').unwrap_or(prefix);
            match Context::parse(prefix).and_then(|context| Some((event(&context, fields, offset)?, context))) {
                Some((event, context)) => self.events.push_back(Read {
                    event,
                    task: context.task.to_owned(),
                    cpu: context.cpu.to_owned(),
                    waits_for_stack: stacks,
                }),
                None => self.unreadable = self.unreadable.saturating_add(1),
            }
        } else if let Some((prefix, fields)) = line.split_once(" tcp_receive_reset: ") {
            self.read_other(prefix, |time| received(time, fields), offset);
        } else if let Some((prefix, fields)) = line.split_once(" inet_sk_error_report: ")
            && fields.contains("protocol=IPPROTO_TCP ")
        {
            self.read_other(prefix, |time| failed(time, fields), offset);
        }
    }

    fn read_other(&mut self, prefix: &str, parse: impl FnOnce(Timestamp) -> Option<TraceEvent>, offset: i64) {
        let context = Context::parse(prefix.strip_suffix(':').unwrap_or(prefix));
        let event = context.and_then(|context| parse(Timestamp(context.stamp.saturating_add(offset))));
        match event {
            Some(event) => self.others.push(event),
            None => self.unreadable = self.unreadable.saturating_add(1),
        }
    }
}

/// What stands before an event: `  some task-5436    [001] ..s1. 11261.259746`. The task may have any name.
struct Context<'a> {
    task: &'a str,
    cpu: &'a str,
    /// Nanoseconds of the trace's clock.
    stamp: i64,
}

impl<'a> Context<'a> {
    fn parse(prefix: &'a str) -> Option<Context<'a>> {
        let open = prefix.rfind('[')?;
        let (cpu, rest) = prefix[open + 1..].split_once(']')?;
        let stamp = rest.split_ascii_whitespace().next_back()?;
        Some(Context {
            task: prefix[..open].trim(),
            cpu,
            stamp: nanoseconds(stamp)?,
        })
    }
}

/// `11261.259746` as nanoseconds, exactly.
fn nanoseconds(stamp: &str) -> Option<i64> {
    let (seconds, fraction) = stamp.split_once('.').unwrap_or((stamp, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || fraction.len() > 9 || !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(fraction)
}

/// `CPU:1 [LOST 123 EVENTS]`, and without a number where the kernel cannot tell: then at least one.
fn lost(line: &str) -> Option<(&str, u64)> {
    let (cpu, rest) = line.trim().strip_prefix("CPU:")?.split_once(' ')?;
    let count = rest.trim().strip_prefix("[LOST ")?.split(' ').next()?;
    Some((cpu, count.parse().unwrap_or(1)))
}

fn event(context: &Context<'_>, fields: &str, offset: i64) -> Option<ResetEvent> {
    // Layouts: Linux 4.16 and later have sport= dport= saddr= daddr= saddrv6= daddrv6=, 5.17 and later src= dest=, and
    // 6.10 and later reason= besides. Fields are found by name, so that new ones do no harm.
    let source = end(fields, "src", 's')?;
    let destination = end(fields, "dest", 'd')?;
    let state = field(fields, "state").unwrap_or("UNKNOWN");
    Some(ResetEvent {
        time: Timestamp(context.stamp.saturating_add(offset)),
        source: unmapped(source),
        destination: unmapped(destination),
        state: state.strip_prefix("TCP_").unwrap_or(state).to_owned(),
        reason: field(fields, "reason").map(str::to_owned),
        // A null pointer is printed as noughts, or as "(null)" by old kernels; all others are hashed.
        answers: field(fields, "skbaddr")
            .is_some_and(|address| address.bytes().any(|byte| matches!(byte, b'1'..=b'9' | b'a'..=b'f'))),
        stack: Vec::new(),
    })
}

fn received(time: Timestamp, fields: &str) -> Option<TraceEvent> {
    let cookie = field(fields, "sock_cookie").and_then(|cookie| u64::from_str_radix(cookie, 16).ok());
    Some(TraceEvent::Received {
        time,
        local: unmapped(end(fields, "src", 's')?),
        remote: unmapped(end(fields, "dest", 'd')?),
        cookie: cookie.unwrap_or(0),
    })
}

fn failed(time: Timestamp, fields: &str) -> Option<TraceEvent> {
    Some(TraceEvent::Failed {
        time,
        local: unmapped(end(fields, "src", 's')?),
        remote: unmapped(end(fields, "dest", 'd')?),
        error: field(fields, "error")?.parse().ok()?,
    })
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = fields.split_ascii_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// One end: in one field, or in those with this letter.
fn end(fields: &str, whole: &str, letter: char) -> Option<SocketAddr> {
    match field(fields, whole) {
        // No family: the kernel prints an error in parentheses.
        Some(text) => Some(text.parse().unwrap_or(UNKNOWN)),
        None => {
            let address =
                field(fields, &format!("{letter}addrv6")).or_else(|| field(fields, &format!("{letter}addr")))?;
            let address: IpAddr = address.parse().ok()?;
            Some(SocketAddr::new(
                address,
                field(fields, &format!("{letter}port"))?.parse().ok()?,
            ))
        }
    }
}

const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// IPv4 as IPv4, also where an IPv6 socket speaks it.
pub(super) fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The tracepoint's own functions are no part of the way.
fn push_frame(stack: &mut Vec<String>, function: &str) {
    const PROBES: [&str; 4] = [
        "trace_event_raw_event_",
        "__traceiter_",
        "trace_event_buffer_",
        "event_triggers_",
    ];
    let is_probe = stack.is_empty() && PROBES.iter().any(|probe| function.starts_with(probe));
    if !is_probe && !function.is_empty() {
        stack.push(function.to_owned());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
