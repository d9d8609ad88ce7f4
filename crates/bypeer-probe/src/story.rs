//! What the probe's own sockets tell of connections that died: for judging where packets may not be recorded.

use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bypeer_diagnose::Hearing;
use bypeer_diagnose::testimony::{Side, State, Testimony, Told};
use bypeer_wire::{Endpoint, Timestamp};

use crate::card::Card;
use crate::connection::{Broken, Log};

/// The connections that were reset or failed, as this end's kernel tells of them, each with the check that opened it.
pub fn hearings(card: &Card) -> Vec<(&'static str, Hearing)> {
    let died = card
        .logs
        .iter()
        .filter_map(|log| Some((log, log.reset.or(log.send_failed)?)));
    died.enumerate()
        .filter_map(|(index, (log, (at, broken)))| {
            let (client, server) = (endpoint(log.local?), endpoint(log.remote?));
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let deciding = testimony(card, log, at, broken, u64::from(number));
            let opened = Some(timestamp(card, log.opened));
            Some((
                log.check,
                Hearing {
                    number,
                    client,
                    server,
                    opened,
                    deciding,
                    peer: None,
                },
            ))
        })
        .collect()
}

fn testimony(card: &Card, log: &Log, at: Instant, broken: Broken, number: u64) -> Testimony {
    let since = |moment: Option<Instant>| moment.map(|moment| at.saturating_duration_since(moment));
    let fin_first = log.fin.is_some_and(|fin| fin < at);
    let (told, error) = match broken {
        Broken::Reset | Broken::Pipe => (Told::ResetReceived, None),
        Broken::TimedOut => (Told::Failed, Some(rustix::io::Errno::TIMEDOUT.raw_os_error())),
        Broken::Unreachable => (Told::Failed, Some(rustix::io::Errno::HOSTUNREACH.raw_os_error())),
        Broken::Other(error) => (Told::Failed, Some(error)),
    };
    Testimony {
        at: timestamp(card, at),
        number,
        told,
        side: Some(Side::Client),
        state: Some(if fin_first {
            State::CloseWait
        } else {
            State::Established
        }),
        received: Some(log.received),
        acked: Some(log.sent),
        fin_received: Some(fin_first),
        since_received: since(log.last_received),
        since_sent: since(log.last_sent),
        // What a program sees of its socket is later than the kernel, by its own scheduling.
        tick: Duration::from_millis(1),
        round_trip: Some(log.handshake()),
        error,
        ..Testimony::default()
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        addr: address.ip().to_canonical(),
        port: address.port(),
    }
}

/// By the wall clock.
fn timestamp(card: &Card, at: Instant) -> Timestamp {
    let wall = card.began + at.saturating_duration_since(card.clock);
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
