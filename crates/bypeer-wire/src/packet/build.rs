//! Packets for tests, written layer by layer from the inside out.

/// A TCP segment with these options (a multiple of 4 bytes); sequence number 1000, acknowledgement 2000.
pub(super) fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let offset = (5 + options.len() / 4) as u8;
    let head = [
        0x9c,
        0x40,
        0,
        80,
        0,
        0,
        3,
        0xe8,
        0,
        0,
        7,
        0xd0,
        offset << 4,
        flags,
        0x01,
        0xf5,
        0xde,
        0xad,
        0,
        0,
    ];
    [&head[..], options, payload].concat()
}

/// An IPv4 packet; `place` are the flags and the fragment offset in units of 8 bytes.
pub(super) fn ipv4_part(protocol: u8, id: u16, place: u16, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let words = [
        0x4500,
        total,
        id,
        place,
        0x4000 | u16::from(protocol),
        0,
        0x0a00,
        1,
        0x0a00,
        2,
    ];
    [&words.map(u16::to_be_bytes).concat()[..], payload].concat()
}

pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_part(protocol, 7, 0x4000, payload)
}

/// With options: a list of NOPs.
pub(super) fn ipv4_with_options(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, &[&[1; 8], payload].concat());
    packet[0] = 0x47;
    packet
}

pub(super) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut head = [0; 40];
    (head[0], head[6], head[7], head[23], head[39]) = (0x60, next, 64, 1, 2);
    head[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    [&head[..], payload].concat()
}

pub(super) fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12], &ether_type.to_be_bytes()[..], payload].concat()
}

pub(super) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let words = [40_000, port, (8 + payload.len()) as u16, 0];
    [&words.map(u16::to_be_bytes).concat()[..], payload].concat()
}
