//! A look at the frames that h2 writes: streams that it resets because of what they brought.
//!
//! A request that breaks HTTP/2's rules, or whose target the http crate does not take, h2 answers with a RST_STREAM, and tells nobody of it.

/// RFC 9113, section 4.1.
const HEAD: usize = 9;
/// RFC 9113, section 6.4: the whole of RST_STREAM.
const RESET: usize = HEAD + 4;
const RST_STREAM: u8 = 3;
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

/// Where the look stands.
#[derive(Debug, Default)]
pub(crate) struct FrameLook {
    /// The beginning of a frame, as far as it is here.
    begun: [u8; RESET],
    have: usize,
    /// Bytes of a frame that are of no interest.
    skip: usize,
}

impl FrameLook {
    /// How many such resets ended in these bytes.
    pub(crate) fn on(&mut self, mut bytes: &[u8]) -> usize {
        let mut resets = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = match self.have >= HEAD {
                true => RESET,
                false => HEAD,
            };
            let taken = (wanted - self.have).min(bytes.len());
            self.begun[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < wanted {
                continue;
            }
            let length =
                usize::from(self.begun[0]) << 16 | usize::from(self.begun[1]) << 8 | usize::from(self.begun[2]);
            let is_reset = self.begun[3] == RST_STREAM && length == RESET - HEAD;
            if self.have == RESET {
                resets += usize::from(self.begun[HEAD..] == PROTOCOL_ERROR);
            } else if is_reset {
                continue;
            } else {
                self.skip = length;
            }
            self.have = 0;
        }
        resets
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::FrameLook;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn resets_are_counted_wherever_the_writes_end() {
        let frames = [
            frame(4, &[0; 12]),
            frame(4, &[]),
            frame(3, &[0, 0, 0, 1]),
            // What looks like one within another frame.
            frame(0, &frame(3, &[0, 0, 0, 1])),
            frame(3, &[0, 0, 0, 8]),
            frame(3, &[0, 0, 0, 1]),
        ]
        .concat();
        assert_eq!(FrameLook::default().on(&frames), 2);
        for cut in 0..frames.len() {
            let mut look = FrameLook::default();
            assert_eq!(look.on(&frames[..cut]) + look.on(&frames[cut..]), 2, "{cut}");
        }
        let mut look = FrameLook::default();
        assert_eq!(frames.iter().map(|byte| look.on(&[*byte])).sum::<usize>(), 2);
    }
}
