use std::fs::File;
use std::io::Read as _;
use std::ops::Range;

/// A process has some hundreds of mappings; what is beyond this many bytes is not read.
const LARGEST: u64 = 8 << 20;

/// The mappings of a process that hold code, in the order of their addresses.
#[derive(Debug, Default)]
pub(super) struct Maps(Vec<Mapping>);

/// A line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) addresses: Range<u64>,
    /// Where it begins in its file.
    pub(super) offset: u64,
    pub(super) backing: Backing,
}

/// What is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// A file: its path in the process's own root, and whether that path still leads to it.
    File { path: String, deleted: bool },
    /// What the kernel names: `[vdso]`.
    Named(String),
    /// Memory without a file.
    Anonymous,
}

impl Maps {
    /// Of a living process; none where there is none, or it may not be asked.
    pub(super) fn read(pid: u32) -> Maps {
        let mut text = Vec::new();
        let read = File::open(format!("/proc/{pid}/maps")).and_then(|file| file.take(LARGEST).read_to_end(&mut text));
        match read {
            Ok(_) => Maps::parse(&String::from_utf8_lossy(&text)),
            Err(_) => Maps::default(),
        }
    }

    fn parse(text: &str) -> Maps {
        let mut mappings: Vec<Mapping> = text.lines().filter_map(Mapping::parse).collect();
        mappings.sort_by_key(|mapping| mapping.addresses.start);
        Maps(mappings)
    }

    /// The code mapping that holds an address.
    pub(super) fn of(&self, address: u64) -> Option<&Mapping> {
        let after = self.0.partition_point(|mapping| mapping.addresses.start <= address);
        self.0[..after]
            .last()
            .filter(|mapping| mapping.addresses.contains(&address))
    }
}

impl Mapping {
    /// `55e0…-55e1… r-xp 00002000 fd:00 1234      /usr/bin/server (deleted)`; `None` for what holds no code.
    fn parse(line: &str) -> Option<Mapping> {
        let mut rest = line;
        let mut field = || {
            rest = rest.trim_start_matches(' ');
            let (field, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after;
            field
        };
        let (start, end) = field().split_once('-')?;
        if field().as_bytes().get(2) != Some(&b'x') {
            return None;
        }
        let offset = u64::from_str_radix(field(), 16).ok()?;
        let (_device, inode) = (field(), field());
        let name = rest.trim_start_matches(' ');
        let backing = match name {
            "" => Backing::Anonymous,
            _ if name.starts_with('/') && inode != "0" => {
                // The kernel escapes nothing but line feeds.
                let name = name.replace("\\012", "\n");
                match name.strip_suffix(" (deleted)") {
                    Some(path) => Backing::File {
                        path: path.to_owned(),
                        deleted: true,
                    },
                    None => Backing::File {
                        path: name,
                        deleted: false,
                    },
                }
            }
            _ if name.starts_with("[v") => Backing::Named(name.to_owned()),
            // `[heap]`, `[anon:name]`, `//anon`, a shared mapping of /dev/zero.
            _ => Backing::Anonymous,
        };
        let addresses = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
        Some(Mapping {
            addresses,
            offset,
            backing,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0a4e000-55d0c0a50000 r--p 00000000 fd:01 1835031                    /usr/bin/a server
55d0c0a50000-55d0c0a56000 r-xp 00002000 fd:01 1835031                    /usr/bin/a server
55d0c1e3c000-55d0c1e5d000 rw-p 00000000 00:00 0                          [heap]
7f3f00000000-7f3f00021000 rwxp 00000000 00:00 0 
7f3f10000000-7f3f10021000 r-xp 00000000 00:00 0                          [anon:v8]
7f40b2a28000-7f40b2bbd000 r-xp 00028000 fd:01 1837512                    /usr/lib/libc.so.6 (deleted)
7ffd3a5f7000-7ffd3a5f9000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn only_code_is_kept_and_found_by_its_addresses() {
        let maps = Maps::parse(MAPS);
        assert_eq!(maps.0.len(), 6);
        let server = maps.of(0x55d0_c0a5_0000).unwrap();
        assert_eq!(server.offset, 0x2000);
        let path = "/usr/bin/a server".to_owned();
        assert_eq!(server.backing, Backing::File { path, deleted: false });
        assert_eq!(maps.of(0x55d0_c0a4_ffff), None);
        assert_eq!(maps.of(0x55d0_c0a5_6000), None);
        assert_eq!(maps.of(0x7f3f_0000_0010).unwrap().backing, Backing::Anonymous);
        assert_eq!(maps.of(0x7f3f_1000_0010).unwrap().backing, Backing::Anonymous);
        let path = "/usr/lib/libc.so.6".to_owned();
        assert_eq!(
            maps.of(0x7f40_b2a2_8000).unwrap().backing,
            Backing::File { path, deleted: true }
        );
        assert_eq!(
            maps.of(0x7ffd_3a5f_7001).unwrap().backing,
            Backing::Named("[vdso]".to_owned())
        );
        assert_eq!(maps.of(u64::MAX), None);
    }

    #[test]
    fn any_text_will_do() {
        for end in 0..MAPS.len() {
            Maps::parse(&MAPS[..end]);
            Maps::parse(&MAPS[end..]);
        }
    }

    #[test]
    fn nobody_has_no_maps() {
        assert!(Maps::read(u32::MAX).0.is_empty());
        assert!(!Maps::read(std::process::id()).0.is_empty());
    }
}
