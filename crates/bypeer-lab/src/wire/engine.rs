use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bypeer_wire::Timestamp;

use super::connection::{Connections, Entered, Key, Known};
use super::forge::{Reset, refusal};
use super::packet::Packet;
use super::path::{InFlight, Path, later};
use super::rule::{Action, Event, EventId, Match, Refusal, Release};
use super::script::Script;
use super::translation::{Publications, Translation};
use crate::random::Random;

/// Bytes that all rules together hold back; beyond it packets are dropped and counted.
pub(super) const MOST_HELD: usize = 16 << 20;

/// A host, at the port of the same number.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) address: Ipv4Addr,
    pub(super) mac: [u8; 6],
    /// Of the wire's end of the link.
    pub(super) wire_mac: [u8; 6],
}

/// What is to be done now.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Port and Ethernet frame, in this order.
    pub(super) frames: Vec<(usize, Vec<u8>)>,
    /// Marks that packets have reached.
    pub(super) marks: Vec<String>,
}

/// What happened to packets other than that they were forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// No IPv4, or not whole.
    pub(super) ignored: u64,
    /// For an address that no host has.
    pub(super) unroutable: u64,
    /// Refused by an address translation without an entry.
    pub(super) untranslated: u64,
    /// Dropped before a rate limit.
    pub(super) limited: u64,
    /// Dropped by no rule: there was no room to hold or delay them.
    pub(super) overflowed: u64,
}

/// The switch and its rules, without IO and without a clock: whoever drives it tells the time, which must not step back.
#[derive(Debug)]
pub(super) struct Engine {
    hosts: Vec<Host>,
    own_address: Ipv4Addr,
    script: Arc<Script>,
    random: Random,
    /// One for each rule.
    states: Vec<RuleState>,
    /// One for each match: how many segments met it but for its ordinal.
    met: Vec<u64>,
    /// One for each event.
    happened: Vec<bool>,
    connections: Connections,
    translation: Translation,
    publications: Publications,
    /// Which port has an address that several share.
    routes: HashMap<Ipv4Addr, usize>,
    /// One for each port that sends.
    paths: Vec<Path>,
    in_flight: InFlight,
    held_bytes: usize,
    /// Of the next packet to be held.
    held_number: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct RuleState {
    used: bool,
    held: Vec<Held>,
    first_held: Option<Timestamp>,
    /// A hold that is over.
    released: bool,
}

#[derive(Debug)]
struct Held {
    number: u64,
    from: usize,
    packet: Packet,
}

/// What the rules decide about a packet.
enum Verdict {
    Forward { copies: usize },
    Drop,
    Hold { rule: usize },
    Refuse { with: Refusal },
}

impl Engine {
    pub(super) fn new(hosts: Vec<Host>, own_address: Ipv4Addr, script: Script, seed: u64) -> Engine {
        let mut routes = HashMap::new();
        for (port, host) in hosts.iter().enumerate() {
            routes.entry(host.address).or_insert(port);
        }
        // Who shares an address is reached once a rule says so: the first rule tells whose it is before.
        for rule in script.rules.iter().rev() {
            if let Action::Redirect { from, .. } = rule.action
                && let Some(host) = hosts.get(from)
            {
                routes.insert(host.address, from);
            }
        }
        Engine {
            states: script.rules.iter().map(|_| RuleState::default()).collect(),
            met: vec![0; script.matches.len()],
            happened: vec![false; script.events.len()],
            connections: Connections::default(),
            translation: Translation::new(own_address),
            publications: Publications::default(),
            paths: vec![Path::default(); hosts.len()],
            random: Random::new(seed),
            script: Arc::new(script),
            routes,
            hosts,
            own_address,
            in_flight: InFlight::default(),
            held_bytes: 0,
            held_number: 0,
            counts: Counts::default(),
        }
    }

