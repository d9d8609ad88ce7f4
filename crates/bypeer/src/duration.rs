//! Durations as people write them.

use std::time::Duration;

/// `60s`, `5m`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is no duration; 60s, 5m and 1h30m are"))?;
    Duration::try_from(signed)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a duration must be longer than nothing".to_owned())
}

/// A duration that somebody may sit through.
pub(crate) fn wait(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    match duration(text)? {
        wait if wait <= LONGEST => Ok(wait),
        _ => Err("a wait must not be longer than 24h".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        for wrong in ["60", "", "-5s", "0s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn waits_are_bounded() {
        assert_eq!(wait("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in ["25h", "2000000000h", "0s"] {
            assert!(wait(wrong).is_err(), "{wrong}");
        }
    }
}
