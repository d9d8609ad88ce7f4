//! Actors at work on the real kernel, over loopback.
#![allow(clippy::unwrap_used, missing_docs)]

mod glue;

use bypeer_lab::actor::{FromActor, Signal};
use glue::{Round, counting, deed};

#[test]
fn a_whole_exchange() {
    let mut round = Round::server("listen\naccept\nread request\nrespond 200 size 600000\nawait sent\nclose");
    let deeds =
        round.client("connect as c\nrequest POST /form body 22 split after 1ms\nread response\nawait fin\nclose");
    let response = deed(&deeds, "read response");
    assert_eq!(
        (response.bytes, response.expected, response.status),
        (600_000, Some(600_000), Some(200))
    );
    assert_eq!(counting(&deeds), [("read response", None)]);
    let request = deed(&deeds, "request POST /form body 22 split after 1ms");
    assert_eq!(Some(request.bytes), request.expected);
    assert!(request.took >= 1_000_000 && request.bytes > 22 + 40, "{request:?}");

    let server = round.deeds(0);
    let read = deed(&server, "read request");
    assert_eq!((read.bytes, read.expected), (22, Some(22)));
    assert_eq!((read.local, read.peer), (request.peer, request.local));
    assert_eq!(counting(&server), []);
    assert!(server.windows(2).all(|pair| pair[0].time <= pair[1].time));
    assert_eq!(round.over(), [0, 0]);
}

#[test]
fn every_framing_is_read_exactly() {
    let mut round = Round::server(
        "listen\naccept\nrepeat 2\nread request\nend\nrespond 200 size 700000 chunked\nrespond 204\nread head\nread body\n\
         respond 100\nrespond 200 size 9\nread request\nrespond 200 size 77\nread request\nrespond 200 size 5 declare nothing\n\
         shutdown write\nread to end",
    );
    let deeds = round.client(
        "connect\nrequest POST /1 body 300000 chunked\nrequest GET /2\nread response\nread response\n\
         request POST /3 body 5\nread response\nrequest HEAD /4\nread response\nrequest GET /5\nread response\nclose",
    );
    let bodies: Vec<_> = deeds
        .iter()
        .filter(|deed| deed.what == "read response")
        .map(|deed| deed.bytes)
        .collect();
    assert_eq!(bodies, [700_000, 0, 9, 0, 5], "{deeds:#?}");
    assert!(deeds.iter().all(|deed| deed.error.is_none()), "{deeds:#?}");
    let server = round.deeds(0);
    assert_eq!(
        server
            .iter()
            .find(|deed| deed.what == "read request")
            .map(|deed| deed.bytes),
        Some(300_000)
    );
    assert_eq!(deed(&server, "read body").bytes, 5);
    assert!(server.iter().all(|deed| deed.error.is_none()), "{server:#?}");
    round.over();
}

#[test]
fn a_head_is_read_and_not_one_byte_more() {
    let mut round = Round::server(
        "listen\naccept\nread head\nawait unread 22\ntimeout 50ms\ntry await unread 23\ntimeout 5s\nreceive 10\nawait unread 12\n\
         respond 200\nread 12\nclose",
    );
    // The head comes in three pieces.
    let deeds = round.client(
        "connect\nnodelay on\nwrite \"POST / HTTP/1.1\\r\\nContent-\"\nsleep 2ms\nwrite \"Length: 22\\r\\n\\r\"\nsleep 2ms\n\
         write \"\\n0123456789012345678901\"\nread response",
    );
    assert_eq!(counting(&deeds), [("read response", None)]);
    let server = round.deeds(0);
    assert_eq!(deed(&server, "read head").bytes, 39);
    assert_eq!(deed(&server, "await unread 22").bytes, 22);
    assert_eq!(deed(&server, "try await unread 23").error.as_deref(), Some("timeout"));
    assert_eq!(deed(&server, "receive 10").bytes, 10);
    assert_eq!(deed(&server, "await unread 12").bytes, 12);
    round.over();
}

