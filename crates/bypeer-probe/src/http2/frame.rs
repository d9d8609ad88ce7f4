//! Frames of HTTP/2 (RFC 9113 §4, §6), cut out of the bytes that come.

/// What a client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest payload; we do not allow more.
pub(super) const LARGEST: usize = 16_384;
const HEADER: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// On SETTINGS and PING.
pub(super) const ACK: u8 = 1;
/// On DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// On HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 4;
/// On DATA and HEADERS.
pub(super) const PADDED: u8 = 8;
/// On HEADERS.
pub(super) const PRIORITY: u8 = 0x20;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What stands at the beginning of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A frame: it is taken away.
    Whole(Frame),
    /// Not all of one yet.
    More,
    /// No frame that we allow.
    No,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
        Frame {
            kind,
            flags,
            stream,
            payload: payload.to_vec(),
        }
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.payload.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.payload);
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without padding and priority; `None` where they do not fit.
    pub fn content(&self) -> Option<&[u8]> {
        let mut content = &self.payload[..];
        let mut padding = 0;
        if self.has(PADDED) {
            let (first, rest) = content.split_first()?;
            (padding, content) = (usize::from(*first), rest);
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            content = content.get(5..)?;
        }
        content.get(..content.len().checked_sub(padding)?)
    }

    /// The 32-bit number at this place of the payload.
    pub fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Cuts a frame off the beginning.
pub(super) fn cut(bytes: &mut Vec<u8>) -> Cut {
    // An answer in HTTP/1 would be a frame of 4.7 MB: that shows in the first bytes.
    let Some([a, b, c]) = bytes.first_chunk::<3>() else {
        return Cut::More;
    };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if length > LARGEST {
        return Cut::No;
    }
    if bytes.len() < HEADER + length {
        return Cut::More;
    }
    let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & 0x7fff_ffff;
    let frame = Frame::new(bytes[3], bytes[4], stream, &bytes[HEADER..HEADER + length]);
    bytes.drain(..HEADER + length);
    Cut::Whole(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_out_however_they_come() {
        let frames = [
            Frame::new(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
            Frame::new(PING, ACK, 0, &[7; 8]),
            Frame::new(DATA, END_STREAM, 1, b""),
        ];
        let mut all = Vec::new();
        frames.iter().for_each(|frame| frame.put(&mut all));
        let (mut bytes, mut found) = (Vec::new(), Vec::new());
        for byte in &all {
            bytes.push(*byte);
            if let Cut::Whole(frame) = cut(&mut bytes) {
                found.push(frame);
            }
        }
        assert_eq!(found, frames);
        assert_eq!(cut(&mut b"HTTP/1.1 400".to_vec()), Cut::No);
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let padded = Frame::new(HEADERS, PADDED | PRIORITY, 1, b"\x02ppppp\x88zz");
        assert_eq!(padded.content(), Some(&b"\x88"[..]));
        assert_eq!(Frame::new(DATA, PADDED, 1, b"\x05ab").content(), None);
        assert_eq!(Frame::new(DATA, PADDED, 1, b"").content(), None);
        assert_eq!(Frame::new(HEADERS, PRIORITY, 1, b"abc").content(), None);
        assert_eq!(Frame::new(GOAWAY, 0, 0, b"\0\0\0\x01").number(4), None);
    }
}
