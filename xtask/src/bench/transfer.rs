//! Keep-alive connections over HTTP/1.1, made packet by packet: handshake, exchanges, FIN from both sides.

use std::net::Ipv4Addr;

use super::flow::Flow;
use super::packet::{ACK, FIN, Header, PSH, SYN, make};

/// Payload of a full-size segment with timestamps.
const FULL: usize = 1448;

/// What a connection is like.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Requests and responses.
    pub exchanges: u32,
    /// Bytes of a request's body; without any it is a GET.
    pub upload: usize,
    /// Bytes of a response's body.
    pub download: usize,
    /// Microseconds between one exchange and the next.
    pub pause: u64,
    /// Ends with FINs; otherwise it is still open at the end.
    pub closes: bool,
}

/// A connection between hosts that belong to the `copy` alone.
pub fn transfer(copy: u32, shape: Shape) -> Flow {
    let [_, b, c, d] = copy.to_be_bytes();
    let mut ends = Ends {
        client: (Ipv4Addr::new(172, 16 + (b & 15), c, d), 32_768 + (copy % 28_000) as u16),
        server: (Ipv4Addr::new(192, 168, (copy % 7) as u8, 80), 8080),
        client_seq: copy.wrapping_mul(0x9e37_79b9),
        server_seq: copy.wrapping_mul(0x85eb_ca6b),
        time: 0,
    };
    let mut step = 0;
    let mut batch: std::vec::IntoIter<(u64, Vec<u8>)> = Vec::new().into_iter();
    // One exchange at a time, so that a hundred thousand connections at once do not fill the memory.
    Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(packet) = batch.next() {
                return Some(packet);
            }
            let last = shape.exchanges + 1;
            let mut packets = Vec::new();
            match step {
                0 => ends.open(&mut packets),
                _ if step < last => ends.exchange(shape, &mut packets),
                _ if step == last && shape.closes => ends.close(&mut packets),
                _ => return None,
            }
            step += 1;
            ends.time += shape.pause;
            batch = packets.into_iter();
        }
    }))
}

struct Ends {
    client: (Ipv4Addr, u16),
    server: (Ipv4Addr, u16),
    client_seq: u32,
    server_seq: u32,
    time: u64,
}

type Packets = Vec<(u64, Vec<u8>)>;

impl Ends {
    fn open(&mut self, packets: &mut Packets) {
        self.client_sends(SYN, &[], packets);
        self.server_sends(SYN | ACK, &[], packets);
        self.client_sends(ACK, &[], packets);
    }

    fn exchange(&mut self, shape: Shape, packets: &mut Packets) {
        let host = "Host: files.example\r\nUser-Agent: curl/7.88.1\r\n";
        let head = match shape.upload {
            0 => format!("GET /item HTTP/1.1\r\n{host}\r\n"),
            length => format!("POST /item HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n"),
        };
        self.stream(
            head.into_bytes(),
            shape.upload,
            Ends::client_sends,
            Ends::server_sends,
            packets,
        );
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", shape.download);
        self.stream(
            head.into_bytes(),
            shape.download,
            Ends::server_sends,
            Ends::client_sends,
            packets,
        );
    }

    /// A message in segments, every second of them acknowledged, and the last.
    fn stream(&mut self, mut bytes: Vec<u8>, body: usize, from: Send, to: Send, packets: &mut Packets) {
        // Not zeros: a body of one byte's value alone is no body that one meets.
        bytes.extend((0..body).map(|at| (at.wrapping_mul(31) >> 3) as u8));
        let count = bytes.len().div_ceil(FULL);
        for (index, part) in bytes.chunks(FULL).enumerate() {
            let last = index + 1 == count;
            from(self, if last { PSH | ACK } else { ACK }, part, packets);
            if last || index % 2 == 1 {
                to(self, ACK, &[], packets);
            }
        }
    }

    fn close(&mut self, packets: &mut Packets) {
        self.client_sends(FIN | ACK, &[], packets);
        self.server_sends(FIN | ACK, &[], packets);
        self.client_sends(ACK, &[], packets);
    }

    fn client_sends(&mut self, flags: u8, payload: &[u8], packets: &mut Packets) {
        let header = self.header(self.client, self.server, self.client_seq, self.server_seq, flags);
        self.client_seq = after(header.seq, flags, payload);
        self.push(&header, payload, packets);
    }

    fn server_sends(&mut self, flags: u8, payload: &[u8], packets: &mut Packets) {
        let header = self.header(self.server, self.client, self.server_seq, self.client_seq, flags);
        self.server_seq = after(header.seq, flags, payload);
        self.push(&header, payload, packets);
    }

    fn header(&self, source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), seq: u32, ack: u32, flags: u8) -> Header {
        Header {
            source,
            destination,
            seq,
            ack: if flags & ACK == 0 { 0 } else { ack },
            flags,
            clock: (self.time / 1000) as u32,
        }
    }

    fn push(&mut self, header: &Header, payload: &[u8], packets: &mut Packets) {
        packets.push((self.time, make(header, payload)));
        // 16 Mbit/s, so that the cases' seconds pass while some hundred transfers go on.
        self.time += 5 + payload.len() as u64 / 2;
    }
}

type Send = fn(&mut Ends, u8, &[u8], &mut Packets);

fn after(seq: u32, flags: u8, payload: &[u8]) -> u32 {
    seq.wrapping_add(payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0))
}
