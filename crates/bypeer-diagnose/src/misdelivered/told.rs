//! What is told of a connection once its record is made.

use bypeer_wire::Endpoint;
use bypeer_wire::conn::Connection;

use super::Deliveries;
use super::astray::{Astray, Misread, Reuse, Shift};

impl Deliveries {
    /// Looks at a connection's record, when that is made.
    pub fn note(&mut self, connection: &Connection) {
        self.strays.note(connection);
        self.absences.note(connection);
        let id = u64::from(connection.stream);
        if let Some(suspicion) = self.receivers.get(&id).and_then(|id| self.suspicions.get_mut(id))
            && connection.seen_from_start()
        {
            suspicion.receiver_opened = Some(connection.opened.time);
            suspicion.receiver_last = connection.ended;
        }
    }

    /// Something about this connection has yet to be settled.
    pub fn is_open(&self, stream: u32) -> bool {
        self.concerned.contains_key(&u64::from(stream))
    }

    /// Something is known, or may become known, that its own record does not show.
    pub fn concerns(&self, stream: u32) -> bool {
        let id = u64::from(stream);
        self.is_open(stream)
            || self.given.contains_key(&id)
            || self.taken.contains_key(&id)
            || self.early.contains_key(&id)
            || self.misplaced.contains_key(&id)
            || self.misread.contains_key(&id)
            || self.lines.get(&id).is_some_and(|line| self.may_be_reuse(line))
    }

    /// What is known of answers that went astray, as this connection sees it.
    pub fn astray(&self, connection: &Connection) -> Astray {
        let id = u64::from(connection.stream);
        Astray {
            taken: self.taken.get(&id).cloned(),
            given: self.given.get(&id).cloned(),
            reused: self.reused(connection.stream).map(Box::new),
            early: self.early.get(&id).copied(),
            shifted: self.shifted(id, connection.server).map(Box::new),
            elsewhere: self.strays.of(connection).map(Box::new),
            misread: self.misread(connection),
            is_disordered: self.disordered.contains(&id),
        }
    }

    pub(super) fn reused(&self, stream: u32) -> Option<Reuse> {
        let line = self
            .lines
            .get(&u64::from(stream))
            .filter(|line| self.may_be_reuse(line))?;
        let mut all = self
            .clients
            .get(&(line.client.addr, line.server))
            .copied()
            .unwrap_or_default();
        if !line.counted {
            all.add(line.sends);
        }
        line.reused(stream, all)
    }

    fn misread(&self, connection: &Connection) -> Option<Misread> {
        let (index, status, at, route) = self.misread.get(&u64::from(connection.stream))?;
        let profile = self.profiles.of(connection.server, route)?;
        profile.refused_only_behind_bodies().then_some(Misread {
            index: *index,
            status: *status,
            at: *at,
            usual: profile.answers(),
        })
    }

    pub(super) fn shifted(&self, connection: u64, server: Endpoint) -> Option<Shift> {
        let all = self.misplaced.get(&connection)?;
        let mut placed = all
            .iter()
            .filter_map(|one| Some((one, one.settle(server, &self.profiles, all)?)));
        let (first, (due, sign)) = placed.next()?;
        Some(Shift {
            given: first.given.clone(),
            due: due.clone(),
            answer: first.answer,
            sign,
            count: 1 + u32::try_from(placed.count()).unwrap_or(u32::MAX - 1),
        })
    }

    /// All was said about this connection.
    pub fn forget(&mut self, stream: u32) {
        let id = u64::from(stream);
        self.taken.remove(&id);
        self.given.remove(&id);
        self.early.remove(&id);
        self.misplaced.remove(&id);
        self.misread.remove(&id);
        self.disordered.remove(&id);
        self.numbers.remove(&id);
        self.lines.remove(&id);
    }
}
