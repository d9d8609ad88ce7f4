//! Node's http.Server.

use crate::hold::{Known, Limit, hold};
use crate::kernel::Left;
use crate::server::Server;

/// `http.Server` with options of createServer.
pub fn node(options: &str) -> Server {
    let program = r#"
const http = require('http');
const server = http.createServer({ OPTIONS }, (request, response) => response.end('hello from Node\n'));
server.listen({port}, '{host}');
"#;
    Server::new()
        .file("server.js", &program.replace("OPTIONS", options))
        .start("node {dir}/server.js")
}

#[test]
#[ignore = "needs root, node"]
fn node_is_as_configured_and_adds_a_second() {
    let server =
        node("keepAliveTimeout: 1000, headersTimeout: 1000, requestTimeout: 2000, connectionsCheckingInterval: 100");
    hold(
        &server,
        &Known {
            name: "Node",
            kept: "kept",
            ends_by: Some("fin"),
            promised: Some(1),
            promised_if_asked: Some(1),
            serial: false,
            limits: &[
                // Not what it was told, and not what it promises: a second more.
                (Left::AfterOne, Limit::Adds(1000, 1000)),
                (Left::AfterSeveral, Limit::Adds(1000, 1000)),
                (Left::Unused, Limit::Ticks(1000, 200)),
                (Left::InHead, Limit::Ticks(1000, 200)),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}
