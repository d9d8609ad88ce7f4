//! What is told of each message, to whom listens.

use proptest::prelude::*;

use super::*;
use Noticed::*;

/// What was told, the connection's end included.
fn notices(dialogue: &[Said]) -> Vec<(u64, Noticed)> {
    let mut feeder = Feeder::new();
    feeder.listens = true;
    dialogue.iter().for_each(|said| feeder.say(said));
    end(feeder)
}

fn end(mut feeder: Feeder) -> Vec<(u64, Noticed)> {
    feeder.conversation.close_ear(PacketRef::default());
    feeder.collect();
    feeder.told
}

/// In short: `?0` a request, `?` its head, `?!` its end; `!0` an answer, `!-` one nobody asked for, `!200` its end, `~` cut.
fn short(told: &[(u64, Noticed)]) -> String {
    let number = |index: &Option<u32>| index.map_or("-".to_owned(), |index| index.to_string());
    let words: Vec<String> = told
        .iter()
        .map(|(_, what)| match what {
            Begun { protocol, whole } => format!("{protocol:?}{}", if *whole { "" } else { "(not whole)" }),
            Asking { index, .. } => format!("?{index}"),
            Asked { request, .. } => request.route.text.to_string(),
            AskedAll { .. } => "?!".to_owned(),
            Answering { index, .. } => format!("!{}", number(index)),
            Answered { look, complete, .. } => {
                let status = look
                    .status
                    .map_or(look.shape.text.to_string(), |status| status.to_string());
                format!("{status}{}", if *complete { "" } else { "~" })
            }
            Over { by, .. } => format!("{by:?}"),
            Lost => "lost".to_owned(),
            Gone => "gone".to_owned(),
        })
        .collect();
    words.join(" ")
}

fn looks(told: &[(u64, Noticed)]) -> Vec<&Look> {
    told.iter()
        .filter_map(|(_, what)| match what {
            Answered { look, .. } => Some(look),
            _ => None,
        })
        .collect()
}

const GET: &str = "GET /users/17?token=abc123def HTTP/1.1\r\nHost: x\r\nX-Request-Id: 6fa459ea-ee8a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"id\":1}";

