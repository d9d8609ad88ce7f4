//! Temporary folders: named after their lab, so that those of labs that were killed can be told and removed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::geteuid;
use tempfile::TempDir;

/// Names of our folders begin with this; `PID-N-` and something random follow.
const PREFIX: &str = "bypeer-lab-";

/// A temporary folder of the lab with this process id, as the machine counts it.
pub(crate) fn folder(lab: u32, number: u32) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{lab}-{number}-"))
        .tempdir()?;
    // A server may run as another user than the lab.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Removes the temporary folders of labs that are no more. To be called where the machine's processes can be seen: before
/// [`crate::confine::confine`].
pub fn remove_stale_folders() {
    let alive = |lab: u32| Path::new("/proc").join(lab.to_string()).exists();
    // Without /proc nobody would seem to live.
    if alive(std::process::id()) {
        remove_folders(&std::env::temp_dir(), |lab| !alive(lab));
    }
}

/// Removes the temporary folders of the lab with this process id: it is over.
pub fn remove_folders_of(over: u32) {
    remove_folders(&std::env::temp_dir(), |lab| lab == over);
}

fn remove_folders(within: &Path, unwanted: impl Fn(u32) -> bool) {
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let lab = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        // Anybody may put a name into the folder: only what is our own is removed, and links are not followed.
        let is_own = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw());
        if is_own && lab.is_some_and(&unwanted) {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_unwanted_folders_of_ours_go() {
        let within = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = within.path().join(name);
            fs::create_dir_all(path.join("1")).unwrap();
            path
        };
        let (dead, living) = (make("bypeer-lab-7-1-aBc"), make("bypeer-lab-70-1-aBc"));
        let (other, unnumbered) = (make("bypeer-7"), make("bypeer-lab-x-1"));
        let link = within.path().join("bypeer-lab-7-2-link");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        remove_folders(within.path(), |lab| lab == 7);
        assert!(!dead.exists());
        for kept in [living, other, unnumbered, link] {
            assert!(kept.exists(), "{} is gone", kept.display());
        }
    }

    #[test]
    fn a_living_labs_folder_stays_and_a_dead_ones_goes() {
        let own = folder(std::process::id(), 1).unwrap();
        // No process has this id: the kernel's highest is 4194304.
        let dead = folder(4_194_990, 1).unwrap();
        remove_stale_folders();
        assert!(own.path().exists());
        assert!(!dead.path().exists());
        remove_folders_of(std::process::id());
        assert!(!own.path().exists());
    }
}
