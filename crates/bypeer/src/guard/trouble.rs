//! Why the guard cannot begin, in the operator's words: what, and what to do.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use bypeer_guard::config::certificates::{CertificateError, Holds, inspect, inspect_authority};
use bypeer_guard::config::read::Told;
use bypeer_guard::config::settings::LogTo;
use bypeer_guard::guard::StartError;
use bypeer_watch::metrics::ServeError;
use nix::unistd::{AccessFlags, User, eaccess, geteuid};

/// Of an address that cannot be listened on, also what can be done about it.
pub(super) fn words(error: &StartError) -> String {
    match error {
        StartError::Listen { address, error } => format!("cannot listen on {address}: {}", advice(*address, error)),
        other => other.to_string(),
    }
}

/// The same of the metrics.
pub(super) fn metrics(error: &ServeError) -> String {
    match error {
        ServeError::Io { address, source } => {
            format!("metrics cannot be served on {address}: {}", advice(*address, source))
        }
        other => other.to_string(),
    }
}

/// Why the log cannot be opened, as far as can be seen without opening it.
pub(super) fn log(log: &LogTo) -> Option<String> {
    let LogTo::File(path) = log else { return None };
    let folder = folder(path);
    let why = match fs::metadata(path) {
        Ok(there) if there.is_dir() => "is a folder; give a file in it (log, --log)".to_owned(),
        Ok(_) => format!(
            "the log cannot be written: {}",
            eaccess(path, AccessFlags::W_OK).err()?.desc()
        ),
        Err(error) if error.kind() != ErrorKind::NotFound => format!("the log cannot be opened: {error}"),
        Err(_) if !folder.is_dir() => "the folder of the log is not there; make it first".to_owned(),
        Err(_) => format!("the log cannot be made: {}", eaccess(folder, MAKE).err()?.desc()),
    };
    Some(format!("{}: {why}", path.display()))
}

/// What this process, by now the user of `--user`, will not be able to do with the log.
pub(super) fn log_risk(log: &LogTo) -> Option<String> {
    let LogTo::File(path) = log else { return None };
    let there = fs::metadata(path);
    // Pipes and devices are not renamed.
    if there.as_ref().is_ok_and(|there| !there.is_file()) {
        return None;
    }
    let user = User::from_uid(geteuid()).ok().flatten();
    let user = user.map_or_else(|| format!("uid {}", geteuid()), |user| format!("user {}", user.name));
    if there.is_ok() && eaccess(path, AccessFlags::W_OK).is_err() {
        return Some(format!(
            "{}: {user} may not write the log, so a handover (SIGUSR2) will fail; give the file to that user",
            path.display()
        ));
    }
    let folder = folder(path);
    eaccess(folder, MAKE).is_err().then(|| {
        format!(
            "{}: {user} may not make files there, so the log cannot be opened again once it was renamed (SIGUSR1); give the folder to that \
             user",
            folder.display()
        )
    })
}

/// To make files in a folder.
const MAKE: AccessFlags = AccessFlags::W_OK.union(AccessFlags::X_OK);

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn advice(address: SocketAddr, error: &std::io::Error) -> String {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => format!("another program has it, and `ss -ltnp sport = :{port}` names it"),
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 need root (then --user), or CAP_NET_BIND_SERVICE: setcap cap_net_bind_service=+ep, or AmbientCapabilities= \
             in the unit; or listen on a higher port than {port}"
        ),
        ErrorKind::AddrNotAvailable => "this machine has no such address (`ip address` lists them)".to_owned(),
        _ => error.to_string(),
    }
}

/// Certificates and keys, as this process may read them. What is right about each comes first, what is wrong is an error.
pub(super) fn certificates(told: &Told) -> (Vec<String>, Vec<CertificateError>) {
    let (mut risks, mut wrong) = (Vec::new(), Vec::new());
    let config = &told.settings.config;
    let mut seen = Vec::new();
    for files in config.listen.iter().filter_map(|listen| listen.tls.as_ref()) {
        if seen.contains(&files) {
            continue;
        }
        seen.push(files);
        match inspect(files) {
            Ok(inspected) if matches!(inspected.holds, Holds::Expired(_) | Holds::NotYet(_)) => {
                risks.push(format!(
                    "{}: the certificate {}",
                    files.certificate.display(),
                    inspected.holds
                ));
            }
            Ok(_) => {}
            Err(error) => wrong.push(error),
        }
    }
    if let Some(authority) = &config.upstream.authority
        && let Err(error) = inspect_authority(authority)
    {
        wrong.push(error);
    }
    (risks, wrong)
}
