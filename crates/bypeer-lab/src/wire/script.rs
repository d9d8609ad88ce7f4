use std::net::Ipv4Addr;
use std::time::Duration;

use super::engine::Host;
use super::rule::{Action, Event, EventId, Kind, MOST_MATCHES, Match, MatchId, Refusal, Release, Rule};
use crate::{ScriptError, quantity};

/// The time to live of a forged reset unless the rule says otherwise: that of Linux hosts.
const USUAL_TTL: u8 = 64;

/// What the wire does in a round: its rules, in order. The language is described in `docs/scenarios.md`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    pub(super) rules: Vec<Rule>,
    pub(super) matches: Vec<Match>,
    pub(super) events: Vec<Event>,
}

impl Script {
    /// Public addresses, and the servers' own that are published there.
    pub(super) fn published(&self, hosts: &[Host]) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let rules = self.rules.iter().filter_map(|rule| match rule.action {
            Action::Publish { host, at } => Some((hosts.get(at)?.address, hosts.get(host)?.address)),
            _ => None,
        });
        rules.collect()
    }

    /// Reads a script. `hosts` are the names that rules may use, in the order of the wire's ports.
    ///
    /// # Errors
    /// The first line that means nothing, with what would be right.
    pub fn parse(text: &str, hosts: &[String]) -> Result<Script, ScriptError> {
        let mut script = Script::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let action = script.rule(line, hosts).map_err(|why| ScriptError {
                line: index + 1,
                text: line.to_owned(),
                why,
            })?;
            script.rules.push(Rule {
                text: line.to_owned(),
                action,
            });
        }
        Ok(script)
    }

    fn rule(&mut self, line: &str, hosts: &[String]) -> Result<Action, String> {
        let mut words = Words {
            words: line.split_whitespace().collect(),
            at: 0,
            hosts,
            script: self,
        };
        let name = words.next().unwrap_or_default();
        let Some(form) = FORMS.iter().find(|form| form.usage.split(' ').next() == Some(name)) else {
            let names: Vec<&str> = FORMS.iter().filter_map(|form| form.usage.split(' ').next()).collect();
            return Err(format!("there is no rule {name:?}; there are {}", names.join(", ")));
        };
        let action = (form.read)(&mut words).map_err(|why| format!("{why}; it is written `{}`", form.usage))?;
        match words.next() {
            None => Ok(action),
            Some(word) => Err(format!("{word:?} is too much; it is written `{}`", form.usage)),
        }
    }
}

