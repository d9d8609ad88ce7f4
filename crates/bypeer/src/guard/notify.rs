//! What a service manager is told (sd_notify(3)): a datagram to the socket that NOTIFY_SOCKET names. Where it is not set, nothing.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Requests are answered.
pub(super) const READY: &str = "READY=1";
/// It is on its way out.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Tells it, if there is one. That nobody hears is no reason to end.
pub(super) fn notify(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = send(&socket, state);
    }
}

fn send(socket: &OsString, state: &str) -> std::io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// Reading the configuration again begins: `Type=notify-reload` wants to know when.
pub(super) fn reloading() {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    let micros = now.unwrap_or_default().as_micros();
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_socket_are_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("bypeer-notify-{}", std::process::id());
        let named = UnixDatagram::bind(&path).unwrap();
        let abstract_ = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, text) in [
            (named, path.into_os_string()),
            (abstract_, OsString::from(format!("@{name}"))),
        ] {
            send(&text, READY).unwrap();
            let mut buffer = [0; 64];
            let read = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..read], b"READY=1");
        }
        assert!(send(&OsString::from("/nowhere/at/all"), READY).is_err());
    }
}
