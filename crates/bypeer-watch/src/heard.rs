//! What every source gives: a testimony, and whose it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bypeer_diagnose::Testimony;

/// A testimony, and the socket that it is about.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The socket's own end. IPv4 addresses of IPv6 sockets are unmapped.
    pub local: SocketAddr,
    /// Its peer. Port 0 where the kernel no longer knew it, `0.0.0.0:0` where it knew nothing.
    pub remote: SocketAddr,
    /// The kernel's own number of the socket, 0 where the source does not tell. Not in order, never used twice.
    pub cookie: u64,
    /// What it says.
    pub testimony: Testimony,
    /// How many events at least were lost between the one before and this one. While it is not 0, that something is missing proves
    /// nothing.
    pub lost: u64,
}

impl Default for Heard {
    fn default() -> Heard {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Heard {
            local: nobody,
            remote: nobody,
            cookie: 0,
            testimony: Testimony::default(),
            lost: 0,
        }
    }
}

/// Something that hears of connections that died.
pub trait Hears {
    /// What it has heard since the last call, oldest first. Does not wait.
    fn take(&mut self) -> io::Result<Vec<Heard>>;

    /// Events lost since it was opened, at least.
    fn lost(&self) -> u64;

    /// What is wrong with single events, in words for a user: texts that were not understood. Empty when all is well.
    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }
}
