//! Findings made by hand, for tests of how they are shown.

use std::net::{IpAddr, Ipv4Addr};

use bypeer_diagnose::testimony::{Act, Actor, Closed, Frame, ResetPath, Side, State, Testimony, Told, Trigger};
use bypeer_diagnose::{Cause, Clause, Confidence, Evidence, Finding, Fix, Hearing, Lost, Owner, Party, Retry, Source};
use bypeer_wire::{Endpoint, PacketRef, Timestamp};

pub(crate) static UNREAD_BODY: Cause = Cause {
    id: "unread-request-body",
    title: "The server closed with request data unread",
    manual: "# Unread request body\n",
    clauses: &[],
    weigh: |_| None,
    hear: |_| None,
};

pub(crate) static SO_LINGER_ZERO: Cause = Cause {
    id: "so-linger-zero",
    title: "A program closed with SO_LINGER 0",
    manual: "# SO_LINGER 0\n",
    clauses: &[],
    weigh: |_| None,
    hear: |_| None,
};

fn endpoint(last: u8, port: u16) -> Endpoint {
    Endpoint {
        addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        port,
    }
}

fn packet(number: u64, micros: i64) -> PacketRef {
    PacketRef {
        number,
        time: Timestamp(1_767_355_445_000_000_000 + micros * 1_000),
    }
}

/// A likely finding at 192.0.2.80:8000.
pub(crate) fn finding(cause: &'static Cause, stream: u32) -> Finding {
    let clause = Box::leak(Box::new(Clause {
        id: "RFC 1122 §4.2.2.13".to_owned(),
        title: "Closing a Connection".to_owned(),
        requires: "a host that closes with received data still unread should send a reset".to_owned(),
    }));
    Finding {
        cause,
        confidence: Confidence::Likely,
        rivals: Vec::new(),
        harmless: false,
        blame: Party::ServerProgram,
        verdict: "gunicorn closed while 22 of 414 request bytes were unread".to_owned(),
        closing: "the server program closed; the server's kernel sent the reset (RST,ACK)".to_owned(),
        stream,
        client: endpoint(1, 40_000 + stream as u16),
        server: endpoint(80, 8000),
        request: None,
        server_software: Some("gunicorn/20.1.0".to_owned()),
        opened: Some(packet(0, 0).time),
        ended: packet(0, 12_345).time,
        lost: Lost {
            response_bytes: Some(401_408),
            requests: 1,
            what: "at least 401 408 of 614 612 response bytes".to_owned(),
        },
        retry: Retry::Unsafe,
        retry_reason: "POST is not idempotent, and the server's kernel had all of it".to_owned(),
        evidence: vec![
            Evidence::packet(packet(98, 150), "POST /upload: 392 bytes, 22 body bytes declared"),
            Evidence::packet(packet(101, 4_150), "the 22 body bytes arrive"),
            Evidence::packet(
                packet(117, 12_345),
                "RST,ACK that covers all 414 request bytes; no FIN before it",
            ),
            Evidence {
                source: Source::Group,
                number: 0,
                time: packet(0, 0).time,
                what: "35 other connections whose request came in one segment ended well".to_owned(),
            },
        ],
        clauses: vec![clause],
        fixes: vec![
            Fix {
                owner: Owner::Client,
                what: "send head and body in one write".to_owned(),
            },
            Fix {
                owner: Owner::Server,
                what: "read the body, up to a limit, before answering".to_owned(),
            },
        ],
        follows: None,
        misdelivered: None,
        settle: Some("strace the server's close: the bytes it had read".to_owned()),
        heard: None,
    }
}

/// What the kernels of both ends say of a server that closed over 22 unread bytes.
pub(crate) fn hearing() -> Hearing {
    let at = packet(0, 12_345).time;
    let actor = Actor {
        pid: 4711,
        tid: 4712,
        uid: 33,
        name: "gunicorn".to_owned(),
        program: Some("/usr/bin/python3.11".to_owned()),
        command: Some("gunicorn --secret hunter2".to_owned()),
        container: Some("0123456789abcdef0123456789abcdef".to_owned()),
        act: Act::Close,
        call: Some("close(9)".to_owned()),
        frames: vec![Frame {
            address: 0x55d0_1000,
            function: Some("finish_response".to_owned()),
            file: Some("/src/srv.c".to_owned()),
            line: Some(11),
            module: Some("srv".to_owned()),
        }],
        ..Actor::default()
    };
    let deciding = Testimony {
        at,
        number: 2,
        side: Some(Side::Server),
        reason: Some("TCP_ABORT_ON_CLOSE".to_owned()),
        path: Some(ResetPath::CloseUnread),
        state: Some(State::Closed),
        unread: Some(22),
        received: Some(414),
        closed: Some(Closed::default()),
        trigger: Some(Trigger {
            source: "192.0.2.1:40007".parse().expect("an address"),
            destination: "192.0.2.80:8000".parse().expect("an address"),
            len: 0,
            syn: false,
            ack: true,
            fin: false,
        }),
        actor: Some(actor),
        ..Testimony::default()
    };
    let peer = Testimony {
        at,
        number: 1,
        told: Told::ResetReceived,
        side: Some(Side::Client),
        ..Testimony::default()
    };
    Hearing {
        number: 1,
        client: endpoint(1, 40_007),
        server: endpoint(80, 8000),
        opened: None,
        deciding,
        peer: Some(peer),
    }
}

/// A finding that kernels made.
pub(crate) fn heard_finding() -> Finding {
    Finding {
        heard: Some(Box::new(hearing())),
        ..finding(&UNREAD_BODY, 1)
    }
}
