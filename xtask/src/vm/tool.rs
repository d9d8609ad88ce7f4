use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Error, Result, anyhow, ensure};

/// A program that the chore needs, and the Debian package that has it.
pub struct Tool {
    pub name: &'static str,
    package: &'static str,
}

pub const APT_CACHE: Tool = Tool::new("apt-cache", "apt");
pub const APT_GET: Tool = Tool::new("apt-get", "apt");
pub const DPKG: Tool = Tool::new("dpkg", "dpkg");
pub const LDD: Tool = Tool::new("ldd", "libc-bin");
pub const BUSYBOX: Tool = Tool::new("busybox", "busybox-static");
pub const QEMU: Tool = Tool::new("qemu-system-x86_64", "qemu-system-x86");

impl Tool {
    const fn new(name: &'static str, package: &'static str) -> Tool {
        Tool { name, package }
    }

    /// Runs it in a folder, and gives what it wrote to standard output.
    ///
    /// # Errors
    /// When it is missing, or fails.
    pub fn output(&self, folder: &Path, arguments: &[&OsStr]) -> Result<Vec<u8>> {
        let output = Command::new(self.name)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| self.cannot_run(error))?;
        ensure!(output.status.success(), "`{}` failed: {}", self.name, output.status);
        Ok(output.stdout)
    }

    /// Where it lies.
    ///
    /// # Errors
    /// When it is missing.
    pub fn path(&self) -> Result<PathBuf> {
        find(self.name).ok_or_else(|| self.missing())
    }

    /// Why it could not be started.
    pub fn cannot_run(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => Error::new(error).context(format!("cannot run `{}`", self.name)),
        }
    }

    fn missing(&self) -> Error {
        anyhow!(
            "`{}` is missing; Debian has it in the package {}",
            self.name,
            self.package
        )
    }
}

/// A program of this machine by its name; those of administrators too, which are not in everybody's PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The shared libraries of a program, and what loads them, by their paths. A static program has none.
///
/// # Errors
/// When ldd is missing, or a library.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    // It fails for a static program, and says so.
    let output = Command::new(LDD.name)
        .arg(program)
        .output()
        .map_err(|error| LDD.cannot_run(error))?;
    listed_libraries(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("{} does not run here", program.display()))
}

/// Lines of ldd: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`, `linux-vdso.so.1 (0x…)`.
fn listed_libraries(listed: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in listed.lines() {
        ensure!(!line.ends_with("not found"), "ldd: {}", line.trim());
        let place = line.split_once("=> ").map_or(line, |(_, place)| place).trim();
        let path = place.split_once(" (").map_or(place, |(path, _)| path);
        if path.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd4a5f2000)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1c2a000000)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f1c2a3f1000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(listed_libraries(listed).unwrap(), expected.map(PathBuf::from));
        assert!(listed_libraries("\tstatically linked\n").unwrap().is_empty());
        assert!(listed_libraries("").unwrap().is_empty());
        assert!(listed_libraries("\tlibnft.so.1 => not found\n").is_err());
    }

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let absent = Tool::new("no-such-program-anywhere", "some-package");
        let folder = std::env::temp_dir();
        let said = absent.output(&folder, &[]).unwrap_err().to_string();
        assert!(
            said.contains("no-such-program-anywhere") && said.contains("some-package"),
            "{said}"
        );
        assert_eq!(absent.path().unwrap_err().to_string(), said);
    }
}
