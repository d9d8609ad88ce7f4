//! Words of a line, as Apache and HAProxy quote them.

/// The words of a line; `'…'`, `"…"` and `\` quote, and `comments`: `#` begins a comment. A quote that is not closed ends with the line.
pub(super) fn words(line: &str, comments: bool) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut in_word = false;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('"') | None, '\\') => {
                in_word = true;
                word.extend(chars.next());
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                in_word = true;
            }
            (None, '#') if comments && !in_word => break,
            (None, c) if c.is_whitespace() => {
                if in_word {
                    words.push(std::mem::take(&mut word));
                }
                in_word = false;
            }
            (_, c) => {
                word.push(c);
                in_word = true;
            }
        }
    }
    if in_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_quoted_in_three_ways() {
        assert_eq!(
            words(r#" a "b c" 'd "e' f\ g "" # h"#, true),
            ["a", "b c", "d \"e", "f g", ""]
        );
        assert_eq!(words("a#b #c", true), ["a#b"]);
        assert_eq!(words("a #b", false), ["a", "#b"]);
        assert_eq!(words("\"open", true), ["open"]);
        assert_eq!(words("", true), [""; 0]);
        assert_eq!(words("a\\", true), ["a"]);
    }
}
