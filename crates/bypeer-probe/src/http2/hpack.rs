//! As much of HPACK (RFC 7541) as one request and the status of one answer need.
//!
//! A whole decoder is not needed: we forbid the dynamic table (`SETTINGS_HEADER_TABLE_SIZE` 0), an answer's first field is `:status`
//! (RFC 9113 §8.3), and of Huffman's code only the ten digits can stand in its value.

/// `:status` in the static table: index 8 and those that follow.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
const FIRST_STATUS: usize = 8;

/// Adds a field whose name stands in the static table at `index`, for nobody to remember.
pub(super) fn put_indexed_name(block: &mut Vec<u8>, index: u8, value: &[u8]) {
    // Below 15 an index fits into the first byte.
    block.push(index & 0x0f);
    put_string(block, value);
}

/// Adds a field, for nobody to remember.
pub(super) fn put_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    put_string(block, name);
    put_string(block, value);
}

fn put_string(block: &mut Vec<u8>, bytes: &[u8]) {
    const PREFIX: usize = 0x7f;
    if bytes.len() < PREFIX {
        block.push(bytes.len() as u8);
    } else {
        block.push(PREFIX as u8);
        let mut rest = bytes.len() - PREFIX;
        while rest >= 0x80 {
            block.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(bytes);
}

/// The status of an answer; `None` where its first field is no `:status` that can be read.
pub(super) fn status(block: &[u8]) -> Option<u16> {
    let mut rest = block;
    loop {
        let first = *rest.first()?;
        match first {
            // The size of the dynamic table, which we have set to 0.
            0x20..=0x3f => _ = integer(&mut rest, 5)?,
            0x80.. => {
                let index = integer(&mut rest, 7)?;
                return STATUSES.get(index.checked_sub(FIRST_STATUS)?).copied();
            }
            _ => {
                let name = integer(&mut rest, if first & 0x40 == 0 { 4 } else { 6 })?;
                if name == 0 {
                    let (huffman, name) = string(&mut rest)?;
                    if huffman || name != b":status" {
                        return None;
                    }
                } else if !(FIRST_STATUS..FIRST_STATUS + STATUSES.len()).contains(&name) {
                    return None;
                }
                let (huffman, value) = string(&mut rest)?;
                let digits = if huffman { digits(value)? } else { value.to_vec() };
                let text = std::str::from_utf8(&digits).ok()?;
                return text.parse().ok().filter(|status| (100..1000).contains(status));
            }
        }
    }
}

/// RFC 7541 §5.1, as far as lengths go that make sense here.
fn integer(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let mask = (1usize << prefix) - 1;
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether it is in Huffman's code, and its bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let huffman = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let bytes = rest.get(..length)?;
    *rest = &rest[length..];
    Some((huffman, bytes))
}

/// Three digits in Huffman's code (RFC 7541 Appendix B): 0 to 2 have five bits, 3 to 9 six.
fn digits(code: &[u8]) -> Option<Vec<u8>> {
    let bits = code
        .iter()
        .take(4)
        .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
    let length = 8 * code.len().min(4) as u32;
    let take = |from: u32, count: u32| {
        let rest = length.checked_sub(from + count)?;
        Some(bits >> rest & ((1 << count) - 1))
    };
    let mut at = 0;
    let mut digits = Vec::new();
    for _ in 0..3 {
        let (digit, count) = match take(at, 5)? {
            five @ 0..=2 => (five, 5),
            _ => (take(at, 6).filter(|six| (0x19..=0x1f).contains(six))? - 0x19 + 3, 6),
        };
        at += count;
        digits.push(b'0' + digit as u8);
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form_that_it_can_have() {
        // RFC 7541 C.5 and C.6.
        for (block, expected) in [
            (&[0x88][..], Some(200)),
            (&[0x8d, 0x61], Some(404)),
            (b"\x48\x03302", Some(302)),
            (&[0x48, 0x82, 0x64, 0x02, 0x58], Some(302)),
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], Some(307)),
            (b"\x08\x03503\x0f", Some(503)),
            (b"\x18\x03429", Some(429)),
            (b"\x20\x88", Some(200)),
            (b"\x3f\xe1\x1f\x88", Some(200)),
            (b"\x00\x07:status\x03201", Some(201)),
            (&[], None),
            (b"\x48", None),
            (b"\x48\x05302", None),
            (b"\x48\x03abc", None),
            (&[0x82], None),
            (&[0xbe], None),
            (b"\x00\x06server\x01x", None),
            (&[0x48, 0x82, 0xff, 0xff], None),
        ] {
            assert_eq!(status(block), expected, "{block:x?}");
        }
    }

    #[test]
    fn every_status_in_huffmans_code_is_read() {
        for expected in 100..600u16 {
            let (mut bits, mut count) = (0u32, 0);
            for digit in expected.to_string().bytes().map(|digit| u32::from(digit - b'0')) {
                let (code, length) = if digit < 3 { (digit, 5) } else { (0x19 + digit - 3, 6) };
                bits = bits << length | code;
                count += length;
            }
            let padding = (8 - count % 8) % 8;
            bits = bits << padding | ((1 << padding) - 1);
            let bytes = (count + padding) / 8;
            let mut block = vec![0x48, 0x80 | bytes as u8];
            block.extend_from_slice(&bits.to_be_bytes()[4 - bytes as usize..]);
            assert_eq!(status(&block), Some(expected), "{block:x?}");
        }
    }

    #[test]
    fn no_prefix_of_a_block_makes_it_panic() {
        let block = b"\x3f\xe1\x1f\x7f\x80\x80\x80\x80\x48\xff\xff\xff\xff\xff";
        for start in 0..block.len() {
            for end in start..=block.len() {
                let _ = status(&block[start..end]);
            }
        }
    }

    #[test]
    fn long_values_have_long_lengths() {
        let mut block = Vec::new();
        put_indexed_name(&mut block, 4, &[b'a'; 300]);
        assert_eq!(&block[..4], [0x04, 0x7f, 0xad, 0x01]);
        let mut rest = &block[1..];
        assert_eq!(
            string(&mut rest).map(|(huffman, bytes)| (huffman, bytes.len())),
            Some((false, 300))
        );
        let mut block = Vec::new();
        put_field(&mut block, b"a", b"bc");
        assert_eq!(block, b"\x00\x01a\x02bc");
    }
}
