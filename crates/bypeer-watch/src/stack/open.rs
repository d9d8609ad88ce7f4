use std::fs::{self, File};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};

use super::maps::{Backing, Mapping};

/// Opens a regular file by its path as a process sees it: symbolic links stay within the process's root.
pub(super) fn open_in_root(pid: u32, path: &str) -> Option<File> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(rustix::fs::CWD, format!("/proc/{pid}/root"), folder, Mode::empty()).ok()?;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // Without O_NONBLOCK a named pipe would hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // What it is must be known before it is opened: opening a device may do something.
    let known = openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), within).ok()?;
    if !File::from(known).metadata().ok()?.is_file() {
        return None;
    }
    regular(openat2(&root, path, flags, Mode::empty(), within).ok()?.into())
}

/// Opens the file that a process has mapped.
pub(super) fn open_mapped(pid: u32, mapping: &Mapping) -> Option<File> {
    let Backing::File { path, deleted } = &mapping.backing else {
        return None;
    };
    // Leads to the very file, also when its path leads to another now; needs CAP_CHECKPOINT_RESTORE.
    let exact = || {
        let link = format!(
            "/proc/{pid}/map_files/{:x}-{:x}",
            mapping.addresses.start, mapping.addresses.end
        );
        let is_file = fs::metadata(&link).is_ok_and(|metadata| metadata.is_file());
        is_file.then(|| File::open(link).ok()).flatten().and_then(regular)
    };
    if *deleted {
        return exact();
    }
    open_in_root(pid, path).or_else(exact)
}

fn regular(file: File) -> Option<File> {
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}
