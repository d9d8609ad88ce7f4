use super::*;

fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let mut bytes = vec![1, kind, 0, 1];
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend([padding, 0]);
    bytes.extend(content);
    bytes.extend(vec![0; usize::from(padding)]);
    bytes
}

fn request(flags: u8) -> Vec<u8> {
    let begin = record(1, &[0, 1, flags, 0, 0, 0, 0, 0], 0);
    [
        begin,
        record(4, b"\x0e\x03REQUEST_METHODGET", 3),
        record(4, b"", 0),
        record(5, b"body", 4),
    ]
    .concat()
}

pub(super) fn dialogue() -> Vec<Said> {
    let answer = [
        record(6, b"Status: 200\r\n\r\nhi", 6),
        record(6, b"", 0),
        record(3, &[0; 8], 0),
    ]
    .concat();
    let whole = [request(1), record(5, b"", 0)].concat();
    vec![
        c(&whole),
        s(&answer),
        c(&whole),
        s(record(7, b"oops", 4)),
        s(&answer),
        c(request(0)),
        s(&answer),
    ]
}

#[test]
fn requests_end_with_the_empty_stdin() {
    let app = told(&dialogue());
    assert_eq!(
        (app.protocol, app.exchanges.total, app.exchanges.complete),
        (Protocol::FastCgi, 3, 2)
    );
    let first = app.exchanges.first.as_deref().unwrap();
    let request = first.request.as_ref().unwrap();
    // BEGIN 16, PARAMS 8 + 19 + 3, empty PARAMS 8, STDIN 8 + 4 + 4, empty STDIN 8.
    assert_eq!(
        (request.head_end, request.end, request.complete),
        (Some(54), Some(78), true)
    );
    assert_eq!(request.framing, Framing::Length(24));
    assert!(matches!(
        request.head,
        Head::FastCgi {
            keep_connection: true,
            stdin_ended: true
        }
    ));
    assert!(first.response_complete());
    let newest = app.exchanges.newest().unwrap();
    let open = newest.request.as_ref().unwrap();
    assert!(!open.complete && open.end.is_none() && newest.response_complete());
    assert!(matches!(
        open.head,
        Head::FastCgi {
            keep_connection: false,
            stdin_ended: false
        }
    ));
    assert_eq!((app.surplus_response_bytes, app.lost_track), (0, None));
}

#[test]
fn nonsense_loses_track() {
    let app = told(&[c(request(0)), c("GET / HTTP/1.1\r\n"), s("x")]);
    assert_eq!((app.protocol, app.lost_track.unwrap().number), (Protocol::FastCgi, 2));
}