    /// Takes an Ethernet frame that the host at `port` sent.
    pub(super) fn push(&mut self, now: Timestamp, port: usize, frame: &[u8], out: &mut Output) {
        self.advance(now, out);
        match Packet::parse(frame) {
            Some(packet) if port < self.hosts.len() => {
                for segment in packet.segments() {
                    self.enter(now, port, segment, out);
                }
            }
            _ => self.counts.ignored += 1,
        }
    }

    /// Somebody other than the wire reached a mark.
    pub(super) fn mark(&mut self, now: Timestamp, name: &str, out: &mut Output) {
        self.advance(now, out);
        let script = Arc::clone(&self.script);
        let reached: Vec<EventId> = events(&script)
            .filter(|(_, event)| matches!(event, Event::Mark(mark) if mark == name))
            .map(|(id, _)| id)
            .collect();
        self.happen(now, &reached, None, out);
    }

    /// Does what is due at `now`.
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Output) {
        loop {
            let arrival = self.in_flight.next_arrival().filter(|time| *time <= now);
            let release = self.next_release().filter(|(time, _)| *time <= now);
            match (arrival, release) {
                (arrival, Some((time, rule))) if arrival.is_none_or(|arrival| time < arrival) => {
                    self.release(time, &[rule], out);
                }
                (Some(_), _) => out.frames.extend(self.in_flight.pop()),
                (None, _) => return,
            }
        }
    }

