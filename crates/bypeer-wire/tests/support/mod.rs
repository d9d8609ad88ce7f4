//! What the integration tests share: seeded numbers, and all of this crate in one call.
#![allow(dead_code, clippy::unwrap_used)]

pub mod dialogues;
pub mod simulator;

use bypeer_wire::app::{Look, Noticed, Request};
use bypeer_wire::capture::LinkType;
use bypeer_wire::conn::{Connection, Limits, Table};
use bypeer_wire::packet::{Decoded, Decoder};
use bypeer_wire::{Issue, Issues, PacketRef};

/// SplitMix64: the same numbers everywhere.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// A frame as a capture holds it.
#[derive(Clone, Debug)]
pub struct Captured {
    pub at: PacketRef,
    pub link: LinkType,
    pub data: Vec<u8>,
    pub original_len: u32,
}

/// Decoder and table, and a count of what became of each frame.
pub struct Pipeline {
    decoder: Decoder,
    table: Table,
    limits: Limits,
    pub records: Vec<Connection>,
    frames: u64,
    segments: u64,
    icmp: u64,
    held: u64,
    unusable: Issues,
}

/// What is left of a capture at its end.
pub struct Outcome {
    pub records: Vec<Connection>,
    pub segments: u64,
    pub duplicates: u64,
}

impl Pipeline {
    /// Messages are told, too: whatever comes must do no harm there.
    pub fn new(limits: Limits) -> Pipeline {
        let limits = Limits {
            notices: true,
            ..limits
        };
        Pipeline {
            decoder: Decoder::new(),
            table: Table::new(limits.clone()),
            limits,
            records: Vec::new(),
            frames: 0,
            segments: 0,
            icmp: 0,
            held: 0,
            unusable: Issues::default(),
        }
    }

    pub fn frame(&mut self, at: PacketRef, link: LinkType, data: &[u8], original_len: u32) {
        self.frames += 1;
        match self.decoder.decode(link, data, original_len, at.time) {
            Decoded::Tcp(segment) => {
                self.segments += 1;
                let records = &mut self.records;
                self.table.push(at, &segment, &mut |record| records.push(record));
            }
            Decoded::IcmpError(error) => {
                self.icmp += 1;
                self.table.push_icmp(at, &error);
            }
            Decoded::Held => self.held += 1,
            Decoded::Unusable(issue) => self.unusable.note(issue),
        }
        self.hear();
        assert!(self.table.live() <= self.limits.connections, "connections");
        assert!(
            self.table.reassembly_bytes() <= self.limits.reassembly_bytes_total,
            "reassembly"
        );
    }

    /// What one packet tells is bounded by what it, and what waited for it, held.
    fn hear(&mut self) {
        let told = self.table.notices().inspect(|notice| {
            if let Noticed::Asked { request, .. } = &notice.what {
                assert!(request.tokens.len() <= Request::TOKENS && request.route.text.len() <= 160);
            }
            if let Noticed::Answered { look, .. } = &notice.what {
                assert!(look.tokens.len() <= Look::TOKENS && look.shape.text.len() <= 200);
            }
        });
        assert!(told.count() < 100_000);
    }

    /// Ends the capture. Every frame is one of: a segment, an ICMP error, a fragment, an issue; and every segment belongs to
    /// a connection, or is another copy of one that does.
    pub fn finish(mut self) -> Outcome {
        self.decoder.end();
        let records = &mut self.records;
        self.table.finish(&mut |record| records.push(record));
        self.hear();
        assert_eq!((self.table.live(), self.table.reassembly_bytes()), (0, 0));
        let unusable: u64 = self.unusable.iter().map(|(_, count)| count).sum();
        assert_eq!(self.frames, self.segments + self.icmp + self.held + unusable);
        let duplicates = self
            .table
            .issues()
            .iter()
            .find(|(issue, _)| *issue == Issue::Duplicate)
            .map_or(0, |(_, count)| count);
        let of_connections: u64 = self
            .records
            .iter()
            .map(|record| record.to_server.packets + record.to_client.packets)
            .sum();
        assert_eq!(self.segments, of_connections + duplicates, "segments are accounted for");
        Outcome {
            records: self.records,
            segments: self.segments,
            duplicates,
        }
    }
}

/// A whole capture in one call.
pub fn explain(frames: &[Captured]) -> Outcome {
    let mut pipeline = Pipeline::new(Limits::default());
    for frame in frames {
        pipeline.frame(frame.at, frame.link, &frame.data, frame.original_len);
    }
    pipeline.finish()
}

/// What holds of any record, however it came about.
pub fn is_sane(record: &Connection) {
    for flow in [&record.to_server, &record.to_client] {
        // An acknowledgement beyond the FIN that came later was nonsense, or counted the FIN.
        assert!(flow.missed <= flow.acked || flow.fin.is_some(), "{flow:?}");
        assert!(flow.acked <= flow.sent || flow.missed > 0, "{flow:?}");
        assert!(flow.data_packets + u64::from(flow.retransmissions) <= flow.packets + u64::from(flow.window_probes));
        assert!(flow.unanswered_retransmissions <= flow.retransmissions);
        assert!(flow.unanswered_probes <= flow.keep_alive_probes);
        assert!(flow.first_data.is_some() == flow.last_data.is_some());
    }
    assert!(record.resets.len() <= 16 && record.resets.len() <= record.resets_total as usize);
    assert!(record.icmp.len() <= 8);
    let noted = record.timeline.iter().count() as u64 + record.timeline.let_go;
    assert_eq!(
        noted,
        record.to_server.packets + record.to_client.packets,
        "{record:#?}"
    );
    let exchanges = &record.app.exchanges;
    assert!(exchanges.complete <= exchanges.total && exchanges.iter().count() <= exchanges.total as usize);
    assert!(record.app.trailing_request_bytes.len() <= 8);
    // What was acknowledged and not seen may have counted a FIN, or be nonsense.
    let ends = [&record.to_server, &record.to_client].map(|flow| if flow.missed > 0 { u64::MAX } else { flow.sent });
    for exchange in exchanges.iter() {
        for (message, end) in [(&exchange.request, ends[0]), (&exchange.response, ends[1])] {
            let Some(message) = message else { continue };
            assert!(
                message.start <= message.seen && message.seen <= end,
                "{message:?} of {end}"
            );
            assert!(!message.complete || message.end == Some(message.seen), "{message:?}");
        }
    }
}
