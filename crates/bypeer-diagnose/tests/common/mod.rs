//! What tests over folders of captures share.
#![allow(clippy::unwrap_used, dead_code)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bypeer_diagnose::{Judge, Verdicts};
use bypeer_input::{Event, Input, Source};
use bypeer_wire::PacketRef;
use bypeer_wire::capture::LinkType;
use bypeer_wire::conn::{Limits, Table};
use bypeer_wire::packet::{Decoded, Decoder};

/// The folders in one of this crate's folders, by name.
pub fn folders(of: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(of);
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// A frame of a capture.
#[derive(Clone)]
pub struct Taken {
    pub at: PacketRef,
    pub link: LinkType,
    pub data: Vec<u8>,
    pub original_len: u32,
}

/// The frames of the capture in a folder.
pub fn frames(folder: &Path) -> Vec<Taken> {
    let source = Source::open(folder.join("capture.pcap.zst")).unwrap();
    let mut frames = Vec::new();
    Input::new(vec![source])
        .unwrap()
        .for_each(|event| {
            if let Event::Frame(frame) = event {
                frames.push(Taken {
                    at: frame.at,
                    link: frame.link,
                    data: frame.data.to_vec(),
                    original_len: frame.original_len,
                });
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    frames
}

/// What is said of the capture in a folder, and the number of its connections. Fails when not every connection is
/// accounted for.
pub fn judge(folder: &Path) -> (Verdicts, u64) {
    judge_frames(&folder.display().to_string(), &frames(folder))
}

/// The same of frames; `name` is for complaints.
pub fn judge_frames(name: &str, frames: &[Taken]) -> (Verdicts, u64) {
    let (mut decoder, mut table, mut judge) = (
        Decoder::new(),
        Table::new(Limits {
            notices: true,
            ..Limits::default()
        }),
        Judge::new(),
    );
    let mut connections = 0;
    for frame in frames {
        match decoder.decode(frame.link, &frame.data, frame.original_len, frame.at.time) {
            Decoded::Tcp(segment) => table.push(frame.at, &segment, &mut |ended| {
                connections += 1;
                judge.push(ended);
            }),
            Decoded::IcmpError(error) => table.push_icmp(frame.at, &error),
            _ => {}
        }
        table.notices().for_each(|notice| judge.notice(&notice));
    }
    table.finish(&mut |ended| {
        connections += 1;
        judge.push(ended);
    });
    table.notices().for_each(|notice| judge.notice(&notice));
    let verdicts = judge.finish();
    let accounts = &verdicts.accounts;
    let accounted = accounts.ended_well
        + accounts.found
        + accounts.harmless
        + accounts.undecided
        + accounts.not_judged.iter().map(|(_, count)| count).sum::<u64>();
    assert_eq!(accounts.connections, connections, "{name}: connections not counted");
    assert_eq!(
        accounted, connections,
        "{name}: {accounts:?} does not account for every connection"
    );
    (verdicts, connections)
}
