//! What was said of each connection, held to what is true.

use super::explained::Finding;
use super::truth::Connection;

/// Clocks of capture and kernel may differ by this much, in seconds.
const SLACK: f64 = 0.05;

/// How what was said stands to what is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Score {
    Right,
    Wrong,
    Undecided,
    /// It died, and nothing was said.
    NotSeen,
    /// It ended well, and something was said that is not harmless.
    Accused,
}

impl Score {
    pub const ALL: [Score; 5] = [
        Score::Right,
        Score::Wrong,
        Score::Undecided,
        Score::NotSeen,
        Score::Accused,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Score::Right => "right",
            Score::Wrong => "wrong",
            Score::Undecided => "undecided",
            Score::NotSeen => "not seen",
            Score::Accused => "accused",
        }
    }
}

/// Scores what was said of one connection.
pub fn score(truth: &Connection, said: Option<&Finding>) -> Score {
    match said {
        _ if truth.free => Score::Right,
        None if truth.may_be_clean => Score::Right,
        None => Score::NotSeen,
        Some(finding) if finding.harmless && truth.may_be_clean => Score::Right,
        Some(finding) if truth.clean => match !finding.undecided() && truth.allows(&finding.cause) {
            true => Score::Right,
            false => Score::Accused,
        },
        Some(finding) if finding.undecided() => Score::Undecided,
        Some(finding) if truth.allows(&finding.cause) => Score::Right,
        Some(_) => Score::Wrong,
    }
}

/// Gives each finding to the connection that it is about, by 4-tuple and time, and tells for each connection what was
/// said; of several findings the accusing one. The second part are the findings about no connection of the truth.
pub fn assign<'a>(truths: &[Connection], findings: &'a [Finding]) -> (Vec<Option<&'a Finding>>, Vec<&'a Finding>) {
    let mut said: Vec<Option<&Finding>> = vec![None; truths.len()];
    let mut strays = Vec::new();
    for finding in findings {
        let nearest = truths
            .iter()
            .enumerate()
            .filter_map(|(index, truth)| Some((index, distance(truth, finding)?)))
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        match nearest {
            None => strays.push(finding),
            Some((index, _)) => {
                if said[index].is_none_or(|before| before.harmless && !finding.harmless) {
                    said[index] = Some(finding);
                }
            }
        }
    }
    (said, strays)
}

/// How far a finding's beginning is from a connection's, in seconds; `None` when it is about another one.
fn distance(truth: &Connection, finding: &Finding) -> Option<f64> {
    if truth.client != finding.client || truth.server != finding.server {
        return None;
    }
    let Some((first, last)) = truth.span else {
        return Some(0.0);
    };
    let meets = finding.opened <= last + SLACK && finding.ended >= first - SLACK;
    meets.then_some((finding.opened - first).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(label: &str, causes: &[&str], span: (f64, f64)) -> Connection {
        Connection {
            client: "10.0.0.1:1".into(),
            server: "10.0.0.2:80".into(),
            span: Some(span),
            label: label.into(),
            causes: causes.iter().map(|id| (*id).into()).collect(),
            clean: label == "clean",
            may_be_clean: label == "clean",
            free: label == "other",
        }
    }

    fn finding(cause: &str, confidence: &str, harmless: bool, opened: f64) -> Finding {
        Finding {
            cause: cause.into(),
            confidence: confidence.into(),
            rivals: Vec::new(),
            harmless,
            client: "10.0.0.1:1".into(),
            server: "10.0.0.2:80".into(),
            opened,
            ended: opened + 1.0,
        }
    }

    #[test]
    fn a_clean_connection_is_accused_by_anything_but_a_harmless_note() {
        let clean = truth("clean", &[], (0.0, 1.0));
        assert_eq!(score(&clean, None), Score::Right);
        assert_eq!(score(&clean, Some(&finding("x", "likely", true, 0.0))), Score::Right);
        assert_eq!(score(&clean, Some(&finding("x", "likely", false, 0.0))), Score::Accused);
        assert_eq!(
            score(&clean, Some(&finding("x", "undecided", false, 0.0))),
            Score::Accused
        );
    }

    #[test]
    fn a_dead_connection_needs_its_cause() {
        let dead = truth("port_closed", &["closed-port", "desync-*"], (0.0, 1.0));
        assert_eq!(score(&dead, None), Score::NotSeen);
        assert_eq!(
            score(&dead, Some(&finding("closed-port", "certain", false, 0.0))),
            Score::Right
        );
        assert_eq!(
            score(&dead, Some(&finding("desync-x", "likely", false, 0.0))),
            Score::Right
        );
        assert_eq!(
            score(&dead, Some(&finding("closed-port-2", "likely", false, 0.0))),
            Score::Wrong
        );
        assert_eq!(
            score(&dead, Some(&finding("closed-port", "undecided", false, 0.0))),
            Score::Undecided
        );
        assert_eq!(score(&truth("other", &[], (0.0, 1.0)), None), Score::Right);
    }

    #[test]
    fn uses_of_one_4_tuple_are_told_apart_by_time() {
        // The second use begins 10 ms after the end of the first: within the slack of both.
        let truths = [
            truth("clean", &[], (0.0, 1.0)),
            truth("port_closed", &["closed-port"], (1.01, 2.0)),
        ];
        let findings = [
            finding("closed-port", "likely", false, 1.01),
            finding("note", "likely", true, 0.0),
            finding("late", "likely", false, 9.0),
        ];
        let (said, strays) = assign(&truths, &findings);
        let said: Vec<_> = said.iter().map(|finding| finding.map(|f| f.cause.as_str())).collect();
        assert_eq!(said, [Some("note"), Some("closed-port")]);
        assert_eq!(strays.iter().map(|f| f.cause.as_str()).collect::<Vec<_>>(), ["late"]);
    }

    #[test]
    fn an_accusation_outweighs_a_note() {
        let truths = [truth("clean", &[], (0.0, 1.0))];
        let findings = [
            finding("note", "likely", true, 0.0),
            finding("fault", "likely", false, 0.5),
        ];
        assert_eq!(assign(&truths, &findings).0[0].map(|f| f.cause.as_str()), Some("fault"));
    }
}
