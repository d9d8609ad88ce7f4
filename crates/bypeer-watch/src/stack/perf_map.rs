use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;

use super::open::open_in_root;

/// A runtime may write on for as long as it runs.
const LARGEST: u64 = 64 << 20;
const LONGEST_NAME: usize = 512;

/// The names of functions that a runtime compiled while it ran, at these addresses, from `/tmp/perf-PID.map`: Node.js
/// (`--perf-basic-prof`), CPython (`-X perf`), the JVM and others write it when asked to. Of several for one place the last counts.
pub(super) fn names(pid: u32, addresses: &[u64]) -> Vec<Option<String>> {
    let mut names = vec![None; addresses.len()];
    if addresses.is_empty() {
        return names;
    }
    let Some(map) = open(pid) else { return names };
    let mut map = BufReader::new(map.take(LARGEST));
    let mut line = Vec::new();
    loop {
        line.clear();
        match map.read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => return names,
        }
        let Some((start, end, name)) = parse(&line) else {
            continue;
        };
        for (address, slot) in addresses.iter().zip(&mut names) {
            if (start..end).contains(address) {
                *slot = Some(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
}

/// The file is in the process's own `/tmp`, named by the id that the process knows itself by. Anybody may put a file there: only the
/// process's user, or root, is believed.
fn open(pid: u32) -> Option<File> {
    let own = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let inner = ids.split_whitespace().next_back()?;
    let file = open_in_root(pid, &format!("/tmp/perf-{inner}.map"))?;
    let writer = file.metadata().ok()?.uid();
    (writer == own || writer == 0).then_some(file)
}

/// `7f3f00001000 2a LazyCompile:*handle /srv/app.js:12`
fn parse(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut fields = line.trim_ascii_end().splitn(3, |byte| *byte == b' ');
    let mut number =
        || u64::from_str_radix(std::str::from_utf8(fields.next()?).ok()?.trim_start_matches("0x"), 16).ok();
    let (start, size) = (number()?, number()?);
    let name = fields.next().filter(|name| !name.is_empty())?;
    Some((start, start.checked_add(size)?, &name[..name.len().min(LONGEST_NAME)]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_start_size_name() {
        assert_eq!(
            parse(b"7f00 2a LazyCompile:*handle /srv/app.js:12\n"),
            Some((0x7f00, 0x7f2a, &b"LazyCompile:*handle /srv/app.js:12"[..]))
        );
        assert_eq!(parse(b"0x10 10 a"), Some((0x10, 0x20, &b"a"[..])));
        for wrong in [
            &b""[..],
            b"\n",
            b"10",
            b"10 20",
            b"10 20 ",
            b"x 20 a",
            b"ffffffffffffffff 2 a",
            b"\xff \xff \xff",
        ] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn the_last_name_of_a_place_counts() {
        let pid = std::process::id();
        let path = format!("/tmp/perf-{pid}.map");
        std::fs::write(&path, "1000 10 old\n1000 10 new\nnonsense\n2000 8 other\n").unwrap();
        let found = names(pid, &[0x1000, 0x100f, 0x1010, 0x2007]);
        std::fs::remove_file(path).unwrap();
        let expected = [Some("new"), Some("new"), None, Some("other")];
        assert_eq!(found, expected.map(|name| name.map(str::to_owned)));
    }
}
