//! How each kind of request is answered, learnt from the capture: by which forms, and with which words of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bypeer_wire::Endpoint;
use bypeer_wire::app::{Look, Place, Route, Token};
use hashbrown::{HashMap, HashSet};

/// Kinds of requests that are remembered, of all servers together; those beyond are not known.
const ROUTES: usize = 20_000;

/// Forms of one kind's answers; one with more has no form to tell by.
const SHAPES: usize = 32;

/// Places of a request whose words are looked for in its answers.
const PLACES: usize = 16;

/// Words that are compared to tell whether they differ from request to request.
const WORDS: usize = 64;

/// Answers before a habit of echoing is believed.
const ECHOES: u32 = 20;

/// Answers to a kind before it is known which forms they have.
const KNOWN: u32 = 20;

/// A form that has less than this share of a kind's answers is not that kind's.
pub const USUAL: f64 = 0.2;

/// A form that has no more than this share of a kind's answers is rare there.
const RARE: f64 = 0.05;

/// Profiles of all servers.
#[derive(Debug, Default)]
pub struct Profiles {
    servers: HashMap<Endpoint, HashMap<u64, Profile>>,
    routes: usize,
}

/// One kind of request at one server.
#[derive(Debug, Default)]
pub struct Profile {
    answers: u32,
    shapes: Vec<Form>,
    too_many: bool,
    /// Refused as no HTTP: behind a request with a body on its connection, and otherwise.
    refused: [u32; 2],
    echoes: BTreeMap<Place, Echoes>,
}

#[derive(Debug)]
struct Form {
    key: u64,
    text: Arc<str>,
    detailed: bool,
    count: u32,
    /// The answer, counted from 1, in which it was seen first.
    first: u32,
}

#[derive(Debug, Default)]
struct Echoes {
    of: u32,
    repeated: u32,
    words: HashSet<u64>,
}

