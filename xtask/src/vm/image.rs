//! What the guest finds: no more than its kernel, busybox, bypeer and the job.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::kernel::Kernel;
use super::modules;
use super::tool::{self, BUSYBOX};

/// The job when there is no command.
pub const DEFAULT_JOB: &str = include_str!("job.sh");
const INIT: &str = include_str!("init.sh");

/// What scenarios of the lab run beside bypeer. They are there when this machine has them; without, the lab leaves out the scenario and says so.
const WELCOME: [&str; 1] = ["nft"];

/// A job that is one command.
pub fn job(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!("exec {}\n", words.join(" "))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Writes the initramfs.
///
/// # Errors
/// When a program is missing, or the kernel lacks a module.
pub fn write(file: &Path, kernel: &Kernel, bypeer: &Path, with: &[String], job: &str) -> Result<()> {
    let mut archive = Archive::default();
    for folder in [
        "/bin",
        "/sbin",
        "/usr/bin",
        "/usr/sbin",
        "/proc",
        "/sys",
        "/tmp",
        "/run",
        "/root",
    ] {
        archive.folder(folder);
    }
    // The kernel opens it before anything is mounted.
    archive.device("/dev/console", 5, 1);
    archive.program("/init", INIT.into());
    archive.file("/job", job);
    archive.file(
        "/etc/passwd",
        "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    );
    archive.file("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
    archive.file("/etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n");

    add_program(&mut archive, "/bin/busybox", &BUSYBOX.path()?)?;
    add_program(&mut archive, "/usr/bin/bypeer", bypeer)?;
    for name in WELCOME {
        if let Some(program) = tool::find(name) {
            add_program(&mut archive, &format!("/usr/bin/{name}"), &program)?;
        }
    }
    for name in with {
        let program = tool::find(name).with_context(|| format!("this machine has no {name}"))?;
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
        add_program(&mut archive, &format!("/usr/bin/{name}"), &program)?;
    }

    let modules = modules::wanted(kernel)?;
    let names: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
    archive.file("/etc/modules", names);
    for module in modules {
        archive.file(format!("/lib/modules/{}.ko", module.name), module.content);
    }
    fs::write(file, archive.bytes()).with_context(|| format!("cannot write {}", file.display()))
}

fn add_program(archive: &mut Archive, path: &str, program: &Path) -> Result<()> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    archive.program(path, read(program)?);
    for library in tool::libraries(program)? {
        archive.program(&library, read(&library)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_as_they_are() {
        let command = ["sh", "-c", "echo $HOME; echo 'it''s'", ""].map(str::to_owned);
        let job = job(&command);
        assert_eq!(job, "exec 'sh' '-c' 'echo $HOME; echo '\\''it'\\'''\\''s'\\''' ''\n");
    }
}
