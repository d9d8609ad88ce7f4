/// The candidate that looks most like `word`: a slip of the finger away.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word
        .chars()
        .take(64)
        .flat_map(char::to_lowercase)
        .map(|character| if character == '-' { '_' } else { character })
        .collect();
    let scored = candidates.map(|candidate| (strsim::levenshtein(&word, candidate), candidate));
    let (edits, best) = scored.min_by_key(|(edits, _)| *edits)?;
    let allowed = (best.chars().count() / 2).clamp(1, 3);
    (edits <= allowed).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key() {
        let keys = ["idle", "margin", "head_time", "connections"];
        assert_eq!(nearest("idel", keys.into_iter()), Some("idle"));
        assert_eq!(nearest("idl", keys.into_iter()), Some("idle"));
        assert_eq!(nearest("head-time", keys.into_iter()), Some("head_time"));
        assert_eq!(nearest("Conections", keys.into_iter()), Some("connections"));
        assert_eq!(nearest("teapot", keys.into_iter()), None);
        assert_eq!(nearest("", keys.into_iter()), None);
    }
}
