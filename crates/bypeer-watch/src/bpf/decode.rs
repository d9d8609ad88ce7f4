//! A record of the ring → [`Event`]: the fields of `bpf/event.h`, one after the other.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::event::{
    Closing, Event, History, Kind, OtherConnection, RawDeed, RawDeedKind, Segment, Task, Tcp, UserStack,
};

const FRAMES: usize = 24;
const DEEDS: usize = 16;
const PAYLOAD: usize = 512;
const STACK: usize = 16384;
const STRAY_STACK: usize = 4096;

const PART_REASON: u16 = 1;
const PART_ENDS: u16 = 2;
const PART_TCP: u16 = 4;
const PART_SEGMENT: u16 = 8;
const PART_CLOSING: u16 = 16;
const PART_HISTORY: u16 = 32;
const PART_USER: u16 = 64;
const PART_STACK: u16 = 128;
const PART_OTHER: u16 = 256;

/// A record that the kernel part of this version does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("a record of the ring ends after {have} bytes, {need} were to come")]
    Truncated {
        /// Where the field that is missing ends.
        need: usize,
        /// How long the record is.
        have: usize,
    },
    /// It is not as long as it says.
    #[error("a record of the ring says that it is {says} bytes long and has {have}")]
    Size {
        /// Its own word.
        says: u32,
        /// How long it is.
        have: usize,
    },
    /// No such kind of event.
    #[error("no event is of kind {0}")]
    Kind(u16),
}

/// Reads one record, which must be whole.
pub(super) fn event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let says = reader.u32()?;
    let kind = kind(reader.u16()?)?;
    let parts = reader.u16()?;
    let has = |part: u16| parts & part != 0;

    let (at, cookie, inode) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let ends = reader.ends()?;
    let (reason, state) = (reader.u32()?, reader.u32()?);
    let task = reader.task()?;
    let tcp = reader.tcp()?;
    let segment = reader.segment()?;
    let closing = reader.closing()?;
    let user = reader.user()?;
    let kernel_frames = reader.u32()?;
    reader.u32()?;
    let kernel_stack = reader.addresses(kernel_frames)?;
    let history = if has(PART_HISTORY) {
        Some(reader.history()?)
    } else {
        None
    };
    let user = user.with_bytes(if has(PART_STACK) { reader.bytes(STACK)? } else { &[] });
    let other = if has(PART_OTHER) { Some(reader.other()?) } else { None };
    if says as usize != bytes.len() || reader.at != bytes.len() {
        return Err(DecodeError::Size {
            says,
            have: bytes.len(),
        });
    }
    Ok(Event {
        kind,
        at,
        cookie,
        inode,
        local: has(PART_ENDS).then_some(ends.local),
        remote: has(PART_ENDS).then_some(ends.remote),
        netns: if has(PART_ENDS) { ends.netns } else { 0 },
        reason: has(PART_REASON).then_some(reason),
        state,
        tcp: has(PART_TCP).then_some(tcp),
        task,
        segment: has(PART_SEGMENT).then_some(segment),
        closing: has(PART_CLOSING).then_some(closing),
        history,
        kernel_stack,
        user_stack: has(PART_USER).then_some(user),
        other,
    })
}

fn kind(number: u16) -> Result<Kind, DecodeError> {
    const KINDS: [Kind; 8] = [
        Kind::ResetSent,
        Kind::ResetReceived,
        Kind::Failed,
        Kind::Closed,
        Kind::Swapped,
        Kind::Dropped,
        Kind::Signalled,
        Kind::Retaken,
    ];
    KINDS.get(usize::from(number)).copied().ok_or(DecodeError::Kind(number))
}

struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
    netns: u32,
}

/// `struct user`: the bytes of the stack stand elsewhere.
struct User {
    stack: UserStack,
    length: u32,
}

impl User {
    fn with_bytes(self, bytes: &[u8]) -> UserStack {
        let length = bytes.len().min(self.length as usize);
        UserStack {
            bytes: bytes[..length].to_vec(),
            ..self.stack
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let need = self.at + length;
        let bytes = self.bytes.get(self.at..need).ok_or(DecodeError::Truncated {
            need,
            have: self.bytes.len(),
        })?;
        self.at = need;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_ne_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_ne_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_ne_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_ne_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_ne_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u32()? != 0)
    }

    /// `FRAMES` addresses, the first `count` of them good.
    fn addresses(&mut self, count: u32) -> Result<Vec<u64>, DecodeError> {
        let mut addresses = Vec::with_capacity(FRAMES);
        for _ in 0..FRAMES {
            addresses.push(self.u64()?);
        }
        addresses.truncate(count as usize);
        Ok(addresses)
    }

