//! Opening: TCP or unix socket, then TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Connection, Log, Roll, SLICE, errno, poll_once};
use crate::gate::Permit;
use crate::stop::Stop;
use crate::target::Place;

/// TLS's buffer for what is to be sent: what does not fit waits with the caller, so that "sent" means what it says.
const TLS_BUFFER: usize = 64 << 10;

/// How connections are opened.
#[derive(Clone)]
pub struct Dial {
    /// Where to.
    pub place: Place,
    /// TLS, where it is spoken.
    pub tls: Option<TlsDial>,
    /// Our own address, where it matters.
    pub source: Option<IpAddr>,
    /// Most time for the handshakes, each.
    pub patience: Duration,
    /// Bytes of the kernel's buffers, where they matter.
    pub buffers: Buffers,
}

/// The kernel's buffers for a connection; `None` leaves them to the kernel. It takes about twice what is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    /// What the peer may send before we read, as on a path where much is under way.
    pub receive: Option<usize>,
    /// What we may write before the peer's kernel has it.
    pub send: Option<usize>,
}

/// What TLS is to say.
#[derive(Clone)]
pub struct TlsDial {
    /// Trust and ALPN.
    pub config: Arc<ClientConfig>,
    /// Whom to expect.
    pub name: ServerName<'static>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// ECONNREFUSED.
    #[error("{0} refuses connections: nobody listens there")]
    Refused(String),
    /// No answer at all.
    #[error("{place} does not answer: no connection after {:.1} s; a firewall, a wrong address, or a full queue", .after.as_secs_f64())]
    Silent {
        /// Where.
        place: String,
        /// The patience.
        after: Duration,
    },
    /// Another error of connect(2).
    #[error("{place} cannot be connected to: {error}")]
    Connect {
        /// Where.
        place: String,
        /// The system's words.
        error: io::Error,
    },
    /// Our own address cannot be used.
    #[error("{0} is no address of this machine to connect from: {1}")]
    Source(IpAddr, io::Error),
    /// The TLS handshake failed.
    #[error("no TLS with {place}: {why}")]
    Tls {
        /// Where.
        place: String,
        /// Why.
        why: String,
    },
    /// The user asks to stop.
    #[error("stopped")]
    Stopped,
}

impl Dial {
    /// Opens a connection for a check. Tries the addresses in their order.
    pub(crate) fn open(
        &self,
        check: &'static str,
        permit: Permit,
        stop: &Stop,
        roll: &Arc<Roll>,
    ) -> Result<Connection, OpenError> {
        let (socket, began) = self.connect(stop)?;
        let opened = Instant::now();
        let log = Log {
            check,
            local: socket.local_addr().ok().and_then(|address| address.as_socket()),
            remote: socket.peer_addr().ok().and_then(|address| address.as_socket()),
            began,
            opened,
            secured: None,
            sent: 0,
            received: 0,
            last_sent: None,
            last_received: None,
            close_notify: None,
            fin: None,
            hung_up: None,
            reset: None,
            send_failed: None,
            closed: None,
        };
        let mut connection = Connection {
            socket,
            tls: None,
            stop: stop.clone(),
            log,
            roll: roll.clone(),
            inbox: Vec::new(),
            read_all: false,
            shut: false,
            overdue: None,
            _permit: permit,
        };
        if let Some(tls) = &self.tls {
            connection.secure(tls, self.patience).map_err(|why| match why {
                Some(why) => OpenError::Tls {
                    place: self.place.to_string(),
                    why,
                },
                None => OpenError::Stopped,
            })?;
        }
        Ok(connection)
    }

