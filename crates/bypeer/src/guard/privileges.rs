//! Privileges are given up once the sockets are open: another user, that user's groups, no capabilities, and no way back by `exec`.

use anyhow::{Context as _, bail, ensure};
use nix::unistd::{
    Gid, Group, Uid, User, geteuid, getgroups, getresgid, getresuid, initgroups, setgroups, setresgid, setresuid,
};

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Becomes {
    uid: Uid,
    gid: Gid,
    /// The user's name, where it has one: for its other groups.
    name: Option<String>,
}

impl Becomes {
    /// Looks user and group up: each a name or a number.
    pub(super) fn find(user: &str, group: Option<&str>) -> anyhow::Result<Becomes> {
        let known = match user.parse::<u32>() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let known = known.with_context(|| format!("user {user} cannot be looked up"))?;
        let gid = group.map(find_group).transpose()?;
        match (known, user.parse::<u32>(), gid) {
            (Some(known), _, gid) => Ok(Becomes {
                uid: known.uid,
                gid: gid.unwrap_or(known.gid),
                name: Some(known.name),
            }),
            (None, Ok(uid), Some(gid)) => Ok(Becomes {
                uid: Uid::from_raw(uid),
                gid,
                name: None,
            }),
            (None, Ok(_), None) => bail!("user {user} has no entry, and so no group; give one (--group)"),
            (None, Err(_), _) => bail!("there is no user {user:?} on this machine (getent passwd)"),
        }
    }

    /// Its numbers: user and group.
    pub(super) fn numbers(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Becomes it. Everything afterwards, and every thread that is there or will be, has no more rights than that user.
    pub(super) fn become_it(&self) -> anyhow::Result<()> {
        let is_it = geteuid() == self.uid;
        if is_it && !self.uid.is_root() {
            // Started as that user: of a process before, or by a service manager.
            return no_new_privileges();
        }
        ensure!(
            geteuid().is_root(),
            "only root can become {self}; start it as root, or as that user without --user"
        );
        ensure!(
            !self.uid.is_root(),
            "user root keeps all privileges; leave --user out if that is meant"
        );
        match &self.name {
            Some(name) => {
                let name = std::ffi::CString::new(name.as_str()).context("the user's name")?;
                initgroups(&name, self.gid)
            }
            None => setgroups(&[self.gid]),
        }
        .context("groups cannot be given up (setgroups)")?;
        setresgid(self.gid, self.gid, self.gid)
            .with_context(|| format!("the group of {self} cannot be taken (setresgid)"))?;
        // From a uid of 0 to others: the kernel clears all capabilities (capabilities(7)).
        setresuid(self.uid, self.uid, self.uid).with_context(|| format!("{self} cannot be become (setresuid)"))?;
        no_new_privileges()?;
        self.verify()
    }

    /// That it worked is looked at, not believed.
    fn verify(&self) -> anyhow::Result<()> {
        let (uid, gid) = (getresuid()?, getresgid()?);
        let is_user = [uid.real, uid.effective, uid.saved].iter().all(|uid| *uid == self.uid);
        let is_group = [gid.real, gid.effective, gid.saved].iter().all(|gid| *gid == self.gid);
        ensure!(
            is_user && is_group,
            "privileges were not given up: this is still {uid:?}, {gid:?}"
        );
        ensure!(
            !getgroups()?.contains(&Gid::from_raw(0)) || self.gid.as_raw() == 0,
            "the group of root was not given up"
        );
        ensure!(
            setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err(),
            "root could be become again"
        );
        Ok(())
    }
}

impl std::fmt::Display for Becomes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "user {name} (uid {}, gid {})", self.uid, self.gid),
            None => write!(f, "uid {}, gid {}", self.uid, self.gid),
        }
    }
}

fn find_group(group: &str) -> anyhow::Result<Gid> {
    if let Ok(gid) = group.parse() {
        return Ok(Gid::from_raw(gid));
    }
    let known = Group::from_name(group).with_context(|| format!("group {group} cannot be looked up"))?;
    known
        .map(|group| group.gid)
        .with_context(|| format!("there is no group {group:?} on this machine (getent group)"))
}

/// No `exec` brings any back: not by a file's set-user-ID, not by its capabilities.
fn no_new_privileges() -> anyhow::Result<()> {
    nix::sys::prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = Becomes::find("root", None).unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        assert_eq!(Becomes::find("0", None).unwrap(), root);
        let numbers = Becomes::find("4242424", Some("4242425")).unwrap();
        assert_eq!(
            (numbers.uid.as_raw(), numbers.gid.as_raw(), numbers.name),
            (4_242_424, 4_242_425, None)
        );
    }

    #[test]
    fn who_is_not_there_is_said() {
        let said = |user, group| Becomes::find(user, group).unwrap_err().to_string();
        assert!(said("no-such-user", None).contains("there is no user \"no-such-user\""));
        assert!(said("root", Some("no-such-group")).contains("there is no group"));
        assert!(said("4242424", None).contains("give one (--group)"));
    }
}
