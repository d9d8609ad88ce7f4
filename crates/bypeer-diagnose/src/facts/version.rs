//! Versions of products, as far as they can be compared.

use std::fmt;

/// A version: numbers between dots, compared number by number. What follows the numbers (`-rc1`, `u421`, ` (Ubuntu)`) is not
/// compared.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
}

impl Version {
    /// The version that a text begins with; a `v` before it is allowed. `None` if no number is there.
    pub fn parse(text: &str) -> Option<Version> {
        let text = text.trim();
        let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let end = bare
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(bare.len());
        let numbers: Vec<u64> = bare[..end].split('.').map_while(|number| number.parse().ok()).collect();
        (!numbers.is_empty()).then(|| Version {
            text: bare[..end].trim_end_matches('.').to_owned(),
            numbers,
        })
    }

    /// Whether this lies in `since..until`, either of which may be open.
    pub(super) fn is_within(&self, since: Option<&Version>, until: Option<&Version>) -> bool {
        since.is_none_or(|since| self >= since) && until.is_none_or(|until| self < until)
    }

    /// The numbers without zeros at their end: `26` and `26.0` are the same version.
    fn significant(&self) -> &[u64] {
        let end = self
            .numbers
            .iter()
            .rposition(|number| *number != 0)
            .map_or(0, |last| last + 1);
        &self.numbers[..end]
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.significant() == other.significant()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> std::cmp::Ordering {
        self.significant().cmp(other.significant())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Version, String> {
        Version::parse(&text).ok_or_else(|| format!("{text:?} is no version"))
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        let text = String::deserialize(deserializer)?;
        Version::try_from(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let parse = |text| Version::parse(text).unwrap();
        assert!(parse("1.29.7") > parse("1.29.6"));
        assert!(parse("1.9") < parse("1.29"));
        assert!(parse("26") == parse("26.0.0"));
        assert!(parse("v20.20.2") < parse("26"));
        assert!(parse("1.18.0 (Ubuntu)") == parse("1.18.0"));
        assert!(parse("8u421") == parse("8"));
        assert_eq!(parse("10.0.0-M1").to_string(), "10.0.0");
        for none in ["", "v", "latest", "-1", "."] {
            assert!(Version::parse(none).is_none(), "{none:?}");
        }
    }

    #[test]
    fn the_end_of_a_range_is_not_in_it() {
        let parse = |text| Version::parse(text).unwrap();
        let (since, until) = (parse("7"), parse("8"));
        assert!(parse("7.0").is_within(Some(&since), Some(&until)));
        assert!(parse("7.9.9").is_within(Some(&since), Some(&until)));
        assert!(!parse("8.0").is_within(Some(&since), Some(&until)));
        assert!(parse("8.0").is_within(None, None));
    }
}
