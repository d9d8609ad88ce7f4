/// Short texts of a connection's heads, each held once: keep-alive messages mostly say the same again.
///
/// One run of bytes: a length, then so many bytes, again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Bytes that were in use when it was last cleared of what nobody uses.
    used: u16,
}

/// The name of a text; of none, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TextId(u16);

/// Up to this size it is not worth clearing.
const SMALL: usize = 512;

impl Texts {
    /// Keeps a text of at most 255 bytes. Longer ones, and more than 64 KiB at once (256 pipelined requests that all
    /// differ in everything), are forgotten.
    pub(super) fn keep(&mut self, text: Option<&str>) -> TextId {
        let Some(text) = text.map(str::as_bytes) else {
            return TextId(0);
        };
        let Ok(len) = u8::try_from(text.len()) else {
            return TextId(0);
        };
        let mut at = 0;
        while let Some((&here, rest)) = self.bytes.get(at..).and_then(<[u8]>::split_first) {
            if here == len && rest.get(..text.len()) == Some(text) {
                return TextId::at(at);
            }
            at += 1 + usize::from(here);
        }
        let id = TextId::at(at);
        if id != TextId(0) {
            self.bytes.reserve_exact(1 + text.len());
            self.bytes.push(len);
            self.bytes.extend_from_slice(text);
        }
        id
    }

    /// The text, unless the name is that of none.
    pub(super) fn get(&self, id: TextId) -> Option<Box<str>> {
        Some(String::from_utf8_lossy(self.find(id)?).into())
    }

    /// There is much that perhaps nobody uses any more.
    pub(super) fn is_crowded(&self) -> bool {
        self.bytes.len() > SMALL.max(2 * usize::from(self.used))
    }

    /// Forgets all but `used`, which get new names.
    pub(super) fn clear_unused<'a>(&mut self, used: impl Iterator<Item = &'a mut TextId>) {
        let mut kept = Texts::default();
        for id in used {
            let text = self.find(*id).and_then(|text| std::str::from_utf8(text).ok());
            *id = kept.keep(text);
        }
        kept.used = u16::try_from(kept.bytes.len()).unwrap_or(u16::MAX);
        *self = kept;
    }

    fn find(&self, id: TextId) -> Option<&[u8]> {
        let at = usize::from(id.0).checked_sub(1)?;
        let (&len, rest) = self.bytes.get(at..)?.split_first()?;
        rest.get(..usize::from(len))
    }
}

impl TextId {
    fn at(position: usize) -> TextId {
        TextId(u16::try_from(position + 1).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_text_is_held_once_and_told_again() {
        let mut texts = Texts::default();
        let said = ["curl/8", "nginx", "", "curl/8.1", "nginx"];
        let ids = said.map(|text| texts.keep(Some(text)));
        assert_eq!(ids[1], ids[4]);
        assert_eq!(texts.bytes.len(), 4 + 6 + 5 + 8);
        for (id, text) in ids.into_iter().zip(said) {
            assert_eq!(&*texts.get(id).unwrap(), text);
        }
        let none = texts.keep(None);
        assert_eq!(texts.get(none), None);
        assert_eq!(texts.keep(Some(&"x".repeat(256))), none);
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut texts = Texts::default();
        let mut last = [TextId::default(); 2];
        let mut most = 0;
        for round in 0..10_000 {
            last.swap(0, 1);
            last[1] = texts.keep(Some(&format!("agent {round}")));
            if texts.is_crowded() {
                texts.clear_unused(last.iter_mut());
            }
            most = most.max(texts.bytes.len());
        }
        assert_eq!(
            last.map(|id| texts.get(id).unwrap().to_string()),
            ["agent 9998", "agent 9999"]
        );
        assert!(most < SMALL + 20, "{most}");
    }

    #[test]
    fn too_many_are_forgotten_not_mistaken() {
        let mut texts = Texts::default();
        let said: Vec<_> = (0..1_000).map(|number| format!("{number:0>100}")).collect();
        let ids: Vec<_> = said.iter().map(|text| texts.keep(Some(text))).collect();
        for (id, text) in ids.iter().zip(&said) {
            assert!(texts.get(*id).is_none_or(|told| &*told == text.as_str()));
        }
        assert!(texts.bytes.len() < (1 << 16) + 200);
    }
}