/// What makes an answer's form: two of different classes of status are not the same.
pub fn form(look: &Look) -> u64 {
    let class = u64::from(look.status.unwrap_or(0) / 100);
    look.shape.key ^ class.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Profiles {
    /// Learns from an answer that came whole. Says whether its form is rare among those of its kind so far.
    pub fn learn(&mut self, server: Endpoint, route: &Route, look: &Look) -> bool {
        let known = self
            .servers
            .get(&server)
            .is_some_and(|kinds| kinds.contains_key(&route.key));
        if !known {
            if self.routes >= ROUTES {
                return false;
            }
            self.routes += 1;
        }
        let profile = self.servers.entry(server).or_default().entry(route.key).or_default();
        profile.learn(look)
    }

    /// Takes note that one was refused as if it were no request.
    pub fn refused(&mut self, server: Endpoint, route: &Route, behind_a_body: bool) {
        if let Some(profile) = self
            .servers
            .get_mut(&server)
            .and_then(|kinds| kinds.get_mut(&route.key))
        {
            let [behind, otherwise] = &mut profile.refused;
            let count = if behind_a_body { behind } else { otherwise };
            *count = count.saturating_add(1);
        }
    }

    /// Learns which of a request's words its answer repeats.
    pub fn learn_echo(&mut self, server: Endpoint, route: &Route, tokens: &[Token], look: &Look) {
        let Some(profile) = self
            .servers
            .get_mut(&server)
            .and_then(|kinds| kinds.get_mut(&route.key))
        else {
            return;
        };
        for token in tokens {
            let repeated = look.tokens.binary_search(&token.word).is_ok();
            if !repeated && look.tokens_cut {
                continue;
            }
            if profile.echoes.len() >= PLACES && !profile.echoes.contains_key(&token.place) {
                continue;
            }
            let echoes = profile.echoes.entry(token.place).or_default();
            echoes.of = echoes.of.saturating_add(1);
            echoes.repeated = echoes.repeated.saturating_add(u32::from(repeated));
            if echoes.words.len() < WORDS {
                echoes.words.insert(token.word);
            }
        }
    }

    /// What is known of a kind.
    pub fn of(&self, server: Endpoint, route: &Route) -> Option<&Profile> {
        self.servers.get(&server)?.get(&route.key)
    }

    /// The forms of a kind are known: enough answers, and none of the last quarter brought a new one. The forms in question, `but`, are no
    /// news; nor is one that is rare here and usual for another kind: that is what a second answer on the wrong request looks like.
    pub fn knows(&self, server: Endpoint, route: &Route, but: &[u64]) -> bool {
        let Some(own) = self.of(server, route) else {
            return false;
        };
        let anothers = |form| {
            let kinds = self.servers.get(&server).into_iter().flatten();
            let mut others = kinds.filter(|(key, kind)| **key != route.key && kind.answers >= KNOWN);
            own.is_rare(form) && others.any(|(_, kind)| kind.share(form) >= USUAL)
        };
        own.news()
            .is_some_and(|mut news| news.all(|form| but.contains(&form) || anothers(form)))
    }

    /// Kinds of this server beside these two that are answered in this form as a rule.
    pub fn others_with(&self, server: Endpoint, form: u64, but: [&Route; 2]) -> usize {
        let kinds = self.servers.get(&server).into_iter().flatten();
        kinds
            .filter(|(key, _)| but.iter().all(|route| route.key != **key))
            .filter(|(_, profile)| profile.share(form) >= USUAL)
            .count()
    }
}

impl Profile {
    fn learn(&mut self, look: &Look) -> bool {
        let key = form(look);
        self.answers = self.answers.saturating_add(1);
        if let Some(form) = self.shapes.iter_mut().find(|form| form.key == key) {
            form.count = form.count.saturating_add(1);
            return self.is_rare(key);
        }
        if self.shapes.len() >= SHAPES {
            self.too_many = true;
            return false;
        }
        self.shapes.push(Form {
            key,
            text: look.shape.text.clone(),
            detailed: look.shape.is_detailed,
            count: 1,
            first: self.answers,
        });
        self.is_rare(key)
    }

    fn is_rare(&self, form: u64) -> bool {
        f64::from(self.count(form)) <= f64::from(self.answers).mul_add(RARE, 1.0)
    }

    /// Answers it was learnt from.
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// Requests of this kind are refused as no HTTP only behind one with a body.
    pub fn refused_only_behind_bodies(&self) -> bool {
        self.refused[1] == 0
    }

    /// Answers in this form.
    pub fn count(&self, form: u64) -> u32 {
        self.shapes
            .iter()
            .find(|shape| shape.key == form)
            .map_or(0, |shape| shape.count)
    }

    /// The share of them.
    pub fn share(&self, form: u64) -> f64 {
        f64::from(self.count(form)) / f64::from(self.answers.max(1))
    }

    /// Its words, and whether it has names to tell by.
    pub fn describe(&self, form: u64) -> Option<(Arc<str>, bool)> {
        let shape = self.shapes.iter().find(|shape| shape.key == form)?;
        Some((shape.text.clone(), shape.detailed))
    }

    /// Forms that came up in the last quarter of its answers; `None` while there are too few of these, or too many forms.
    fn news(&self) -> Option<impl Iterator<Item = u64>> {
        let settled = u64::from(self.answers) * 3 / 4;
        let news = self.shapes.iter().filter(move |shape| u64::from(shape.first) > settled);
        (!self.too_many && self.answers >= KNOWN).then(|| news.map(|shape| shape.key))
    }

    /// How likely an answer of this kind has this form; `less` of those that were counted do not count. Never 0.
    pub fn likelihood(&self, form: u64, less: u32) -> f64 {
        let forms = self.shapes.len().max(1) as f64;
        let of = f64::from(self.answers.saturating_sub(less));
        (f64::from(self.count(form).saturating_sub(less)) + 0.5) / 0.5f64.mul_add(forms, of)
    }

    /// Answers of this kind have always repeated the request's word at this place, and those words differ: how many did.
    pub fn echoes(&self, place: Place) -> Option<u32> {
        let echoes = self.echoes.get(&place)?;
        let differ = echoes.words.len() * 2 >= (echoes.of as usize).min(WORDS);
        (echoes.of >= ECHOES && u64::from(echoes.repeated) * 10 >= u64::from(echoes.of) * 9 && differ)
            .then_some(echoes.repeated)
    }

    /// Answers of this kind may turn out to repeat the word at this place.
    pub fn may_echo(&self, place: Place) -> bool {
        self.echoes
            .get(&place)
            .is_none_or(|echoes| echoes.of < ECHOES || u64::from(echoes.repeated) * 10 >= u64::from(echoes.of) * 9)
    }
}
