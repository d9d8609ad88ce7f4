//! Times as people and configuration files write them.

use std::time::Duration;

/// What a number without a unit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds, as in HAProxy.
    Milliseconds,
    /// Seconds, as nearly everywhere.
    Seconds,
}

const MICROSECOND: u64 = 1;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Nobody means more: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const UNITS: [(&str, u64); 10] = [
    ("us", MICROSECOND),
    ("ms", MILLISECOND),
    ("s", SECOND),
    ("sec", SECOND),
    ("m", MINUTE),
    ("min", MINUTE),
    ("h", HOUR),
    ("d", DAY),
    ("w", 7 * DAY),
    ("y", 365 * DAY),
];

/// A time such as `75`, `500ms`, `1.5s`, `2m`, `1h30m`: numbers, each with a unit; the last may be without one, and then has
/// `unit`. `None` for anything else, and beyond a hundred years.
pub fn parse(text: &str, unit: Unit) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let micros = match name {
            "" if !after.is_empty() => return None,
            "" if unit == Unit::Milliseconds => MILLISECOND,
            "" => SECOND,
            name => UNITS.iter().find(|(known, _)| *known == name)?.1,
        };
        total = total.checked_add(scaled(number, micros)?)?;
        rest = after;
    }
    (total <= LONGEST).then_some(total)
}

/// `number` times so many microseconds; digits, and perhaps a point and more digits.
fn scaled(number: &str, micros: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 24 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = whole.checked_mul(micros)?;
    let fraction = match fraction {
        "" => 0.0,
        digits => format!("0.{digits}").parse::<f64>().ok()?,
    };
    // Below one unit, so far below what f64 holds exactly.
    let part = (fraction * micros as f64).round() as u64;
    Some(Duration::from_micros(whole.checked_add(part)?))
}

/// A time for people: `500 ms`, `2 s`, `1.5 s`, `75 s`, `10 min`, `1 h`.
pub fn words(time: Duration) -> String {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (of, unit) = match micros {
        0 => return "0 s".to_owned(),
        _ if micros < MILLISECOND => (MICROSECOND, "µs"),
        _ if micros < SECOND => (MILLISECOND, "ms"),
        _ if micros >= DAY && micros % DAY == 0 => (DAY, "d"),
        _ if micros >= HOUR && micros % HOUR == 0 => (HOUR, "h"),
        _ if micros >= 3 * MINUTE && micros % MINUTE == 0 => (MINUTE, "min"),
        _ => (SECOND, "s"),
    };
    let hundredths = micros.saturating_mul(100) / of;
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let number = match rest {
        0 => format!("{whole}"),
        rest if rest % 10 == 0 => format!("{whole}.{}", rest / 10),
        rest => format!("{whole}.{rest:02}"),
    };
    format!("{number} {unit}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, millis) in [
            ("75", 75_000),
            ("0", 0),
            ("500ms", 500),
            ("1.5s", 1_500),
            (".5", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1m30", 90_000),
            (" 4 ", 4_000),
        ] {
            assert_eq!(
                parse(text, Unit::Seconds),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(parse("500", Unit::Milliseconds), Some(Duration::from_millis(500)));
        assert_eq!(parse("500us", Unit::Milliseconds), Some(Duration::from_micros(500)));
        for bad in [
            "",
            "s",
            "-1",
            "1 s",
            "1x",
            "1..5",
            "1.2.3",
            "1m s",
            "9999999999999999999999y",
            "20000000000",
            "∞",
        ] {
            assert_eq!(parse(bad, Unit::Seconds), None, "{bad}");
        }
    }

    #[test]
    fn times_are_told_shortly() {
        for (millis, told) in [
            (0, "0 s"),
            (500, "500 ms"),
            (1_500, "1.5 s"),
            (1_250, "1.25 s"),
            (75_000, "75 s"),
            (60_000, "60 s"),
            (90_000, "90 s"),
            (600_000, "10 min"),
            (3_600_000, "1 h"),
            (86_400_000, "1 d"),
        ] {
            assert_eq!(words(Duration::from_millis(millis)), told);
        }
        assert_eq!(words(Duration::from_micros(250)), "250 µs");
    }
}
