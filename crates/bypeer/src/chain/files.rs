//! Files of configurations, read from the disk.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bypeer_chain::{Files, MAX_FILE};

/// Most files that one pattern may name.
const MOST: usize = 10_000;

/// The disk.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        read(Path::new(path))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, String> {
        glob(pattern)
    }
}

/// A file's text; what is no UTF-8 in it replaced, and one byte more than is allowed at most.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let file = fs::File::open(path).map_err(told)?;
    if file.metadata().map_err(told)?.is_dir() {
        return Err("is a folder, not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// As glob(7), folder by folder: `*`, `?` and `[…]` within one name. Sorted by name, as servers read them.
fn glob(pattern: &str) -> Result<Vec<String>, String> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut found = vec![if pattern.starts_with('/') {
        PathBuf::from("/")
    } else {
        PathBuf::new()
    }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in found {
            if !part.contains(['*', '?', '[']) {
                next.push(folder.join(part));
                continue;
            }
            let listed = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &folder
            };
            // What is no folder has nothing in it.
            let Ok(entries) = fs::read_dir(listed) else {
                continue;
            };
            let names = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned());
            let mut names: Vec<String> = names
                .filter(|name| (!name.starts_with('.') || part.starts_with('.')) && matches(part, name))
                .collect();
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
            if next.len() > MOST {
                return Err(format!("{pattern}: names more than {MOST} files"));
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    Ok(found
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect())
}

/// Whether a name is what a pattern says. No more steps than the product of their lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where the last `*` was, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
                continue;
            }
            Some('?') => {
                (at, of) = (at + 1, of + 1);
                continue;
            }
            Some('[') => {
                if let Some((end, holds)) = class(&pattern[at..], name[of]) {
                    if holds {
                        (at, of) = (at + end, of + 1);
                        continue;
                    }
                } else if name[of] == '[' {
                    (at, of) = (at + 1, of + 1);
                    continue;
                }
            }
            Some(c) if *c == name[of] => {
                (at, of) = (at + 1, of + 1);
                continue;
            }
            _ => {}
        }
        let Some((after, taken)) = star else {
            return false;
        };
        star = Some((after, taken + 1));
        (at, of) = (after + 1, taken + 1);
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// `[a-z]`, `[!a]`: how long it is, and whether the character is in it. `None`: it is not closed.
fn class(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if negated { 2 } else { 1 };
    let end = pattern.iter().skip(first + 1).position(|c| *c == ']')? + first + 1;
    let inside = &pattern[first..end];
    let mut holds = false;
    let mut at = 0;
    while at < inside.len() {
        if at + 2 < inside.len() && inside[at + 1] == '-' {
            holds |= inside[at] <= c && c <= inside[at + 2];
            at += 3;
        } else {
            holds |= inside[at] == c;
            at += 1;
        }
    }
    Some((end + 1, holds != negated))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_the_shell() {
        for (pattern, name, is) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxa", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[", "[", true),
            ("[]x]", "]", true),
            ("", "", true),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
        // Quadratic at worst.
        assert!(!matches(&"*a".repeat(100), &"a".repeat(99)));
    }

    #[test]
    fn files_are_found_in_order_and_folders_may_have_patterns() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.conf", "a/1.conf", "a/0.conf", "a/.hidden.conf", "a/x.txt"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let root = folder.path().to_string_lossy().into_owned();
        let found = glob(&format!("{root}/*/*.conf")).unwrap();
        let found: Vec<&str> = found.iter().map(|path| path.strip_prefix(&root).unwrap()).collect();
        assert_eq!(found, ["/a/0.conf", "/a/1.conf", "/b/2.conf"]);
        assert_eq!(glob(&format!("{root}/none/*")).unwrap(), [""; 0]);
        assert_eq!(glob("no-pattern").unwrap(), ["no-pattern"]);
        assert!(read(folder.path()).unwrap_err().contains("folder"));
    }
}
