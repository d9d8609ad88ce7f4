//! `cargo xtask guard`: what `bypeer guard` makes of the five stories. Real servers and clients meet, directly and with the guard between
//! them; and requests come while the guard, or the server behind it, is restarted.

mod account;
mod meeting;
mod page;
mod restarts;
mod stories;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use self::restarts::{Restart, Restarted};
use self::stories::{Played, STORIES};
use crate::proxy::{Name, Product};

const PAGE: &str = "docs/guard-stories.md";

/// What to play, and through what.
#[derive(clap::Args)]
pub struct Arguments {
    /// Requests of each client. The record is made with 10000
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    requests: u32,
    /// Only this story, or only the restarts (0); can be repeated
    #[arg(long, value_name = "STORY")]
    only: Vec<u8>,
    /// Through these
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', default_values = ["nginx", "guard"])]
    through: Vec<Name>,
    /// A line of JSON for each meeting, and no page
    #[arg(long)]
    json: bool,
    /// Write the page to this file
    #[arg(long, value_name = "FILE", default_value = PAGE)]
    page: PathBuf,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Plays, and writes docs/guard-stories.md when everything was played. Fails when nothing failed directly, or something was lost through
/// the guard.
///
/// # Errors
/// When somebody cannot be started, or a client does not count all of its requests.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let binary = crate::bypeer::given(arguments.binary.as_deref())?;
    let through = arguments.through.iter();
    let proxies: Vec<Product> = through.map(|name| name.product(&binary)).collect();
    let folder = tempfile::tempdir()?;
    let go_client = meeting::build_go_client(folder.path())?;
    let is_wanted = |story: u8| arguments.only.is_empty() || arguments.only.contains(&story);
    let mut stories: Vec<Played> = Vec::new();
    for story in STORIES.iter().filter(|story| is_wanted(story.number)) {
        eprintln!("story {}: {}", story.number, story.server);
        let played = story
            .play(&binary, &go_client, &proxies, arguments.requests)
            .with_context(|| format!("story {}: {}", story.number, story.server))?;
        if arguments.json {
            println!("{}", serde_json::to_string(&played)?);
        } else {
            println!("{}", page::section(&played));
        }
        stories.push(played);
    }
    let mut restarts: Vec<Restarted> = Vec::new();
    if is_wanted(0) {
        for restart in Restart::ALL {
            eprintln!("{restart:?}");
            let restarted = restart
                .play(&proxies, &go_client, arguments.requests)
                .with_context(|| format!("{restart:?}"))?;
            if arguments.json {
                println!("{}", serde_json::to_string(&restarted)?);
            }
            restarts.push(restarted);
        }
    }
    if !arguments.json {
        let text = page::page(&stories, &restarts);
        if arguments.only.is_empty() {
            let path = crate::bypeer::root().join(&arguments.page);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            eprintln!("wrote {}", arguments.page.display());
        } else {
            println!("{}", page::page(&[], &restarts));
        }
    }
    let right = stories.iter().all(Played::is_right) && restarts.iter().all(Restarted::is_right);
    Ok(ExitCode::from(u8::from(!right)))
}
