//! From when until when a certificate holds: the one thing of X.509 that rustls does not tell.

use std::ops::RangeInclusive;

/// `notBefore` to `notAfter`, in seconds since the epoch; `None`: this is no certificate of RFC 5280.
pub(super) fn validity(certificate: &[u8]) -> Option<RangeInclusive<i64>> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xA0;
    let mut outer = Der(certificate);
    let mut signed = Der(Der(outer.take(SEQUENCE)?).take(SEQUENCE)?);
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    // Serial number, signature, issuer (RFC 5280 §4.1).
    for _ in 0..3 {
        signed.next()?;
    }
    let mut validity = Der(signed.take(SEQUENCE)?);
    let (from, until) = (validity.next()?, validity.next()?);
    Some(seconds(from)?..=seconds(until)?)
}

/// DER, as far as it is not read yet.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| content)
    }
}

/// `UTCTime` (of 1950 to 2049) or `GeneralizedTime`, in the forms of RFC 5280 §4.1.2.5: Zulu, with seconds.
fn seconds((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let two = |at: usize| rest[at..at + 2].parse::<i8>().ok();
    let moment = jiff::civil::DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, 0).ok()?;
    Some(jiff::tz::Offset::UTC.to_timestamp(moment).ok()?.as_second())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let der = certificate((2024, 1, 1), (2024, 12, 31));
        assert_eq!(validity(&der), Some(1_704_067_200..=1_735_603_200));
        let der = certificate((1999, 12, 31), (2051, 3, 1));
        assert_eq!(validity(&der), Some(946_598_400..=2_561_241_600));
    }

    #[test]
    fn no_bytes_panic() {
        let der = certificate((2024, 1, 1), (2024, 12, 31));
        for end in 0..der.len() {
            let _ = validity(&der[..end]);
        }
        for at in 0..der.len().min(200) {
            for byte in [0, 0x7F, 0x80, 0x84, 0xFF] {
                let mut broken = der.clone();
                broken[at] = byte;
                let _ = validity(&broken);
            }
        }
        assert_eq!(validity(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}
