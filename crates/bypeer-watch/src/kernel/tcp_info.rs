//! `struct tcp_info` of `linux/tcp.h`, as much of it as the running kernel has.

use std::time::Duration;

/// Sums of a TCP socket, as `INET_DIAG_INFO` tells them. A figure is `None` where the kernel is too old for it: the structure only ever
/// grew at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// `net/tcp_states.h`.
    pub state: u8,
    /// Retransmissions of what was outstanding, without an answer.
    pub retransmits: u8,
    /// Probes without an answer: keep-alive, zero window.
    pub probes: u8,
    /// Largest segment that the peer sends, estimated.
    pub receive_mss: u32,
    /// Since the last segment with payload was sent; since the machine started when there never was a connection.
    pub last_data_sent: Duration,
    /// Since the last segment with payload came; since the connection began, or the machine, when none came.
    pub last_data_received: Duration,
    /// Since the last acknowledgment came.
    pub last_ack_received: Duration,
    /// Smoothed round trip; zero when none was measured.
    pub round_trip: Duration,
    /// Sequence numbers acknowledged: payload, and one each for the SYN of a client and for the FIN. Since Linux 4.1.
    pub acked: Option<u64>,
    /// Sequence numbers received in order: payload, and one for the FIN. Since Linux 4.1.
    pub received: Option<u64>,
    /// Segments that came, since Linux 4.2.
    pub segments_in: Option<u32>,
    /// Written and not sent yet, a FIN that waits behind it included. Since Linux 4.6.
    pub not_sent: Option<u32>,
    /// Segments with payload that came, in order or not. Since Linux 4.6.
    pub data_segments_in: Option<u32>,
    /// Segments with payload that were sent. Since Linux 4.6.
    pub data_segments_out: Option<u32>,
    /// Payload sent, retransmissions included. Since Linux 4.19.
    pub sent: Option<u64>,
    /// Payload of retransmissions. Since Linux 4.19.
    pub retransmitted: Option<u64>,
    /// The window that the peer offered last. Since Linux 5.4.
    pub send_window: Option<u32>,
}

impl TcpInfo {
    /// `None` when it is shorter than that of Linux 2.6.
    pub fn parse(bytes: &[u8]) -> Option<TcpInfo> {
        let u8 = |at: usize| bytes.get(at).copied();
        let u32 = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let u64 = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        let milliseconds = |at| u32(at).map(|number| Duration::from_millis(number.into()));
        // The last that has always been there.
        u32(100)?;
        Some(TcpInfo {
            state: u8(0)?,
            retransmits: u8(2)?,
            probes: u8(3)?,
            receive_mss: u32(20)?,
            last_data_sent: milliseconds(44)?,
            last_data_received: milliseconds(52)?,
            last_ack_received: milliseconds(56)?,
            round_trip: Duration::from_micros(u32(68)?.into()),
            acked: u64(120),
            received: u64(128),
            segments_in: u32(140),
            not_sent: u32(144),
            data_segments_in: u32(152),
            data_segments_out: u32(156),
            sent: u64(200),
            retransmitted: u64(208),
            send_window: u32(228),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Each byte is its own offset.
    fn bytes() -> Vec<u8> {
        (0..=255).collect()
    }

    #[test]
    fn figures_are_where_the_kernel_puts_them() {
        let info = TcpInfo::parse(&bytes()).unwrap();
        let at = |offset: u8| u32::from_ne_bytes([offset, offset + 1, offset + 2, offset + 3]);
        assert_eq!((info.state, info.retransmits, info.probes), (0, 2, 3));
        assert_eq!(info.last_data_received, Duration::from_millis(at(52).into()));
        assert_eq!(info.round_trip, Duration::from_micros(at(68).into()));
        assert_eq!(info.not_sent, Some(at(144)));
        assert_eq!(info.send_window, Some(at(228)));
        let wide = u64::from_ne_bytes([200, 201, 202, 203, 204, 205, 206, 207]);
        assert_eq!(info.sent, Some(wide));
    }

    #[test]
    fn what_an_old_kernel_does_not_have_is_none() {
        for length in 0..256 {
            let Some(info) = TcpInfo::parse(&bytes()[..length]) else {
                assert!(length < 104, "{length}");
                continue;
            };
            assert!(length >= 104, "{length}");
            assert_eq!(info.acked.is_some(), length >= 128, "{length}");
            assert_eq!(info.not_sent.is_some(), length >= 148, "{length}");
            assert_eq!(info.retransmitted.is_some(), length >= 216, "{length}");
            assert_eq!(info.send_window.is_some(), length >= 232, "{length}");
        }
    }
}
