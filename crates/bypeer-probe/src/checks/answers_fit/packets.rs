//! What packets tell of answers on wrong requests where the answers that were waited for do not: they came on connections that were given
//! up, or a close of the server's tells of them.

use bypeer_diagnose::{Confidence, Finding};

use super::tell::mixed_up;
use super::{CHECK, LOAD};
use crate::card::Done;
use crate::check::Risk;

/// Adds what was found of the probe's own connections, each with the id of the check that opened it, to the risks of that check. Only what is
/// likely at least, and of connections on which nothing was asked but what every client may: other checks provoke what they are to see.
pub fn add_packets(checks: &mut [Done], findings: &[(&'static str, Finding)]) {
    for done in checks {
        if ![CHECK.id, LOAD.id].contains(&done.check.id) {
            continue;
        }
        let told = |finding: &Finding| {
            finding.cause.is_of_mixed_up_answers() && !finding.harmless && finding.confidence != Confidence::Undecided
        };
        let of_this = findings
            .iter()
            .filter(|(check, finding)| *check == done.check.id && told(finding));
        for (_, finding) in of_this {
            let risks = &mut done.outcome.risks;
            // One of a kind is enough to read here; all of them are among the connections that died.
            if !risks.iter().any(|risk| risk.cause == finding.cause.id) {
                let because = format!("by the packets of one of its connections: {}", finding.verdict);
                risks.push(Risk {
                    clauses: finding.cause.clauses.to_vec(),
                    ..mixed_up(finding.cause.id, Confidence::Likely, vec![because])
                });
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use bypeer_diagnose::causes::CAUSES;
    use bypeer_diagnose::{Lost, Party, Retry};
    use bypeer_wire::{Endpoint, Timestamp};

    use super::*;
    use crate::check::{Check, Loses, Outcome};
    use crate::checks::persistence;

    fn finding(cause: &str, confidence: Confidence) -> Finding {
        let nobody = Endpoint {
            addr: [127, 0, 0, 1].into(),
            port: 1,
        };
        Finding {
            cause: CAUSES.iter().find(|known| known.id == cause).unwrap(),
            confidence,
            rivals: Vec::new(),
            harmless: false,
            blame: Party::ServerProgram,
            verdict: "the answer was given to another".to_owned(),
            closing: String::new(),
            stream: 0,
            client: nobody,
            server: nobody,
            request: None,
            server_software: None,
            opened: None,
            ended: Timestamp(0),
            lost: Lost {
                response_bytes: None,
                requests: 1,
                what: String::new(),
            },
            retry: Retry::Unknown,
            retry_reason: String::new(),
            evidence: Vec::new(),
            clauses: Vec::new(),
            fixes: Vec::new(),
            follows: None,
            settle: None,
            misdelivered: None,
            heard: None,
        }
    }

    fn risks_of(check: &'static Check, findings: &[(&'static str, Finding)]) -> Vec<Risk> {
        let mut checks = [Done {
            check,
            outcome: Outcome::default(),
            took: Duration::ZERO,
        }];
        add_packets(&mut checks, findings);
        let [done] = checks;
        done.outcome.risks
    }

    #[test]
    fn what_packets_tell_of_mixed_up_answers_is_a_risk_of_the_check_that_asked() {
        let swap = || finding("desync-fd-reuse-double-close", Confidence::Likely);
        let risks = risks_of(&CHECK, &[(CHECK.id, swap()), (CHECK.id, swap())]);
        let [risk] = &risks[..] else { panic!("{risks:?}") };
        assert_eq!(
            (risk.cause, risk.loses),
            ("desync-fd-reuse-double-close", Loses::Identity)
        );
        assert_eq!(
            risk.because,
            ["by the packets of one of its connections: the answer was given to another"]
        );
        assert_eq!(risks_of(&LOAD, &[(LOAD.id, swap())]).len(), 1);
    }

    #[test]
    fn nothing_else_is() {
        let swap = |confidence| finding("desync-fd-reuse-double-close", confidence);
        let harmless = Finding {
            harmless: true,
            ..swap(Confidence::Likely)
        };
        for (check, told) in [
            (CHECK.id, swap(Confidence::Undecided)),
            (CHECK.id, harmless),
            (CHECK.id, finding("upstream-no-response-close", Confidence::Likely)),
            (LOAD.id, swap(Confidence::Certain)),
        ] {
            assert_eq!(risks_of(&CHECK, &[(check, told)]), []);
        }
        // Checks that provoke what they look for judge it themselves.
        let provoked = (persistence::CHECK.id, swap(Confidence::Certain));
        assert_eq!(risks_of(&persistence::CHECK, &[provoked]), []);
    }
}