    /// Two addresses, then their two ports.
    fn pair(&mut self) -> Result<(SocketAddr, SocketAddr), DecodeError> {
        let (first, second) = (self.array::<16>()?, self.array::<16>()?);
        let (first_port, second_port) = (self.u16()?, self.u16()?);
        let end = |address: [u8; 16], port| SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port);
        Ok((end(first, first_port), end(second, second_port)))
    }

    fn ends(&mut self) -> Result<Ends, DecodeError> {
        let (local, remote) = self.pair()?;
        Ok(Ends {
            local,
            remote,
            netns: self.u32()?,
        })
    }

    fn task(&mut self) -> Result<Task, DecodeError> {
        Ok(Task {
            pid: self.u32()?,
            tid: self.u32()?,
            uid: self.u32()?,
            acting: self.flag()?,
            call: self.i64()?,
            arguments: [self.u64()?, self.u64()?, self.u64()?],
            exiting: self.flag()?,
            exit_code: self.u32()?,
            started: self.u64()?,
            cgroup: self.u64()?,
            name: text(self.bytes(16)?),
        })
    }

    fn tcp(&mut self) -> Result<Tcp, DecodeError> {
        // In the order of the structure on the ring, which is the order in which these are evaluated.
        Ok(Tcp {
            shutdown: self.u32()?,
            error: self.u32()?,
            linger: self.flag()?,
            orphan: self.flag()?,
            owned: self.flag()?,
            unread: self.u32()?,
            unsent: self.u32()?,
            unacked: self.u32()?,
            linger_ticks: self.u64()?,
            received: self.u64()?,
            acked: self.u64()?,
            sent: self.u64()?,
            retransmitted: self.u64()?,
            fin_received: self.flag()?,
            round_trip: self.u32()?,
            retransmits: self.u32()?,
            probes: self.u32()?,
            user_timeout: self.u32()?,
            receive_mss: self.u32()?,
            ticks_since_sent: self.u32()?,
            ticks_since_received: self.u32()?,
            receive_window: self.u32()?,
            waiting: self.u32()?,
            backlog: self.u32()?,
            receive_next: self.u32()?,
        })
    }

    fn segment(&mut self) -> Result<Segment, DecodeError> {
        let (source, destination) = self.pair()?;
        let (seq, ack, len) = (self.u32()?, self.u32()?, self.u32()?);
        let (window, flags) = (self.u16()?, self.u16()?);
        self.u32()?;
        // The lower half has the eight bits of the wire.
        Ok(Segment {
            source,
            destination,
            seq,
            ack,
            flags: flags.to_le_bytes()[0],
            len,
            window,
        })
    }

    fn closing(&mut self) -> Result<Closing, DecodeError> {
        Ok(Closing {
            at: self.u64()?,
            cookie: self.u64()?,
            received: self.u64()?,
            sent: self.u64()?,
            ticks_since_received: self.u32()?,
            ticks_since_sent: self.u32()?,
            backlog: self.u32()?,
            half: self.flag()?,
            state: self.u32()?,
            receive_next: self.u32()?,
            task: self.task()?,
            user_stack: None,
        })
    }

    fn user(&mut self) -> Result<User, DecodeError> {
        let (ip, sp, bp) = (self.u64()?, self.u64()?, self.u64()?);
        let (frames, length) = (self.u32()?, self.u32()?);
        let by_frame_pointers = self.addresses(frames)?;
        Ok(User {
            stack: UserStack {
                ip,
                sp,
                bp,
                bytes: Vec::new(),
                by_frame_pointers,
            },
            length,
        })
    }

    fn history(&mut self) -> Result<History, DecodeError> {
        let first = self.u64()?;
        let (count, unreadable) = (self.u32()?, self.u32()?);
        let (reader, writer) = (self.user_of()?, self.user_of()?);
        let mut ring = Vec::with_capacity(DEEDS);
        for _ in 0..DEEDS {
            ring.push(self.deed()?);
        }
        let kept = (count as usize).min(DEEDS);
        // Deed n stands at n % DEEDS.
        ring.rotate_left(if count as usize > DEEDS {
            count as usize % DEEDS
        } else {
            0
        });
        ring.truncate(kept);
        let read = self.run()?;
        let written = self.run()?;
        Ok(History {
            first,
            deeds: ring.into_iter().flatten().collect(),
            let_go: count.saturating_sub(DEEDS as u32),
            reader,
            writer,
            read: read.bytes,
            read_total: read.total,
            written: written.bytes,
            written_total: written.total,
            read_at: read.at,
            written_at: written.at,
            unreadable,
        })
    }

    fn user_of(&mut self) -> Result<Option<(u32, u32, u32)>, DecodeError> {
        let user = (self.u32()?, self.u32()?, self.u32()?);
        Ok(self.flag()?.then_some(user))
    }

    /// `None` for one that is not written yet: another processor may be at it.
    fn deed(&mut self) -> Result<Option<RawDeed>, DecodeError> {
        let (at, value, tid, descriptor) = (self.u64()?, self.u64()?, self.u32()?, self.u16()?);
        let (what, count) = (self.u8()?, self.u8()?);
        let what = match what {
            1 => RawDeedKind::Read(value),
            2 => RawDeedKind::Wrote(value),
            3 => RawDeedKind::Arrived(value),
            4 => RawDeedKind::State((value >> 8) as u32 & 0xff, value as u32 & 0xff),
            _ => return Ok(None),
        };
        Ok(Some(RawDeed {
            at,
            what,
            tid,
            descriptor,
            count,
        }))
    }

    fn run(&mut self) -> Result<Run, DecodeError> {
        let (total, at) = (self.u64()?, self.u64()?);
        let length = self.u32()? as usize;
        self.u32()?;
        let bytes = self.bytes(PAYLOAD)?;
        Ok(Run {
            total,
            at,
            bytes: bytes[..length.min(PAYLOAD)].to_vec(),
        })
    }

    fn other(&mut self) -> Result<OtherConnection, DecodeError> {
        let (cookie, read_at) = (self.u64()?, self.u64()?);
        let ends = self.ends()?;
        let (descriptor, answered, closing_known) = (self.u32()?, self.flag()?, self.flag()?);
        self.u32()?;
        let closing = self.closing()?;
        let user = self.user()?;
        let bytes = self.bytes(STRAY_STACK)?;
        let user_stack = (user.stack.ip != 0).then(|| user.with_bytes(bytes));
        Ok(OtherConnection {
            cookie,
            local: ends.local,
            remote: ends.remote,
            read_at,
            descriptor,
            answered,
            closed_by: closing_known.then_some(Closing { user_stack, ..closing }),
        })
    }
}

struct Run {
    total: u64,
    at: u64,
    bytes: Vec<u8>,
}

/// Up to the first nought.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
