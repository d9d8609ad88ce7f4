//! Why the guard cannot begin, in the operator's words: what, and what to do.

use std::io::ErrorKind;
use std::net::SocketAddr;

use bypeer_guard::config::certificates::{CertificateError, Holds, inspect, inspect_authority};
use bypeer_guard::config::read::Told;
use bypeer_guard::guard::StartError;

/// Of an address that cannot be listened on, also what can be done about it.
pub(super) fn words(error: &StartError) -> String {
    match error {
        StartError::Listen { address, error } => format!("cannot listen on {address}: {}", advice(*address, error)),
        other => other.to_string(),
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
