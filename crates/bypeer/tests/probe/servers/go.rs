//! Go's net/http.

use crate::hold::{Known, Limit, hold};
use crate::kernel::Left;
use crate::server::Server;

/// net/http with fields for its `http.Server`.
pub fn go(fields: &str) -> Server {
    let program = r#"package main

import (
	"io"
	"net/http"
	"time"
)

var second = time.Second

func main() {
	hello := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello from Go\n") }
	server := &http.Server{Addr: "{addr}", Handler: http.HandlerFunc(hello), FIELDS}
	panic(server.ListenAndServe())
}
"#;
    Server::new()
        .file("main.go", &program.replace("FIELDS", fields))
        .made_by("go build -o {dir}/server {dir}/main.go")
        .start("{dir}/server")
}

#[test]
#[ignore = "needs long, root, go"]
fn go_is_as_configured() {
    let server = go("IdleTimeout: 2 * second, ReadHeaderTimeout: second, ReadTimeout: 3 * second");
    hold(
        &server,
        &Known {
            name: "Go net/http",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Is(2000)),
                (Left::AfterSeveral, Limit::Is(2000)),
                (Left::Unused, Limit::Is(1000)),
                (Left::InHead, Limit::Is(1000)),
                (Left::InBody, Limit::Is(3000)),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}