#[test]
fn closing_with_data_unread_cuts_the_response() {
    let mut round = Round::server(
        "listen\naccept\nread head\nawait unread 22\nsend-buffer 4MiB\nrespond 200 size 1MiB\nclose\nmark closed\nsleep 1us",
    );
    // A small window: the response cannot be in the client's kernel when the reset comes.
    let deeds = round.client(
        "receive-buffer 8KiB\nconnect\nrequest POST /form body 22 split\nawait closed\nawait reset\nread response",
    );
    let response = deed(&deeds, "read response");
    assert_eq!(response.error.as_deref(), Some("ECONNRESET"));
    assert_eq!((response.status, response.expected), (Some(200), Some(1 << 20)));
    assert!(response.bytes < 1 << 20 && response.counts, "{response:?}");
    assert_eq!(counting(&round.deeds(0)), []);
    round.over();
}

#[test]
fn a_body_waits_for_100_continue() {
    let request = "request PUT /upload body 500 expect 100 within 2s";
    let mut round = Round::server(
        "listen\naccept\nread head\ntimeout 50ms\ntry await unread 1\ntimeout 5s\nrespond 100\nread body\nrespond 200\n\
         accept\nread head\nrespond 413\ntry await fin\nclose",
    );
    let deeds = round.client(&format!("connect\n{request}\nread response"));
    assert_eq!(counting(&deeds), [("read response", None)]);
    let sent = deed(&deeds, request).bytes;
    assert_eq!(deed(&deeds, request).expected, Some(sent));
    // A final answer: the body stays at home.
    let deeds = round.client(&format!("connect\n{request}\nread response\nclose"));
    assert_eq!(deed(&deeds, "read response").status, Some(413));
    assert_eq!(deed(&deeds, request).bytes, sent - 500);
    let server = round.deeds(0);
    assert_eq!(deed(&server, "try await unread 1").error.as_deref(), Some("timeout"));
    assert_eq!(deed(&server, "read body").bytes, 500);
    round.over();
}

#[test]
fn nobody_waits_for_100_continue_for_ever() {
    let mut round = Round::server("listen\naccept\nread request\nrespond 200");
    let request = "request PUT /upload body 500 expect 100 within 20ms";
    let deeds = round.client(&format!("connect\n{request}\nread response"));
    assert_eq!(counting(&deeds), [("read response", None)]);
    assert!(deed(&deeds, request).took >= 20_000_000, "{deeds:#?}");
    round.over();
}

#[test]
fn a_watching_client_stops_when_an_answer_comes() {
    let mut round = Round::server("receive-buffer 8KiB\nlisten\naccept\nread head\nrespond 413\nawait fin");
    let request = "request PUT /upload body 64MiB watching";
    let deeds = round.client(&format!("send-buffer 8KiB\nconnect\n{request}\nread response"));
    assert_eq!(counting(&deeds), [("read response", None)]);
    let sent = deed(&deeds, request);
    assert!(sent.error.is_none() && sent.bytes < 16 << 20, "{sent:?}");
    round.over();
}

#[test]
fn an_abort_before_the_response_and_one_within_its_head() {
    for said in ["", "write \"HTTP/1.1 200 OK\\r\\nContent-\""] {
        let mut round = Round::server(&format!("listen\naccept\nread request\n{said}\nabort"));
        let deeds = round.client("connect\nrequest GET /\nread response");
        assert_eq!(counting(&deeds), [("read response", Some("ECONNRESET"))]);
        round.over();
    }
}

/// Whether the reader comes before the reset or after it: `recv` returns 0 either way.
#[test]
fn a_fin_that_a_reset_follows_is_an_end_of_file() {
    let mut round = Round::server("listen\naccept\nclose");
    let deeds = round.client("connect\nawait fin\nrequest GET /\nawait reset\nread response");
    assert_eq!(counting(&deeds), [("read response", Some("EOF"))]);
    round.over();
}

