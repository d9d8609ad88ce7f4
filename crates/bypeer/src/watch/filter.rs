//! Which of what is heard was asked for.

use anyhow::bail;
use bypeer_diagnose::testimony::{Actor, Testimony};
use bypeer_diagnose::{Finding, Hearing, causes};

use super::arguments::Watch;

/// The selection of the command line.
#[derive(Debug, Default)]
pub(super) struct Filter {
    ports: Vec<u16>,
    pids: Vec<u32>,
    cgroups: Vec<String>,
    causes: Vec<String>,
}

impl Filter {
    /// From the options; a cause that does not exist is a mistake.
    pub(super) fn of(arguments: &Watch) -> anyhow::Result<Filter> {
        for id in &arguments.cause {
            if causes::find(id).is_none() {
                bail!("no cause is called {id:?}; `bypeer causes` lists them");
            }
        }
        Ok(Filter {
            ports: arguments.port.clone(),
            pids: arguments.pid.clone(),
            cgroups: arguments.cgroup.clone(),
            causes: arguments.cause.clone(),
        })
    }

    /// What needs to know processes.
    pub(super) fn asks_for_processes(&self) -> bool {
        !self.pids.is_empty() || !self.cgroups.is_empty()
    }

    /// Whether the connection was asked for.
    pub(super) fn wants(&self, hearing: &Hearing) -> bool {
        let port = self.ports.is_empty()
            || self.ports.contains(&hearing.client.port)
            || self.ports.contains(&hearing.server.port);
        let actors = || testimonies(hearing).filter_map(|testimony| testimony.actor.as_ref());
        let pid = self.pids.is_empty() || actors().any(|actor| self.pids.contains(&actor.pid));
        let cgroup = self.cgroups.is_empty() || actors().any(|actor| self.is_in_cgroup(actor));
        port && pid && cgroup
    }

    /// Whether the finding's cause was asked for.
    pub(super) fn wants_cause(&self, finding: Option<&Finding>) -> bool {
        self.causes.is_empty() || finding.is_some_and(|finding| self.causes.iter().any(|id| id == finding.cause.id))
    }

    fn is_in_cgroup(&self, actor: &Actor) -> bool {
        let places = [&actor.cgroup, &actor.container, &actor.pod];
        places
            .into_iter()
            .flatten()
            .any(|place| self.cgroups.iter().any(|wanted| place.contains(wanted.as_str())))
    }
}

fn testimonies(hearing: &Hearing) -> impl Iterator<Item = &Testimony> {
    std::iter::once(&hearing.deciding).chain(hearing.peer.as_ref())
}
