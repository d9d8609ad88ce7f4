use std::fs;

/// `PROC_PID_INIT_INO` of `linux/proc_ns.h`: the first process namespace, which the kernel's own ids are of.
const FIRST: &str = "pid:[4026531836]";

/// Whether `/proc` knows processes by the ids that the kernel part tells.
pub(super) fn proc_is_of_the_first_namespace() -> bool {
    let link = |pid: &str| {
        let link = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
        Some(link.to_string_lossy().into_owned())
    };
    is_first(link("self").as_deref(), link("1").as_deref())
}

/// From our own namespace and that of process 1 of `/proc`, where they may be read.
fn is_first(own: Option<&str>, of_first_process: Option<&str>) -> bool {
    // `/proc/self` is there only if `/proc` knows us; those of the first namespace are known in no other.
    // `/proc` may be of an outer one, mounted into our container: then process 1 is its first.
    own == Some(FIRST) || of_first_process == Some(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_or_process_one_tells() {
        assert!(is_first(Some(FIRST), None));
        assert!(is_first(Some("pid:[4026532001]"), Some(FIRST)));
        assert!(!is_first(Some("pid:[4026532001]"), Some("pid:[4026532001]")));
        assert!(!is_first(Some("pid:[4026532001]"), None));
        assert!(!is_first(None, None));
    }
}
