use std::borrow::Cow;
use std::fmt::Write as _;

/// Text that came off the wire, made safe to print: control characters, escape sequences, and marks that hide or reorder
/// what stands around them become visible escapes such as `\u{1b}`. Everything else stays as it is.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_treacherous(character) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// Whether a character can change how a terminal shows what stands around it (Unicode TR36 §2.10, TR9), or shows nothing.
pub(crate) fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0x00AD                  // soft hyphen
            | 0x061C                // Arabic letter mark
            | 0x180E                // Mongolian vowel separator
            | 0x200B..=0x200F       // zero width, direction marks
            | 0x2028..=0x202E       // line and paragraph separator, embeddings, overrides
            | 0x2060..=0x206F       // word joiner, isolates, deprecated controls
            | 0xFEFF                // zero width no-break space
            | 0xFFF9..=0xFFFB       // interlinear annotation
            | 0xE0000..=0xE007F     // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(escape("gunicorn/20.1.0 – ä → 漢"), Cow::Borrowed(_)));
    }

    #[test]
    fn sequences_of_a_terminal_become_visible() {
        assert_eq!(escape("a\x1b[31mb\u{9b}2Jc\x07"), "a\\u{1b}[31mb\\u{9b}2Jc\\u{7}");
        assert_eq!(escape("one\r\ntwo\t"), "one\\r\\ntwo\\t");
    }

    #[test]
    fn text_that_reorders_its_surroundings_becomes_visible() {
        assert_eq!(
            escape("evil\u{202e}gpj.exe\u{2066}\u{200b}"),
            "evil\\u{202e}gpj.exe\\u{2066}\\u{200b}"
        );
    }
}
