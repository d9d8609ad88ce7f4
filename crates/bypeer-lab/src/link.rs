//! Interfaces by rtnetlink: a veth pair between two namespaces, addresses, flags.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

use crate::namespace::Namespace;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// Makes a veth pair: `near` in the calling thread's namespace, `far` in another.
///
/// # Errors
/// What the kernel answers; EPERM without CAP_NET_ADMIN in both, EOPNOTSUPP where the kernel has no veth.
pub(crate) fn veth(near: &str, near_mac: Mac, far: &str, far_mac: Mac, namespace: &Namespace) -> io::Result<()> {
    let end = |name: &str, mac: Mac| {
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
        ]
    };
    let mut peer = LinkMessage::default();
    peer.attributes = end(far, far_mac);
    peer.attributes
        .push(LinkAttribute::NetNsFd(namespace.file().as_raw_fd()));
    let mut link = LinkMessage::default();
    link.attributes = end(near, near_mac);
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
}

/// Sets an interface of the calling thread's namespace up. It resolves no addresses (NOARP: the wire knows the hosts), and
/// its segments are as large as on a real wire (no segmentation offload).
pub(crate) fn up(name: &str) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = if_nametoindex(name)?;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    if name != "lo" {
        link.header.flags |= LinkFlags::Noarp;
        link.header.change_mask |= LinkFlags::Noarp;
        link.attributes.push(LinkAttribute::GsoMaxSegs(1));
    }
    request(RouteNetlinkMessage::SetLink(link), 0)
}

/// Gives an interface of the calling thread's namespace an address.
pub(crate) fn address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = if_nametoindex(name)?;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address)),
        AddressAttribute::Address(IpAddr::V4(address)),
    ];
    request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Sends one request and waits for the kernel's yes or no.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = vec![0; 8192];
    let length = socket.recv(&mut answer.as_mut_slice(), 0)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer.get(..length).unwrap_or_default())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(()),
    }
}