/// A rule's form.
struct Form {
    /// Begins with the rule's name.
    usage: &'static str,
    read: fn(&mut Words<'_>) -> Result<Action, String>,
}

const FORMS: [Form; 14] = [
    Form {
        usage: "delay TIME [to TIME] [from HOST]",
        read: delay,
    },
    Form {
        usage: "limit RATE [from HOST]",
        read: limit,
    },
    Form {
        usage: "lose N% [MATCH]",
        read: lose,
    },
    Form {
        usage: "drop MATCH [after EVENT] [until EVENT]",
        read: drop,
    },
    Form {
        usage: "hold MATCH until EVENT",
        read: hold,
    },
    Form {
        usage: "duplicate MATCH",
        read: |words| {
            Ok(Action::Duplicate {
                matching: words.matching()?,
            })
        },
    },
    Form {
        usage: "swallow above SIZE [from HOST]",
        read: swallow,
    },
    Form {
        usage: "forge RST|RST,ACK to HOST [ttl N] after EVENT",
        read: forge,
    },
    Form {
        usage: "refuse MATCH with net-unreachable|host-unreachable|port-unreachable|admin-prohibited [after EVENT]",
        read: refuse,
    },
    Form {
        usage: "translate HOST",
        read: |words| Ok(Action::Translate { host: words.host()? }),
    },
    Form {
        usage: "publish HOST at HOST",
        read: |words| {
            let host = words.host()?;
            words.expect("at")?;
            let at = words.host()?;
            if host == at {
                return Err("a host is at its own address anyway".to_owned());
            }
            Ok(Action::Publish { host, at })
        },
    },
    Form {
        usage: "forget HOST after EVENT|idle TIME",
        read: |words| {
            let host = words.host()?;
            if words.take("idle") {
                let after = words.time()?;
                return Ok(Action::ForgetIdle { host, after });
            }
            let after = words.event_behind("after")?;
            Ok(Action::Forget { host, after })
        },
    },
    Form {
        usage: "redirect HOST to HOST after EVENT",
        read: redirect,
    },
    Form {
        usage: "mark NAME when MATCH",
        read: |words| {
            let name = words.mark_name()?;
            words.expect("when")?;
            let when = words.matching()?;
            Ok(Action::Mark { name, when })
        },
    },
];

fn delay(words: &mut Words<'_>) -> Result<Action, String> {
    let least = words.time()?;
    let most = if words.take("to") { words.time()? } else { least };
    if most < least {
        return Err("the second time is the shorter one".to_owned());
    }
    let from = words.from()?;
    Ok(Action::Delay { least, most, from })
}

fn limit(words: &mut Words<'_>) -> Result<Action, String> {
    let bits_per_second = words.quantity("a rate such as 10mbit", quantity::rate)?;
    let from = words.from()?;
    Ok(Action::Limit { bits_per_second, from })
}

fn lose(words: &mut Words<'_>) -> Result<Action, String> {
    let share = words.quantity("a share such as 1% or 0.5%", |word| {
        let percent: f64 = word.strip_suffix('%')?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
    })?;
    let matching = match words.peek() {
        Some(_) => words.matching()?,
        None => words.script.add_match(Match {
            nth: None,
            kind: Kind::Any,
            from: None,
            to: None,
        })?,
    };
    Ok(Action::Lose { share, matching })
}

fn drop(words: &mut Words<'_>) -> Result<Action, String> {
    let matching = words.matching()?;
    let after = words.optional_event("after")?;
    let until = words.optional_event("until")?;
    Ok(Action::Drop { matching, after, until })
}

fn hold(words: &mut Words<'_>) -> Result<Action, String> {
    let matching = words.matching()?;
    words.expect("until")?;
    let until = match words.peek().and_then(quantity::duration) {
        Some(time) => {
            words.next();
            Release::Time(time)
        }
        None => Release::Event(words.event()?),
    };
    Ok(Action::Hold { matching, until })
}

fn swallow(words: &mut Words<'_>) -> Result<Action, String> {
    words.expect("above")?;
    let above = words.quantity("a size such as 1400 or 1KiB", quantity::size)?;
    let from = words.from()?;
    Ok(Action::Swallow { above, from })
}

fn forge(words: &mut Words<'_>) -> Result<Action, String> {
    let with_ack = match words.next() {
        Some("RST") => false,
        Some("RST,ACK") => true,
        other => return Err(format!("it can forge RST and RST,ACK, not {}", quoted(other))),
    };
    words.expect("to")?;
    let to = words.host()?;
    let ttl = match words.take("ttl") {
        true => words.quantity("a time to live from 1 to 255", |word| {
            word.parse().ok().filter(|ttl: &u8| *ttl > 0)
        })?,
        false => USUAL_TTL,
    };
    let after = words.event_behind("after")?;
    Ok(Action::Forge {
        to,
        with_ack,
        ttl,
        after,
    })
}

fn refuse(words: &mut Words<'_>) -> Result<Action, String> {
    let matching = words.matching()?;
    words.expect("with")?;
    let with = words.named("an ICMP error", &Refusal::NAMES)?;
    let after = words.optional_event("after")?;
    Ok(Action::Refuse { matching, with, after })
}

fn redirect(words: &mut Words<'_>) -> Result<Action, String> {
    let from = words.host()?;
    words.expect("to")?;
    let to = words.host()?;
    let after = words.event_behind("after")?;
    Ok(Action::Redirect { from, to, after })
}

/// The words of a line, and what they may refer to.
struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
    hosts: &'a [String],
    script: &'a mut Script,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let taken = self.peek() == Some(word);
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.take(word) {
            true => Ok(()),
            false => Err(format!("`{word}` is wanted, not {}", quoted(self.peek()))),
        }
    }

    fn quantity<T>(&mut self, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let word = self.next();
        word.and_then(read)
            .ok_or_else(|| format!("{wanted} is wanted, not {}", quoted(word)))
    }

    fn named<T: Copy>(&mut self, wanted: &str, names: &[(&str, T)]) -> Result<T, String> {
        let word = self.next();
        let found = names.iter().find(|(name, _)| Some(*name) == word);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            format!("{wanted} is wanted ({}), not {}", names.join(", "), quoted(word))
        })
    }

    fn time(&mut self) -> Result<Duration, String> {
        self.quantity("a time such as 5ms", quantity::duration)
    }

    fn host(&mut self) -> Result<usize, String> {
        let word = self.next();
        let found = self.hosts.iter().position(|host| Some(host.as_str()) == word);
        found.ok_or_else(|| {
            format!(
                "the name of a host is wanted ({}), not {}",
                self.hosts.join(", "),
                quoted(word)
            )
        })
    }

    fn from(&mut self) -> Result<Option<usize>, String> {
        self.take("from").then(|| self.host()).transpose()
    }

    fn mark_name(&mut self) -> Result<String, String> {
        self.next()
            .map(str::to_owned)
            .ok_or_else(|| "the name of a mark is wanted".to_owned())
    }

    fn matching(&mut self) -> Result<MatchId, String> {
        let nth = self.ordinal()?;
        let kind = self.named("a kind of packet", &Kind::NAMES)?;
        let from = self.from()?;
        let to = self.take("to").then(|| self.host()).transpose()?;
        self.script.add_match(Match { nth, kind, from, to })
    }

    fn ordinal(&mut self) -> Result<Option<u64>, String> {
        let Some(word) = self
            .peek()
            .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        else {
            return Ok(None);
        };
        self.at += 1;
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        match digits.parse::<u64>() {
            Ok(number) if number > 0 && word == ordinal(number) => Ok(Some(number)),
            Ok(number) if number > 0 => Err(format!("{word:?} is no ordinal: write {}", ordinal(number))),
            _ => Err(format!("{word:?} is no ordinal: write 1st, 2nd, …")),
        }
    }

    fn event(&mut self) -> Result<EventId, String> {
        let event = match self.take("mark") {
            true => Event::Mark(self.mark_name()?),
            false => Event::Packet(self.matching()?),
        };
        self.script.events.push(event);
        Ok(EventId(self.script.events.len() - 1))
    }

    fn event_behind(&mut self, word: &str) -> Result<EventId, String> {
        self.expect(word)?;
        self.event()
    }

    fn optional_event(&mut self, word: &str) -> Result<Option<EventId>, String> {
        self.take(word).then(|| self.event()).transpose()
    }
}

