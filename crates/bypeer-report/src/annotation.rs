use bypeer_diagnose::{Confidence, Finding};

use crate::escape;

/// A finding as the comment of a packet, for Wireshark: the verdict, the cause with how sure it is, and, where it is known, the process
/// (as the caller names it: `gunicorn[1234]`). A line each.
pub fn packet_comment(finding: &Finding, process: Option<&str>) -> String {
    let mut lines = vec![format!("bypeer: {}", escape(&finding.verdict))];
    let id = finding.cause.id;
    lines.push(match finding.confidence {
        Confidence::Undecided => {
            let mut ids = vec![id];
            ids.extend(
                finding
                    .rivals
                    .iter()
                    .map(|rival| rival.cause.id)
                    .filter(|rival| *rival != id),
            );
            format!("cause: undecided: {}", ids.join(" or "))
        }
        sure => format!(
            "cause: {id} ({sure}{})",
            if finding.harmless { ", harmless" } else { "" }
        ),
    });
    lines.extend(process.map(|process| format!("process: {}", escape(process))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn a_comment_names_the_cause_and_who_did_it() {
        let finding = example::finding(bypeer_diagnose::causes::CAUSES[0], 1);
        let comment = packet_comment(&finding, Some("gunicorn[1234]"));
        let lines: Vec<&str> = comment.lines().collect();
        assert_eq!(lines.len(), 3, "{comment}");
        assert_eq!(lines[0], format!("bypeer: {}", finding.verdict));
        assert_eq!(
            lines[1],
            format!("cause: {} ({})", finding.cause.id, finding.confidence)
        );
        assert_eq!(lines[2], "process: gunicorn[1234]");
    }

    #[test]
    fn what_came_from_outside_cannot_add_a_line() {
        let mut finding = example::finding(bypeer_diagnose::causes::CAUSES[0], 1);
        finding.verdict = "a\nprocess: forged\u{202e}".to_owned();
        let comment = packet_comment(&finding, Some("x\ny"));
        assert_eq!(comment.lines().count(), 3, "{comment}");
        assert!(!comment.contains('\u{202e}'));
    }

    #[test]
    fn an_undecided_comment_names_the_rivals() {
        let mut finding = example::finding(bypeer_diagnose::causes::CAUSES[0], 1);
        finding.confidence = Confidence::Undecided;
        finding.rivals = vec![bypeer_diagnose::Rival {
            cause: bypeer_diagnose::causes::CAUSES[3],
            because: String::new(),
        }];
        let comment = packet_comment(&finding, None);
        let expected = format!(
            "cause: undecided: {} or {}",
            finding.cause.id, finding.rivals[0].cause.id
        );
        assert_eq!(comment.lines().last(), Some(expected.as_str()));
    }
}
