use bypeer_wire::app::{Notice, Noticed};
use bypeer_wire::{Endpoint, PacketRef};

/// Something that happened on one connection, whoever saw it: packets, a kernel, a trace of system calls.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The connection: a capture's stream, a socket's cookie. One witness uses one kind.
    pub connection: u64,
    /// Who opened it.
    pub client: Endpoint,
    /// Who was connected to.
    pub server: Endpoint,
    /// When; of packets also which.
    pub at: PacketRef,
    /// What.
    pub what: What<'a>,
}

/// See [`Event`].
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// What was said on the connection, message by message.
    Said(&'a Noticed),
    /// What the server's program did with the connection's descriptor.
    Called(Call),
}

/// System calls of the server that packets cannot show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It closed the descriptor while a request that it had read was not answered, past the part of the program that owns it: from another
    /// thread, or without the leave that the owner takes first (libuv: EPOLL_CTL_DEL).
    StrayClose,
    /// Its descriptor has the number that this connection's had: the kernel gives the lowest that is free.
    NumberFrom {
        /// The connection that had it.
        of: u64,
    },
    /// It read a request from this connection and wrote its answer to another.
    WroteElsewhere {
        /// The connection that was given the answer.
        on: u64,
    },
}

impl<'a> From<&'a Notice> for Event<'a> {
    fn from(notice: &'a Notice) -> Event<'a> {
        Event {
            connection: u64::from(notice.stream),
            client: notice.client,
            server: notice.server,
            at: notice.at,
            what: What::Said(&notice.what),
        }
    }
}
