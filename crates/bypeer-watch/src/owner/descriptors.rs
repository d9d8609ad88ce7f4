use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Dir, Mode, OFlags, open, readlinkat};

/// Between two walks through all processes at least; more where a walk takes long.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two walks through the favourites.
const SHORT_PAUSE: Duration = Duration::from_millis(10);
/// A walk may take one part in so many of the time.
const SHARE: u32 = 10;
/// Of one walk. What is left comes first in the next.
const LONGEST: Duration = Duration::from_millis(250);
const MOST_DESCRIPTORS: usize = 200_000;
/// Sockets that are kept in mind.
const MOST_SOCKETS: usize = 100_000;
/// Processes that are asked first: those found to own sockets lately.
const MOST_FAVOURITES: usize = 8;

/// Which processes hold which sockets, as `/proc/PID/fd` says.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// By the socket's inode: process and descriptor, as they were found.
    holders: HashMap<u64, Vec<Holder>>,
    /// The last found owner first.
    favourites: Vec<u32>,
    favourites_walked: Option<Walk>,
    walked: Option<Walk>,
    /// The walk was cut short before this process.
    resume_at: Option<u32>,
    unanswered: u64,
}

/// When a walk ended, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walk {
    ended: Instant,
    took: Duration,
}

impl Walk {
    fn begun(start: Instant) -> Option<Walk> {
        Some(Walk {
            ended: Instant::now(),
            took: start.elapsed(),
        })
    }

    fn allows_another(self, pause: Duration) -> bool {
        self.ended.elapsed() >= pause.max(self.took * SHARE)
    }
}

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    descriptor: u32,
}

impl Descriptors {
    /// The processes that hold a socket, in order; none when nobody does, when those who do may not be asked, or when looking would cost
    /// too much now: see [`Descriptors::unanswered`].
    pub(super) fn of(&mut self, inode: u64) -> Vec<u32> {
        if inode == 0 {
            return Vec::new();
        }
        let known = self.confirmed(inode);
        if !known.is_empty() {
            return known;
        }
        if self
            .favourites_walked
            .is_none_or(|walk| walk.allows_another(SHORT_PAUSE))
        {
            let start = Instant::now();
            let mut room = MOST_DESCRIPTORS;
            for pid in self.favourites.clone() {
                self.walk_process(pid, &mut room, start + LONGEST);
            }
            self.favourites_walked = Walk::begun(start);
        }
        let found = self.confirmed(inode);
        if !found.is_empty() {
            return found;
        }
        let is_complete = self.walked.is_none_or(|walk| walk.allows_another(PAUSE)) && self.walk();
        let found = self.confirmed(inode);
        self.unanswered += u64::from(found.is_empty() && !is_complete);
        found
    }

