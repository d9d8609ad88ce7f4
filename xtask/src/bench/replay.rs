//! The repository's own captures of real software, again and again, between other hosts each time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use bypeer_input::{Event, Input, Source};
use bypeer_wire::capture::LinkType;

use super::flow::Flow;
use super::packet::{addresses, is_tcp, redirect};

/// Hosts that one capture may have.
const HOSTS: u32 = 16;

/// TCP packets of one capture.
pub struct Recording {
    /// Microseconds since the first packet, the IP packet, and its ends as places among the hosts.
    packets: Vec<(u64, Vec<u8>, [u32; 2])>,
}

/// All captures of the cases that hold packets which are wanted; ICMP, fragments and cut packets are left out.
///
/// # Errors
/// When one cannot be read.
pub fn recordings(cases: &Path, largest_packet: usize) -> Result<Vec<Rc<Recording>>> {
    let mut folders = std::fs::read_dir(cases)
        .with_context(|| cases.display().to_string())?
        .map(|entry| Ok(entry?.path().join("capture.pcap.zst")))
        .collect::<Result<Vec<_>>>()?;
    folders.retain(|path| path.is_file());
    folders.sort();
    let mut recordings = Vec::new();
    for path in &folders {
        let recording = Recording::read(path).with_context(|| path.display().to_string())?;
        if recording
            .packets
            .iter()
            .all(|(_, packet, _)| packet.len() <= largest_packet)
        {
            recordings.push(Rc::new(recording));
        }
    }
    ensure!(!recordings.is_empty(), "{}: no captures", cases.display());
    Ok(recordings)
}

impl Recording {
    fn read(path: &Path) -> Result<Recording> {
        let mut packets = Vec::new();
        let mut hosts: BTreeMap<IpAddr, u32> = BTreeMap::new();
        let mut first = None;
        Input::new(vec![Source::open(path)?])?.for_each(|event| {
            if let Event::Frame(frame) = event
                && let Some(packet) = ip(frame.link, frame.data).filter(|packet| is_tcp(packet))
            {
                let time = frame.at.time;
                let after = time.since(*first.get_or_insert(time)).as_micros() as u64;
                let ends = addresses(packet).map(|address| {
                    let fresh = hosts.len() as u32 % HOSTS;
                    *hosts.entry(address).or_insert(fresh)
                });
                packets.push((after, packet.to_vec(), ends));
            }
            ControlFlow::Continue(())
        })?;
        Ok(Recording { packets })
    }

    /// The recording, between hosts that belong to the `copy` alone.
    pub fn again(self: &Rc<Recording>, copy: u32) -> Flow {
        let recording = Rc::clone(self);
        Box::new((0..recording.packets.len()).map(move |index| {
            let (after, packet, ends) = &recording.packets[index];
            let mut packet = packet.clone();
            redirect(
                &mut packet,
                ends.map(|host| (copy * HOSTS + host, copy.wrapping_mul(0x9e37_79b9) + host)),
            );
            (*after, packet)
        }))
    }
}

/// The IP packet in a frame of the link types that the cases have.
fn ip(link: LinkType, frame: &[u8]) -> Option<&[u8]> {
    match (link, frame) {
        (LinkType(1), [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, packet @ ..]) => {
            // Ethernet pads short frames.
            let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            packet.get(..total)
        }
        (LinkType(1), [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, packet @ ..]) => Some(packet),
        (LinkType(101), packet) => Some(packet),
        _ => None,
    }
}
