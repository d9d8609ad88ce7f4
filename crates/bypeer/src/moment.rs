use std::time::Duration;

use bypeer_wire::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, ToSpan};

/// A time as people and logs write it: seldom with all that would make it one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// One moment.
    At(Timestamp),
    /// Without a zone.
    Local(DateTime),
    /// Without a zone and a year, as syslog has it: month, day, time of day.
    Yearless(i8, i8, Time),
    /// A time of day.
    OfDay(Time),
}

impl Moment {
    /// A time that is all of `text`.
    pub(crate) fn parse(text: &str) -> Option<Moment> {
        let text = text.trim();
        let mut scan = Scan { text, at: 0 };
        if let Some(moment) = scan.moment().or_else(|| scan.of_day())
            && scan.at == text.len()
        {
            return Some(moment);
        }
        epoch(text)
    }

    /// The first time in a line, and its place.
    pub(crate) fn find(line: &str) -> Option<(Moment, std::ops::Range<usize>)> {
        let first = |read: for<'a> fn(&mut Scan<'a>) -> Option<Moment>| {
            let mut before = ' ';
            for (at, character) in line.char_indices() {
                let begins = !before.is_alphanumeric() && !matches!(before, ':' | '.');
                before = character;
                if begins && character.is_ascii_alphanumeric() {
                    let mut scan = Scan { text: line, at };
                    if let Some(moment) = read(&mut scan) {
                        return Some((moment, at..scan.at));
                    }
                }
            }
            None
        };
        first(|scan| scan.moment()).or_else(|| first(|scan| scan.of_day()))
    }

    /// How far this is from a life from `opened` to `ended`; zero inside of it. What is not said (zone, year, day) is chosen
    /// as it fits best.
    pub(crate) fn distance(&self, opened: Timestamp, ended: Timestamp, zones: &[TimeZone]) -> Duration {
        self.candidates(ended, zones)
            .into_iter()
            .map(|moment| match moment {
                _ if moment < opened => opened.since(moment),
                _ => moment.since(ended),
            })
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// The moments that may be meant, near `near`.
    fn candidates(&self, near: Timestamp, zones: &[TimeZone]) -> Vec<Timestamp> {
        if let Moment::At(moment) = self {
            return vec![*moment];
        }
        let mut candidates = Vec::new();
        for zone in zones {
            let Ok(instant) = jiff::Timestamp::from_nanosecond(near.0.into()) else {
                continue;
            };
            let today = zone.to_datetime(instant).date();
            let days = |span: Span| today.checked_add(span).ok();
            let written: Vec<DateTime> = match self {
                Moment::At(_) => Vec::new(),
                Moment::Local(datetime) => vec![*datetime],
                Moment::Yearless(month, day, time) => [-1, 0, 1]
                    .into_iter()
                    .filter_map(|years| Date::new(today.year().checked_add(years)?, *month, *day).ok())
                    .map(|date| date.to_datetime(*time))
                    .collect(),
                Moment::OfDay(time) => [-1, 0, 1]
                    .into_iter()
                    .filter_map(|shift| days(shift.days()))
                    .map(|date| date.to_datetime(*time))
                    .collect(),
            };
            candidates.extend(written.into_iter().filter_map(|written| resolve(written, zone)));
        }
        candidates
    }
}

fn resolve(written: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let moment = zone.to_ambiguous_timestamp(written).compatible().ok()?;
    i64::try_from(moment.as_nanosecond()).ok().map(Timestamp)
}

