use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Types of files in a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;

/// An initramfs: a cpio archive of the format that the kernel unpacks (its Documentation/driver-api/early-userspace/buffer-format.rst). All
/// in it is root's, who need not be there to make it: device nodes are but numbers.
#[derive(Debug, Default)]
pub struct Archive {
    /// By path without the leading slash; a folder stands before what is in it.
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Archive {
    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: impl AsRef<Path>) {
        self.add(path.as_ref(), DIRECTORY | 0o755, (0, 0), Vec::new());
    }

    /// Adds a file that all may read, and run.
    pub fn program(&mut self, path: impl AsRef<Path>, content: Vec<u8>) {
        self.add(path.as_ref(), REGULAR | 0o755, (0, 0), content);
    }

    /// Adds a file that all may read.
    pub fn file(&mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) {
        self.add(path.as_ref(), REGULAR | 0o644, (0, 0), content.into());
    }

    /// Adds a character device.
    pub fn device(&mut self, path: impl AsRef<Path>, major: u32, minor: u32) {
        self.add(path.as_ref(), CHARACTER_DEVICE | 0o600, (major, minor), Vec::new());
    }

    /// What is already there stays.
    fn add(&mut self, path: &Path, mode: u32, device: (u32, u32), content: Vec<u8>) {
        let path = path.strip_prefix("/").unwrap_or(path);
        if path.as_os_str().is_empty() {
            return;
        }
        if let Some(above) = path.parent() {
            self.add(above, DIRECTORY | 0o755, (0, 0), Vec::new());
        }
        let entry = Entry { mode, device, content };
        self.entries.entry(path.to_owned()).or_insert(entry);
    }

    /// The archive's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            append(&mut bytes, number + 1, path.as_os_str().as_encoded_bytes(), entry);
        }
        let end = Entry {
            mode: 0,
            device: (0, 0),
            content: Vec::new(),
        };
        append(&mut bytes, 0, b"TRAILER!!!", &end);
        bytes
    }
}

/// A header of hexadecimal numbers, the name with a zero byte, the content; name and content end at a multiple of four.
fn append(bytes: &mut Vec<u8>, inode: usize, name: &[u8], entry: &Entry) {
    let links = if entry.mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
    let (major, minor) = entry.device;
    bytes.extend(b"070701");
    for field in [
        inode as u32,
        entry.mode,
        0, // uid
        0, // gid
        links,
        0, // mtime
        entry.content.len() as u32,
        0, // the archive's own device
        0,
        major,
        minor,
        name.len() as u32 + 1,
        0, // no checksum in this format
    ] {
        bytes.extend(format!("{field:08x}").into_bytes());
    }
    bytes.extend(name);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(&entry.content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and content of each entry, as the format has it.
    fn unpacked(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let text = |from: usize, to: usize| String::from_utf8_lossy(&bytes[from..to]).into_owned();
            let field = |number: usize| {
                let text = text(6 + 8 * number, 14 + 8 * number);
                usize::from_str_radix(&text, 16).unwrap_or_else(|_| panic!("{text:?}"))
            };
            assert_eq!(text(0, 6), "070701");
            let (size, name) = (field(6), field(11));
            let start = (110 + name).next_multiple_of(4);
            found.push((
                text(110, 110 + name - 1),
                field(1) as u32,
                bytes[start..start + size].to_vec(),
            ));
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn folders_come_first_and_once() {
        let mut archive = Archive::default();
        archive.program("/bin/deep/odd", b"12345".to_vec());
        archive.device("/dev/console", 5, 1);
        archive.folder("/bin");
        let entry = |name: &str, mode: u32, content: &[u8]| (name.to_owned(), mode, content.to_vec());
        let expected = [
            entry("bin", 0o040_755, b""),
            entry("bin/deep", 0o040_755, b""),
            entry("bin/deep/odd", 0o100_755, b"12345"),
            entry("dev", 0o040_755, b""),
            entry("dev/console", 0o020_600, b""),
            entry("TRAILER!!!", 0, b""),
        ];
        assert_eq!(unpacked(&archive.bytes()), expected);
    }
}
