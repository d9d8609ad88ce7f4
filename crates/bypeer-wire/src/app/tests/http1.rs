use super::*;

const GET: &str = "GET /a?secret=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8\r\n\r\n";
const OK2: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_request_and_its_response() {
    let app = told(&[c(GET), s(OK2)]);
    assert_eq!(app.protocol, Protocol::Http1);
    let exchange = app.exchanges.newest().unwrap();
    let request = exchange.request.as_ref().unwrap();
    assert_eq!((request.start, request.head_end, request.end), (0, Some(57), Some(57)));
    assert_eq!(
        (request.framing, request.complete, request.begun.number),
        (Framing::None, true, 1)
    );
    let head = request_head(exchange);
    assert_eq!(
        (&*head.path, head.has_query, head.user_agent.as_deref()),
        ("/a", true, Some("curl/8"))
    );
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(
        (response.framing, response.end, response.seen),
        (Framing::Length(2), Some(40), 40)
    );
    assert!(response.complete && app.exchanges.complete == 1 && app.exchanges.total == 1);
    assert_eq!(
        (app.surplus_response_bytes, app.trailing_request_len, app.lost_track),
        (0, 0, None)
    );
}

#[test]
fn an_early_413_leaves_the_request_incomplete() {
    let app = told(&[
        c("POST /up HTTP/1.1\r\nContent-Length: 1000\r\n\r\n0123456789"),
        s("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        c("x".repeat(90)),
    ]);
    let exchange = app.exchanges.newest().unwrap();
    let request = exchange.request.as_ref().unwrap();
    assert_eq!((request.end, request.seen, request.complete), (Some(1043), 143, false));
    assert_eq!(request.last.number, 3);
    assert!(exchange.response_complete());
    assert_eq!(response_head(exchange).connection, Close::Announced);
    assert_eq!((app.exchanges.announced, app.exchanges.complete), (1, 0));
}

#[test]
fn pipelined_requests_meet_their_responses() {
    let mut dialogue: Vec<Said> = vec![c("HEAD /0 HTTP/1.1\r\n\r\nGET /1 HTTP/1.1\r\n\r\n")];
    dialogue.push(c((2..9)
        .map(|n| format!("GET /{n} HTTP/1.1\r\n\r\n"))
        .collect::<String>()));
    dialogue.push(s(
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 204 No\r\n\r\nHTTP/1.1 304 N\r\n\r\n",
    ));
    let app = told(&dialogue);
    assert_eq!((app.exchanges.total, app.exchanges.complete), (9, 3));
    let kept: Vec<u32> = app.exchanges.iter().map(|exchange| exchange.index).collect();
    assert_eq!(
        kept,
        [0, 2, 3, 7, 8],
        "the oldest owed one, and the one before it, are kept before newer ones"
    );
    assert_eq!(app.exchanges.owed().unwrap().index, 3);
    assert_eq!(app.surplus_response_bytes, 0);
}

#[test]
fn what_is_no_chunk_breaks_an_answer_only_where_its_request_was_seen() {
    let answers =
        s("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let seen = told(&[c("GET /0 HTTP/1.1\r\n\r\n"), answers.clone()]);
    assert!(seen.broken_chunk && !seen.unseen_bounds && seen.lost_track.is_some());
    // The first may be the answer to a HEAD, and whole.
    let picked_up = told(&[answers, c("GET /1 HTTP/1.1\r\n\r\n")]);
    assert!(!picked_up.broken_chunk && picked_up.unseen_bounds);
}

#[test]
fn the_answer_before_requests_that_are_owed_is_kept() {
    let ask = || c("GET / HTTP/1.1\r\n\r\n");
    let last = s("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let whole = || [ask(), s("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")];
    for behind in 1..4 {
        let mut dialogue: Vec<Said> = (0..4).flat_map(|_| whole()).chain([ask(), last.clone()]).collect();
        dialogue.extend((0..behind).map(|_| ask()));
        let app = told(&dialogue);
        assert_eq!((app.exchanges.total, app.exchanges.complete), (5 + behind, 5));
        let said = app.exchanges.iter().find(|exchange| exchange.index == 4);
        assert_eq!(
            response_head(said.unwrap()).connection,
            Close::Announced,
            "{behind} behind"
        );
        assert_eq!(app.exchanges.owed().unwrap().index, 5);
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_kept_for_a_while() {
    let answer = s("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let exchange = [c("GET / HTTP/1.1\r\n\r\n"), answer.clone()];
    let well = told(
        &[
            exchange.clone(),
            exchange.clone(),
            exchange.clone(),
            exchange.clone(),
            exchange.clone(),
        ]
        .concat(),
    );
    let kept: Vec<_> = well.exchanges.iter().map(|exchange| exchange.index).collect();
    assert_eq!(
        (kept, well.exchanges.total, well.exchanges.complete),
        (vec![0, 3, 4], 5, 5)
    );

    let before = [exchange.clone(), exchange.clone()].concat();
    let after = [exchange.clone(), exchange.clone(), exchange].concat();
    let app = told(&[before, vec![answer], after].concat());
    let kept: Vec<_> = app
        .exchanges
        .iter()
        .map(|exchange| (exchange.index, exchange.request.is_some()))
        .collect();
    assert_eq!(kept, [(0, true), (2, false), (3, true), (4, true), (5, true)]);
    assert_eq!(app.surplus_response_bytes, 40);
}

#[test]
fn chunked_with_extensions_and_trailers() {
    let app = told(&[
        c("POST /c HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n4;q=\"1\"\r\nabcd\r\n"),
        c("0\r\nTrailer: 1\r\n\r\n\r\n"),
        s("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
    ]);
    let exchange = app.exchanges.newest().unwrap();
    let request = exchange.request.as_ref().unwrap();
    assert!(request.complete && request.framing == Framing::Chunked && exchange.response_complete());
    assert_eq!(
        (app.trailing_request_len, &*app.trailing_request_bytes),
        (2, b"\r\n".as_slice())
    );
}

#[test]
fn an_open_chunked_request_has_no_end() {
    let app = told(&[c("POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabcd")]);
    let request = app.exchanges.newest().unwrap().request.as_ref().unwrap();
    assert_eq!(
        (request.end, request.complete, request.framing),
        (None, false, Framing::Chunked)
    );
}

#[test]
fn interim_responses_are_counted() {
    let app = told(&[
        c("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
        s("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
        s("HTTP/1.1 100 Continue\r\n\r\n"),
        c("abc"),
        s("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
    ]);
    let exchange = app.exchanges.newest().unwrap();
    assert_eq!((exchange.interim, exchange.continued.unwrap().number), (2, 3));
    assert!(request_head(exchange).expects_continue && exchange.request_complete() && exchange.response_complete());
    assert_eq!(app.exchanges.total, 1);
}

#[test]
fn tunnels_go_on_as_turns() {
    for (request, status) in [
        (
            "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "101 Switching",
        ),
        ("CONNECT h:443 HTTP/1.1\r\n\r\n", "200 OK"),
    ] {
        let app = told(&[
            c(request),
            s(format!("HTTP/1.1 {status}\r\n\r\n\x01\x02")),
            c("\x03"),
            s("\x04\x05"),
        ]);
        assert_eq!((app.protocol, app.exchanges.total), (Protocol::Http1, 3), "{status}");
        let first = app.exchanges.first.as_deref().unwrap();
        assert_eq!(first.response.as_ref().unwrap().framing, Framing::Tunnel);
        let newest = app.exchanges.newest().unwrap();
        assert!(matches!(newest.request.as_ref().unwrap().head, Head::Opaque));
        assert_eq!(
            newest.response.as_ref().unwrap().seen - newest.response.as_ref().unwrap().start,
            2
        );
        assert_eq!((app.lost_track, app.surplus_response_bytes), (None, 0));
    }
}

#[test]
fn connect_with_eager_client_bytes() {
    let app = told(&[
        c("CONNECT u:p@h:443 HTTP/1.1\r\n\r\n\x16\x03"),
        c("\x01"),
        s("HTTP/1.1 200 OK\r\n\r\n"),
        s("x"),
    ]);
    assert_eq!((app.exchanges.total, app.trailing_request_len), (2, 0));
    assert_eq!(&*request_head(app.exchanges.first.as_deref().unwrap()).path, "h:443");
    let turn = app.exchanges.newest().unwrap();
    assert_eq!(
        (
            turn.request.as_ref().unwrap().seen - turn.request.as_ref().unwrap().start,
            turn.index
        ),
        (3, 1)
    );
    assert!(turn.response.is_some());

    let refused = told(&[
        c("CONNECT h:443 HTTP/1.1\r\n\r\n"),
        s("HTTP/1.1 407 A\r\nContent-Length: 0\r\n\r\n"),
        c(GET),
    ]);
    assert_eq!(refused.exchanges.total, 2);
}

#[test]
fn close_delimited_bodies_end_with_fin() {
    let open = [c("GET / HTTP/1.0\r\n\r\n"), s("HTTP/1.0 200 OK\r\n\r\nabc"), s("def")];
    let response = told(&open).exchanges.newest().unwrap().response.clone().unwrap();
    assert_eq!(
        (response.end, response.complete, response.seen, response.framing),
        (None, false, 25, Framing::Close)
    );
    let mut closed = open.to_vec();
    closed.push(Said::ServerFin);
    let app = told(&closed);
    let response = app.exchanges.newest().unwrap().response.as_ref().unwrap();
    assert_eq!((response.end, response.complete), (Some(25), true));
    assert_eq!((app.exchanges.complete, app.exchanges.announced), (1, 1));
}

#[test]
fn stray_line_ends_and_lone_lf() {
    let app = told(&[
        c("\r\nPOST / HTTP/1.1\nContent-Length: 1\n\nx\r\n"),
        s("HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        c("\r\nGET / HTTP/1.1\r\n\r\n"),
    ]);
    assert_eq!((app.exchanges.total, app.trailing_request_len), (2, 0));
    assert_eq!(app.exchanges.newest().unwrap().request.as_ref().unwrap().start, 42);
}

#[test]
fn a_begun_head_is_a_partial_exchange_and_trailing() {
    let app = told(&[c(GET), s(OK2), c("GET /nex")]);
    assert_eq!((app.exchanges.total, app.trailing_request_len), (2, 8));
    assert_eq!(app.trailing_request_bytes, b"GET /nex");
    let newest = app.exchanges.newest().unwrap().request.as_ref().unwrap();
    assert!(matches!(newest.head, Head::Partial) && !newest.complete && newest.framing == Framing::Unknown);
    let garbage = told(&[c(GET), s(OK2), c("left over body")]);
    assert_eq!((garbage.exchanges.total, garbage.trailing_request_len), (1, 14));
    assert_eq!(garbage.trailing_request_bytes, b"left ove");
    let late = told(&[c(GET), s(OK2), c("GARBA"), c("GE=1")]);
    assert_eq!((late.exchanges.total, late.trailing_request_len), (1, 9));
}

#[test]
fn heads_cut_by_the_snap_length() {
    let app = told(&[
        c("GET /cut HTTP/1.1\r\nHost: exam"),
        Said::ClientUnseen(300),
        s("HTTP/1.1 200 OK\r\nServer: nginx\r\nConte"),
        Said::ServerUnseen(1000),
        s("body bytes of a second segment"),
        Said::ServerUnseen(1000),
        c("POST /two HTTP/1.1\r\nHo"),
        Said::ClientUnseen(100),
        s("HTTP/1.1 404 No"),
        Said::ServerUnseen(50),
    ]);
    assert_eq!(
        (app.exchanges.total, app.exchanges.complete, app.surplus_response_bytes),
        (2, 1, 0)
    );
    let first = app.exchanges.first.as_deref().unwrap();
    assert_eq!(&*request_head(first).path, "/cut");
    assert_eq!(first.request.as_ref().unwrap().head_end, None);
    assert_eq!(
        (response_head(first).status, response_head(first).server.as_deref()),
        (200, Some("nginx"))
    );
    let response = first.response.as_ref().unwrap();
    assert_eq!((response.framing, response.end), (Framing::Unknown, Some(2067)));
    let newest = app.exchanges.newest().unwrap();
    assert!(
        matches!(newest.response.as_ref().unwrap().head, Head::Partial),
        "its line was not whole"
    );
    assert!(!newest.response_complete());
}

#[test]
fn a_cut_head_is_remembered_when_its_exchange_is_not() {
    let cut = [c("GET /cut HTTP/1.1\r\nHost: exam"), Said::ClientUnseen(300), s(OK2)];
    let well = [c(GET), s(OK2)];
    let later: Vec<Said> = std::iter::repeat_n(well.clone(), 8).flatten().collect();
    let app = told(&[&well[..], &cut, &later].concat());
    assert!(app.exchanges.total > 6 && app.exchanges.heads_cut);
    assert!(!told(&later).exchanges.heads_cut);
}

#[test]
fn picked_up_in_a_body() {
    let download = told(&[s("middle of a body"), s("and more"), c(GET), s("rest"), s(OK2)]);
    assert_eq!((download.protocol, download.exchanges.total), (Protocol::Http1, 1));
    assert_eq!((download.surplus_response_bytes, download.exchanges.complete), (0, 1));
    let upload = told(&[c("middle of an upload"), s(OK2), c(GET), s(OK2)]);
    assert_eq!((upload.exchanges.total, upload.surplus_response_bytes), (2, 0));
    assert!(matches!(
        upload
            .exchanges
            .first
            .as_deref()
            .unwrap()
            .request
            .as_ref()
            .unwrap()
            .head,
        Head::Opaque
    ));
}

#[test]
fn an_unseen_head_request_is_found_out() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let app = told(&[s(head), c(GET), s(OK2)]);
    assert_eq!((statuses(&app), app.exchanges.complete), (vec![200, 200], 1));
    let got = told(&[s(head), s("x".repeat(1000)), c(GET), s(OK2)]);
    assert_eq!(
        got.exchanges
            .first
            .as_deref()
            .unwrap()
            .response
            .as_ref()
            .unwrap()
            .framing,
        Framing::Length(1000)
    );
    assert!(got.exchanges.iter().all(Exchange::response_complete));
}

#[test]
fn roles_found_reversed() {
    let mut feeder = Feeder::new();
    feeder.segment(Direction::ToServer, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(feeder.conversation.roles_reversed());
    feeder.conversation.swap_roles();
    assert!(!feeder.conversation.roles_reversed());
    feeder.offsets = [0, 38];
    feeder.segment(Direction::ToServer, GET.as_bytes());
    feeder.segment(Direction::ToClient, OK2.as_bytes());
    let app = feeder.conversation.finish();
    assert_eq!((app.protocol, statuses(&app)), (Protocol::Http1, vec![200, 200]));
    assert!(app.exchanges.newest().unwrap().request_complete());

    let unswapped = told(&[s(GET), c(OK2)]);
    assert_eq!((unswapped.protocol, unswapped.exchanges.total), (Protocol::Unknown, 2));
}

#[test]
fn where_messages_end_is_known_only_if_all_that_tells_it_was_seen() {
    let post = "POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
    let chunked = "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    // The rest of a body whose length is known tells nothing.
    let known: [&[Said]; 3] = [
        &[c(GET), s(OK2), c(GET), s(OK2)],
        &[c(post), Said::ClientUnseen(6), s(OK2)],
        &[c(chunked), Said::ClientUnseen(3), c("\r\n0\r\n\r\n"), s(OK2)],
    ];
    for dialogue in known {
        assert!(!told(dialogue).unseen_bounds, "{dialogue:?}");
    }
    let unknown: [&[Said]; 6] = [
        &[Said::ClientUnseen(40), s(OK2), c(GET), s(OK2)],
        &[c(GET), s(OK2), Said::ClientUnseen(40), s(OK2)],
        &[c("GET /a HTTP/1.1\r\nHo"), Said::ClientUnseen(20), s(OK2)],
        &[c(GET), Said::ServerUnseen(39), c(GET), s(OK2)],
        &[
            c(GET),
            s("HTTP/1.1 200 OK\r\nCont"),
            Said::ServerUnseen(20),
            c(GET),
            s(OK2),
        ],
        &[c(chunked), Said::ClientUnseen(9), s(OK2)],
    ];
    for dialogue in unknown {
        assert!(told(dialogue).unseen_bounds, "{dialogue:?}");
    }
}

/// The rest of a packet that the snap length cut, too short for anything but line ends.
#[test]
fn a_few_unseen_bytes_are_no_request() {
    let app = told(&[
        c("POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\nabcd"),
        Said::ClientUnseen(5 + 2),
        s(OK2),
        c(GET),
        s(OK2),
    ]);
    assert_eq!((app.exchanges.total, app.exchanges.complete), (2, 2));
    let last = told(&[c(GET), s(OK2), Said::ClientUnseen(17)]);
    assert_eq!((last.exchanges.total, last.trailing_request_len), (1, 17));
    let request = told(&[c(GET), s(OK2), Said::ClientUnseen(18)]);
    assert_eq!((request.exchanges.total, request.trailing_request_len), (2, 0));
}

#[test]
fn surplus_of_the_server() {
    let app = told(&[c(GET), s(format!("{OK2}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))]);
    assert_eq!((app.exchanges.total, app.surplus_response_bytes), (2, 39));
    assert!(app.exchanges.newest().unwrap().request.is_none());
    let beyond = told(&[c(GET), s(format!("{OK2}<html>")), c(GET), s(OK2)]);
    assert_eq!(
        (
            beyond.exchanges.total,
            beyond.surplus_response_bytes,
            beyond.exchanges.complete
        ),
        (2, 6, 2)
    );
    let unasked = told(&[s(
        "HTTP/1.1 408 Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )]);
    assert_eq!(
        (statuses(&unasked), unasked.surplus_response_bytes),
        (vec![408], 0),
        "nothing was asked yet"
    );
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    let interim = told(&[c(GET), s(OK2), s(hints), c(GET), s(OK2)]);
    assert_eq!((interim.exchanges.total, interim.surplus_response_bytes), (2, 0));
    let with_its_answer = told(&[c(GET), s(OK2), s(hints), s(OK2)]);
    assert_eq!(with_its_answer.surplus_response_bytes, OK2.len() as u64);
}

/// However much follows: the exchanges around it are long gone then.
#[test]
fn where_the_server_first_said_what_nobody_asked() {
    let long = |first: &[Said]| {
        let rest = std::iter::repeat_n([c(GET), s(OK2)], 20).flatten();
        told(&first.iter().cloned().chain(rest).collect::<Vec<_>>())
    };
    let app = long(&[c(GET), s(OK2), c(GET), s(OK2), s(OK2), c(GET), s(OK2)]);
    let unasked = app.exchanges.unasked.as_deref().unwrap();
    assert_eq!((unasked.at.number, unasked.behind.as_ref().unwrap().index), (5, 1));
    assert_eq!(
        unasked.answer.as_ref().unwrap().response.as_ref().unwrap().begun.number,
        5
    );
    let beyond = long(&[c(GET), s(format!("{OK2}<html>")), c(GET), s(OK2), s("more")]);
    let unasked = beyond.exchanges.unasked.as_deref().unwrap();
    assert_eq!((unasked.at.number, unasked.behind.as_ref().unwrap().index), (2, 0));
    assert!(unasked.answer.is_none());
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    assert!(long(&[c(GET), s(OK2), s(hints)]).exchanges.unasked.is_none());
    assert!(long(&[]).exchanges.unasked.is_none());
}

#[test]
fn another_protocol_answers() {
    let app = told(&[c(GET), s("\x15\x03\x01\x00\x02\x02\x46"), c("more")]);
    assert_eq!(app.lost_track.unwrap().number, 2);
    let first = app.exchanges.first.as_deref().unwrap();
    assert!(matches!(first.response.as_ref().unwrap().head, Head::Opaque));
    assert_eq!(app.exchanges.total, 2);
}

#[test]
fn lengths_of_every_kind() {
    let framing = |fields: &str| {
        let app = told(&[c(format!("POST / HTTP/1.1\r\n{fields}\r\n"))]);
        let exchange = app.exchanges.newest().unwrap();
        (
            exchange.request.as_ref().unwrap().framing,
            request_head(exchange).ambiguous_framing,
        )
    };
    assert_eq!(framing("content-LENGTH: 7\r\n"), (Framing::Length(7), false));
    assert_eq!(
        framing("Content-Length: 7\r\nContent-Length: 7\r\n"),
        (Framing::Length(7), true)
    );
    assert_eq!(framing("Content-Length: 7, 7\r\n"), (Framing::Length(7), true));
    assert_eq!(
        framing("Content-Length: 7\r\nContent-Length: 8\r\n"),
        (Framing::Unknown, true)
    );
    assert_eq!(
        framing("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n"),
        (Framing::Chunked, true)
    );
    assert_eq!(framing("Content-Length: -1\r\n"), (Framing::Unknown, true));
    assert_eq!(framing("Content-Length: +1\r\n"), (Framing::Unknown, true));
    assert_eq!(framing("Content-Length:\r\n"), (Framing::Unknown, true));
    assert_eq!(
        framing("Content-Length: 18446744073709551615\r\n"),
        (Framing::Length(u64::MAX), false)
    );
    assert_eq!(
        framing("Content-Length: 18446744073709551616\r\n"),
        (Framing::Unknown, true)
    );
    assert_eq!(framing("Transfer-Encoding: gzip\r\n"), (Framing::Unknown, true));
    assert_eq!(
        framing("X: 1\r\n folded: 2\r\nContent-Length: 3\r\n"),
        (Framing::Length(3), false)
    );
    assert_eq!(framing("Content-Length: 0\r\n"), (Framing::None, false));
}

#[test]
fn connection_fields() {
    let app = told(&[
        c("GET http://u:p@h/x?q HTTP/1.0\r\nConnection: foo, Keep-Alive\r\n\r\n"),
        s(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5, max=100\r\nContent-Length: 0\r\nVia: 1.1 v\r\nContent-Type: text/html; charset=x\r\n\r\n",
        ),
    ]);
    let exchange = app.exchanges.newest().unwrap();
    let (request, response) = (request_head(exchange), response_head(exchange));
    assert_eq!(
        (request.version, request.connection, &*request.path),
        (Version::Http10, Close::KeepAlive, "http://h/x")
    );
    assert_eq!(
        (response.keep_alive_timeout, response.keep_alive_max),
        (Some(5), Some(100))
    );
    assert_eq!(
        (response.via.as_deref(), response.content_type.as_deref()),
        (Some("1.1 v"), Some("text/html"))
    );
}

#[test]
fn an_endless_head_is_bounded() {
    let app = told(&[
        c("GET / HTTP/1.1\r\n"),
        c(format!("X: {}\r\n", "y".repeat(100_000))),
        s(OK2),
    ]);
    let request = app.exchanges.newest().unwrap().request.as_ref().unwrap();
    assert_eq!((request.framing, request.head_end), (Framing::Unknown, None));
    assert_eq!(request.seen, 16 + 5 + 100_000);
}

#[test]
fn acknowledgements() {
    let mut feeder = Feeder::new();
    feeder.segment(
        Direction::ToServer,
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234",
    );
    assert_eq!(feeder.conversation.next_ack_of_interest(Direction::ToServer), 49);
    feeder.conversation.acked(
        Direction::ToServer,
        44,
        PacketRef {
            number: 2,
            ..PacketRef::default()
        },
    );
    feeder.segment(Direction::ToServer, b"56789GET / HTTP/1.1\r\n\r\n");
    feeder.conversation.acked(
        Direction::ToServer,
        67,
        PacketRef {
            number: 9,
            ..PacketRef::default()
        },
    );
    assert_eq!(feeder.conversation.next_ack_of_interest(Direction::ToServer), u64::MAX);
    assert_eq!(feeder.conversation.next_ack_of_interest(Direction::ToClient), u64::MAX);
    let app = feeder.conversation.finish();
    let acked: Vec<u64> = app
        .exchanges
        .iter()
        .map(|e| e.request.as_ref().unwrap().acked.unwrap().number)
        .collect();
    assert_eq!(acked, [9, 9]);
}

#[test]
fn turns_of_something_unknown() {
    let app = told(&[
        s("220 mail\r\n"),
        c("EHLO me\r\n"),
        c("X\r\n"),
        s("250 ok\r\n"),
        c("QUIT\r\n"),
        Said::ClientFin,
    ]);
    assert_eq!(
        (app.protocol, app.exchanges.total, app.exchanges.complete),
        (Protocol::Unknown, 3, 1)
    );
    let banner = app.exchanges.first.as_deref().unwrap();
    assert!(banner.request.is_none() && banner.response_complete());
    assert_eq!(app.surplus_response_bytes, 0);
    assert!(app.exchanges.newest().unwrap().request_complete());
    assert_eq!(told(&[c("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]).protocol, Protocol::Http2);
    assert_eq!(
        told(&[c("*1\r\n$4\r\nPING\r\n"), s("+PONG\r\n")]).protocol,
        Protocol::Redis
    );
    assert_eq!(told(&[]).protocol, Protocol::Silent);
}

#[test]
fn http_is_looked_for_behind_a_greeting_but_not_for_ever() {
    let greeted = told(&[c("PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n"), c(GET), s(OK2)]);
    assert_eq!((greeted.protocol, greeted.exchanges.complete), (Protocol::Http1, 1));
    let at_once = told(&[c(format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n{GET}")), s(OK2)]);
    assert_eq!(
        at_once
            .exchanges
            .first
            .as_deref()
            .unwrap()
            .request
            .as_ref()
            .unwrap()
            .start,
        37
    );
    let mut dialogue: Vec<Said> = (0..6).flat_map(|_| [c("\x01ask"), s("\x02told")]).collect();
    dialogue.extend([c(GET), s(OK2)]);
    let other = told(&dialogue);
    assert_eq!((other.protocol, other.exchanges.total), (Protocol::Unknown, 7));
}