    fn connect(&self, stop: &Stop) -> Result<(Socket, Instant), OpenError> {
        let addresses: Vec<SockAddr> = match &self.place {
            Place::Tcp(addresses) => addresses
                .iter()
                .filter(|address| self.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()))
                .map(|address| SockAddr::from(*address))
                .collect(),
            Place::Unix(path) => {
                let failed = |error| OpenError::Connect {
                    place: self.place.to_string(),
                    error,
                };
                vec![SockAddr::unix(path).map_err(failed)?]
            }
        };
        let none = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of the right family");
        let mut last = OpenError::Connect {
            place: self.place.to_string(),
            error: none,
        };
        for address in addresses {
            let began = Instant::now();
            match self.connect_to(&address, stop) {
                Ok(socket) => return Ok((socket, began)),
                Err(OpenError::Stopped) => return Err(OpenError::Stopped),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(&self, address: &SockAddr, stop: &Stop) -> Result<Socket, OpenError> {
        let place = match address.as_socket() {
            Some(address) => address.to_string(),
            None => self.place.to_string(),
        };
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => OpenError::Refused(place.clone()),
            io::ErrorKind::TimedOut => OpenError::Silent {
                place: place.clone(),
                after: self.patience,
            },
            _ => OpenError::Connect {
                place: place.clone(),
                error,
            },
        };
        let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        // Before connect(2): the window that the SYN offers cannot be taken back.
        if let Some(bytes) = self.buffers.receive {
            socket.set_recv_buffer_size(bytes).map_err(failed)?;
        }
        if let Some(bytes) = self.buffers.send {
            socket.set_send_buffer_size(bytes).map_err(failed)?;
        }
        if address.is_ipv4() || address.is_ipv6() {
            // Each write shall leave as it is: what goes together and what does not is part of what is asked.
            socket.set_tcp_nodelay(true).map_err(failed)?;
            if let Some(source) = self.source {
                let bound = socket.bind(&SockAddr::from(SocketAddr::new(source, 0)));
                bound.map_err(|error| OpenError::Source(source, error))?;
            }
        }
        let until = Instant::now() + self.patience;
        match socket.connect(address) {
            Ok(()) => return Ok(socket),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(failed(error)),
        }
        loop {
            if stop.is_set() {
                return Err(OpenError::Stopped);
            }
            let now = Instant::now();
            let slice = until.saturating_duration_since(now).min(SLICE);
            let ready = poll_once(&socket, PollFlags::OUT, slice).map_err(|errno| failed(errno.into()))?;
            if !ready.is_empty() {
                return match socket.take_error().map_err(failed)? {
                    Some(error) => Err(failed(error)),
                    None => Ok(socket),
                };
            }
            if now >= until {
                return Err(OpenError::Silent {
                    place,
                    after: self.patience,
                });
            }
        }
    }
}

impl Connection {
    /// `Err(None)`: the user asks to stop.
    fn secure(&mut self, dial: &TlsDial, patience: Duration) -> Result<(), Option<String>> {
        let mut tls =
            ClientConnection::new(dial.config.clone(), dial.name.clone()).map_err(|error| Some(error.to_string()))?;
        tls.set_buffer_limit(Some(TLS_BUFFER));
        let until = Instant::now() + patience;
        while tls.is_handshaking() || tls.wants_write() {
            if self.stop.is_set() {
                return Err(None);
            }
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, tls.wants_read());
            events.set(PollFlags::OUT, tls.wants_write());
            let now = Instant::now();
            let slice = until.saturating_duration_since(now).min(SLICE);
            let ready = poll_once(&self.socket, events, slice).map_err(|errno| Some(errno.to_string()))?;
            if ready.contains(PollFlags::OUT) {
                match tls.write_tls(&mut &self.socket) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        return Err(Some(self.broke_off(&error)));
                    }
                    _ => {}
                }
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                match tls.read_tls(&mut &self.socket) {
                    Ok(0) => {
                        return Err(Some(
                            "the server closed the connection in the handshake; does it speak TLS at this port?"
                                .to_owned(),
                        ));
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(Some(self.broke_off(&error))),
                }
                if let Err(error) = tls.process_new_packets() {
                    let _ = tls.write_tls(&mut &self.socket);
                    return Err(Some(explain(&error)));
                }
            }
            if ready.is_empty() && now >= until {
                return Err(Some(format!(
                    "the handshake was not over after {:.1} s",
                    patience.as_secs_f64()
                )));
            }
        }
        self.log.secured = Some(Instant::now());
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    fn broke_off(&mut self, error: &io::Error) -> String {
        let broken = self.log.note_reset(Instant::now(), errno(error));
        format!("the server broke off the handshake ({broken}); does it speak TLS at this port?")
    }
}

fn certificate_words(why: &rustls::CertificateError) -> String {
    match why {
        rustls::CertificateError::UnknownIssuer => "its issuer is not known".to_owned(),
        // What webpki says of it does not come as a value of its own.
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is an authority's own, CA:TRUE, as `openssl req -x509` makes them, where a server's has CA:FALSE"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// rustls's words, and what to do.
fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => "the answer is not TLS: is this port for http://?".to_owned(),
        rustls::Error::InvalidCertificate(why) => {
            format!(
                "the certificate is not accepted ({}); --cacert FILE trusts its authority, --server-name asks for another name, --insecure skips the check",
                certificate_words(why)
            )
        }
        rustls::Error::AlertReceived(alert) => format!("the server refuses with the alert {alert:?}"),
        other => other.to_string(),
    }
}
