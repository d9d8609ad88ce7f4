use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, ParseOptions};

/// Longer names than these are cut, or left as they are.
const LONGEST_MANGLED: usize = 4096;
const LONGEST: usize = 512;

/// A function's name as its source has it: Rust without the hash, C++ without parameters, C without what the compiler added
/// (`parse.constprop.0`).
pub(super) fn demangled(name: &str) -> String {
    if name.len() > LONGEST_MANGLED {
        return cut(name);
    }
    let plain = name.split_once('.').map_or(name, |(before, _)| before);
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        let mut text = Short::default();
        // An error is the end of the room.
        let _ = write!(text, "{rust:#}");
        return text.0;
    }
    if plain.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::BorrowedSymbol::new_with_options(plain.as_bytes(), &parsing())
    {
        let mut text = Short::default();
        let options = DemangleOptions::new().no_params().no_return_type().recursion_limit(64);
        let done = symbol.structured_demangle(&mut text, &options);
        if done.is_ok() || !text.0.is_empty() {
            return text.0;
        }
    }
    // Go's names hold dots and slashes of their own: `net/http.(*conn).serve`. Only what compilers of C append goes.
    cut(without_suffixes(name))
}

fn parsing() -> ParseOptions {
    ParseOptions::default().recursion_limit(64)
}

fn without_suffixes(name: &str) -> &str {
    const SUFFIXES: [&str; 8] = [
        ".constprop.",
        ".isra.",
        ".part.",
        ".cold",
        ".lto_priv.",
        ".llvm.",
        ".localalias",
        ".ipa-",
    ];
    let first = SUFFIXES.iter().filter_map(|suffix| name.find(suffix)).min();
    &name[..first.unwrap_or(name.len())]
}

fn cut(name: &str) -> String {
    name.chars().take(LONGEST).collect()
}

/// Takes so much and no more: a few bytes of a mangled name can stand for gigabytes.
#[derive(Default)]
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.0.len() >= LONGEST {
                return Err(fmt::Error);
            }
            self.0.push(char);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_its_own() {
        for (mangled, plain) in [
            ("close", "close"),
            ("__libc_send", "__libc_send"),
            ("parse_head.constprop.0.isra.0", "parse_head"),
            ("fail.cold", "fail"),
            ("net/http.(*conn).serve", "net/http.(*conn).serve"),
            ("main.main.func1", "main.main.func1"),
            (
                "_ZN3std2io5Write9write_all17h0123456789abcdefE",
                "std::io::Write::write_all",
            ),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            (
                "_ZN5Envoy7Network14ConnectionImpl11closeSocketENS0_15ConnectionEventE",
                "Envoy::Network::ConnectionImpl::closeSocket",
            ),
            (
                "_ZN4core3ptr85drop_in_place$LT$std..rt..lang_start$LT$$LP$$RP$$GT$..$u7b$$u7b$closure$u7d$$u7d$$GT$17h0123456789abcdefE",
                "core::ptr::drop_in_place<std::rt::lang_start<()>::{{closure}}>",
            ),
            ("_Z", "_Z"),
            ("", ""),
        ] {
            assert_eq!(demangled(mangled), plain);
        }
    }

    #[test]
    fn a_name_that_doubles_itself_stays_short() {
        // Each S_ stands for all before it.
        let bomb = format!("_Z1fI1AE{}", "St4pairIS_S_ES0_S1_".repeat(100));
        assert!(demangled(&bomb).len() <= 4 * LONGEST);
        let mut nested = String::from("_Z1fPFv");
        for number in 0..30 {
            nested += &format!("3fooI{}{}E", format_args!("S{number}_"), format_args!("S{number}_"));
        }
        assert!(demangled(&nested).len() <= 4 * LONGEST);
        assert!(demangled(&format!("_Z{}", "N".repeat(4000))).len() <= 4096);
        assert_eq!(demangled(&"a".repeat(100_000)).len(), LONGEST);
    }
}
