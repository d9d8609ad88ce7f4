//! Times, sizes and rates as people write them.

use std::time::Duration;

/// Longer than this nothing in a lab takes.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads `100us`, `5ms`, `2s`, `1.5s`, `2min`; `0` needs no unit.
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(number * seconds).ok()?;
    (time <= LONGEST).then_some(time)
}

/// Reads bytes: `22`, `64KiB`, `1MiB`, `600kB`.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * factor;
    (bytes.fract() == 0.0 && bytes < 1e15).then_some(bytes as u64)
}

/// Reads bits per second: `10mbit`, `300kbit`, `1gbit`.
pub fn rate(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return None,
    };
    let bits = number * factor;
    (1.0..1e15).contains(&bits).then_some(bits as u64)
}

/// A number and the letters behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        assert_eq!(duration("5ms"), Some(Duration::from_millis(5)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(size("64KiB"), Some(65536));
        assert_eq!(size("22"), Some(22));
        assert_eq!(rate("10mbit"), Some(10_000_000));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "ms",
            "5",
            "-1s",
            "5 ms",
            "1e3s",
            "1..2s",
            "5parsec",
            "10000000000000000000s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(size("1.5"), None);
        assert_eq!(rate("0bit"), None);
    }
}
