/// A link type as `tcpdump.org/linktypes.html` numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: the address family in the byte order of the host that captured.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);
    /// PPP, with or without the HDLC address and control bytes.
    pub const PPP: LinkType = LinkType(9);
    /// IPv4 or IPv6, `DLT_RAW` of most systems written where the link type belongs.
    pub const RAW_DLT: LinkType = LinkType(12);
    /// IPv4 or IPv6, `DLT_RAW` of OpenBSD.
    pub const RAW_OPENBSD: LinkType = LinkType(14);
    /// PPP with HDLC framing.
    pub const PPP_HDLC: LinkType = LinkType(50);
    /// IPv4 or IPv6.
    pub const RAW: LinkType = LinkType(101);
    /// OpenBSD loopback: the address family in network byte order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux "cooked", `tcpdump -i any`.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// IPv4.
    pub const IPV4: LinkType = LinkType(228);
    /// IPv6.
    pub const IPV6: LinkType = LinkType(229);
    /// Linux "cooked" version 2.
    pub const LINUX_SLL2: LinkType = LinkType(276);
}
