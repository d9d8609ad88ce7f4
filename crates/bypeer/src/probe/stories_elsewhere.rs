//! Where there is no Linux, packets are recorded by others: `bypeer explain` reads what they recorded.

use std::path::Path;

use anyhow::bail;
use bypeer_diagnose::Finding;
use bypeer_probe::Card;
use bypeer_probe::target::Target;

pub(super) struct Recording {
    pub(super) why_not: Option<String>,
}

#[derive(Default)]
pub(super) struct Stories {
    pub(super) findings: Vec<(&'static str, Finding)>,
    pub(super) written: usize,
}

impl Recording {
    pub(super) fn start(_: &Target) -> Recording {
        Recording {
            why_not: Some("packets can be recorded on Linux only".to_owned()),
        }
    }

    pub(super) fn judge(self, _: &Card, write: Option<&Path>) -> anyhow::Result<Stories> {
        if write.is_some() {
            bail!("--write needs Linux");
        }
        Ok(Stories::default())
    }
}