impl Script {
    fn add_match(&mut self, matching: Match) -> Result<MatchId, String> {
        if self.matches.len() == MOST_MATCHES {
            return Err(format!("a script has at most {MOST_MATCHES} matches"));
        }
        self.matches.push(matching);
        Ok(MatchId(self.matches.len() - 1))
    }
}

fn quoted(word: Option<&str>) -> String {
    word.map_or_else(|| "the end of the line".to_owned(), |word| format!("{word:?}"))
}

/// `1st`, `2nd`, `11th`, …
fn ordinal(number: u64) -> String {
    let suffix = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Script, ScriptError> {
        Script::parse(text, &["client".to_owned(), "server".to_owned()])
    }

    #[test]
    fn every_rule_of_the_manual_is_read() {
        let text = "
            delay 2ms
            delay 1ms to 5ms from client   # jitter
            limit 10mbit from server
            lose 0.5%
            lose 1% data to server
            drop 1st SYN
            drop any from server after mark gone until 2nd FIN from client
            hold FIN from server until 2nd request
            hold FIN from server until 5ms
            hold 1st SYN-ACK until mark go
            duplicate 3rd data
            swallow above 1400 from client
            forge RST to client ttl 44 after 1st request
            forge RST,ACK to server after mark now
            refuse SYN to server with port-unreachable after mark now
            translate client
            publish server at client
            forget client after 11th data
            forget client idle 1s
            redirect server to client after mark moved
            mark closed when FIN from server
        ";
        let script = parse(text).unwrap();
        assert_eq!(script.rules.len(), 21);
        let forge = &script.rules[12].action;
        let Action::Forge {
            to: 0,
            with_ack: false,
            ttl: 44,
            after,
        } = forge
        else {
            panic!("{forge:?}");
        };
        let Event::Packet(matching) = script.events[after.0] else {
            panic!("{:?}", script.events);
        };
        let expected = Match {
            nth: Some(1),
            kind: Kind::Request,
            from: None,
            to: None,
        };
        assert_eq!(script.matches[matching.0], expected);
        assert_eq!(script.rules[1].text, "delay 1ms to 5ms from client");
    }

    #[test]
    fn what_means_nothing_is_told_with_what_would_be_right() {
        for (line, part) in [
            ("dorp FIN", "there are delay, limit, lose, drop"),
            ("delay 5", "a time such as 5ms is wanted, not \"5\""),
            ("delay 5ms to 1ms", "the second time is the shorter one"),
            ("delay", "not the end of the line; it is written `delay TIME"),
            (
                "delay 1ms from proxy",
                "the name of a host is wanted (client, server), not \"proxy\"",
            ),
            ("limit 10", "a rate such as 10mbit"),
            ("lose 101%", "a share such as 1%"),
            ("lose 1", "a share such as 1%"),
            (
                "drop fin",
                "(SYN, SYN-ACK, FIN, RST, ACK, data, request, response, any), not \"fin\"",
            ),
            ("drop 2st FIN", "write 2nd"),
            ("drop 0th FIN", "write 1st"),
            ("drop FIN twice", "\"twice\" is too much; it is written `drop MATCH"),
            ("hold FIN", "`until` is wanted, not the end of the line"),
            (
                "forge FIN to client after mark x",
                "it can forge RST and RST,ACK, not \"FIN\"",
            ),
            ("forge RST to client", "`after` is wanted"),
            ("forge RST to client ttl 0 after mark x", "a time to live from 1 to 255"),
            ("refuse SYN with tears", "an ICMP error is wanted (net-unreachable"),
            ("redirect server to nobody after mark x", "the name of a host"),
            ("publish server", "`at` is wanted"),
            ("publish server at server", "at its own address anyway"),
            ("mark", "the name of a mark is wanted"),
        ] {
            let error = parse(&format!("\n{line}")).unwrap_err();
            assert_eq!((error.line, error.text.as_str()), (2, line));
            assert!(error.why.contains(part), "{line}: {}", error.why);
        }
        let error = parse(&"drop FIN\n".repeat(65)).unwrap_err();
        assert_eq!(error.line, 65);
    }
}
