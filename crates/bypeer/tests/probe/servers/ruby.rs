//! Puma.

use crate::hold::{Known, Limit, hold};
use crate::kernel::Left;
use crate::server::Server;

/// Puma with lines of configuration.
pub fn puma(settings: &str) -> Server {
    Server::new()
        .file(
            "config.ru",
            r#"run lambda { |env| [200, {"Content-Type" => "text/plain"}, ["hello from Puma\n"]] }"#,
        )
        .file(
            "puma.rb",
            &format!("bind 'tcp://{{addr}}'\nthreads 1, 4\nworkers 0\nenvironment 'production'\n{settings}\n"),
        )
        .start("puma -C {dir}/puma.rb {dir}/config.ru")
}

#[test]
#[ignore = "needs root, puma"]
fn puma_is_as_configured() {
    let server = puma("persistent_timeout 2\nfirst_data_timeout 1");
    hold(
        &server,
        &Known {
            name: "Puma",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                // Its thread waits for 0.2 s before it hands a connection to the reactor, which times it.
                (Left::AfterOne, Limit::Adds(2000, 200)),
                (Left::AfterSeveral, Limit::Adds(2000, 200)),
                (Left::Unused, Limit::Is(1000)),
                (Left::InHead, Limit::Is(1000)),
                (Left::InBody, Limit::Is(1000)),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}
