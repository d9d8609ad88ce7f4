//! The hosts of a lab and the wire between them.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};

use crate::kernel::{Counters, Deaths};
use crate::link;
use crate::namespace::Namespace;
use crate::wire::{Port, PortSocket, Wire};

/// What could not be made, and why.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A part of the lab.
    #[error("cannot make {what}: {error}")]
    Part {
        /// Which.
        what: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The wire's end of a link.
    #[error(
        "cannot open a packet socket for the link of {host}: {error}; the wire needs CAP_NET_RAW and a kernel with \
         CONFIG_PACKET (modprobe af_packet), which a container's seccomp profile or capability set may withhold. \
         `bypeer explain` and `bypeer lab list` work without"
    )]
    PacketSocket {
        /// Whose link.
        host: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A sysctl of a host.
    #[error(
        "cannot set {key} to {value:?} on {host}: {error}; this kernel has no such setting for each namespace, or does not \
         let you change it"
    )]
    Sysctl {
        /// Whose.
        host: String,
        /// Its name, with dots.
        key: String,
        /// What it was to be.
        value: String,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// What a host is to be.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// `client`, `server` and so on.
    pub name: String,
    /// It has the address of this other host, and is reached when the wire redirects.
    pub shares_address_of: Option<String>,
    /// Written below /proc/sys, in this order; names with dots.
    pub sysctls: Vec<(String, String)>,
}

/// One machine of the lab.
#[derive(Debug)]
pub struct Host {
    /// Its name in the scenario.
    pub name: String,
    /// Its address on the wire.
    pub address: Ipv4Addr,
    namespace: Namespace,
    /// Sockets that died on it.
    pub deaths: Deaths,
}

impl Host {
    /// Starts a program on this host.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.namespace.enter(|| command.spawn())
    }

    /// The kernel's counters of this host.
    pub fn counters(&self) -> io::Result<Counters> {
        self.namespace.enter(Counters::read)
    }

    /// Does anything on this host listen on a TCP port?
    pub fn listens(&self, port: u16) -> io::Result<bool> {
        self.namespace.enter(|| {
            let mut found = false;
            for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
                // IPv6 may be absent.
                found |= fs::read_to_string(table).is_ok_and(|text| lists_listener(&text, port));
            }
            Ok(found)
        })
    }
}

/// A line of /proc/net/tcp: number, local address, remote address, state (0A: LISTEN).
fn lists_listener(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.rsplit_once(':'));
        local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port)) && fields.nth(1) == Some("0A")
    })
}

/// Hosts in namespaces of their own, joined by a wire. Dropped, it is gone.
#[derive(Debug)]
pub struct Sandbox {
    /// In the order of the plan; the wire's ports are in the same order.
    pub hosts: Vec<Host>,
    /// What joins them.
    pub wire: Wire,
    /// Marks that the wire sets.
    pub marks: Receiver<String>,
    _middle: Namespace,
}

impl Sandbox {
    /// Builds it. The calling process must be root in its user namespace ([`crate::confine`]).
    ///
    /// Addresses are of 198.18.0.0/15, which RFC 2544 sets apart for tests; they exist in the lab's namespaces only. `number` chooses
    /// the network, so that two labs' events in the kernel's log can be told apart.
    ///
    /// # Errors
    /// What could not be made.
    pub fn build(plans: &[HostPlan], number: u32) -> Result<Sandbox, SandboxError> {
        let part = |what: String| move |error: io::Error| SandboxError::Part { what, error };
        let network = [198, 18 + ((number >> 8) & 1) as u8, number as u8];
        let at = |host: u8| Ipv4Addr::new(network[0], network[1], network[2], host);
        let middle = Namespace::new().map_err(part("the wire's network namespace".to_owned()))?;
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for (number, (plan, place)) in plans.iter().zip(places(plans)).enumerate() {
            let (number, address) = (number as u8 + 1, at(place));
            let namespace = Namespace::new().map_err(part(format!("the network namespace of {}", plan.name)))?;
            let port = format!("port{number}");
            let (wire_mac, host_mac) = ([2, 0, 0, 0, 1, number], [2, 0, 0, 0, 0, number]);
            middle
                .enter(|| {
                    link::veth(&port, wire_mac, "eth0", host_mac, &namespace)?;
                    link::up(&port)
                })
                .map_err(part(format!(
                    "the link of {} (CAP_NET_ADMIN and veth interfaces: CONFIG_VETH, modprobe veth)",
                    plan.name
                )))?;
            let socket = middle
                .enter(|| PortSocket::open(&port))
                .map_err(|error| SandboxError::PacketSocket {
                    host: plan.name.clone(),
                    error,
                })?;
            let deaths = namespace
                .enter(|| {
                    // The wire carries IPv4. A kernel without IPv6 has no such file.
                    let _ = fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1");
                    // What one round's path was like must not shape the next one's.
                    fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")?;
                    link::up("lo")?;
                    link::address("eth0", address, 24)?;
                    link::up("eth0")?;
                    Deaths::open()
                })
                .map_err(part(format!("the interface of {}", plan.name)))?;
            for (key, value) in &plan.sysctls {
                namespace
                    .enter(|| fs::write(format!("/proc/sys/{}", key.replace('.', "/")), value))
                    .map_err(|error| SandboxError::Sysctl {
                        host: plan.name.clone(),
                        key: key.clone(),
                        value: value.clone(),
                        error,
                    })?;
            }
            ports.push(Port {
                name: plan.name.clone(),
                address,
                host_mac,
                wire_mac,
                socket,
            });
            hosts.push(Host {
                name: plan.name.clone(),
                address,
                namespace,
                deaths,
            });
        }
        let (sender, marks) = mpsc::channel();
        let wire = Wire::start(ports, at(254), sender).map_err(part("the wire".to_owned()))?;
        Ok(Sandbox {
            hosts,
            wire,
            marks,
            _middle: middle,
        })
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }
}

/// The last byte of each host's address, from 1. Hosts that share an address have one place, whichever is listed first.
fn places(plans: &[HostPlan]) -> Vec<u8> {
    let place = |name: &str| plans.iter().position(|plan| plan.name == name);
    plans
        .iter()
        .enumerate()
        .map(|(own, plan)| {
            let whose = plan.shares_address_of.as_deref().and_then(place).unwrap_or(own);
            whose as u8 + 1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_shares_the_address_of_one_that_is_listed_later() {
        let plan = |name: &str, shares: Option<&str>| HostPlan {
            name: name.to_owned(),
            shares_address_of: shares.map(str::to_owned),
            sysctls: vec![],
        };
        let plans = [
            plan("client", None),
            plan("fresh", Some("server")),
            plan("server", None),
        ];
        assert_eq!(places(&plans), [1, 3, 3]);
    }

    #[test]
    fn listeners_are_found_by_port_and_state() {
        let table = "  sl  local_address rem_address   st\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000\n\
                     1: 0100007F:1F91 0100007F:1F90 01 00000000\n";
        assert!(lists_listener(table, 8080));
        assert!(!lists_listener(table, 8081), "established, not listening");
        assert!(!lists_listener(table, 80));
    }
}
