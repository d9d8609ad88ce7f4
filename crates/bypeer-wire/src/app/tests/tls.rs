use super::*;

pub(super) fn record(content_type: u8, fragment: &[u8]) -> Vec<u8> {
    let mut bytes = vec![content_type, 3, 3];
    bytes.extend((fragment.len() as u16).to_be_bytes());
    bytes.extend(fragment);
    bytes
}

fn data(len: usize) -> Vec<u8> {
    record(23, &vec![0xaa; len])
}

fn vector(width: usize, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u32).to_be_bytes();
    [&len[4 - width..], content].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [vec![0, kind], vector(2, value)].concat()
}

/// With a key share of post-quantum size, so that it takes two segments on a real wire.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let entry = [vec![0], vector(2, name.as_bytes())].concat();
    let extensions = [extension(51, &[7; 1216]), extension(0, &vector(2, &entry))].concat();
    let body = [
        vec![3, 3],
        vec![9; 32],
        vector(1, &[1; 32]),
        vector(2, &[0x13, 1]),
        vector(1, &[0]),
        vector(2, &extensions),
    ];
    record(22, &[vec![1], vector(3, &body.concat())].concat())
}

fn server_hello(extensions: &[u8]) -> Vec<u8> {
    let body = [
        vec![3, 3],
        vec![8; 32],
        vector(1, &[1; 32]),
        vec![0x13, 1, 0],
        vector(2, extensions),
    ]
    .concat();
    record(22, &[vec![2], vector(3, &body)].concat())
}

pub(super) fn dialogue_12() -> Vec<Said> {
    let alpn = extension(16, &vector(2, &vector(1, b"http/1.1")));
    let certificate = record(22, &[vec![11], vector(3, &[5; 900])].concat());
    vec![
        c(client_hello("old.example")),
        s([server_hello(&alpn), certificate].concat()),
        c([record(22, &[16, 0, 0, 1, 9]), record(20, &[1]), record(22, &[0x5a; 40])].concat()),
        s([record(20, &[1]), record(22, &[0x5a; 40])].concat()),
        c(data(300)),
        s([data(4000), data(100)].concat()),
        c(record(21, &[0; 26])),
        Said::ClientFin,
    ]
}

pub(super) fn dialogue_13() -> Vec<Said> {
    let versions = extension(43, &[3, 4]);
    vec![
        c(client_hello("new.example")),
        s([server_hello(&versions), record(20, &[1]), data(32), data(900), data(69)].concat()),
        c([record(20, &[1]), data(69), data(200)].concat()),
        s([data(234), data(234)].concat()),
        s(data(1500)),
        c(data(180)),
        s(data(19)),
        Said::ServerFin,
    ]
}

#[test]
fn tls_12() {
    let app = told(&dialogue_12());
    let tls = app.tls.unwrap();
    assert_eq!(
        (app.protocol, tls.version, tls.established),
        (Protocol::Tls, Some(0x0303), true)
    );
    assert_eq!(
        (tls.server_name.as_deref(), tls.alpn.as_deref()),
        (Some("old.example"), Some("http/1.1"))
    );
    assert_eq!(
        (tls.client_hello.unwrap().number, tls.server_hello.unwrap().number),
        (1, 2)
    );
    assert_eq!((tls.application_records, tls.record_open), ([1, 2], [false, false]));
    let alert = tls.alerts[0];
    assert_eq!(
        (tls.alerts.len(), alert.direction, alert.plain),
        (1, Direction::ToServer, None)
    );
    assert_eq!(alert.end - alert.start, 31);
    assert!(tls.last_record[0].unwrap().alert_sized && !tls.last_record[1].unwrap().alert_sized);
    assert_eq!((app.exchanges.total, app.exchanges.complete), (1, 0));
    let exchange = app.exchanges.newest().unwrap();
    let (request, response) = (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
    assert_eq!(
        (request.seen - request.start, response.seen - response.start),
        (305, 4110)
    );
    assert!(matches!(request.head, Head::Opaque) && request.framing == Framing::Unknown);
}

#[test]
fn tls_13_handshake_and_tickets_are_no_turns() {
    let app = told(&dialogue_13());
    let tls = app.tls.unwrap();
    assert_eq!((tls.version, tls.established, tls.alpn), (Some(0x0304), true, None));
    assert_eq!(app.exchanges.total, 2);
    let first = app.exchanges.first.as_deref().unwrap();
    let (request, response) = (first.request.as_ref().unwrap(), first.response.as_ref().unwrap());
    assert_eq!(
        (request.seen - request.start, response.seen - response.start),
        (205, 1505)
    );
    assert!(first.request_complete() && first.response_complete());
    let owed = app.exchanges.owed().unwrap();
    assert_eq!(
        (owed.index, owed.response.is_none()),
        (1, true),
        "an alert is no response"
    );
    assert_eq!(
        (tls.alerts.len(), tls.alerts[0].direction, tls.alerts[0].plain),
        (1, Direction::ToClient, None)
    );
}

#[test]
fn alerts_in_the_clear() {
    let app = told(&[c(client_hello("a")), s(record(21, &[2, 40]))]);
    let tls = app.tls.unwrap();
    assert_eq!(
        (tls.alerts[0].plain, tls.established, app.exchanges.total),
        (Some((2, 40)), false, 0)
    );
}

#[test]
fn an_open_record_is_noted() {
    let mut dialogue = dialogue_13();
    dialogue.truncate(5);
    dialogue.push(c(&data(180)[..100]));
    let app = told(&dialogue);
    assert_eq!(app.tls.unwrap().record_open, [true, false]);
    assert!(!app.exchanges.newest().unwrap().request_complete());
}

#[test]
fn plain_http_from_a_tls_port_loses_track() {
    let app = told(&[c(client_hello("a")), s("HTTP/1.1 400 Bad Request\r\n\r\n")]);
    assert_eq!((app.protocol, app.lost_track.unwrap().number), (Protocol::Tls, 2));
    assert_eq!(app.exchanges.newest().unwrap().response.as_ref().unwrap().seen, 28);
}

#[test]
fn picked_up_in_the_middle_and_after_missed_packets() {
    let app = told(&[c(data(100)), s(data(500)), s(data(19))]);
    let tls = app.tls.unwrap();
    assert_eq!(
        (app.protocol, app.exchanges.total, tls.alerts.len()),
        (Protocol::Tls, 1, 1)
    );
    let gap = told(&[
        c(data(100)),
        s(data(500)),
        Said::ServerUnseen(700),
        s("middle of a record"),
        s(data(19)),
    ]);
    assert_eq!((gap.tls.unwrap().alerts.len(), gap.lost_track), (1, None));
}

#[test]
fn hellos_cut_anywhere_do_not_panic() {
    let whole = client_hello("cut.example");
    for len in 0..whole.len() {
        let app = told(&[
            c(&whole[..len]),
            Said::ClientUnseen((whole.len() - len) as u64),
            s(data(30)),
        ]);
        assert!(
            app.tls
                .is_none_or(|tls| tls.server_name.is_none_or(|name| &*name == "cut.example")),
            "{len}"
        );
    }
}
