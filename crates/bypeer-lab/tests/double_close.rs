//! A double close. It has a process of its own: a number that is closed twice may be anybody's.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "actor/glue.rs"]
#[allow(dead_code)]
mod glue;

use glue::{Round, counting, deed};

#[test]
fn a_double_close_delivers_to_the_wrong_connection() {
    let mut round = Round::server(
        "listen\naccept as a\nread request\nawait asked\nclose fd of a\naccept as b\nread request\n\
         use a\nrespond 200 size 100\nclose\nuse b\ntry respond 200",
    );
    let deeds = round.client(
        "connect as one\nrequest GET /mine\nconnect as two\nrequest GET /yours\nmark asked\n\
         try read response\nuse one\nawait fin\nread response",
    );
    assert_eq!(
        counting(&deeds),
        [
            ("try read response", Some("another's response")),
            ("read response", Some("EOF"))
        ],
        "{deeds:#?}"
    );
    assert_eq!(deed(&deeds, "try read response").bytes, 100);
    let server = round.deeds(0);
    // The second close of the number closed the other connection.
    assert_eq!(deed(&server, "close").error, None);
    assert_eq!(
        deed(&server, "try respond 200").error.as_deref(),
        Some("EBADF"),
        "{server:#?}"
    );
    round.over();
}
