//! The captures that are measured: made once, the same on every machine.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::flow::{Flow, Merge};
use super::replay::recordings;
use super::transfer::{Shape, transfer};

/// Connections that are live at once in the last capture.
const LIVE: u32 = 100_000;
/// 2026-01-01 00:00 UTC, in microseconds.
const BEGIN: u64 = 1_767_225_600_000_000;

/// A capture's kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    FullSize,
    Small,
    Live,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::FullSize, Kind::Small, Kind::Live];

    pub fn what(self) -> &'static str {
        match self {
            Kind::FullSize => "the cases' traffic among large transfers in full-size segments",
            Kind::Small => "the cases' small connections among keep-alive exchanges, packets of at most 200 bytes",
            Kind::Live => "100 000 connections live at once",
        }
    }

    pub fn goal(self) -> &'static str {
        match self {
            Kind::FullSize => "bypeer not slower than tcpdump",
            Kind::Small => "bypeer at most twice tcpdump's time",
            Kind::Live => "bypeer's peak below 150 MB",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::FullSize => "full-size",
            Kind::Small => "small",
            Kind::Live => "live",
        }
    }
}

/// The capture's path; makes it where it is not there yet.
///
/// # Errors
/// When the cases cannot be read or the capture not be written.
pub fn make(kind: Kind, megabytes: u64) -> Result<PathBuf> {
    let folder = crate::bypeer::root().join("bench-data");
    std::fs::create_dir_all(&folder)?;
    let size = match kind {
        Kind::Live => String::new(),
        Kind::FullSize | Kind::Small => format!("-{megabytes}"),
    };
    let path = folder.join(format!("{}{size}.pcap", kind.name()));
    if !path.is_file() {
        eprintln!("making {}", path.display());
        // Only a whole file gets its name.
        let part = path.with_extension("part");
        let limit = if kind == Kind::Live {
            u64::MAX
        } else {
            megabytes * 1_000_000
        };
        write(kind, limit, File::create(&part)?).with_context(|| part.display().to_string())?;
        std::fs::rename(&part, &path)?;
    }
    Ok(path)
}

fn write(kind: Kind, limit: u64, file: File) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    // pcap in microseconds, snap length 256 KiB, Ethernet.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0004_0000, 1] {
        out.write_all(&word.to_le_bytes())?;
    }
    let mut written = 24;
    for (time, packet) in packets(kind)? {
        let time = BEGIN + time;
        let length = packet.len() as u32 + 14;
        for word in [(time / 1_000_000) as u32, (time % 1_000_000) as u32, length, length] {
            out.write_all(&word.to_le_bytes())?;
        }
        let ether_type: [u8; 2] = if packet[0] >> 4 == 4 {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        };
        out.write_all(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2])?;
        out.write_all(&ether_type)?;
        out.write_all(&packet)?;
        written += 16 + u64::from(length);
        if written >= limit {
            break;
        }
    }
    out.flush()?;
    Ok(())
}

fn packets(kind: Kind) -> Result<Box<dyn Iterator<Item = (u64, Vec<u8>)>>> {
    let mut copy = 0;
    if kind == Kind::Live {
        let shape = Shape {
            exchanges: 3,
            upload: 0,
            download: 120,
            pause: 20_000_000,
            closes: true,
        };
        let flows = move || {
            copy += 1;
            (copy <= LIVE).then(|| transfer(copy, shape))
        };
        // All have begun after 10 s, and the first one's second exchange comes after 20 s.
        return Ok(Box::new(Merge::new(flows, LIVE as usize, 100)));
    }
    let cases = crate::bypeer::root().join("crates/bypeer-diagnose/cases");
    let (largest_packet, at_once) = match kind {
        Kind::Small => (200, 256),
        _ => (usize::MAX, 64),
    };
    let recordings = recordings(&cases, largest_packet)?;
    let flows = move || -> Option<Flow> {
        copy += 1;
        // Every fourth flow is one of the cases: a server where one connection in a few dies.
        if copy % 4 == 0 {
            let index = (copy / 4) as usize % recordings.len();
            return Some(recordings[index].again(copy));
        }
        Some(transfer(copy, shape(kind, copy)))
    };
    Ok(Box::new(Merge::new(flows, at_once, 700)))
}

fn shape(kind: Kind, copy: u32) -> Shape {
    let varied = (copy.wrapping_mul(0x9e37_79b9) >> 16) as usize;
    match kind {
        Kind::FullSize => Shape {
            exchanges: 1 + copy % 8,
            upload: if copy % 5 == 1 { varied * 8 } else { 0 },
            download: varied * 8,
            pause: 30_000,
            closes: true,
        },
        Kind::Small | Kind::Live => Shape {
            exchanges: 50 + copy % 200,
            upload: 0,
            download: varied % 90,
            pause: 20_000,
            closes: true,
        },
    }
}