    /// How often nobody was found and not everybody was asked.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Those known to hold a socket who still do.
    fn confirmed(&mut self, inode: u64) -> Vec<u32> {
        let Some(holders) = self.holders.get_mut(&inode) else {
            return Vec::new();
        };
        holders.retain(|holder| {
            let link = fs::read_link(format!("/proc/{}/fd/{}", holder.pid, holder.descriptor));
            link.is_ok_and(|link| socket(link.as_os_str().as_encoded_bytes()) == Some(inode))
        });
        let mut pids: Vec<u32> = holders.iter().map(|holder| holder.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        if pids.is_empty() {
            self.holders.remove(&inode);
        }
        for pid in pids.iter().rev() {
            self.favourites.retain(|favourite| favourite != pid);
            self.favourites.insert(0, *pid);
        }
        self.favourites.truncate(MOST_FAVOURITES);
        pids
    }

    /// Asks all processes; `false` when there was no time for some. Those are asked first the next time.
    fn walk(&mut self) -> bool {
        let start = Instant::now();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids: Vec<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        let first = self
            .resume_at
            .map_or(0, |pid| pids.partition_point(|other| *other < pid));
        pids.rotate_left(first);
        let mut room = MOST_DESCRIPTORS;
        let left = pids
            .into_iter()
            .find(|pid| !self.walk_process(*pid, &mut room, start + LONGEST));
        self.resume_at = left;
        self.walked = Walk::begun(start);
        left.is_none()
    }

    /// Notes a process's sockets; `false` when time or room is up.
    fn walk_process(&mut self, pid: u32, room: &mut usize, end: Instant) -> bool {
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(folder) = open(format!("/proc/{pid}/fd"), folder, Mode::empty()) else {
            return true;
        };
        let folder: OwnedFd = folder;
        let Ok(mut entries) = Dir::read_from(&folder) else {
            return true;
        };
        let mut buffer = Vec::with_capacity(64);
        while let Some(Ok(entry)) = entries.read() {
            let name = entry.file_name();
            let Some(descriptor) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if *room == 0 || (room.is_multiple_of(64) && Instant::now() >= end) {
                return false;
            }
            *room -= 1;
            buffer.clear();
            let Ok(link) = readlinkat(&folder, name, buffer) else {
                buffer = Vec::with_capacity(64);
                continue;
            };
            if let Some(inode) = socket(link.as_bytes()) {
                self.note(inode, Holder { pid, descriptor });
            }
            buffer = link.into_bytes();
        }
        true
    }

    fn note(&mut self, inode: u64, holder: Holder) {
        if self.holders.len() >= MOST_SOCKETS && !self.holders.contains_key(&inode) {
            // What lives is found again.
            self.holders.clear();
        }
        let holders = self.holders.entry(inode).or_default();
        if !holders.contains(&holder) {
            holders.push(holder);
        }
    }
}

/// `socket:[12345]`
fn socket(link: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::process::{Command, Stdio};

    use super::*;

    fn inode_of(listener: &TcpListener) -> u64 {
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        socket(link.as_os_str().as_encoded_bytes()).unwrap()
    }

    #[test]
    fn links_of_sockets() {
        assert_eq!(socket(b"socket:[12345]"), Some(12345));
        for other in [
            &b"pipe:[12345]"[..],
            b"socket:[]",
            b"socket:[-1]",
            b"/tmp/socket:[1]",
            b"socket:[1",
            b"",
        ] {
            assert_eq!(socket(other), None);
        }
    }

    #[test]
    fn ours_is_found_as_long_as_it_is_open() {
        let mut descriptors = Descriptors::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode_of(&listener);
        let own = std::process::id();
        assert!(descriptors.of(inode).contains(&own));
        let second = listener.try_clone().unwrap();
        drop(listener);
        // The descriptor that was found is gone; there is another.
        (descriptors.walked, descriptors.favourites_walked) = (None, None);
        assert!(descriptors.of(inode).contains(&own));
        drop(second);
        (descriptors.walked, descriptors.favourites_walked) = (None, None);
        assert!(!descriptors.of(inode).contains(&own));
        assert_eq!(descriptors.of(0), []);
    }

    #[test]
    fn so_is_the_one_that_a_child_has_got() {
        let mut descriptors = Descriptors::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode_of(&listener);
        let mut command = Command::new("sleep");
        command.arg("60").stdin(OwnedFd::from(listener)).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        drop(command);
        let found = descriptors.of(inode);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()), "{found:?}");
        (descriptors.walked, descriptors.favourites_walked) = (None, None);
        assert!(!descriptors.of(inode).contains(&child.id()));
    }

    #[test]
    fn a_storm_of_questions_costs_few_walks() {
        let mut descriptors = Descriptors::default();
        // Nobody's.
        let inode = u64::MAX;
        assert_eq!(descriptors.of(inode), []);
        let first = descriptors.walked.unwrap();
        for _ in 0..1000 {
            descriptors.of(inode);
        }
        let last = descriptors.walked.unwrap();
        assert!(last == first || last.ended - first.ended >= PAUSE);
        assert!(descriptors.unanswered() > 0);
    }
}
