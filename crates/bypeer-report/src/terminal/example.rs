//! Findings made by hand, for tests of how they are shown.

use std::net::{IpAddr, Ipv4Addr};

use bypeer_diagnose::{Cause, Clause, Confidence, Evidence, Finding, Fix, Lost, Owner, Party, Retry, Source};
use bypeer_wire::{Endpoint, PacketRef, Timestamp};

pub(crate) static UNREAD_BODY: Cause = Cause {
    id: "unread-request-body",
    title: "The server closed with request data unread",
    manual: "# Unread request body\n",
    clauses: &[],
    weigh: |_| None,
};

pub(crate) static SO_LINGER_ZERO: Cause = Cause {
    id: "so-linger-zero",
    title: "A program closed with SO_LINGER 0",
    manual: "# SO_LINGER 0\n",
    clauses: &[],
    weigh: |_| None,
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
        opened: packet(0, 0).time,
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
        settle: Some("strace the server's close: the bytes it had read".to_owned()),
    }
}
