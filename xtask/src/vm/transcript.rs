//! What the guest sends: the job's output between two lines of our own, and its exit status.

/// What `init.sh` writes before the job, and after it, with the exit status behind it.
const BEGIN: &str = "@@@ the job begins";
const END: &str = "@@@ the job ended with ";

/// How far the guest is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transcript {
    /// The kernel boots.
    #[default]
    Booting,
    /// The job runs.
    Running,
    /// The job ended with this status.
    Ended(u8),
}

impl Transcript {
    /// Takes a line without its end, and gives what of it the job printed.
    pub fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        match self {
            Transcript::Booting => {
                if line == BEGIN {
                    *self = Transcript::Running;
                }
                None
            }
            Transcript::Running => match end(line) {
                // The job's last line may have no end of its own.
                Some((printed, status)) => {
                    *self = Transcript::Ended(status);
                    Some(printed).filter(|printed| !printed.is_empty())
                }
                None => Some(line),
            },
            Transcript::Ended(_) => None,
        }
    }
}

fn end(line: &str) -> Option<(&str, u8)> {
    let (printed, status) = line.split_once(END)?;
    Some((printed, status.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Vec<String>, Transcript) {
        let mut transcript = Transcript::default();
        let printed = lines
            .iter()
            .filter_map(|line| transcript.line(line))
            .map(str::to_owned)
            .collect();
        (printed, transcript)
    }

    #[test]
    fn only_what_the_job_printed() {
        let (printed, transcript) = read(&["noise", BEGIN, "one", "", "two", "@@@ the job ended with 3", "noise"]);
        assert_eq!(printed, ["one", "", "two"]);
        assert_eq!(transcript, Transcript::Ended(3));
    }

    #[test]
    fn a_last_line_without_an_end() {
        let (printed, transcript) = read(&[BEGIN, "half@@@ the job ended with 0"]);
        assert_eq!(printed, ["half"]);
        assert_eq!(transcript, Transcript::Ended(0));
    }

    #[test]
    fn a_guest_that_breaks_off_has_no_status() {
        assert_eq!(read(&["noise"]).1, Transcript::Booting);
        let (printed, transcript) = read(&[BEGIN, "one", "@@@ the job ended with"]);
        assert_eq!(printed, ["one", "@@@ the job ended with"]);
        assert_eq!(transcript, Transcript::Running);
    }

    #[test]
    fn the_guest_writes_these_words() {
        let init = include_str!("init.sh");
        assert!(init.contains(&format!("echo '{BEGIN}'\n")));
        assert!(init.contains(&format!("echo \"{END}$?\"\n")));
    }
}
