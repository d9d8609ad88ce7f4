//! Dialogues written by hand.

use bypeer_wire::Direction;
use bypeer_wire::app::Protocol;

use super::simulator::*;

/// A dialogue, and what a reader of it would say.
pub struct Dialogue {
    pub name: &'static str,
    pub said: Vec<Said>,
    pub protocol: Protocol,
    pub total: u32,
    pub complete: u32,
}

fn dialogue(name: &'static str, protocol: Protocol, total: u32, complete: u32, said: Vec<Said>) -> Dialogue {
    Dialogue {
        name,
        said,
        protocol,
        total,
        complete,
    }
}

/// Of every protocol, and with every way to end.
pub fn dialogues() -> Vec<Dialogue> {
    use Protocol::*;
    let get = "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nServer: unit\r\nContent-Length: 5\r\n\r\nhello";
    let bye = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbye";
    let post = |length: usize| {
        let head = format!("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b'p'; length]].concat()
    };
    let large = |length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b'r'; length]].concat()
    };
    let chunked = |chunks: usize| {
        let chunk = format!("400\r\n{}\r\n", "k".repeat(0x400));
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
            chunk.repeat(chunks)
        )
    };
    let record =
        |kind: u8, length: usize| [&[kind, 3, 3, (length >> 8) as u8, length as u8][..], &vec![7; length]].concat();
    let hello = |kind: u8| {
        let body = [&[3, 3][..], &[9; 32], &[0, 0, 2, 0x13, 0x01, 1, 0]].concat();
        let body = if kind == 2 {
            [&[3, 3][..], &[9; 32], &[0, 0x13, 0x01, 0]].concat()
        } else {
            body
        };
        let message = [&[kind, 0, 0, body.len() as u8][..], &body].concat();
        [&[22, 3, 3, 0, message.len() as u8][..], &message].concat()
    };
    let fcgi = |kind: u8, content: &[u8]| {
        let head = [1, kind, 0, 1, (content.len() >> 8) as u8, content.len() as u8, 0, 0];
        [&head[..], content].concat()
    };
    vec![
        dialogue(
            "one exchange",
            Http1,
            1,
            1,
            vec![c(get), s(bye), SERVER_FIN, CLIENT_FIN],
        ),
        dialogue(
            "kept alive",
            Http1,
            9,
            9,
            [
                vec![vec![c(get), s(ok)]; 8].concat(),
                vec![c(get), s(bye), CLIENT_FIN, SERVER_FIN],
            ]
            .concat(),
        ),
        dialogue(
            "pipelined",
            Http1,
            6,
            5,
            vec![
                c(get.repeat(4)),
                s(ok.repeat(2)),
                c(get.repeat(2)),
                s(ok.repeat(3)),
                SERVER_FIN,
            ],
        ),
        dialogue(
            "uploads",
            Http1,
            2,
            2,
            vec![
                c(post(5_000)),
                s(ok),
                c(post(9_000)),
                s(large(12_000)),
                CLIENT_FIN,
                SERVER_FIN,
            ],
        ),
        dialogue(
            "chunked, continued",
            Http1,
            2,
            2,
            vec![
                c("POST /c HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"),
                s("HTTP/1.1 100 Continue\r\n\r\n"),
                c("5;x=y\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n"),
                s(chunked(5)),
                c(get),
                s(chunked(1)),
            ],
        ),
        dialogue(
            "answered early and reset",
            Http1,
            1,
            0,
            vec![
                c(&post(60_000)[..8_000]),
                s("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"),
                c([b'p'; 3_000]),
                Said::Reset(Direction::ToClient),
            ],
        ),
        dialogue(
            "ends with the connection",
            Http1,
            1,
            1,
            vec![
                c("GET / HTTP/1.0\r\n\r\n"),
                s(["HTTP/1.0 200 OK\r\n\r\n", &"z".repeat(7_000)].concat()),
                SERVER_FIN,
                CLIENT_FIN,
            ],
        ),
        dialogue(
            "upgraded",
            Http1,
            3,
            3,
            vec![
                c("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
                s("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
                c("\u{1}\u{2}abc"),
                s("\u{3}\u{4}def"),
                c([5; 900]),
                s([6; 3]),
                CLIENT_FIN,
                SERVER_FIN,
            ],
        ),
        dialogue(
            "TLS",
            Tls,
            // The server's encrypted handshake looks like data that nobody asked for.
            3,
            2,
            vec![
                c(hello(1)),
                s([hello(2), record(20, 1), record(23, 900)].concat()),
                c([record(20, 1), record(23, 60)].concat()),
                c(record(23, 300)),
                s([record(23, 4_000), record(23, 2_000)].concat()),
                c(record(23, 310)),
                s(record(23, 700)),
                s(record(23, 19)),
                SERVER_FIN,
                CLIENT_FIN,
            ],
        ),
        dialogue(
            "FastCGI",
            FastCgi,
            1,
            1,
            vec![
                c([
                    fcgi(1, &[0, 1, 0, 0, 0, 0, 0, 0]),
                    fcgi(4, &[1; 200]),
                    fcgi(4, &[]),
                    fcgi(5, &[2; 3_000]),
                    fcgi(5, &[]),
                ]
                .concat()),
                s([fcgi(6, &[3; 2_000]), fcgi(6, &[]), fcgi(3, &[0; 8])].concat()),
                SERVER_FIN,
                CLIENT_FIN,
            ],
        ),
        dialogue(
            "opaque turns",
            Unknown,
            3,
            3,
            vec![
                c([0xde; 1_700]),
                s([0xad; 40]),
                c([0xbe; 2]),
                s([0xef; 5_000]),
                c("quit\r\n"),
                s("so long\r\n"),
                SERVER_FIN,
                CLIENT_FIN,
            ],
        ),
        dialogue(
            "the server speaks first",
            Unknown,
            3,
            2,
            vec![
                s("220 ready\r\n"),
                c("EHLO me\r\n"),
                s("250 fine\r\n"),
                c("QUIT\r\n"),
                s("221\r\n"),
                SERVER_FIN,
                CLIENT_FIN,
            ],
        ),
        dialogue("silent", Silent, 0, 0, vec![CLIENT_FIN, SERVER_FIN]),
    ]
}
