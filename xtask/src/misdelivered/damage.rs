//! A capture as worse witnesses would have made it. What they did not see must not become an accusation.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::traffic::Random;

/// The header of a file, and of a record, in the form that tcpdump writes.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Ethernet and IPv4 without options.
const TCP_AT: usize = 34;
/// Ports of servers here; those of clients are above.
const LAST_SERVER: u16 = 20_000;

/// How the witness was worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Only so many bytes of each packet.
    Cut(usize),
    /// One packet in so many was missed.
    Missed(u64),
    /// It began when a third was over.
    Late,
    /// One packet in so many was seen twice.
    Twice(u64),
    /// One packet in so many was written behind its successor.
    Swapped(u64),
    /// Only what servers sent.
    ServersOnly,
    /// Only what clients sent.
    ClientsOnly,
}

impl Damage {
    pub const ALL: [Damage; 9] = [
        Damage::Cut(96),
        Damage::Cut(300),
        Damage::Missed(200),
        Damage::Missed(20),
        Damage::Late,
        Damage::Twice(10),
        Damage::Swapped(50),
        Damage::ServersOnly,
        Damage::ClientsOnly,
    ];

    /// As tables have it.
    pub fn words(self) -> String {
        match self {
            Damage::Cut(bytes) => format!("the first {bytes} bytes of each packet"),
            Damage::Missed(times) => format!("one packet in {times} missed"),
            Damage::Late => "begun when a third was over".to_owned(),
            Damage::Twice(times) => format!("one packet in {times} twice"),
            Damage::Swapped(times) => format!("one packet in {times} behind its successor"),
            Damage::ServersOnly => "only what servers sent".to_owned(),
            Damage::ClientsOnly => "only what clients sent".to_owned(),
        }
    }

    /// Writes the worse capture.
    ///
    /// # Errors
    /// When the file is none of tcpdump's, or cannot be written.
    pub fn copy(self, from: &Path, to: &Path) -> Result<()> {
        let whole = fs::read(from).with_context(|| from.display().to_string())?;
        fs::write(to, self.of(&whole)?).with_context(|| to.display().to_string())
    }

    fn of(self, whole: &[u8]) -> Result<Vec<u8>> {
        let records = records(whole)?;
        let mut random = Random::of(whole.len() as u64);
        let mut worse = whole[..FILE_HEADER].to_vec();
        let late = records.len() / 3;
        let mut held: Option<&[u8]> = None;
        for (number, record) in records.iter().enumerate() {
            match self {
                Damage::Cut(bytes) => worse.extend(cut(record, bytes)),
                Damage::Missed(times) if random.once_in(times) => {}
                Damage::Late if number < late => {}
                Damage::ServersOnly if !by_server(record) => {}
                Damage::ClientsOnly if by_server(record) => {}
                Damage::Twice(times) if random.once_in(times) => worse.extend([*record, record].concat()),
                Damage::Swapped(times) if held.is_none() && random.once_in(times) => held = Some(record),
                _ => worse.extend(*record),
            }
            if held.is_some_and(|held| held != *record) {
                worse.extend(held.take().unwrap_or_default());
            }
        }
        worse.extend(held.unwrap_or_default());
        Ok(worse)
    }
}

fn records(whole: &[u8]) -> Result<Vec<&[u8]>> {
    // Microseconds, of a machine with the same order of bytes.
    ensure!(
        whole.len() >= FILE_HEADER && whole[..4] == 0xa1b2_c3d4_u32.to_ne_bytes(),
        "no capture of tcpdump's"
    );
    let mut records = Vec::new();
    let mut rest = &whole[FILE_HEADER..];
    while let Some(length) = rest.get(8..12) {
        let length = u32::from_ne_bytes(length.try_into()?) as usize;
        let Some((record, behind)) = rest.split_at_checked(RECORD_HEADER + length) else {
            break;
        };
        records.push(record);
        rest = behind;
    }
    Ok(records)
}

fn cut(record: &[u8], bytes: usize) -> Vec<u8> {
    let held = (record.len() - RECORD_HEADER).min(bytes);
    let mut cut = record[..RECORD_HEADER + held].to_vec();
    cut[8..12].copy_from_slice(&(held as u32).to_ne_bytes());
    cut
}

fn by_server(record: &[u8]) -> bool {
    let at = RECORD_HEADER + TCP_AT;
    let port = record
        .get(at..at + 2)
        .map(|port| u16::from_be_bytes([port[0], port[1]]));
    port.is_some_and(|port| port < LAST_SERVER)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A hundred packets, of servers and clients in turn.
    fn capture() -> Vec<u8> {
        let mut capture = 0xa1b2_c3d4_u32.to_ne_bytes().to_vec();
        capture.resize(FILE_HEADER, 0);
        for number in 0..100_u32 {
            let mut packet = vec![number as u8; 400];
            let port: u16 = if number % 2 == 0 { 8000 } else { 40_000 };
            packet[TCP_AT..TCP_AT + 2].copy_from_slice(&port.to_be_bytes());
            for field in [number, 0, 400, 400] {
                capture.extend(field.to_ne_bytes());
            }
            capture.extend(packet);
        }
        capture
    }

    fn times(capture: &[u8]) -> Vec<u32> {
        let time = |record: &&[u8]| u32::from_ne_bytes(record[..4].try_into().unwrap());
        records(capture).unwrap().iter().map(time).collect()
    }

    #[test]
    fn each_damage_is_what_it_says() {
        let whole = capture();
        let of = |damage: Damage| times(&damage.of(&whole).unwrap());
        assert_eq!(of(Damage::Cut(96)).len(), 100);
        assert!(
            records(&Damage::Cut(96).of(&whole).unwrap())
                .unwrap()
                .iter()
                .all(|record| record.len() == RECORD_HEADER + 96)
        );
        assert!((50..100).contains(&of(Damage::Missed(5)).len()));
        assert_eq!(of(Damage::Late), (33..100).collect::<Vec<_>>());
        assert!(of(Damage::Twice(5)).len() > 100);
        let mut swapped = of(Damage::Swapped(5));
        assert!(!swapped.is_sorted());
        swapped.sort_unstable();
        assert_eq!(swapped, (0..100).collect::<Vec<_>>());
        assert_eq!(of(Damage::ServersOnly), (0..100).step_by(2).collect::<Vec<_>>());
        assert_eq!(of(Damage::ClientsOnly), (1..100).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn what_tcpdump_did_not_write_is_refused() {
        assert!(Damage::Late.of(b"no capture at all, this is").is_err());
    }
}
