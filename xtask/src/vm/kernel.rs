use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

use super::tool::{APT_CACHE, APT_GET, DPKG};

/// Kernels by the first two numbers of their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series(String);

impl FromStr for Series {
    type Err = Error;

    fn from_str(name: &str) -> Result<Series> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match name.split_once('.') {
            Some((major, minor)) if is_number(major) && is_number(minor) => Ok(Series(name.to_owned())),
            _ => bail!("{name:?} is no series of kernels; 6.12 is one"),
        }
    }
}

/// A kernel of Debian's, unpacked and never installed.
#[derive(Debug)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    package: PathBuf,
}

impl Kernel {
    /// The one of the series that the store holds; else apt fetches it. To have a newer one, remove it from the store.
    ///
    /// # Errors
    /// When apt knows none, or it cannot be fetched or unpacked.
    pub fn get(series: &Series, store: &Path) -> Result<Kernel> {
        let kept: Vec<String> = fs::read_dir(store)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        if let Some(package) = newest(kept.iter().map(String::as_str), series) {
            return Ok(Kernel::unpacked(package, store));
        }
        let pattern = format!("^linux-image-{}[.]", series.0);
        let found = APT_CACHE.output(store, &["search".as_ref(), "--names-only".as_ref(), pattern.as_ref()])?;
        let found = String::from_utf8_lossy(&found);
        // A line is the name and what it is.
        let names = found.lines().filter_map(|line| line.split_whitespace().next());
        let Some(package) = newest(names, series) else {
            bail!(
                "apt knows no kernel package of {0} (linux-image-{0}.…-amd64): `apt-get update`, and sources of a Debian that has \
                 it: 12 has 6.1, its backports and 13 have 6.12",
                series.0
            );
        };
        fetch(package, store)?;
        Ok(Kernel::unpacked(package, store))
    }

    fn unpacked(package: &str, store: &Path) -> Kernel {
        Kernel {
            release: package.trim_start_matches("linux-image-").to_owned(),
            package: store.join(package),
        }
    }

    /// The kernel proper.
    pub fn image(&self) -> PathBuf {
        self.package.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// The folder of its modules. Debian 13 has /lib in /usr.
    pub fn modules(&self) -> PathBuf {
        let folders = ["lib/modules", "usr/lib/modules"].map(|folder| self.package.join(folder).join(&self.release));
        let [first, second] = folders;
        if first.is_dir() { first } else { second }
    }
}

/// Of the packages of the series the newest, of the flavour for cloud machines where there is one: it is smaller, and has all that
/// bypeer and the lab use.
fn newest<'a>(names: impl Iterator<Item = &'a str>, series: &Series) -> Option<&'a str> {
    names
        .filter_map(|name| Some((rank(name, series)?, name)))
        .max()
        .map(|(_, name)| name)
}

/// Is it of the cloud flavour, and the numbers of its version: `linux-image-6.12.117+deb12-cloud-amd64` is (true, [117, 12]). `None`: another
/// series, real-time, unsigned, debug symbols.
fn rank(name: &str, series: &Series) -> Option<(bool, Vec<u64>)> {
    let rest = name
        .strip_prefix("linux-image-")?
        .strip_prefix(&series.0)?
        .strip_prefix('.')?;
    let version = rest.strip_suffix("-amd64")?;
    let (version, is_cloud) = match version.strip_suffix("-cloud") {
        Some(version) => (version, true),
        None => (version, false),
    };
    if version.ends_with("-rt") {
        return None;
    }
    let numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    Some((is_cloud, numbers))
}

/// Downloads a package and unpacks it into a folder of its name, which is there only when it is whole.
fn fetch(package: &str, store: &Path) -> Result<()> {
    eprintln!("fetching {package} into {}", store.display());
    let part = store.join(format!("{package}.part"));
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&part)?;
    // As root apt would fetch as a user who may not write here, and warns.
    let options = ["-q", "-o", "APT::Sandbox::User=root", "download", package].map(AsRef::as_ref);
    APT_GET
        .output(&part, &options)
        .with_context(|| format!("cannot fetch {package}; when apt's lists are old, `apt-get update` helps"))?;
    let archive = fs::read_dir(&part)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded no package")?;
    DPKG.output(&part, &["-x".as_ref(), archive.as_os_str(), part.as_os_str()])?;
    fs::remove_file(archive)?;
    let whole = Kernel::unpacked(package, store);
    fs::rename(&part, &whole.package)?;
    ensure!(whole.image().is_file(), "{package} has no {}", whole.image().display());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen<'a>(names: &[&'a str], series: &str) -> Option<&'a str> {
        newest(names.iter().copied(), &series.parse().unwrap())
    }

    #[test]
    fn the_newest_of_the_series_and_of_the_cloud_flavour() {
        let names = [
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.107+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.118+deb12-rt-amd64",
            "linux-image-6.12.107+deb12-cloud-amd64-dbg",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-amd64",
            "linux-headers-6.12.119+deb12-cloud-amd64",
        ];
        assert_eq!(chosen(&names, "6.12"), Some("linux-image-6.12.107+deb12-cloud-amd64"));
        assert_eq!(chosen(&names, "6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(chosen(&names, "6.18"), None);
    }

    #[test]
    fn a_folder_that_is_not_whole_is_no_kernel() {
        assert_eq!(
            chosen(
                &["linux-image-6.1.0-56-cloud-amd64.part", "6.1.0-56-cloud-amd64.cpio"],
                "6.1"
            ),
            None
        );
    }

    #[test]
    fn without_a_cloud_flavour_the_common_one() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-10-amd64",
            "linux-image-6.1.0-11-rt-amd64",
        ];
        assert_eq!(chosen(&names, "6.1"), Some("linux-image-6.1.0-10-amd64"));
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert!("6.1".parse::<Series>().is_ok());
        for name in ["6", "6.", ".1", "6.1.2", "6.x", ""] {
            assert!(name.parse::<Series>().is_err(), "{name}");
        }
    }
}
