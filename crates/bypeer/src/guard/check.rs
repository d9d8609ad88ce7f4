//! `bypeer guard --check`: everything is read, nothing is opened for listening and nothing is asked over the network.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use bypeer_guard::config::certificates::inspect;
use bypeer_guard::config::read::Told;
use bypeer_guard::config::settings::LogTo;
use bypeer_guard::config::value::{Bytes, Time};
use bypeer_guard::config::{UpstreamVersion, risks};
use bypeer_guard::guard::{Needed, StartError};
use bypeer_report::{Exit, escape};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

use super::arguments::Guard;
use super::privileges::Becomes;
use super::{say, trouble};
use crate::output;

pub(super) fn run(arguments: &Guard, told: &Told) -> anyhow::Result<Exit> {
    let settings = &told.settings;
    // In the order in which it begins: the log is opened first, and certificates are read as the user.
    let mut errors: Vec<String> = trouble::log(&settings.say.log).into_iter().collect();
    let user = settings.user.as_deref();
    match user
        .map(|user| Becomes::find(user, settings.group.as_deref()))
        .transpose()
    {
        Ok(Some(user)) if geteuid().is_root() => {
            errors.extend(user.become_it().err().map(|error| format!("{error:#}")))
        }
        Ok(_) => {}
        Err(error) => errors.push(format!("{error:#}")),
    }
    let (expired, wrong) = trouble::certificates(told);
    errors.extend(wrong.iter().map(ToString::to_string));
    let descriptors = descriptors(told).unwrap_or_else(|error| {
        errors.push(trouble::words(&error));
        None
    });
    errors.iter().for_each(|error| say(error));
    if !errors.is_empty() {
        return Ok(Exit::Trouble);
    }
    let mut out = output::stdout();
    out.write_all(plan(arguments.config.as_deref(), told).as_bytes())?;
    let risks: Vec<String> = risks(told)
        .iter()
        .map(ToString::to_string)
        .chain(expired)
        .chain(trouble::log_risk(&settings.say.log))
        .chain(descriptors)
        .collect();
    for risk in &risks {
        writeln!(out, "careful: {}", escape(risk))?;
    }
    out.flush()?;
    Ok(if risks.is_empty() {
        Exit::Nothing
    } else {
        Exit::Findings
    })
}

/// What would be done.
fn plan(file: Option<&Path>, told: &Told) -> String {
    let mut out = String::new();
    let settings = &told.settings;
    let (config, client, close) = (&settings.config, &settings.config.client, &settings.config.close);
    let upstream = &config.upstream;
    let mut row = |name: &str, what: String| {
        let _ = writeln!(out, "{name:<12}{}", escape(&what));
    };
    row(
        "right",
        file.map_or_else(|| "the flags".to_owned(), |file| file.display().to_string()),
    );
    for listen in &config.listen {
        let tls = match &listen.tls {
            None => "plain".to_owned(),
            Some(files) => match inspect(files) {
                Ok(inspected) => format!(
                    "TLS: {}, a chain of {}, {}",
                    files.certificate.display(),
                    inspected.chain,
                    inspected.holds
                ),
                Err(error) => error.to_string(),
            },
        };
        row("listens on", format!("{} ({tls})", listen.address));
    }
    let version = match upstream.version {
        UpstreamVersion::Http1 => "HTTP/1.1",
        UpstreamVersion::Http2 => "HTTP/2",
    };
    for destination in &upstream.to {
        row("passes on to", format!(" {destination} ({version})"));
    }
    let idle = upstream
        .idle
        .map_or_else(|| "learned".to_owned(), |idle| format!("{} as given", Time(idle)));
    row(
        "server",
        format!(
            "at most {} connections; its idle limit is {idle}; an answer must begin within {}",
            upstream.most,
            Time(upstream.answer)
        ),
    );
    row(
        "clients",
        format!(
            "at most {} connections; idle ones are kept {}, and told {}; bodies {}",
            client.connections,
            Time(client.idle),
            Time(client.idle - client.margin),
            client
                .body
                .map_or_else(|| "of any size".to_owned(), |body| format!("up to {}", Bytes(body)))
        ),
    );
    row(
        "closes",
        format!(
            "read on for at most {}, {} of silence, {} in all; at the end requests may run for {}",
            Bytes(close.bytes),
            Time(close.idle),
            Time(close.total),
            Time(close.drain)
        ),
    );
    let log = match &settings.say.log {
        LogTo::Stdout => "on standard output".to_owned(),
        LogTo::File(path) => format!("in {}", path.display()),
        LogTo::Nowhere => "off".to_owned(),
    };
    let metrics = settings
        .say
        .metrics
        .map_or_else(String::new, |address| format!("; metrics at http://{address}/metrics"));
    row("log", format!("{log}{metrics}"));
    if let Some(user) = &settings.user {
        let who = Becomes::find(user, settings.group.as_deref())
            .map_or_else(|error| error.to_string(), |who| who.to_string());
        row("becomes", who);
    }
    out
}

/// Whether there are file descriptors for everybody, or at least enough to begin with.
fn descriptors(told: &Told) -> Result<Option<String>, StartError> {
    let Ok((_, limit)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(None);
    };
    let Needed { least, all, .. } = bypeer_guard::guard::Guard::descriptors(&told.settings.config);
    if limit < least {
        return Err(StartError::Descriptors { limit, needed: least });
    }
    Ok((limit < all).then(|| {
        format!(
            "at most {limit} file descriptors may be had here (ulimit -Hn), and {all} are needed for client.connections and \
             upstream.most; raise the limit (LimitNOFILE= in the unit), or fewer clients are let in"
        )
    }))
}
