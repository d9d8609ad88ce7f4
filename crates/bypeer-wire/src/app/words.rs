use super::notice::Look;

/// Distinctive words in bytes that come bit by bit, as keyed hashes; see [`super::Token`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    key: u64,
    hash: u64,
    len: u32,
    digit: bool,
}

/// Shortest distinctive word with a digit.
const SHORTEST: u32 = 6;
/// Shortest without.
const SHORTEST_PLAIN: u32 = 12;
/// Longer runs are no words: encoded data.
const LONGEST: u32 = 128;

impl Words {
    /// No word is begun.
    pub(super) fn new(key: u64) -> Words {
        Words {
            key,
            hash: key,
            len: 0,
            digit: false,
        }
    }

    /// The next byte; the word that it ends.
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) -> Option<u64> {
        let folded = FOLDED[usize::from(byte)];
        if folded == 0 {
            return if self.len == 0 { None } else { self.end() };
        }
        self.digit |= folded.is_ascii_digit();
        self.len = self.len.saturating_add(1);
        self.hash = (self.hash ^ u64::from(folded)).wrapping_mul(PRIME);
        None
    }

    /// No more bytes of this word.
    pub(super) fn end(&mut self) -> Option<u64> {
        let shortest = if self.digit { SHORTEST } else { SHORTEST_PLAIN };
        let word = (shortest..=LONGEST)
            .contains(&self.len)
            .then(|| mixed(self.hash ^ self.key.rotate_left(32)));
        *self = Words::new(self.key);
        word
    }

    /// All words of a text.
    pub(super) fn of(key: u64, text: &[u8]) -> impl Iterator<Item = u64> + '_ {
        let mut words = Words::new(key);
        // A blank ends the last one.
        let bytes = text.iter().copied().chain([b' ']);
        bytes.filter_map(move |byte| words.byte(byte))
    }
}

/// The words of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    words: Vec<u64>,
    pub(super) cut: bool,
}

impl Found {
    pub(super) fn add(&mut self, word: Option<u64>) {
        let Some(word) = word else { return };
        if self.words.len() >= 2 * Look::TOKENS {
            self.words.sort_unstable();
            self.words.dedup();
        }
        if self.words.len() < 2 * Look::TOKENS {
            self.words.push(word);
        } else {
            self.cut = true;
        }
    }

    /// Sorted, none twice; and whether that is not all.
    pub(super) fn into_tokens(mut self) -> (Box<[u64]>, bool) {
        self.words.sort_unstable();
        self.words.dedup();
        let cut = self.cut || self.words.len() > Look::TOKENS;
        self.words.truncate(Look::TOKENS);
        (self.words.into(), cut)
    }
}

/// The same in all runs, for what is no secret.
pub(super) fn plain_hash(bytes: &[u8]) -> u64 {
    plain_hash_on(BASIS, bytes)
}

/// The same, after something else.
pub(super) fn plain_hash_on(before: u64, bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(before, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    mixed(hash)
}

/// FNV-1a's.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// SplitMix64's last steps.
pub(super) fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Of what words are made, in small letters; 0 for what ends them.
static FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        folded[byte] = match byte as u8 {
            letter @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') => letter,
            letter @ b'A'..=b'Z' => letter | 0x20,
            _ => 0,
        };
        byte += 1;
    }
    folded
};

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        Words::of(7, text.as_bytes()).count()
    }

    #[test]
    fn distinctive_words_are_found_without_regard_to_case() {
        assert_eq!(count("status ok message hello"), 0);
        assert_eq!(count("id=abc123, nonce: 4711-xy"), 2);
        assert_eq!(count("12345"), 0);
        assert_eq!(count("extraordinary"), 1);
        assert_eq!(count(&"a1".repeat(65)), 0);
        let of = |text: &str| Words::of(7, text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(of("/users/AB12cd/x"), of("{\"id\":\"ab12CD\"}"));
        assert_ne!(of("ab12cd"), of("ab12ce"));
        assert_ne!(of("ab12cd"), Words::of(8, b"ab12cd").collect::<Vec<_>>());
    }

    #[test]
    fn found_words_are_few_sorted_and_single() {
        let mut found = Found::default();
        for number in 0..10_000u64 {
            found.add(Some(mixed(number % 50)));
        }
        let (tokens, cut) = found.into_tokens();
        assert_eq!((tokens.len(), cut), (50, false));
        assert!(tokens.is_sorted());
        let mut found = Found::default();
        (0..10_000).for_each(|number| found.add(Some(number)));
        let (tokens, cut) = found.into_tokens();
        assert_eq!((tokens.len(), cut), (Look::TOKENS, true));
    }
}