/// Seconds since the epoch, with or without a fraction.
fn epoch(text: &str) -> Option<Moment> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() > 10 {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Moment::At(Timestamp(
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?,
    )))
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads a time at a place of a text.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    /// A time with a date.
    fn moment(&mut self) -> Option<Moment> {
        let start = self.at;
        for read in [Scan::iso, Scan::common_log, Scan::syslog] {
            self.at = start;
            if let Some(moment) = read(self) {
                return Some(moment);
            }
        }
        self.at = start;
        None
    }

    /// `2026-01-02T13:04:05.678+01:00` and its looser kin: slashes, a space, a comma, no zone.
    fn iso(&mut self) -> Option<Moment> {
        let year = self.number(4, 4)?;
        let separator = self.one_of("-/")?;
        let month = self.number(2, 2)?;
        self.one_of(separator.encode_utf8(&mut [0; 4]))?;
        let day = self.number(2, 2)?;
        self.one_of("Tt _")?;
        let time = self.time()?;
        let date = Date::new(year as i16, month as i8, day as i8).ok()?;
        Some(self.zoned(date.to_datetime(time)))
    }

    /// `06/Feb/2009:12:14:14.655 +0100`, as HAProxy and Apache write it.
    fn common_log(&mut self) -> Option<Moment> {
        let day = self.number(2, 2)?;
        self.one_of("/")?;
        let month = self.month()?;
        self.one_of("/")?;
        let year = self.number(4, 4)?;
        self.one_of(":")?;
        let time = self.time()?;
        let date = Date::new(year as i16, month, day as i8).ok()?;
        Some(self.zoned(date.to_datetime(time)))
    }

    /// `Feb  6 12:14:14`.
    fn syslog(&mut self) -> Option<Moment> {
        let month = self.month()?;
        self.one_of(" ")?;
        let _ = self.one_of(" ");
        let day = self.number(1, 2)?;
        self.one_of(" ")?;
        let time = self.time()?;
        (1..=31)
            .contains(&day)
            .then_some(Moment::Yearless(month, day as i8, time))
    }

    /// `12:14:14.655`.
    fn of_day(&mut self) -> Option<Moment> {
        let time = self.time()?;
        let follows = self.rest().chars().next();
        (!follows.is_some_and(|next| next == ':' || next.is_alphanumeric())).then_some(Moment::OfDay(time))
    }

    fn time(&mut self) -> Option<Time> {
        let hour = self.number(1, 2)?;
        self.one_of(":")?;
        let minute = self.number(2, 2)?;
        self.one_of(":")?;
        let second = self.number(2, 2)?;
        let mut nanos = 0;
        let before = self.at;
        if self.one_of(".,").is_some() {
            match self.digits(9) {
                Some(digits) => nanos = format!("{digits:0<9}").parse().ok()?,
                None => self.at = before,
            }
        }
        Time::new(hour as i8, minute as i8, second as i8, nanos).ok()
    }

    /// With the zone that follows, where one does.
    fn zoned(&mut self, written: DateTime) -> Moment {
        let before = self.at;
        match self
            .offset()
            .and_then(|offset| resolve(written, &TimeZone::fixed(offset)))
        {
            Some(moment) => Moment::At(moment),
            None => {
                self.at = before;
                Moment::Local(written)
            }
        }
    }

    fn offset(&mut self) -> Option<Offset> {
        if self.one_of("Zz").is_some() {
            return Some(Offset::UTC);
        }
        let _ = self.one_of(" ");
        if self.rest().starts_with("UTC") {
            self.at += 3;
            return Some(Offset::UTC);
        }
        let sign = if self.one_of("+-")? == '-' { -1 } else { 1 };
        let hours = self.number(2, 2)?;
        let _ = self.one_of(":");
        let minutes = self.number(2, 2).unwrap_or(0);
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60) as i32).ok()
    }

    fn month(&mut self) -> Option<i8> {
        let name = self.rest().get(..3)?;
        let index = MONTHS.iter().position(|month| *month == name)?;
        self.at += 3;
        Some(index as i8 + 1)
    }

    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let before = self.at;
        let digits = self.digits(most)?;
        if digits.len() < least {
            self.at = before;
            return None;
        }
        digits.parse().ok()
    }

    /// At most `most` digits are the value; more are passed over.
    fn digits(&mut self, most: usize) -> Option<String> {
        let all: &str = self.rest();
        let length = all.bytes().take_while(u8::is_ascii_digit).count();
        let taken = length.min(most);
        let digits = all.get(..taken)?.to_owned();
        self.at += if most == 9 { length } else { taken };
        (taken > 0).then_some(digits)
    }

    fn one_of(&mut self, allowed: &str) -> Option<char> {
        let next = self.rest().chars().next().filter(|next| allowed.contains(*next))?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        let moment: jiff::Timestamp = text.parse().unwrap();
        Moment::At(Timestamp(moment.as_nanosecond() as i64))
    }

    fn local(text: &str) -> Moment {
        Moment::Local(text.parse().unwrap())
    }

    #[test]
    fn times_as_one_types_them() {
        assert_eq!(Moment::parse("2026-01-02T13:04:05Z"), Some(at("2026-01-02T13:04:05Z")));
        assert_eq!(
            Moment::parse("2026-01-02T13:04:05.25+01:00"),
            Some(at("2026-01-02T12:04:05.25Z"))
        );
        assert_eq!(Moment::parse("2026-01-02 13:04:05"), Some(local("2026-01-02T13:04:05")));
        assert_eq!(
            Moment::parse("1767355445.5"),
            Some(Moment::At(Timestamp(1_767_355_445_500_000_000)))
        );
        assert_eq!(
            Moment::parse("1767355445"),
            Some(Moment::At(Timestamp(1_767_355_445_000_000_000)))
        );
        assert_eq!(
            Moment::parse("13:04:05.5"),
            Some(Moment::OfDay("13:04:05.5".parse().unwrap()))
        );
        for bad in [
            "",
            "yesterday",
            "25:00:00",
            "2026-02-30T00:00:00Z",
            "13:04",
            "13:04:05 or so",
            "99999999999",
        ] {
            assert_eq!(Moment::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_in_lines() {
        let found = |line: &str| Moment::find(line).map(|(moment, _)| moment);
        assert_eq!(
            found("2026/01/02 13:04:05 [error] 7#7: *1 recv() failed"),
            Some(local("2026-01-02T13:04:05"))
        );
        assert_eq!(
            found("x [06/Feb/2009:12:14:14.655] http-in"),
            Some(local("2009-02-06T12:14:14.655"))
        );
        assert_eq!(
            found("[10/Oct/2000:13:55:36 -0700] GET"),
            Some(at("2000-10-10T20:55:36Z"))
        );
        assert_eq!(
            found("2026-01-02 13:04:05,678 ERROR urllib3"),
            Some(local("2026-01-02T13:04:05.678"))
        );
        assert_eq!(
            found("{\"time\":\"2026-01-02T13:04:05.123456789Z\"}"),
            Some(at("2026-01-02T13:04:05.123456789Z"))
        );
        let syslog = found("Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317");
        assert_eq!(syslog, Some(Moment::Yearless(2, 6, "12:14:14".parse().unwrap())));
        assert_eq!(
            found("read tcp 127.0.0.1:49802->127.0.0.1:8765: read: connection reset"),
            None
        );
        assert_eq!(found("dial tcp [fe80::12:34:56]:80"), None);
    }

    #[test]
    fn what_is_not_said_is_chosen_as_it_fits() {
        let Moment::At(opened) = at("2026-01-01T23:59:58Z") else {
            unreachable!()
        };
        let Moment::At(ended) = at("2026-01-02T00:00:01Z") else {
            unreachable!()
        };
        let utc = [TimeZone::UTC];
        let distance =
            |text: &str, zones: &[TimeZone]| Moment::parse(text).unwrap().distance(opened, ended, zones).as_secs();
        assert_eq!(distance("23:59:59", &utc), 0, "the day before the end's");
        assert_eq!(distance("00:00:04", &utc), 3);
        assert_eq!(distance("23:59:50", &utc), 8);
        let east = TimeZone::fixed(Offset::constant(2));
        assert_eq!(distance("2026-01-02 02:00:01", std::slice::from_ref(&east)), 0);
        assert_eq!(distance("2026-01-02 02:00:03", &[TimeZone::UTC, east]), 2);
        let yearless = Moment::Yearless(1, 2, "00:00:03".parse().unwrap());
        assert_eq!(yearless.distance(opened, ended, &utc).as_secs(), 2);
    }

    #[test]
    fn any_text_is_survived() {
        for text in [
            "2026-0é",
            "Jan é 1",
            "\u{202e}12:00:00",
            "2026-01-02T13:04:05.é",
            "9:9:9:9:9",
            "12:14:14é",
        ] {
            let _ = (Moment::parse(text), Moment::find(text));
        }
    }
}
