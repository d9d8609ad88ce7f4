//! Rounds made by hand, for tests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bypeer_wire::Timestamp;

use crate::actor::Deed;
use crate::kernel::{Death, ResetEvent};
use crate::round::{Account, Round};
use crate::verdict::Verdict;
use crate::wire::Recording;

/// When the round begins, in nanoseconds since the epoch.
const BEGAN: i64 = 1_700_000_000_000_000_000;
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 40000);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 2), 8001);

/// A moment of the round, so many milliseconds after its beginning.
pub(crate) fn at(milliseconds: i64) -> Timestamp {
    Timestamp(BEGAN + milliseconds * 1_000_000)
}

/// What an actor did, ended after `milliseconds`, having taken one.
pub(crate) fn deed(milliseconds: i64, what: &str, error: Option<&str>) -> Deed {
    Deed {
        time: at(milliseconds).0,
        took: 1_000_000,
        what: what.to_owned(),
        local: Some(CLIENT),
        peer: Some(SERVER),
        bytes: 0,
        expected: None,
        status: None,
        error: error.map(str::to_owned),
        counts: error.is_some(),
    }
}

/// An actor that did this and lived to the end.
pub(crate) fn account(host: &str, deeds: Vec<Deed>) -> Account {
    Account {
        host: host.to_owned(),
        scripted: true,
        deeds,
        lived: (at(0), Some(at(50))),
        ..Account::default()
    }
}

/// A program that ended so.
pub(crate) fn program(host: &str, ended: &str, output: &str) -> Account {
    Account {
        host: host.to_owned(),
        ended: Some(ended.to_owned()),
        output: output.to_owned(),
        lived: (at(0), Some(at(20))),
        ..Account::default()
    }
}

/// A reset by the kernel, from `close` with bytes unread.
pub(crate) fn reset() -> ResetEvent {
    ResetEvent {
        time: at(12),
        source: SERVER.into(),
        destination: CLIENT.into(),
        state: "CLOSE".to_owned(),
        reason: Some("TCP_ABORT_ON_CLOSE".to_owned()),
        answers: false,
        stack: ["tcp_send_active_reset", "__tcp_close", "tcp_close"]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// A socket of the server that died with bytes unread.
pub(crate) fn death(unread: Option<u32>) -> Death {
    Death {
        time: at(13),
        local: SERVER.into(),
        remote: CLIENT.into(),
        state: "CLOSE",
        unread,
        unsent: None,
        cookie: 0,
        info: None,
    }
}

/// The server left 22 bytes unread; its reset cut the response after 1000 of 5000 bytes.
pub(crate) fn cut() -> Round {
    let cut = Deed {
        bytes: 1000,
        expected: Some(5000),
        status: Some(200),
        ..deed(20, "read response", Some("ECONNRESET"))
    };
    Round {
        accounts: vec![
            account("server", vec![deed(5, "accept", None), deed(12, "close", None)]),
            account(
                "client",
                vec![
                    deed(4, "connect", None),
                    deed(6, "request POST /form body 22", None),
                    cut,
                ],
            ),
        ],
        resets: vec![("server".to_owned(), reset())],
        deaths: vec![("server".to_owned(), death(Some(22)))],
        counters: BTreeMap::from([("server".to_owned(), BTreeMap::from([("TCPAbortOnClose".to_owned(), 1)]))]),
        marks: vec![(at(7), "idle".to_owned())],
        ..well()
    }
}

/// Nothing happened to anybody.
pub(crate) fn well() -> Round {
    let whole = Deed {
        bytes: 5000,
        expected: Some(5000),
        status: Some(200),
        counts: true,
        ..deed(10, "read response", None)
    };
    Round {
        number: 1,
        seed: 7,
        port: SERVER.port(),
        hosts: vec![
            ("client".to_owned(), *CLIENT.ip()),
            ("server".to_owned(), *SERVER.ip()),
            ("fresh".to_owned(), *SERVER.ip()),
            ("proxy".to_owned(), Ipv4Addr::new(198, 18, 0, 3)),
        ],
        began: at(0),
        ended: at(60),
        took: Duration::from_millis(60),
        recording: Recording::default(),
        accounts: vec![
            account("server", vec![deed(5, "accept", None)]),
            account("client", vec![deed(4, "connect", None), whole]),
        ],
        resets: Vec::new(),
        deaths: Vec::new(),
        counters: BTreeMap::new(),
        marks: Vec::new(),
        lost_events: 0,
        verdict: Verdict::default(),
    }
}

/// The address of a listener without one, as the kernel names it.
pub(crate) fn nowhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}