#[test]
fn a_request_and_its_answer() {
    let told = notices(&[c(GET), s(OK), Said::ServerFin]);
    assert_eq!(short(&told), "Http1 ?0 GET /users/* ?! !0 200 ToClient");
    let packets: Vec<u64> = told.iter().map(|(at, _)| *at).collect();
    assert_eq!(packets, [1, 1, 1, 1, 2, 2, 3]);
    let [
        _,
        (_, asking),
        (_, Asked { head_end, request, .. }),
        (_, all),
        (_, answering),
        (_, answered),
        over,
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    let (asked, answer) = (GET.len() as u64, OK.len() as u64);
    assert_eq!(*asking, Asking { index: 0, start: 0 });
    assert_eq!(*head_end, asked);
    assert_eq!(*all, AskedAll { index: 0, end: asked });
    let acked = Some(asked);
    let index = Some(0);
    assert_eq!(*answering, Answering { index, start: 0, acked });
    let Answered { end, look, .. } = answered else {
        panic!("{answered:?}")
    };
    assert_eq!((*end, &*look.shape.text), (answer, "application/json {id:n}"));
    let how = How::Fin;
    let by = Direction::ToClient;
    assert_eq!(
        over.1,
        Over {
            by,
            how,
            acked,
            sent: answer
        }
    );
    let places: Vec<Place> = request.tokens.iter().map(|token| token.place).collect();
    assert!(matches!(places[..], [Place::Query(_), Place::Field(_)]), "{places:?}");
}

#[test]
fn pipelined_requests_are_paired_by_order() {
    let two = [GET, &GET.replace("17", "x")].concat();
    let told = notices(&[c(&two), s([OK, OK, OK].concat())]);
    assert_eq!(
        short(&told),
        "Http1 ?0 GET /users/* ?! ?1 GET /users/x ?! !0 200 !1 200 !- 200"
    );
}

#[test]
fn interim_answers_are_not_told_and_bodies_come_when_they_come() {
    let post = "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let told = notices(&[c(post), s("HTTP/1.1 100 Continue\r\n\r\n"), c("hello"), s(OK)]);
    assert_eq!(short(&told), "Http1 ?0 POST /a ?! !0 200");
    assert!(
        told.iter()
            .any(|(_, what)| matches!(what, Asked { request, .. } if request.expects_continue))
    );
    let early = notices(&[
        c(post),
        s("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(short(&early), "Http1 ?0 POST /a !0 413");
}

#[test]
fn what_has_no_body_has_none() {
    let head = GET.replace("GET", "HEAD");
    let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n";
    let told = notices(&[
        c(&head),
        s("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"),
        c(GET),
        s(not_modified),
        c(GET),
        s("HTTP/1.1 204 No\r\n\r\n"),
        c(GET),
        s("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        c(GET),
        s(OK),
    ]);
    let looks = looks(&told);
    let bodiless: Vec<bool> = looks.iter().map(|look| look.shape.is_bodiless).collect();
    assert_eq!(bodiless, [true, true, true, false, false]);
    assert_eq!(looks[4].status, Some(200));
}

#[test]
fn an_answer_that_ends_with_the_connection_is_whole_when_its_fin_came() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>hello";
    let told = notices(&[c(GET), s(endless), s("more"), Said::ServerFin]);
    assert_eq!(short(&told), "Http1 ?0 GET /users/* ?! !0 200 ToClient");
    assert_eq!(
        short(&notices(&[c(GET), s(endless)])),
        "Http1 ?0 GET /users/* ?! !0 200~"
    );
}

#[test]
fn chunks_are_looked_into() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n\
        4\r\n{\"a\"\r\nC;x=y\r\n:\"4711abcd\"}\r\n0\r\n\r\n";
    for cut in 1..answer.len() {
        let told = notices(&[c(GET), s(&answer[..cut]), s(&answer[cut..])]);
        let [look] = looks(&told)[..] else { panic!("{told:?}") };
        assert_eq!(
            (&*look.shape.text, look.tokens.len()),
            ("application/json {a:s}", 1),
            "{cut}"
        );
        assert_eq!(look.date, Some(784_111_777));
    }
}

#[test]
fn a_word_of_the_request_is_found_in_its_answer() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 34\r\nX-Request-Id: 6fa459ea-ee8a\r\n\r\n{\"token\":\"ABC123DEF\",\"user\":17   }";
    let told = notices(&[c(GET), s(answer)]);
    let words: Vec<u64> = told
        .iter()
        .filter_map(|(_, what)| match what {
            Asked { request, .. } => Some(request.tokens.iter().map(|token| token.word)),
            _ => None,
        })
        .flatten()
        .collect();
    let look = looks(&told)[0];
    assert_eq!(words.len(), 2);
    assert!(words.iter().all(|word| look.tokens.binary_search(word).is_ok()));
    assert!(!look.tokens_cut);
}

#[test]
fn a_compressed_body_tells_nothing() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{\"a\"";
    let told = notices(&[c(GET), s(answer)]);
    assert_eq!(&*looks(&told)[0].shape.text, "application/json encoded");
}

#[test]
fn an_answer_before_its_request_in_the_capture_is_known_by_its_ack() {
    let mut feeder = Feeder::new();
    feeder.listens = true;
    feeder.say(&c(GET));
    feeder.say(&s(OK));
    feeder.acks = Some(2 * GET.len() as u64);
    feeder.say(&s(OK));
    feeder.acks = None;
    feeder.say(&c(GET));
    feeder.say(&c(GET));
    feeder.say(&s(OK));
    let told = end(feeder);
    assert_eq!(
        short(&told),
        "Http1 ?0 GET /users/* ?! !0 200 !1 200 ?1 GET /users/* ?! ?2 GET /users/* ?! !2 200"
    );
}

#[test]
fn a_hole_where_it_decides_is_the_end() {
    let told = notices(&[c(GET), Said::ServerUnseen(40), s(OK), c(GET), s(OK), Said::ServerFin]);
    assert_eq!(short(&told), "Http1 ?0 GET /users/* ?! lost ToClient");
    // In a body of known length it does not decide.
    let head = OK.split_at(OK.len() - 8).0;
    let told = notices(&[c(GET), s(head), Said::ServerUnseen(8), c(GET), s(OK)]);
    assert_eq!(
        short(&told),
        "Http1 ?0 GET /users/* ?! !0 200 ?1 GET /users/* ?! !1 200"
    );
    assert!(looks(&told)[0].tokens_cut);
    let told = notices(&[c(GET), s(&OK[..20]), Said::ServerUnseen(30), s(OK)]);
    assert_eq!(short(&told), "Http1 ?0 GET /users/* ?! !0 nothing~ lost");
}

#[test]
fn lengths_that_lie_are_the_end() {
    let told = notices(&[c(GET), s([OK, "surplus"].concat()), c(GET), s(OK)]);
    assert_eq!(short(&told), "Http1 ?0 GET /users/* ?! !0 200 lost");
    let told = notices(&[c([GET, "{\"a\":1}"].concat()), s(OK)]);
    assert_eq!(short(&told), "Http1 ?0 GET /users/* ?! lost");
}

#[test]
fn other_protocols_are_not_told() {
    let upgrade = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n";
    let told = notices(&[c(GET), s(upgrade), s("abc"), c("def"), Said::ClientFin]);
    assert_eq!(short(&told), "Http1 ?0 GET /users/* ?! !0 101 lost ToServer");
    let tls = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    assert!(notices(&[c(tls), s(tls), Said::ClientFin]).is_empty());
    assert!(notices(&[s("220 mail ESMTP\r\n"), c("EHLO x\r\n"), Said::ClientFin]).is_empty());
}

#[test]
fn picked_up_is_not_whole() {
    let told = notices(&[s("rest of a body"), s(OK), c(GET), s(OK)]);
    assert_eq!(short(&told), "Http1(not whole) !- 200 ?0 GET /users/* ?! !0 200");
}

#[test]
fn bodies_beyond_the_sample_are_not_wanted() {
    let mut feeder = Feeder::new();
    feeder.listens = true;
    feeder.say(&c(GET));
    feeder.say(&s("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"));
    assert_eq!(feeder.conversation.unwanted(Direction::ToClient), 0);
    feeder.say(&s("[".repeat(Look::SAMPLE)));
    assert_eq!(
        feeder.conversation.unwanted(Direction::ToClient),
        1_000_000 - Look::SAMPLE as u64
    );
}

fn command(words: &[&str]) -> String {
    let strings: String = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()))
        .collect();
    format!("*{}\r\n{strings}", words.len())
}

#[test]
fn redis_commands_and_replies_are_paired_by_order() {
    let pipeline = [
        command(&["get", "user:4711abc"]),
        command(&["HGETALL", "h"]),
        "PING\r\n".to_owned(),
        command(&["CLIENT", "SETNAME", "worker"]),
        command(&["BLPOP", "q", "0"]),
    ]
    .concat();
    let replies =
        "$7\r\n{\"a\":1}\r\n*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n:1\r\n+PONG\r\n-ERR no such\r\n*-1\r\n:5\r\n";
    let expected = "Redis ?0 GET ?! ?1 HGETALL ?! ?2 PING ?! ?3 CLIENT SETNAME ?! ?4 BLPOP ?! \
        !0 string {a:n} !1 array(3+::$) !2 +PONG !3 -ERR !4 nil !- integer";
    assert_eq!(short(&notices(&[c(&pipeline), s(replies)])), expected);
    for cut in 1..pipeline.len() {
        let told = notices(&[c(&pipeline[..cut]), c(&pipeline[cut..]), s(replies)]);
        assert_eq!(short(&told), expected, "{cut}");
    }
    for cut in 1..replies.len() {
        let told = notices(&[c(&pipeline), s(&replies[..cut]), s(&replies[cut..])]);
        assert_eq!(short(&told), expected, "{cut}");
    }
}

#[test]
fn redis_transactions_queue() {
    let told = notices(&[
        c([command(&["MULTI"]), command(&["GET", "k"]), command(&["EXEC"])].concat()),
        s("+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n"),
    ]);
    assert_eq!(
        short(&told),
        "Redis ?0 MULTI ?! ?1 GET ?! ?2 EXEC ?! !0 +OK !1 +QUEUED no body !2 array(1:$)"
    );
    assert!(looks(&told)[1].shape.is_bodiless);
}

#[test]
fn redis_messages_are_by_design_unasked() {
    let confirm = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n";
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n";
    let told = notices(&[
        c(command(&["SUBSCRIBE", "a", "b"])),
        s([confirm, message].concat()),
        c(command(&["PING"])),
        s([message, "*2\r\n$4\r\npong\r\n$0\r\n\r\n", message].concat()),
    ]);
    assert_eq!(
        short(&told),
        "Redis ?0 SUBSCRIBE ?! !0 array(3+::$) ?1 PING ?! !1 array(2:$)"
    );
    let told = notices(&[
        c(command(&["HELLO", "3"])),
        s("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        c([command(&["SUBSCRIBE", "a"]), command(&["GET", "k"])].concat()),
        s(
            ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n|1\r\n+ttl\r\n:3\r\n_\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n",
        ),
    ]);
    assert_eq!(
        short(&told),
        "Redis ?0 HELLO ?! !0 map(1:$) ?1 SUBSCRIBE ?! ?2 GET ?! !1 push(3+::$) !2 nil"
    );
    let told = notices(&[
        c(command(&["MONITOR"])),
        s("+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n"),
        c(command(&["QUIT"])),
        s("+OK\r\n"),
    ]);
    assert_eq!(short(&told), "Redis ?0 MONITOR ?! !0 +OK ?1 QUIT ?! !1 +OK");
}

#[test]
fn redis_nonsense_and_streams_are_the_end() {
    let told = notices(&[c(command(&["GET", "k"])), s("what?\r\n")]);
    assert_eq!(short(&told), "Redis ?0 GET ?! lost");
    let told = notices(&[c(command(&["CLIENT", "REPLY", "OFF"])), c(command(&["GET", "k"]))]);
    assert_eq!(short(&told), "Redis ?0 CLIENT REPLY ?! lost");
    let told = notices(&[c(command(&["GET", "k"])), Said::ServerUnseen(5), s("+OK\r\n")]);
    assert_eq!(short(&told), "Redis ?0 GET ?! lost");
    // In a long string it does not matter what is missing.
    let told = notices(&[
        c(command(&["GET", "k"])),
        s("$10\r\nab"),
        Said::ServerUnseen(8),
        s("\r\n:1\r\n"),
    ]);
    assert_eq!(short(&told), "Redis ?0 GET ?! !0 string text !- integer");
}

#[test]
fn no_argument_of_a_command_with_credentials_is_hashed() {
    let told = notices(&[c([
        command(&["AUTH", "user4711", "s3cr3tpassw0rd"]),
        command(&["GET", "user4711"]),
    ]
    .concat())]);
    let counts: Vec<usize> = told
        .iter()
        .filter_map(|(_, what)| match what {
            Asked { request, .. } => Some(request.tokens.len()),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [0, 1]);
}

fn pieces() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let known = prop::sample::select(vec![
        GET.as_bytes().to_vec(),
        OK.as_bytes().to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec(),
        b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nk\r\n".to_vec(),
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\nk\r\n:1\r\n".to_vec(),
        b"$-1\r\n%1\r\n+a\r\n*0\r\n|1\r\n+a\r\n:1\r\n>1\r\n+x\r\n".to_vec(),
        b"{\"a\":{\"17\":[{}],\"b\":\"\\\"".to_vec(),
        vec![22, 3, 1, 0, 5, 1, 0, 0, 1, 0],
    ]);
    let hostile = prop::collection::vec(any::<u8>(), 1..40);
    prop::collection::vec((any::<bool>(), prop_oneof![4 => known, 1 => hostile]), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes, and however it is cut: the order of what is told of each message holds, and all is bounded.
    #[test]
    fn any_bytes_in_any_cut(pieces in pieces(), cuts in prop::collection::vec(1usize..30, 1..20), holes in any::<u16>()) {
        let mut whole = Feeder::new();
        let mut cut = Feeder::new();
        (whole.listens, cut.listens) = (true, true);
        // Both acknowledge alike, whatever the cut.
        (whole.acks, cut.acks) = (Some(0), Some(0));
        let mut lengths = cuts.iter().cycle();
        for (index, (client, bytes)) in pieces.iter().enumerate() {
            let direction = if *client { Direction::ToServer } else { Direction::ToClient };
            if holes & (1 << index) != 0 && holes % 3 == 0 {
                whole.unseen(direction, bytes.len() as u64);
                cut.unseen(direction, bytes.len() as u64);
                continue;
            }
            whole.segment(direction, bytes);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let here = (*lengths.next().unwrap()).min(rest.len());
                cut.segment(direction, &rest[..here]);
                rest = &rest[here..];
            }
        }
        for told in [end(whole), end(cut)] {
            holds(&told);
        }
    }

    #[test]
    fn any_cut_of_good_messages_tells_the_same(cut in prop::collection::vec(1usize..40, 1..20)) {
        let requests = [GET, &GET.replace("GET", "HEAD"), "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"].concat();
        let answers = [
            OK,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
        ].concat();
        let whole = notices(&[c(&requests), s(&answers)]);
        let mut feeder = Feeder::new();
        feeder.listens = true;
        let mut lengths = cut.iter().cycle();
        for (direction, bytes) in [(Direction::ToServer, &requests), (Direction::ToClient, &answers)] {
            let mut rest = bytes.as_bytes();
            while !rest.is_empty() {
                let here = (*lengths.next().unwrap()).min(rest.len());
                feeder.segment(direction, &rest[..here]);
                rest = &rest[here..];
            }
        }
        let bare = |told: Vec<(u64, Noticed)>| told.into_iter().map(|(_, what)| what).collect::<Vec<_>>();
        prop_assert_eq!(bare(end(feeder)), bare(whole));
    }
}

/// The order that [`Noticed`] promises, and its bounds.
fn holds(told: &[(u64, Noticed)]) {
    let (mut asking, mut asked, mut all, mut answering, mut open, mut lost) = (0, 0, 0, 0, None, false);
    for (place, (_, what)) in told.iter().enumerate() {
        assert_eq!(matches!(what, Begun { .. }), place == 0, "{told:?}");
        assert!(!lost || matches!(what, Over { .. } | Gone), "{told:?}");
        match what {
            Begun { .. } | Over { .. } | Gone => {}
            Asking { index, .. } => {
                assert_eq!(*index, asking);
                asking += 1;
            }
            Asked { index, request, .. } => {
                assert!(*index + 1 == asking && *index >= asked, "{told:?}");
                asked = index + 1;
                assert!(request.tokens.len() <= Request::TOKENS && request.route.text.len() <= 160);
                assert!(request.route.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
            AskedAll { index, .. } => {
                assert!(*index < asked && *index >= all, "{told:?}");
                all = index + 1;
            }
            Answering { index, .. } => {
                if let Some(index) = index {
                    assert_eq!(*index, answering, "{told:?}");
                    assert!(*index <= asking, "{told:?}");
                    answering += 1;
                }
                assert_eq!(open, None, "{told:?}");
                open = Some(*index);
            }
            Answered { index, look, .. } => {
                assert_eq!(open.take(), Some(*index), "{told:?}");
                assert!(look.tokens.len() <= Look::TOKENS && look.tokens.is_sorted());
                assert!(
                    look.shape.text.len() <= 200 && look.shape.text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
                );
            }
            Lost => lost = true,
        }
    }
}
