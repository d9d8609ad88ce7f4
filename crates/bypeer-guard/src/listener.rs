//! Listening sockets: bound, or inherited from the process before or from systemd.

use std::net::SocketAddr;

use crate::config::Listen;
use crate::guard::StartError;
use crate::handover::Inherited;

/// Sockets that listen, one for each address.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<(Listen, std::net::TcpListener)>,
}

impl Listeners {
    /// Takes each address from what was inherited, or binds it.
    pub fn bind(_listen: &[Listen], _inherited: &mut Inherited) -> Result<Listeners, StartError> {
        todo!()
    }

    /// Their addresses, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|(_, listener)| listener.local_addr().ok())
            .collect()
    }
}
