//! bypeer on a kernel that is not this machine's.
#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
#[ignore = "needs long, qemu-system-x86_64, busybox, apt-get, dpkg, ldd"]
fn an_old_kernel_boots_and_the_lab_runs_on_it() {
    let job = "uname -r; id -u; bypeer --version; bypeer lab run closed-port --rounds 1; exit 7";
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["vm", "--kernel", "6.1", "--", "sh", "-c", job])
        .output()
        .unwrap();
    let (printed, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if said.contains("apt knows no kernel package") {
        println!("skipped: bypeer on Linux 6.1: apt has no such kernel here");
        return;
    }
    let lines: Vec<&str> = printed.lines().collect();
    let [release, user, version, ..] = lines.as_slice() else {
        panic!("{printed}\n{said}");
    };
    assert!(release.starts_with("6.1."), "{release}");
    assert_eq!(*user, "0");
    assert_eq!(*version, format!("bypeer {}", env!("CARGO_PKG_VERSION")));
    assert!(printed.contains("  shown      1 of 1 rounds"), "{printed}");
    assert_eq!(output.status.code(), Some(7), "the job's own status\n{said}");
}

#[test]
fn a_command_line_that_cannot_be_right_boots_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["vm", "--kernel", "newest"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("newest"), "{said}");
    assert!(output.stdout.is_empty());
}
