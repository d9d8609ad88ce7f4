use super::*;

fn parse(text: &str) -> Result<Script, ScriptError> {
    Script::parse(text, &["server".to_owned(), "client".to_owned(), "fresh".to_owned()])
}

#[test]
fn every_statement_is_understood() {
    let text = r#"
            listen backlog 1 port +2      # a comment
            listen
            accept as a
            accept port +1
            stop listening
            connect to fresh as b within 2s
            connect
            use a
            request POST /form version 1.0 header "A: b" header "C: d" body 64KiB declare 70000 split after 5ms
            request GET / chunked body 5
            respond 200 version 1.1 header "Connection: close" size 614400 declare nothing for 2
            write 1MiB
            write "PING\r\n"
            read head
            read body
            read request
            read response
            read 22
            receive 10
            read to end
            drain 64KiB within 2s
            await unread 22
            await sent
            await fin
            await reset
            mark here
            await here
            sleep 100us
            shutdown write
            shutdown read
            shutdown both
            close
            abort
            linger 5s
            linger off
            linger 0
            nodelay on
            nodelay off
            user-timeout 100ms
            keepalive idle 1s interval 1s count 3
            receive-buffer 4KiB
            send-buffer 4KiB
            timeout 1s
            reconnect if closed
            reconnect if not kept
            retry 2
            reconnect if idle for 50ms
            reconnect if idle for announced
            respond 502 if unanswered
            close fd of b
            kill server
            stop client
            continue client
            exit
            exit 3
            give up
            try read 1
            repeat 3
              serve as c port +2
                repeat 2
                  forward request from a to b
                  forward response from b to c
                end
              end
            end
            thread
              use a
            end"#;
    let script = parse(text).unwrap();
    assert_eq!(script.lines.len(), 59);
    assert_eq!(script.lines[0].text, "listen backlog 1 port +2      # a comment");
    assert_eq!(script.lines[0].statement, Statement::Listen { backlog: 1, port: 2 });
    let Statement::Request(request) = &script.lines[8].statement else {
        panic!("{:?}", script.lines[8])
    };
    assert!(request.old && request.body == 65536 && request.framing == Declared::Length(70000));
    assert_eq!(request.split, Some(Duration::from_millis(5)));
    assert_eq!(script.lines[12].statement, Statement::WriteText(b"PING\r\n".to_vec()));
    let Statement::Repeat { times: 3, block } = &script.lines[57].statement else {
        panic!("{:?}", script.lines[53])
    };
    let Statement::Serve {
        name: Some(_), block, ..
    } = &block[0].statement
    else {
        panic!("{block:?}")
    };
    assert!(matches!(&block[0].statement, Statement::Repeat { times: 2, block } if block.len() == 2));
    assert!(matches!(&script.lines[58].statement, Statement::Thread { block } if block.len() == 1));
    let tried: Vec<_> = script
        .lines
        .iter()
        .filter(|line| line.tried)
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!(tried, ["try read 1"]);
}

#[test]
fn what_is_wrong_is_said() {
    for (text, line, why) in [
        ("conect", 1, "there is no statement `conect`: did you mean `connect`?"),
        (
            "teleport",
            1,
            "there is no statement `teleport`: there are abort, accept",
        ),
        (
            "\n\nread",
            3,
            "expected a size like `22` or `64KiB`, but the line ends here; or `read head`",
        ),
        ("read 5ms", 1, "\"5ms\" is no size"),
        ("sleep 22", 1, "\"22\" is no time: write `100us`"),
        ("listen backlog", 1, "expected a backlog"),
        (
            "listen backlock 2",
            1,
            "`backlock` is not known here: did you mean `backlog`?",
        ),
        ("close now", 1, "the statement is complete before `now`"),
        ("close fd a", 1, "expected `of`, not `a`"),
        ("accept port 1", 1, "offset to the round's own, like `+1`"),
        (
            "request GET",
            1,
            "expected a path, like `/form`, but the line ends here",
        ),
        ("request GET \"/a b\"", 1, "a path is one word"),
        ("request GET / header \"no colon\"", 1, "a header is `Name: value`"),
        (
            "request GET / header \"A: b\\r\\nC: d\"",
            1,
            "a header is `Name: value`",
        ),
        ("request GET / version 2", 1, "expected `1.0` or `1.1`, not `2`"),
        ("request GET / size 5", 1, "`size` is not known here"),
        ("request PUT / expect 101 within 1s", 1, "expected `100`, not `101`"),
        ("request PUT / expect 100", 1, "expected `within`"),
        ("respond 99", 1, "a status is 100 to 999, not 99"),
        ("respond 200 for 0", 1, "numbered from 1"),
        ("respond 200 over b", 1, "no connection has the name `b`"),
        (
            "respond 200 jason",
            1,
            "`jason` is not known here: did you mean `json`?",
        ),
        ("request POST / body \"a", 1, "no closing"),
        (
            "connect to serve",
            1,
            "there is no host `serve`: did you mean `server`?",
        ),
        ("kill 9", 1, "there is no host `9`: there are server, client, fresh"),
        ("connect as a\nuse b", 2, "no connection has the name `b`"),
        ("mark fin", 1, "`await fin` means something else"),
        ("linger 100ms", 1, "whole seconds"),
        ("timeout 0", 1, "leaves no time"),
        ("reconnect if not closed", 1, "expected `kept`, not `closed`"),
        ("reconnect if idle 5s", 1, "expected `for`, not `5s`"),
        ("exit 256", 1, "0 to 255"),
        ("retry -1", 1, "how often"),
        ("receive 0", 1, "one byte at least"),
        ("end", 1, "no `repeat`, `while`, `thread` or `serve`"),
        ("listen\nrepeat 3\naccept", 2, "its `end` is missing"),
        ("repeat 2\nend", 2, "nothing to do"),
        ("serve\nserve\nclose\nend\nend", 2, "no `serve` within a `serve`"),
        ("try repeat 2\nclose\nend", 1, "`try` stands before one statement"),
        ("write \"a", 1, "no closing"),
        ("\"listen\"", 1, "does not begin with a quote"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

#[test]
fn no_prefix_of_a_script_is_a_panic() {
    let text = "repeat 2\nrequest GET /é header \"A: \\xff\" body 1KiB split after 1ms\nend\nclose fd of a";
    let readable = (0..=text.len())
        .filter_map(|end| text.get(..end))
        .filter(|text| parse(text).is_ok())
        .count();
    // A header that is no UTF-8 is refused.
    assert_eq!(readable, 1);
}
