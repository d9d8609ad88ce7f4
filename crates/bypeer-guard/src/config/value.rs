//! Values as people write them: `5s`, `64KiB`, `any`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A time, as in `5s`, `250ms` or `1m30s`; both ends are allowed.
    Duration {
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
        /// A word that stands for no limit, or for a value that is found out.
        word: Option<&'static str>,
    },
    /// A number of bytes, as in `64KiB` or `8MiB`; both ends are allowed.
    Size {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
        /// A word that stands for no limit.
        word: Option<&'static str>,
    },
    /// A number; both ends are allowed.
    Count {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
        /// A word that stands for no limit.
        word: Option<&'static str>,
    },
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file.
    Path,
    /// Any text, such as a user's name.
    Text,
    /// An address and a port: `127.0.0.1:8080`, `[::1]:8080`, `:8080`.
    Address,
    /// A server: `http://host:port`, `https://host`, `unix:/path`.
    Server,
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Size`] and [`Kind::Count`].
    Number(u64),
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of the kinds that are text, as it was written.
    Text(String),
    /// Of [`Kind::Address`].
    Address(SocketAddr),
    /// The key's word.
    Word,
}

impl Kind {
    /// Reads what a flag has, or a string of the file.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right, in one line.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Duration { word, .. } | Kind::Size { word, .. } | Kind::Count { word, .. } if word == Some(text) => {
                Ok(Value::Word)
            }
            Kind::Duration { least, most, .. } => {
                let duration = duration(text).ok_or_else(|| self.expected(text))?;
                match (least..=most).contains(&duration) {
                    true => Ok(Value::Duration(duration)),
                    false => Err(self.out_of_range(text)),
                }
            }
            Kind::Size { least, most, .. } => {
                let size = size(text).ok_or_else(|| self.expected(text))?;
                match (least..=most).contains(&size) {
                    true => Ok(Value::Number(size)),
                    false => Err(self.out_of_range(text)),
                }
            }
            Kind::Count { least, most, .. } => {
                let number: u64 = text.parse().map_err(|_| self.expected(text))?;
                match (least..=most).contains(&number) {
                    true => Ok(Value::Number(number)),
                    false => Err(self.out_of_range(text)),
                }
            }
            Kind::Bool => text.parse().map(Value::Bool).map_err(|_| self.expected(text)),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(_) => Err(self.expected(text)),
            Kind::Address => address(text).map(Value::Address),
            Kind::Path | Kind::Text | Kind::Server if text.is_empty() => Err("is empty".to_owned()),
            Kind::Path | Kind::Text | Kind::Server => Ok(Value::Text(text.to_owned())),
        }
    }

    fn expected(self, text: &str) -> String {
        let unit = match self {
            Kind::Duration { .. } if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
                format!("; did you mean \"{text}s\"?")
            }
            _ => String::new(),
        };
        format!("{}{unit}", self.refusal(&format!("{text:?}")))
    }

    fn out_of_range(self, text: &str) -> String {
        format!("{text} is out of range: {}", self.range())
    }

    /// What is said of something that it cannot be, with what it can.
    pub(super) fn refusal(self, found: &str) -> String {
        match self {
            Kind::Bool => format!("{found} is neither true nor false"),
            Kind::Choice(words) => format!("{found} is not allowed here; write {}", words.join(" or ")),
            _ => format!("{found} is no {}", self.wanted()),
        }
    }

    /// What it is, with an example: for errors.
    pub fn wanted(self) -> String {
        let or = |word: Option<&str>| word.map_or_else(String::new, |word| format!(", nor \"{word}\""));
        match self {
            Kind::Duration { word, .. } => format!("duration (\"5s\", \"250ms\" and \"1m30s\" are){}", or(word)),
            Kind::Size { word, .. } => format!("size (4096, \"64KiB\" and \"8MiB\" are){}", or(word)),
            Kind::Count { word, .. } => format!("whole number{}", or(word)),
            Kind::Bool => "true or false".to_owned(),
            Kind::Choice(words) => words.join(" or "),
            Kind::Path => "file".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Address => "address and port (127.0.0.1:8080, [::1]:8080 and :8080 are)".to_owned(),
            Kind::Server => "server (http://host:port, https://host and unix:/path are)".to_owned(),
        }
    }

    /// What it can be: for the table of keys.
    pub fn range(self) -> String {
        let or = |word: Option<&str>| word.map_or_else(String::new, |word| format!(", or {word}"));
        match self {
            Kind::Duration { least, most, word } => format!("{} to {}{}", Time(least), Time(most), or(word)),
            Kind::Size { least, most, word } => format!("{} to {}{}", Bytes(least), Bytes(most), or(word)),
            Kind::Count { least, most, word } => format!("{least} to {most}{}", or(word)),
            Kind::Bool => "true, false".to_owned(),
            Kind::Choice(words) => words.join(", "),
            Kind::Path => "file".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Address => "address:port".to_owned(),
            Kind::Server => "URL".to_owned(),
        }
    }

    /// What stands for its value in a line of help.
    pub fn value_name(self) -> &'static str {
        match self {
            Kind::Duration { .. } => "DURATION",
            Kind::Size { .. } => "SIZE",
            Kind::Count { .. } => "NUMBER",
            Kind::Bool => "BOOL",
            Kind::Choice(_) => "WORD",
            Kind::Path => "FILE",
            Kind::Text => "NAME",
            Kind::Address => "ADDRESS:PORT",
            Kind::Server => "URL",
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let signed: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(signed).ok()
}

/// `4096`, `64KiB`, `64K`, `8MiB`, `1GiB`. Not `64KB`: some mean 64000 by it.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        "g" | "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// `:8080` is every address of this machine, IPv6 and IPv4.
fn address(text: &str) -> Result<SocketAddr, String> {
    let any = text.strip_prefix(':').and_then(|port| port.parse().ok());
    if let Some(port) = any {
        return Ok(SocketAddr::from(([0_u16; 8], port)));
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("{text:?} has no port; write \"[{address}]:8080\""),
        Ok(IpAddr::V4(address)) => format!("{text:?} has no port; write \"{address}:8080\""),
        Err(_) => format!("{text:?} is no {}", Kind::Address.wanted()),
    })
}

/// A duration as it is written in the file: `1m30s`.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if millis != 0 {
            return write!(f, "{}ms", self.0.as_millis());
        }
        match seconds {
            0 => f.write_str("0s"),
            _ if seconds.is_multiple_of(86_400) => write!(f, "{}h", seconds / 3600),
            _ if seconds.is_multiple_of(3600) => write!(f, "{}h", seconds / 3600),
            _ if seconds.is_multiple_of(60) && seconds >= 120 => write!(f, "{}m", seconds / 60),
            _ => write!(f, "{seconds}s"),
        }
    }
}

/// A number of bytes as it is written in the file: `64KiB`.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let unit = units
            .into_iter()
            .find(|(_, shift)| self.0 > 0 && self.0.is_multiple_of(1 << shift));
        match unit {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TIME: Kind = Kind::Duration {
        least: Duration::from_millis(100),
        most: Duration::from_secs(3600),
        word: Some("learned"),
    };
    const SIZE: Kind = Kind::Size {
        least: 0,
        most: 1 << 30,
        word: None,
    };

    #[test]
    fn durations_have_units() {
        assert_eq!(TIME.parse("5s"), Ok(Value::Duration(Duration::from_secs(5))));
        assert_eq!(TIME.parse("1m30s"), Ok(Value::Duration(Duration::from_secs(90))));
        assert_eq!(TIME.parse("learned"), Ok(Value::Word));
        let wrong = TIME.parse("5").unwrap_err();
        assert!(wrong.contains("did you mean \"5s\"?"), "{wrong}");
        assert!(TIME.parse("2h").unwrap_err().contains("100ms to 1h, or learned"));
        for wrong in ["", "-5s", "soon", "99999999999999h"] {
            assert!(TIME.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(SIZE.parse("64KiB"), Ok(Value::Number(65_536)));
        assert_eq!(SIZE.parse("0"), Ok(Value::Number(0)));
        for wrong in ["64KB", "1.5M", "", "-1", "2GiB", "99999999999999999999"] {
            assert!(SIZE.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_have_ports() {
        let any = Kind::Address.parse(":8080").unwrap();
        assert_eq!(any, Value::Address("[::]:8080".parse().unwrap()));
        let local = Kind::Address.parse("localhost:1").unwrap();
        assert_eq!(local, Value::Address("127.0.0.1:1".parse().unwrap()));
        let wrong = Kind::Address.parse("::1").unwrap_err();
        assert!(wrong.contains("[::1]:8080"), "{wrong}");
        assert!(Kind::Address.parse("example.org:80").is_err());
    }

    #[test]
    fn values_are_written_as_they_are_read() {
        for text in ["5s", "250ms", "2m", "95s", "1h", "0s", "24h"] {
            let read = duration(text).unwrap();
            assert_eq!(Time(read).to_string(), text);
        }
        for text in ["64KiB", "8MiB", "0", "100", "1GiB"] {
            assert_eq!(Bytes(size(text).unwrap()).to_string(), text);
        }
    }
}
