//! `SIOCOUTQ`, for which rustix, nix and socket2 have no safe call.
#![allow(unsafe_code)]

use rustix::fd::BorrowedFd;

/// `unsent` without our FIN. That is the last to be acknowledged, so it is in the number unless the number is 0. Unix
/// sockets have none.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn unsent_before_fin(socket: BorrowedFd<'_>) -> Option<u64> {
    let bytes = unsent(socket)?;
    let fin = bytes > 0 && !crate::socket::is_unix(socket);
    Some(bytes - u64::from(fin))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn unsent_before_fin(_: BorrowedFd<'_>) -> Option<u64> {
    None
}

/// Bytes written and not acknowledged, a FIN counted as one.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> Option<u64> {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    // linux/sockios.h: SIOCOUTQ is TIOCOUTQ, whose number depends on the processor.
    const SIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;
    // SAFETY: the opcode is one of the kernel's, and it writes an int (tcp_ioctl, unix_ioctl: put_user to int *).
    let answer = unsafe { ioctl(socket, Getter::<SIOCOUTQ, libc::c_int>::new()) };
    answer.ok().and_then(|bytes| u64::try_from(bytes).ok())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn unsent(_: BorrowedFd<'_>) -> Option<u64> {
    None
}
