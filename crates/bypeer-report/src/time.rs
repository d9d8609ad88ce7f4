use bypeer_wire::Timestamp;

/// Seconds since the epoch as JSON has them: microseconds are kept, nanoseconds are not, so that no digit is invented by
/// the conversion to binary.
pub(crate) fn epoch_seconds(time: Timestamp) -> f64 {
    time.0.div_euclid(1_000) as f64 / 1e6
}

/// `2026-02-03 04:05:06.789012Z`: UTC, whatever the zone of the machine that prints or that captured.
pub fn utc(time: Timestamp) -> String {
    let seconds = time.0.div_euclid(1_000_000_000);
    let micros = time.0.rem_euclid(1_000_000_000) / 1_000;
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Seconds between two moments with microseconds, signed: `+0.000212`.
pub(crate) fn relative(time: Timestamp, start: Timestamp) -> String {
    let nanos = i128::from(time.0) - i128::from(start.0);
    let sign = if nanos < 0 { '-' } else { '+' };
    let micros = nanos.unsigned_abs() / 1_000;
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Days since 1970-01-01 as year, month, day (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(utc(Timestamp(0)), "1970-01-01 00:00:00.000000Z");
        assert_eq!(utc(Timestamp(951_782_400_000_000_000)), "2000-02-29 00:00:00.000000Z");
        assert_eq!(utc(Timestamp(1_767_225_599_999_999_999)), "2025-12-31 23:59:59.999999Z");
        assert_eq!(utc(Timestamp(-1)), "1969-12-31 23:59:59.999999Z");
    }

    #[test]
    fn every_day_of_four_centuries_counts_on() {
        // The oracle counts day by day.
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        for nanos in [i64::MIN, i64::MAX] {
            assert!(utc(Timestamp(nanos)).ends_with('Z'));
            assert!(relative(Timestamp(nanos), Timestamp(!nanos)).contains('.'));
        }
    }

    #[test]
    fn epoch_keeps_microseconds() {
        let json = serde_json::to_string(&epoch_seconds(Timestamp(1_767_355_445_123_457_999))).expect("a number");
        assert_eq!(json, "1767355445.123457");
    }

    #[test]
    fn relative_is_signed() {
        assert_eq!(relative(Timestamp(1_500_000_000), Timestamp(0)), "+1.500000");
        assert_eq!(relative(Timestamp(0), Timestamp(250_000)), "-0.000250");
    }
}
