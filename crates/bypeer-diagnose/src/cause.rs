use std::fmt;

use crate::{Evidence, Hearing, Party, Story};

/// A reason why a connection dies. One file each under `causes/`, with its manual page beside it.
pub struct Cause {
    /// What happened, with dashes: `unread-request-body`.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// The manual page (Markdown): what it is, how to prove it, what it is confused with, fixes by owner.
    pub manual: &'static str,
    /// Clauses that bear on it, as ids of `facts/clauses.toml`, best first.
    pub clauses: &'static [&'static str],
    /// Weighs a story: what speaks for this cause, `None` when it is refuted or nothing speaks for it.
    pub weigh: fn(&Story<'_>) -> Option<Weighed>,
    /// Weighs what kernels said, where there are no packets: the same promise.
    pub hear: fn(&Hearing) -> Option<Weighed>,
}

impl Cause {
    /// It is about answers that stand for the wrong requests: none on the connection can be trusted.
    pub fn is_of_mixed_up_answers(&self) -> bool {
        self.id.starts_with("desync-")
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cause({})", self.id)
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        self.id == other.id
    }
}

impl Eq for Cause {}

/// How much speaks for a cause. A refuted cause is not weighed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Not refuted, and the story has its outline.
    Possible,
    /// Its own marks are there, and what would refute it was looked for and is not.
    Fits,
    /// The deciding fact was observed.
    Proven,
}

/// What a cause has to say about a story.
#[derive(Clone, Debug)]
pub struct Weighed {
    /// How much speaks for it.
    pub strength: Strength,
    /// One line in plain words.
    pub verdict: String,
    /// Who is to change something.
    pub blame: Party,
    /// Nobody lost anything.
    pub harmless: bool,
    /// The proof.
    pub evidence: Vec<Evidence>,
    /// What one would have to observe to make it certain or refute it.
    pub settle: Option<String>,
    /// It looks the same where nobody did anything wrong: alone it is undecided, however well it fits. The verdict says both.
    pub may_be_no_fault: bool,
}

impl Weighed {
    /// A weighed cause without evidence yet.
    pub fn of(strength: Strength, blame: Party, verdict: impl Into<String>) -> Weighed {
        Weighed {
            strength,
            verdict: verdict.into(),
            blame,
            harmless: false,
            evidence: Vec::new(),
            settle: None,
            may_be_no_fault: false,
        }
    }

    /// Says that it looks the same where nobody did anything wrong.
    #[must_use]
    pub fn may_be_no_fault(mut self, is_so: bool) -> Weighed {
        self.may_be_no_fault = is_so;
        self
    }

    /// Adds a packet that shows something.
    #[must_use]
    pub fn because(mut self, at: bypeer_wire::PacketRef, what: impl Into<String>) -> Weighed {
        self.evidence.push(Evidence::packet(at, what));
        self
    }

    /// Adds evidence made elsewhere.
    #[must_use]
    pub fn and(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Weighed {
        self.evidence.extend(evidence);
        self
    }

    /// Says what would settle it.
    #[must_use]
    pub fn settled_by(mut self, what: impl Into<String>) -> Weighed {
        self.settle = Some(what.into());
        self
    }

    /// Marks it as a note, not an accusation.
    #[must_use]
    pub fn harmless(mut self, harmless: bool) -> Weighed {
        self.harmless = harmless;
        self
    }
}