    /// When `advance` has something to do.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let release = self.next_release().map(|(time, _)| time);
        self.in_flight.next_arrival().into_iter().chain(release).min()
    }

    /// Whether packets are on their way. Held ones are not.
    pub(super) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// How many packets are on their way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.len() as u64
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// How many packets rules hold back.
    pub(super) fn held(&self) -> u64 {
        self.states.iter().map(|state| state.held.len() as u64).sum()
    }

    /// The rules that never came to anything, as written.
    pub(super) fn unused_rules(&self) -> Vec<String> {
        let rules = self.script.rules.iter().zip(&self.states);
        rules
            .filter(|(_, state)| !state.used)
            .map(|(rule, _)| rule.text.clone())
            .collect()
    }

    fn enter(&mut self, now: Timestamp, from: usize, mut packet: Packet, out: &mut Output) {
        self.forget_idle(now);
        let raw = (packet.destination() == self.own_address).then(|| packet.clone());
        let is_known = raw.is_none() || self.translation.inward(now, &mut packet);
        self.enter_published(now, &mut packet);
        let to = self.routes.get(&packet.destination()).copied();
        let (met, counted, entered) = self.classify(from, to, &packet);
        let script = Arc::clone(&self.script);
        let verdict = self.decide(&script, from, met, &packet);
        match verdict {
            Verdict::Drop => {}
            Verdict::Hold { rule } => self.hold(now, rule, from, packet),
            Verdict::Refuse { with } => {
                let refused = raw.as_ref().unwrap_or(&packet);
                if let Some(error) = refusal(self.own_address, refused, with) {
                    // It takes the time that an answer of the other host would take.
                    self.send(now, to, from, error, out);
                }
            }
            Verdict::Forward { .. } if !is_known => self.counts.untranslated += 1,
            Verdict::Forward { copies } => {
                for _ in 1..copies {
                    self.forward(now, from, packet.clone(), out);
                }
                self.forward(now, from, packet, out);
            }
        }
        self.note_marks(&script, counted, out);
        let mut happened: Vec<EventId> = Vec::new();
        for (id, event) in events(&script) {
            let happens = match event {
                Event::Packet(matching) => matching.is_in(counted),
                Event::Mark(name) => self.marks_now(&script, counted, name),
            };
            if happens {
                happened.push(id);
            }
        }
        if !happened.is_empty() {
            self.happen(now, &happened, entered.map(|entered| entered.key), out);
        }
    }

    /// Gives a packet for a published server its address, as far as the table knows it.
    fn enter_published(&mut self, now: Timestamp, packet: &mut Packet) {
        for (index, rule) in self.script.rules.iter().enumerate() {
            if let Action::Publish { host, at } = rule.action
                && let (Some(host), Some(at)) = (self.hosts.get(host), self.hosts.get(at))
                && packet.destination() == at.address
            {
                self.states[index].used |= self.publications.inward(now, host.address, packet);
            }
        }
    }

    /// Empties translations that were idle for too long.
    fn forget_idle(&mut self, now: Timestamp) {
        for (index, rule) in self.script.rules.iter().enumerate() {
            if let Action::ForgetIdle { host, after } = rule.action
                && let Some(host) = self.hosts.get(host)
            {
                let translated = self.translation.forget_idle(host.address, now, after);
                let published = self.publications.forget_idle(host.address, now, after);
                self.states[index].used |= translated || published;
            }
        }
    }

    /// Which matches a packet meets, and which of them it meets as a first copy.
    fn classify(&mut self, from: usize, to: Option<usize>, packet: &Packet) -> (u64, u64, Option<Entered>) {
        let entered = self.connections.enter(packet);
        let (before, old_payload) = match entered.map_or(Known::New, |entered| entered.known) {
            Known::New => (0, None),
            Known::Again(met) => return (met, 0, entered),
            Known::Partly { met, old_payload } => (met, Some(old_payload)),
        };
        let mut counted = 0;
        let script = Arc::clone(&self.script);
        for (index, matching) in script.matches.iter().enumerate() {
            let is_kind = match old_payload {
                None => packet.is(matching.kind),
                Some(old) => packet.is_behind(old, matching.kind),
            };
            if is_kind && self.meets_ends(matching, from, to) {
                self.met[index] += 1;
                if matching.nth.is_none_or(|nth| nth == self.met[index]) {
                    counted |= 1 << index;
                }
            }
        }
        if let Some(entered) = &entered {
            self.connections.remember(entered, packet, before | counted);
        }
        (before | counted, counted, entered)
    }

    /// Hosts that share an address are the same one to `to`.
    fn meets_ends(&self, matching: &Match, from: usize, to: Option<usize>) -> bool {
        let address = |port: usize| self.hosts.get(port).map(|host| host.address);
        matching.from.is_none_or(|wanted| wanted == from)
            && matching
                .to
                .is_none_or(|wanted| to.is_some_and(|to| address(wanted) == address(to)))
    }

    fn decide(&mut self, script: &Script, from: usize, met: u64, packet: &Packet) -> Verdict {
        for (index, rule) in script.rules.iter().enumerate() {
            let verdict = match rule.action {
                Action::Lose { share, matching } if matching.is_in(met) => {
                    self.states[index].used = true;
                    (self.random.share() < share).then_some(Verdict::Drop)
                }
                Action::Drop { matching, after, until } if matching.is_in(met) => {
                    self.is_active(after, until).then_some(Verdict::Drop)
                }
                Action::Hold { matching, .. } if matching.is_in(met) => {
                    (!self.states[index].released).then_some(Verdict::Hold { rule: index })
                }
                Action::Duplicate { matching } if matching.is_in(met) => Some(Verdict::Forward { copies: 2 }),
                Action::Swallow { above, from: only } if only.is_none_or(|only| only == from) => {
                    (packet.ip().len() as u64 > above).then_some(Verdict::Drop)
                }
                Action::Refuse { matching, with, after } if matching.is_in(met) => {
                    self.is_active(after, None).then_some(Verdict::Refuse { with })
                }
                _ => None,
            };
            if let Some(verdict) = verdict {
                self.states[index].used = true;
                return verdict;
            }
        }
        Verdict::Forward { copies: 1 }
    }

    fn is_active(&self, after: Option<EventId>, until: Option<EventId>) -> bool {
        after.is_none_or(|event| self.happened[event.0]) && until.is_none_or(|event| !self.happened[event.0])
    }

    fn note_marks(&mut self, script: &Script, counted: u64, out: &mut Output) {
        for (index, rule) in script.rules.iter().enumerate() {
            if let Action::Mark { name, when } = &rule.action
                && when.is_in(counted)
            {
                self.states[index].used = true;
                out.marks.push(name.clone());
            }
        }
    }

    /// Whether this packet makes the wire itself reach a mark.
    fn marks_now(&self, script: &Script, counted: u64, name: &str) -> bool {
        script.rules.iter().any(
            |rule| matches!(&rule.action, Action::Mark { name: mark, when } if mark == name && when.is_in(counted)),
        )
    }

    /// Does what waits for events: packets are let go first, then the rules act from the top.
    fn happen(&mut self, now: Timestamp, events: &[EventId], key: Option<Key>, out: &mut Output) {
        for event in events {
            self.happened[event.0] = true;
        }
        let script = Arc::clone(&self.script);
        let released: Vec<usize> = script
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| {
                matches!(rule.action, Action::Hold { until: Release::Event(event), .. } if events.contains(&event))
            })
            .map(|(index, _)| index)
            .collect();
        self.release(now, &released, out);
        for (index, rule) in script.rules.iter().enumerate() {
            match rule.action {
                Action::Forge {
                    to,
                    with_ack,
                    ttl,
                    after,
                } if events.contains(&after) => {
                    let forged = self.forge(now, to, with_ack, ttl, key, out);
                    self.states[index].used |= forged;
                }
                Action::Forget { host, after } if events.contains(&after) => {
                    self.states[index].used = true;
                    if let Some(host) = self.hosts.get(host) {
                        self.translation.forget(host.address);
                        self.publications.forget(host.address);
                    }
                }
                Action::Redirect { from, to, after } if events.contains(&after) => {
                    self.states[index].used = true;
                    if let Some(host) = self.hosts.get(from) {
                        self.routes.insert(host.address, to);
                    }
                }
                _ => {}
            }
        }
    }

    fn hold(&mut self, now: Timestamp, rule: usize, from: usize, packet: Packet) {
        let length = packet.frame().len();
        if self.held_bytes + length > MOST_HELD {
            self.counts.overflowed += 1;
            return;
        }
        self.held_bytes += length;
        self.held_number += 1;
        let state = &mut self.states[rule];
        state.first_held.get_or_insert(now);
        state.held.push(Held {
            number: self.held_number,
            from,
            packet,
        });
    }

    /// The hold that ends next by time.
    fn next_release(&self) -> Option<(Timestamp, usize)> {
        let rules = self.script.rules.iter().zip(&self.states).enumerate();
        rules
            .filter(|(_, (_, state))| !state.released)
            .filter_map(|(index, (rule, state))| match rule.action {
                Action::Hold {
                    until: Release::Time(time),
                    ..
                } => Some((later(state.first_held?, time), index)),
                _ => None,
            })
            .min()
    }

    /// Ends holds, and sends on what they kept, in the order in which it came.
    fn release(&mut self, now: Timestamp, rules: &[usize], out: &mut Output) {
        let mut held: Vec<Held> = Vec::new();
        for rule in rules {
            self.states[*rule].released = true;
            held.append(&mut self.states[*rule].held);
        }
        held.sort_by_key(|held| held.number);
        for Held { from, packet, .. } in held {
            self.held_bytes -= packet.frame().len();
            self.forward(now, from, packet, out);
        }
    }

    /// Sends resets in the name of the peer: on the connection of the packet that was the event, or, where that is none of
    /// this host's, on all that the host has. Each connection gets one.
    fn forge(
        &mut self,
        now: Timestamp,
        to: usize,
        with_ack: bool,
        ttl: u8,
        key: Option<Key>,
        out: &mut Output,
    ) -> bool {
        let Some(address) = self.hosts.get(to).map(|host| host.address) else {
            return false;
        };
        let side_of = |key: &Key| key.ends().iter().position(|end| *end.ip() == address);
        let keys = match key {
            Some(key) if side_of(&key).is_some() => vec![key],
            _ => self.connections.living(),
        };
        let mut forged = false;
        for key in keys {
            let Some(side) = side_of(&key) else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            if connection.is_reset || std::mem::replace(&mut connection.forged[side], true) {
                continue;
            }
            let (seq, ack) = connection.expected_by(side);
            let ends = key.ends();
            let reset = Reset {
                source: ends[1 - side],
                destination: ends[side],
                seq,
                ack: with_ack.then_some(ack),
                ttl,
            };
            let peer = self.routes.get(reset.source.ip()).copied();
            if let Some(mut packet) = reset.packet()
                && peer.is_none_or(|peer| self.translate(now, peer, &mut packet))
            {
                forged = true;
                self.send(now, peer, to, packet, out);
            }
        }
        forged
    }

    /// Sends a packet to whoever has its destination address now.
    fn forward(&mut self, now: Timestamp, from: usize, mut packet: Packet, out: &mut Output) {
        let to = self.routes.get(&packet.destination()).copied();
        let Some(to) = to.filter(|to| *to != from) else {
            self.counts.unroutable += 1;
            return;
        };
        let known = packet.clone();
        if !self.translate(now, from, &mut packet) {
            self.counts.untranslated += 1;
            return;
        }
        if self.send(now, Some(from), to, packet, out) {
            self.connections.forwarded(&known);
        }
    }

    /// Gives a packet its outer source, where a rule wants that. `false`: it must not go on.
    fn translate(&mut self, now: Timestamp, from: usize, packet: &mut Packet) -> bool {
        let script = Arc::clone(&self.script);
        let published = script.rules.iter().find_map(|rule| match rule.action {
            Action::Publish { host, at } if host == from => self.hosts.get(at),
            _ => None,
        });
        if let Some(public) = published {
            self.publications.outward(now, public.address, packet);
        }
        let rule = script
            .rules
            .iter()
            .position(|rule| matches!(rule.action, Action::Translate { host } if host == from));
        let Some(rule) = rule else {
            return true;
        };
        self.states[rule].used = true;
        self.translation.outward(now, packet)
    }

    /// Sends a packet along the path that begins at host `from`, with its limit and its delay. `None`: the wire's own, at
    /// once. `false`: it was dropped before a limit.
    fn send(&mut self, now: Timestamp, from: Option<usize>, to: usize, mut packet: Packet, out: &mut Output) -> bool {
        let Some(host) = self.hosts.get(to) else {
            return false;
        };
        packet.finish(host.mac, host.wire_mac);
        let Some(arrival) = self.arrival(now, from, packet.frame().len()) else {
            self.counts.limited += 1;
            return false;
        };
        if arrival <= now {
            out.frames.push((to, packet.into_frame()));
        } else if !self.in_flight.push(arrival, to, packet.into_frame()) {
            self.counts.overflowed += 1;
            return false;
        }
        true
    }

    fn arrival(&mut self, now: Timestamp, from: Option<usize>, length: usize) -> Option<Timestamp> {
        let Some(from) = from else {
            return Some(now);
        };
        let script = Arc::clone(&self.script);
        let path = self.paths.get_mut(from)?;
        let applies = |only: Option<usize>| only.is_none_or(|only| only == from);
        let mut ready = now;
        let limit = script
            .rules
            .iter()
            .enumerate()
            .find_map(|(index, rule)| match rule.action {
                Action::Limit { bits_per_second, from } if applies(from) => Some((index, bits_per_second)),
                _ => None,
            });
        if let Some((index, bits_per_second)) = limit {
            self.states[index].used = true;
            ready = path.limited(now, length, bits_per_second)?;
        }
        let delay = script
            .rules
            .iter()
            .enumerate()
            .find_map(|(index, rule)| match rule.action {
                Action::Delay { least, most, from } if applies(from) => Some((index, least, most)),
                _ => None,
            });
        if let Some((index, least, most)) = delay {
            self.states[index].used = true;
            let spread = u64::try_from((most - least).as_nanos()).unwrap_or(u64::MAX);
            let by = match spread {
                0 => least,
                _ => least + std::time::Duration::from_nanos(self.random.up_to(spread)),
            };
            ready = later(ready, by);
        }
        Some(path.arrival(ready))
    }
}

fn events(script: &Script) -> impl Iterator<Item = (EventId, &Event)> {
    script
        .events
        .iter()
        .enumerate()
        .map(|(index, event)| (EventId(index), event))
}
