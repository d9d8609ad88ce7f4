use bypeer_wire::packet::{Flags, Segment};

use super::PacketKind;
use crate::escape::escape;

/// Characters of a path that are shown.
const PATH_LENGTH: usize = 40;
/// The longest method of a request line that is taken for one.
const METHOD_LENGTH: usize = 20;

/// One segment in a few words, safe to print: `SYN`, `PSH,ACK 414 bytes`, `POST /form, 414 bytes`, `RST,ACK`.
///
/// Of payload only a request line of HTTP/1 is shown, without its query and user information, and a status.
pub fn segment_text(segment: &Segment<'_>) -> String {
    let flags = flags(segment.flags);
    if segment.payload_len == 0 {
        return flags;
    }
    let bytes = match segment.payload_len {
        1 => "1 byte".to_owned(),
        length => format!("{length} bytes"),
    };
    match start_line(segment.payload) {
        // What else it does to the connection is not hidden by its words.
        Some(line) if segment.flags.has(Flags::FIN) || segment.flags.has(Flags::RST) => {
            format!("{line}, {bytes}, {flags}")
        }
        Some(line) => format!("{line}, {bytes}"),
        None => format!("{flags} {bytes}"),
    }
}

/// What may be done to a segment's row in a ladder.
pub(super) fn kind(segment: &Segment<'_>) -> PacketKind {
    if segment.flags.has(Flags::RST) {
        PacketKind::Reset
    } else if segment.flags.has(Flags::SYN) || segment.flags.has(Flags::FIN) {
        PacketKind::Other
    } else if segment.payload_len == 0 {
        PacketKind::Ack
    } else if start_line(segment.payload).is_some() {
        PacketKind::Other
    } else {
        PacketKind::Data(segment.payload_len)
    }
}

/// `RST,ACK`; `no flags` where none is set.
fn flags(flags: Flags) -> String {
    const NAMES: [(Flags, &str); 5] = [
        (Flags::SYN, "SYN"),
        (Flags::FIN, "FIN"),
        (Flags::RST, "RST"),
        (Flags::PSH, "PSH"),
        (Flags::ACK, "ACK"),
    ];
    let set: Vec<&str> = NAMES
        .iter()
        .filter(|(flag, _)| flags.has(*flag))
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() {
        "no flags".to_owned()
    } else {
        set.join(",")
    }
}

/// `POST /form` or `HTTP/1.1 200`, where the payload begins with such a line of HTTP/1, its end included.
fn start_line(payload: &[u8]) -> Option<String> {
    let end = payload.iter().position(|&byte| byte == b'\n')?;
    let line = std::str::from_utf8(&payload[..end]).ok()?.trim_end_matches('\r');
    if line.starts_with("HTTP/1.") {
        let mut words = line.split(' ');
        let (version, status) = (words.next()?, words.next()?);
        let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        return (version.len() == 8 && is_status).then(|| escape(&format!("{version} {status}")).into_owned());
    }
    let (method, rest) = line.split_once(' ')?;
    let (target, version) = rest.rsplit_once(' ')?;
    let is_method = (1..=METHOD_LENGTH).contains(&method.len())
        && method
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_');
    if !is_method || !version.starts_with("HTTP/1.") || version.len() != 8 {
        return None;
    }
    // Cut after escaping, which makes text longer; an escape may be cut in two, which hides nothing.
    let path = escape(path(target)).into_owned();
    let shown: String = match path.chars().count() > PATH_LENGTH {
        true => path.chars().take(PATH_LENGTH - 1).chain(['…']).collect(),
        false => path,
    };
    Some(format!("{method} {shown}"))
}

/// A target without its query, its fragment, and whatever stands before the path or, without one, before the host.
fn path(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    if target.starts_with('/') {
        return target;
    }
    let Some((_, rest)) = target.split_once("://") else {
        return target.rsplit('@').next().unwrap_or_default();
    };
    match rest.find('/') {
        Some(slash) => &rest[slash..],
        None => rest.rsplit('@').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bypeer_wire::Endpoint;
    use bypeer_wire::packet::{Checksum, TcpOptions};

    use super::*;

    fn segment(flags: u8, payload: &[u8]) -> Segment<'_> {
        let end = Endpoint {
            addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 1,
        };
        Segment {
            source: end,
            destination: end,
            seq: 1,
            ack: 1,
            flags: Flags(flags),
            window: 1,
            options: TcpOptions::default(),
            ttl: 64,
            ip_id: None,
            payload_len: payload.len() as u32,
            checksum: Checksum::Unchecked,
            payload,
        }
    }

    #[test]
    fn segments_in_words() {
        let cases: [(u8, &[u8], &str, PacketKind); 14] = [
            (0x02, b"", "SYN", PacketKind::Other),
            (0x12, b"", "SYN,ACK", PacketKind::Other),
            (0x10, b"", "ACK", PacketKind::Ack),
            (0x11, b"", "FIN,ACK", PacketKind::Other),
            (0x04, b"", "RST", PacketKind::Reset),
            (0x14, b"", "RST,ACK", PacketKind::Reset),
            (0x00, b"", "no flags", PacketKind::Ack),
            (0x18, b"secret", "PSH,ACK 6 bytes", PacketKind::Data(6)),
            (0x10, b"s", "ACK 1 byte", PacketKind::Data(1)),
            (
                0x18,
                b"GET /a/b?token=1 HTTP/1.1\r\n\r\n",
                "GET /a/b, 29 bytes",
                PacketKind::Other,
            ),
            (
                0x18,
                b"GET http://u:p@h/a?b HTTP/1.0\n",
                "GET /a, 30 bytes",
                PacketKind::Other,
            ),
            (
                0x18,
                b"CONNECT u:p@h:443 HTTP/1.1\r\n",
                "CONNECT h:443, 28 bytes",
                PacketKind::Other,
            ),
            (
                0x19,
                b"HTTP/1.1 200 secret\r\n",
                "HTTP/1.1 200, 21 bytes, FIN,PSH,ACK",
                PacketKind::Other,
            ),
            (
                0x18,
                b"GET /\x1b[31m HTTP/1.1\r\n",
                "GET /\\u{1b}[31m, 21 bytes",
                PacketKind::Other,
            ),
        ];
        for (flags, payload, text, expected) in cases {
            let segment = segment(flags, payload);
            assert_eq!(segment_text(&segment), text);
            assert_eq!(kind(&segment), expected, "{text}");
        }
    }

    #[test]
    fn no_other_payload_is_shown() {
        for payload in [
            &b"SECRET secret HTTP/2.0\r\n"[..],
            b"secret /secret HTTP/1.1\r\n",
            b"GET /secret",
            b"GET /secret HTTP/1.1",
            b"HTTP/1.1 secret\r\n",
            b"HTTP/1.1-secret 200 secret\r\n",
            b"\xff\xfesecret\r\n",
            b"\n",
        ] {
            let text = segment_text(&segment(0x18, payload));
            assert!(text.starts_with("PSH,ACK "), "{text}");
            assert!(!text.to_lowercase().contains("secret"), "{text}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(500));
        let text = segment_text(&segment(0x18, long.as_bytes()));
        assert!(text.starts_with("GET /aaa") && text.contains("a…, "), "{text}");
        assert!(text.chars().count() < 70, "{text}");
    }
}