#[test]
fn a_response_that_ends_early_is_an_end_of_file() {
    let mut round = Round::server("listen\naccept\nread request\nrespond 200 size 10 declare 11\nclose");
    let deeds = round.client("connect\nrequest GET /\nread response");
    let response = deed(&deeds, "read response");
    assert_eq!(
        (response.error.as_deref(), response.bytes, response.expected),
        (Some("EOF"), 10, Some(11))
    );
    round.over();
}

#[test]
fn a_request_is_tried_again() {
    let mut round = Round::server(
        "listen\naccept\nread request\nclose\naccept\nread request\nabort\naccept\nread request\nrespond 200 size 3",
    );
    let deeds = round.client("retry 2\nconnect as c\nrequest GET /a\nread response\nuse c\nclose");
    let reads: Vec<_> = deeds.iter().filter(|deed| deed.what == "read response").collect();
    let errors: Vec<_> = reads.iter().map(|deed| deed.error.as_deref()).collect();
    assert_eq!(errors, [Some("EOF"), Some("ECONNRESET"), None]);
    assert_eq!(
        reads.iter().map(|deed| deed.counts).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!(reads[2].bytes, 3);
    assert!(reads[0].local != reads[1].local && reads[1].local != reads[2].local);
    assert_eq!(deed(&deeds, "close").local, reads[2].local);
    round.over();
}

#[test]
fn retries_come_to_an_end() {
    let mut round = Round::server("listen\naccept\nread request\nstop listening\nclose");
    let deeds = round.client("connect\nretry 3\nrequest GET /a\nread response");
    assert_eq!(counting(&deeds), [("read response", Some("ECONNREFUSED"))]);
    assert_eq!(
        deeds.iter().filter(|deed| deed.what == "read response").count(),
        4,
        "{deeds:#?}"
    );
    round.over();
}

#[test]
fn pools_that_watch_their_connections() {
    let mut round = Round::server(
        "listen\naccept\nread request\nrespond 200\nclose\nmark closed\naccept\nread request\n\
         respond 200 version 1.0\naccept\nread request\nrespond 200",
    );
    let deeds = round.client(
        "connect\nreconnect if closed\nrequest GET /1\nread response\nawait closed\nawait fin\nreconnect if not kept\n\
         try reconnect if closed\nrequest GET /2\nread response\nreconnect if not kept\nrequest GET /3\nread response",
    );
    assert_eq!(counting(&deeds), [("read response", None); 3], "{deeds:#?}");
    let locals: Vec<_> = deeds
        .iter()
        .filter(|deed| deed.what == "read response")
        .map(|deed| deed.local)
        .collect();
    assert!(locals[0] != locals[1] && locals[1] != locals[2]);
    assert_eq!(deed(&deeds, "reconnect if closed").local, locals[0]);
    round.over();
}

#[test]
fn pools_with_an_idle_limit_of_their_own() {
    let mut round =
        Round::server("listen\nserve\nwhile request\nrespond 200 header \"Keep-Alive: max=9, timeout=1\"\nend\nend");
    let deeds = round.client(
        "connect\nrequest GET /1\nread response\nreconnect if idle for 1s\nreconnect if idle for announced\nrequest GET /2\n\
         read response\nsleep 20ms\nreconnect if idle for 20ms\nrequest GET /3\nread response\nsleep 1s\n\
         reconnect if idle for announced\nrequest GET /4\nread response",
    );
    let locals: Vec<_> = deeds
        .iter()
        .filter(|deed| deed.what == "read response")
        .map(|deed| deed.local)
        .collect();
    assert_eq!(locals.len(), 4, "{deeds:#?}");
    assert_eq!(locals[0], locals[1]);
    assert!(locals[1] != locals[2] && locals[2] != locals[3], "{locals:?}");
    round.over();
}

#[test]
fn a_connection_that_failed_is_not_kept() {
    let mut round = Round::server("listen\naccept\nread request\nclose\naccept\nread request\nrespond 200");
    let deeds = round
        .client("connect\nrequest GET /1\ntry read response\nreconnect if not kept\nrequest GET /2\nread response");
    assert_eq!(
        counting(&deeds),
        [("try read response", Some("EOF")), ("read response", None)],
        "{deeds:#?}"
    );
    round.over();
}

#[test]
fn a_gateway_answers_in_a_thread_when_nobody_else_does() {
    let mut round = Round::server(
        "listen\naccept\nthread\nread request\nmark asked\nend\nawait asked\nrespond 502 size 5 if unanswered\n\
         respond 502 size 5 if unanswered\nread request\nrespond 200",
    );
    let deeds = round.client("connect\nrequest GET /1\ntry read response\nrequest GET /2\nread response");
    assert_eq!(
        counting(&deeds),
        [("try read response", Some("502")), ("read response", None)],
        "{deeds:#?}"
    );
    round.over();
}

#[test]
fn a_write_that_fails_and_an_answer_that_can_be_read_nevertheless() {
    let mut round = Round::server("listen\naccept\nread head\nrespond 413 size 5\nclose\nmark closed");
    let deeds = round.client("connect\nrequest POST / body 4 declare 1MiB\nawait closed\nread response");
    assert_eq!(deed(&deeds, "read response").status, Some(413));
    round.over();

    let mut round = Round::server("listen\naccept\nawait connected\nabort\nmark aborted");
    let deeds = round.client("connect\nmark connected\nawait aborted\nawait reset\nrequest POST / body 22");
    assert_eq!(counting(&deeds), [("request POST / body 22", Some("ECONNRESET"))]);
    round.over();
}

#[test]
fn no_statement_waits_for_ever() {
    let mut round = Round::server("receive-buffer 4KiB\nlisten\naccept\nawait done");
    let deeds = round.client(
        "timeout 30ms\ntry await never\nconnect\nsend-buffer 16KiB\ntry write 300MiB\ntry await sent\ntry await fin\n\
         try await reset\ntry read 1\ntry read response\nmark done\naccept",
    );
    let timeouts = deeds
        .iter()
        .filter(|deed| deed.error.as_deref() == Some("timeout"))
        .count();
    let write = deed(&deeds, "try write 300MiB");
    assert!(
        write.bytes > 0 && write.bytes < 300 << 20 && write.expected == Some(300 << 20),
        "{write:?}"
    );
    assert_eq!(timeouts, 7, "{deeds:#?}");
    assert_eq!(
        counting(&deeds),
        [
            ("try read response", Some("timeout")),
            ("accept", Some("not listening"))
        ]
    );
    round.over();
}

#[test]
fn large_writes_arrive() {
    let mut round = Round::server("listen\naccept\nread 40MiB\nread to end\nclose");
    let deeds = round.client("connect\nwrite 40MiB\nwrite 3\nshutdown write\nawait sent\nread to end");
    assert!(deeds.iter().all(|deed| deed.error.is_none()), "{deeds:#?}");
    let server = round.deeds(0);
    assert_eq!(deed(&server, "read 40MiB").bytes, 40 << 20);
    assert_eq!(deed(&server, "read to end").bytes, 3);
    round.over();
}

#[test]
fn draining_has_three_ends() {
    for (sent, ending, statement, bytes) in [
        ("write 50", "shutdown write", "drain 64KiB within 5s", 50),
        ("write 50", "sleep 1us", "drain 20 within 5s", 20),
        ("write 50", "sleep 1us", "drain 64KiB within 50ms", 50),
    ] {
        let mut round = Round::server(&format!(
            "listen\naccept\nawait written\nawait unread 50\n{statement}\nclose"
        ));
        round.client(&format!("connect\n{sent}\n{ending}\nmark written"));
        let server = round.deeds(0);
        let drain = deed(&server, statement);
        assert_eq!((drain.bytes, drain.error.as_deref()), (bytes, None));
        round.over();
    }
}

#[test]
fn marks_and_signals_go_through_the_lab() {
    let mut round = Round::server("listen\nawait ready\nstop client\nmark stopped\nmark stopped\naccept");
    let client = round.start("mark ready\nawait stopped\nconnect");
    round.deeds(client);
    round.deeds(0);
    let said = round.wait(0, "marks", |_| true);
    let signal = FromActor::Signal {
        host: "client".to_owned(),
        signal: Signal::Stop,
    };
    let place = |wanted: &FromActor| said.iter().position(|message| message == wanted);
    assert!(place(&signal).unwrap() < place(&FromActor::Mark("stopped".to_owned())).unwrap());
    round.over();
}

#[test]
fn a_server_serves_many_at_once() {
    let mut round = Round::server("listen\nserve\nrepeat 100\nread request\nrespond 200 size 10\nend\nend\nawait done");
    let script = "connect as a\nrequest GET /a\nread response\nconnect as b\nrequest GET /b\nrequest GET /c\n\
                  read response\nread response\nuse a\nrequest GET /d\nread response\nclose\nuse b\nclose";
    let clients: Vec<_> = (0..3).map(|_| round.start(script)).collect();
    for client in clients {
        assert_eq!(counting(&round.deeds(client)), [("read response", None); 4]);
    }
    round.client("mark done");
    let server = round.wait(0, "six ends", |said| {
        said.iter()
            .filter(|said| matches!(said, FromActor::Did(deed) if deed.error.is_some()))
            .count()
            == 6
    });
    // A client that goes is no failure of the server.
    assert!(
        server
            .iter()
            .all(|said| !matches!(said, FromActor::Did(deed) if deed.counts)),
        "{server:#?}"
    );
    round.over();
}

#[test]
fn a_listener_that_serves_can_be_stopped() {
    let mut round =
        Round::server("listen\nserve\nread request\nrespond 200\nend\nawait go\nstop listening\nmark stopped");
    let deeds = round.client("connect\nrequest GET /\nread response\nmark go\nawait stopped\nconnect");
    assert_eq!(
        counting(&deeds),
        [("read response", None), ("connect", Some("ECONNREFUSED"))]
    );
    round.over();
}

#[test]
fn a_proxy_passes_messages_on() {
    let mut round =
        Round::server("listen\naccept\nread request\nrespond 200 size 300000 chunked\naccept\nread request\nabort");
    round.start(
        "await up\nlisten port +1\nmark listens\nserve as down port +1\nconnect as up\n\
                 forward request from down to up\nforward response from up to down\nend",
    );
    let deeds = round.client(
        "mark up\nawait listens\nconnect port +1\nrequest POST /p body 40000\nread response\n\
         connect port +1\nrequest GET /q\nread response",
    );
    assert_eq!(
        counting(&deeds),
        [("read response", None), ("read response", Some("EOF"))],
        "{deeds:#?}"
    );
    assert_eq!(
        deeds.iter().find(|deed| deed.what == "read response").unwrap().bytes,
        300_000
    );
    round.over();
}

#[test]
fn what_ends_a_script_counts_and_what_is_tried_does_not() {
    let mut round = Round::new();
    let deeds = round.client("try connect\ntry read 1\nconnect within 2s\nmark never");
    assert_eq!(counting(&deeds), [("connect within 2s", Some("ECONNREFUSED"))]);
    assert_eq!(deed(&deeds, "try read 1").error.as_deref(), Some("no connection"));
    assert!(deed(&deeds, "try connect").local.is_some());
    assert_eq!(deeds.len(), 3);
    round.over();
}

#[test]
fn an_actor_that_cannot_begin_says_why() {
    let mut round = Round::new();
    let unable = |round: &Round, actor: usize| {
        let said = round.wait(actor, "reason", |said| {
            said.iter().any(|said| matches!(said, FromActor::Unable(_)))
        });
        said.into_iter()
            .find_map(|said| {
                if let FromActor::Unable(why) = said {
                    Some(why)
                } else {
                    None
                }
            })
            .unwrap()
    };
    let actor = round.start("connect\nconect");
    assert!(unable(&round, actor).contains("line 2: there is no statement `conect`: did you mean `connect`?"));
    let actor = round.start_with("{}");
    assert!(unable(&round, actor).contains("no job"));
    let actor = round.start("listen\nlisten");
    assert!(unable(&round, actor).contains("EADDRINUSE"));
    assert_eq!(round.exit(actor), 2);
    assert_eq!(round.over(), [2, 2]);
}

#[test]
fn the_round_ends_an_actor_wherever_it_is_and_exit_does_too() {
    let mut round = Round::server("listen\ntimeout 2min\naccept");
    let quits = round.start("exit 7");
    assert_eq!(round.exit(quits), 7);
    assert_eq!(round.over(), [0]);
}

#[test]
fn an_answer_over_another_connection_and_one_told_by_its_shape() {
    let mut round = Round::server(
        "listen\naccept as a\nread request\naccept as b\nread request\nuse a\nrespond 200 json over b\nrespond 200 json",
    );
    let deeds = round.client(
        "connect as a\nrequest GET /orders/1 json\nconnect as b\nrequest GET /accounts/2 json\ntry read response\n\
         use a\nread response\nclose",
    );
    assert_eq!(
        counting(&deeds),
        [
            ("try read response", Some("another's response")),
            ("read response", None)
        ]
    );
    let answer = "{\"orders\":{\"number\":1}}\n".len() as u64;
    assert!(
        deeds
            .iter()
            .filter(|deed| deed.what.ends_with("read response"))
            .all(|deed| deed.bytes == answer)
    );
    let server = round.deeds(0);
    let over = deed(&server, "respond 200 json over b");
    assert_eq!(
        over.peer,
        deed(&deeds, "request GET /accounts/2 json").local,
        "{over:?}"
    );
    round.over();
}

#[test]
fn bytes_that_must_be_these() {
    let mut round = Round::server("listen\naccept\nread \"ask\\n\"\nwrite \"one\\n2\\n\"\nread to end");
    let deeds = round.client("connect\nwrite \"ask\\n\"\nread \"one\\n\"\nread \"two\\n\"");
    assert_eq!(
        counting(&deeds),
        [
            (r#"read "one\n""#, None),
            (r#"read "two\n""#, Some("another's response"))
        ]
    );
    round.over();
}

#[test]
fn a_body_of_ones_own_may_be_a_request() {
    let mut round = Round::server(
        "listen\naccept\nread head\nrespond 200 size 3\nread request\nrespond 200 size 5\nread request\nrespond 200 size 7",
    );
    let deeds = round.client(
        "connect\nrequest POST /form body \"GET /inner HTTP/1.1\\r\\n\\r\\n\"\nread response\nrequest GET /next\nread response",
    );
    assert_eq!(
        counting(&deeds),
        [("read response", None), ("read response", Some("another's response"))]
    );
    round.over();
}

#[test]
fn a_pool_that_gives_up_on_an_answer_reads_it_as_the_next_ones() {
    let mut round = Round::server(
        "listen\naccept\nread request\nawait late\nrespond 200 json\nread request\nrespond 200 json\nread to end",
    );
    let deeds = round.client(
        "connect\nrequest GET /orders/1 json\ntimeout 20ms\ntry await unread 1\ngive up\ntimeout 5s\n\
         request GET /accounts/2 json\nmark late\nread response",
    );
    assert_eq!(counting(&deeds), [("read response", Some("another's response"))]);
    round.over();
}
