//! Waits for many sockets at once: epoll(7) on Linux, poll(2) elsewhere and where epoll cannot be had.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::event::epoll;

/// Sockets that are told of in one wait.
#[cfg(any(target_os = "linux", target_os = "android"))]
const AT_ONCE: usize = 256;

/// Sockets, each with a token, of which one thread waits for any to be readable.
#[derive(Debug)]
pub(crate) struct Poller {
    system: System,
    bell: Bell,
}

#[derive(Debug)]
enum System {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Epoll(OwnedFd),
    Poll(Mutex<HashMap<u64, Arc<OwnedFd>>>),
}

/// The token of the bell.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BELL: u64 = u64::MAX;

impl Poller {
    /// The best that the system has.
    pub(crate) fn new() -> io::Result<Poller> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Ok(epoll) = epoll::create(epoll::CreateFlags::CLOEXEC) {
            let bell = Bell::new()?;
            epoll::add(
                &epoll,
                bell.fd(),
                epoll::EventData::new_u64(BELL),
                epoll::EventFlags::IN,
            )?;
            let system = System::Epoll(epoll);
            return Ok(Poller { system, bell });
        }
        Poller::portable()
    }

    /// poll(2), which takes time in proportion to the sockets, at each event.
    pub(crate) fn portable() -> io::Result<Poller> {
        Ok(Poller {
            system: System::Poll(Mutex::default()),
            bell: Bell::new()?,
        })
    }

    /// From now on the socket is waited for.
    pub(crate) fn register(&self, socket: &Arc<OwnedFd>, token: u64) -> io::Result<()> {
        match &self.system {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            System::Epoll(epoll) => {
                let token = epoll::EventData::new_u64(token);
                Ok(epoll::add(epoll, socket, token, epoll::EventFlags::IN)?)
            }
            System::Poll(sockets) => {
                let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
                sockets.insert(token, socket.clone());
                self.bell.ring();
                Ok(())
            }
        }
    }

    /// The socket is waited for no more. Its close alone does not say so where it has clones.
    pub(crate) fn deregister(&self, socket: &Arc<OwnedFd>, token: u64) {
        match &self.system {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            System::Epoll(epoll) => {
                // It may have been refused before.
                let _ = epoll::delete(epoll, socket);
            }
            System::Poll(sockets) => {
                let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
                if sockets.remove(&token).is_some_and(|known| Arc::ptr_eq(&known, socket)) {
                    // The waiting thread may hold the socket; then it lets go of it.
                    self.bell.ring();
                }
            }
        }
    }

    /// Waits for so long at most. The tokens of sockets that may be read from.
    pub(crate) fn wait(&self, patience: &Timespec) -> io::Result<Vec<u64>> {
        match &self.system {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            System::Epoll(epoll) => {
                let mut events = Vec::with_capacity(AT_ONCE);
                match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(patience)) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                let tokens = events.iter().map(|event| event.data.u64());
                let tokens = tokens.inspect(|token| {
                    if *token == BELL {
                        self.bell.hush()
                    }
                });
                Ok(tokens.filter(|token| *token != BELL).collect())
            }
            System::Poll(sockets) => {
                let sockets: Vec<(u64, Arc<OwnedFd>)> = {
                    let sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
                    sockets.iter().map(|(token, socket)| (*token, socket.clone())).collect()
                };
                let bell = std::iter::once(self.bell.fd());
                let fds = bell.chain(sockets.iter().map(|(_, socket)| socket.as_fd()));
                let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
                match poll(&mut fds, Some(patience)) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                self.bell.hush();
                let of_sockets = fds.iter().skip(1).zip(&sockets);
                let ready = of_sockets.filter(|(fd, _)| !fd.revents().is_empty());
                Ok(ready.map(|(_, (token, _))| *token).collect())
            }
        }
    }

    /// Ends the wait that is under way, or the next.
    pub(crate) fn wake(&self) {
        self.bell.ring();
    }
}

/// Makes a waiting thread wait no longer.
#[derive(Debug)]
struct Bell {
    #[cfg(unix)]
    ends: (std::os::unix::net::UnixStream, std::os::unix::net::UnixStream),
    /// Connected to itself.
    #[cfg(not(unix))]
    end: std::net::UdpSocket,
}

#[cfg(unix)]
impl Bell {
    fn new() -> io::Result<Bell> {
        let ends = std::os::unix::net::UnixStream::pair()?;
        ends.0.set_nonblocking(true)?;
        ends.1.set_nonblocking(true)?;
        Ok(Bell { ends })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.ends.1.as_fd()
    }

    fn ring(&self) {
        // A full pipe rings already.
        let _ = io::Write::write(&mut &self.ends.0, &[1]);
    }

    fn hush(&self) {
        let mut rung = [0; 64];
        while io::Read::read(&mut &self.ends.1, &mut rung).is_ok_and(|bytes| bytes == rung.len()) {}
    }
}

#[cfg(not(unix))]
impl Bell {
    fn new() -> io::Result<Bell> {
        let end = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        end.connect(end.local_addr()?)?;
        end.set_nonblocking(true)?;
        Ok(Bell { end })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    fn ring(&self) {
        let _ = self.end.send(&[1]);
    }

    fn hush(&self) {
        let mut rung = [0; 64];
        while self.end.recv(&mut rung).is_ok() {}
    }
}
