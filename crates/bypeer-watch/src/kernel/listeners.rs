use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::listener::{Asking, Listener};

/// For so long who listens is taken to go on doing so.
const FRESH: Duration = Duration::from_secs(1);
/// For so long who does not listen is taken not to begin. Clients that were reset come in bursts.
const FRESH_ABSENCE: Duration = Duration::from_millis(5);
/// Former listeners that are remembered.
const FORMER: usize = 4096;

/// Who listens, and who has listened, in one network namespace. Needs no privilege.
#[derive(Debug)]
pub struct Listeners {
    asking: Asking,
    now: HashSet<SocketAddr>,
    asked: Option<Instant>,
    /// Listeners that were seen at any time: connections outlive them.
    ever: HashSet<SocketAddr>,
    order: VecDeque<SocketAddr>,
}

impl Listeners {
    /// Of the calling thread's network namespace; it may be asked from any other.
    pub fn open() -> io::Result<Listeners> {
        let mut listeners = Listeners {
            asking: Asking::open()?,
            now: HashSet::new(),
            asked: None,
            ever: HashSet::new(),
            order: VecDeque::new(),
        };
        listeners.ask()?;
        Ok(listeners)
    }

    /// Whether somebody listens for connections to this address, as of a second ago at the most. `None` when the kernel gives no answer.
    pub fn listening(&mut self, local: SocketAddr) -> Option<bool> {
        let limit = if covers(&self.now, local) { FRESH } else { FRESH_ABSENCE };
        if self.asked.is_none_or(|asked| asked.elapsed() > limit) {
            self.ask().ok()?;
        }
        Some(covers(&self.now, local))
    }

    /// Whether somebody was ever seen to listen there.
    pub fn listened(&self, local: SocketAddr) -> bool {
        covers(&self.ever, local)
    }

    /// Asks when the last answer is more than a second old: listeners are to be known before they go.
    pub fn keep_up(&mut self) {
        if self.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            // It is asked again when it matters.
            let _ = self.ask();
        }
    }

    /// A listener was seen.
    pub fn remember(&mut self, listener: SocketAddr) {
        if self.ever.insert(listener) {
            self.order.push_back(listener);
        }
        while self.order.len() > FORMER {
            let Some(oldest) = self.order.pop_front() else { return };
            if self.now.contains(&oldest) && self.now.len() < FORMER {
                self.order.push_back(oldest);
            } else {
                self.ever.remove(&oldest);
            }
        }
    }

    /// Asks the kernel now.
    pub fn ask(&mut self) -> io::Result<()> {
        self.now = self.asking.listeners()?.iter().flat_map(Listener::addresses).collect();
        self.asked = Some(Instant::now());
        for listener in self.now.clone() {
            self.remember(listener);
        }
        Ok(())
    }
}

/// Whether one of them takes connections to `local`.
fn covers(listeners: &HashSet<SocketAddr>, local: SocketAddr) -> bool {
    let any: IpAddr = if local.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    [local.ip(), any]
        .into_iter()
        .any(|ip| listeners.contains(&SocketAddr::new(ip, local.port())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_known_and_remembered() {
        let mut listeners = Listeners::open().unwrap();
        for (bind, ask) in [
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.9"),
            ("::", "127.0.0.1"),
            ("::1", "::1"),
        ] {
            let listener = TcpListener::bind((bind, 0)).unwrap();
            let local = SocketAddr::new(ask.parse().unwrap(), listener.local_addr().unwrap().port());
            listeners.ask().unwrap();
            assert_eq!(listeners.listening(local), Some(true), "{bind}");
            drop(listener);
            listeners.ask().unwrap();
            assert_eq!(listeners.listening(local), Some(false), "{bind}");
            assert!(listeners.listened(local), "{bind}");
        }
        assert!(!listeners.listened("127.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn memory_has_an_end_and_keeps_who_listens_now() {
        let mut listeners = Listeners::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listeners.ask().unwrap();
        for number in 0..10_000_u16 {
            listeners.remember(SocketAddr::new([10, 9, 8, 7].into(), number + 1));
        }
        assert!(listeners.ever.len() <= FORMER && listeners.order.len() == listeners.ever.len());
        assert!(listeners.listened(listener.local_addr().unwrap()));
        assert!(!listeners.listened("10.9.8.7:1".parse().unwrap()));
    }

    #[test]
    fn ipv6_sockets_take_ipv4_unless_told_not_to() {
        use socket2::{Domain, Socket, Type};
        let mut listeners = Listeners::open().unwrap();
        for only in [false, true] {
            let Ok(socket) = Socket::new(Domain::IPV6, Type::STREAM, None) else {
                println!("skipped: IPv6 listeners: no IPv6 here");
                return;
            };
            socket.set_only_v6(only).unwrap();
            let any: SocketAddr = "[::]:0".parse().unwrap();
            socket.bind(&any.into()).unwrap();
            socket.listen(5).unwrap();
            let port = socket.local_addr().unwrap().as_socket().unwrap().port();
            let [over_v4, over_v6] = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
            listeners.ask().unwrap();
            assert_eq!(listeners.listening(over_v4), Some(!only));
            assert_eq!(listeners.listening(over_v6), Some(true));
        }
    }
}
