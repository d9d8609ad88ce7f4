/// An HTTP date (RFC 9110 §5.6.7, the form that must be sent), in seconds since 1970.
pub(super) fn seconds(value: &[u8]) -> Option<i64> {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let value: &[u8; 29] = value.trim_ascii().try_into().ok()?;
    let [
        _,
        _,
        _,
        b',',
        b' ',
        d1,
        d2,
        b' ',
        m1,
        m2,
        m3,
        b' ',
        y1,
        y2,
        y3,
        y4,
        b' ',
        rest @ ..,
    ] = value
    else {
        return None;
    };
    let [h1, h2, b':', n1, n2, b':', s1, s2, b' ', b'G', b'M', b'T'] = rest else {
        return None;
    };
    let month = MONTHS.iter().position(|month| **month == [*m1, *m2, *m3])? as i64 + 1;
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let [day, hour, minute, second] = [[d1, d2], [h1, h2], [n1, n2], [s1, s2]].map(|[a, b]| number(&[*a, *b]));
    let (day, hour, minute, second) = (day?, hour?, minute?, second?);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from 0000-03-01, by which the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + ((month + 9) % 12 * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn dates_are_seconds() {
        assert_eq!(seconds(b" Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds(b"Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds(b"Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        assert_eq!(seconds(b"Fri, 01 Mar 2024 00:00:00 GMT"), Some(1_709_251_200));
        for other in [
            "",
            "0",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Xyz 1994 08:49:37 GMT",
        ] {
            assert_eq!(seconds(other.as_bytes()), None, "{other}");
        }
    }
}
