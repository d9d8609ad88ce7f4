//! What the repository promises of itself, held by looking at its files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bypeer_diagnose::causes::CAUSES;

/// The crates of the house from the ground up: a crate depends only on those before it; `lingering` is depended on by
/// whoever wants it.
const ORDER: [&str; 11] = [
    "lingering",
    "bypeer-wire",
    "bypeer-input",
    "bypeer-diagnose",
    "bypeer-report",
    "bypeer-watch",
    "bypeer-chain",
    "bypeer-probe",
    "bypeer-lab",
    "bypeer-guard",
    "bypeer",
];

const LARGEST_FILE: u64 = 2 << 20;
const LONGEST_SOURCE: usize = 900;

/// What a manual page must tell, in this order.
const SECTIONS: [&str; 8] = [
    "## What happens",
    "## On the wire",
    "## What people see",
    "## Told apart from",
    "## How to prove it",
    "## What was lost, and is a retry safe",
    "## Fixes",
    "## Standards",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The files that the repository holds; without git (in an unpacked archive) all that lie there.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    let mut files = Vec::new();
    match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).unwrap();
            files.extend(names.split_terminator('\0').map(|name| root().join(name)));
        }
        _ => walk(root(), &mut files),
    }
    // A file that was removed and not yet committed is still listed.
    files.retain(|path| path.is_file());
    assert!(
        files.len() > 100,
        "the repository's files were not found: {}",
        files.len()
    );
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let made = [".git", "target", "bench-data"];
        if path.is_dir() {
            if !made.iter().any(|name| path.ends_with(name)) {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

fn texts() -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| Some((path.clone(), String::from_utf8(std::fs::read(&path).ok()?).ok()?));
    files().into_iter().filter_map(read).collect()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Every line of the files that holds one of the words, as `file:line: word`.
fn lines_with(texts: &[(PathBuf, String)], words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in texts {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| holds(line, word)) {
                let path = path.strip_prefix(root()).unwrap_or(path);
                found.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    found
}

/// Whether the word stands in the line, and is not the end of a longer one: a folder `src/x/` is no `/x/`.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | '-' | '.' | '}' | '*'))
    })
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let mut complaints = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(&manifest).unwrap().parse().unwrap();
        let name = manifest["package"]["name"].as_str().unwrap();
        seen += 1;
        let Some(place) = ORDER.iter().position(|known| *known == name) else {
            complaints.push(format!("{name} has no place in the order"));
            continue;
        };
        for table in dependency_tables(&manifest) {
            for dependency in table.keys() {
                let below = ORDER[..place].contains(&dependency.as_str());
                // A crate that depends on itself does so for the features of its tests.
                let ours = ORDER.contains(&dependency.as_str()) && dependency != name || dependency == "xtask";
                if ours && (!below || name == "lingering") {
                    complaints.push(format!("{name} depends on {dependency}"));
                }
            }
        }
    }
    assert!(seen >= 5, "only {seen} crates");
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// `[dependencies]`, `[dev-dependencies]`, `[build-dependencies]`, and those of each target.
fn dependency_tables(manifest: &toml::Table) -> Vec<&toml::Table> {
    let of = |table: &'_ toml::Table| -> Vec<String> {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        kinds
            .into_iter()
            .filter(|kind| table.contains_key(*kind))
            .map(str::to_owned)
            .collect()
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let owners = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    std::iter::once(manifest)
        .chain(owners)
        .flat_map(|owner| {
            of(owner)
                .into_iter()
                .filter_map(|kind| owner[&kind].as_table())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // In pieces, so that this file does not find itself.
    let folders = ["work", "root", "home", "tmp/bash_jobs"].map(|folder| format!("/{folder}/"));
    let hosts = [("index", "crates.io"), ("static", "crates.io"), ("crates-io", "proxy")]
        .map(|(left, right)| format!("{left}.{right}"));
    let mirrors = ["artifact", "nex"]
        .into_iter()
        .zip(["ory.", "us."])
        .map(|(left, right)| format!("{left}{right}"));
    let words: Vec<String> = folders.into_iter().chain(hosts).chain(mirrors).collect();
    let found = lines_with(&texts(), &words);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_lock_file_names_the_public_registry_alone() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is committed");
    let public = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    let others: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .filter(|source| *source != public)
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(
        files().contains(&root().join("Cargo.lock")),
        "Cargo.lock is not tracked"
    );
}

#[test]
fn files_are_of_a_size_to_read() {
    let mut complaints = Vec::new();
    for path in files() {
        let bytes = path.metadata().unwrap().len();
        if bytes > LARGEST_FILE {
            complaints.push(format!("{}: {bytes} bytes", path.display()));
        }
        if has_extension(&path, "rs") {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            if lines > LONGEST_SOURCE {
                complaints.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn no_code_is_left_for_later() {
    let words = [
        ("to", "do!"),
        ("unimple", "mented!"),
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X"),
    ]
    .map(|(left, right)| format!("{left}{right}"));
    let code: Vec<_> = texts()
        .into_iter()
        .filter(|(path, _)| {
            ["rs", "py", "sh", "js", "go", "java", "toml"]
                .iter()
                .any(|kind| has_extension(path, kind))
        })
        .collect();
    let found = lines_with(&code, &words);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_cause_has_its_manual_page() {
    let folder = root().join("crates/bypeer-diagnose/src/causes");
    let mut complaints = Vec::new();
    for cause in CAUSES {
        let page = folder.join(cause.id.replace('-', "_")).with_extension("md");
        match std::fs::read_to_string(&page) {
            Ok(text) if text == cause.manual => {}
            Ok(_) => complaints.push(format!("{}: its manual is another page", cause.id)),
            Err(error) => complaints.push(format!("{}: {error}", page.display())),
        }
        let title = cause.manual.lines().next().unwrap_or_default();
        if title != format!("# {}", cause.title) {
            complaints.push(format!("{}: {title:?}, but the table says {:?}", cause.id, cause.title));
        }
        let sections: Vec<&str> = cause.manual.lines().filter(|line| line.starts_with("## ")).collect();
        if sections != SECTIONS {
            complaints.push(format!("{}: sections {sections:?}", cause.id));
        }
        for section in cause.manual.split("\n## ").skip(1) {
            let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
            if text.trim().is_empty() {
                complaints.push(format!("{}: nothing under {heading:?}", cause.id));
            }
        }
    }
    // And no page without a cause.
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let id = path.file_stem().unwrap().to_string_lossy().replace('_', "-");
        if has_extension(&path, "md") && CAUSES.iter().all(|cause| cause.id != id) {
            complaints.push(format!("{id}: a page without a cause"));
        }
    }
    assert!(!CAUSES.is_empty());
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn the_score_knows_every_label_by_causes_that_exist() {
    let labels: BTreeMap<String, Vec<String>> =
        toml::from_str(&std::fs::read_to_string(root().join("xtask/labels.toml")).unwrap()).unwrap();
    let exists = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => CAUSES.iter().any(|cause| cause.id.starts_with(start)),
        None => CAUSES.iter().any(|cause| cause.id == pattern),
    };
    let without: Vec<&String> = labels
        .iter()
        .filter(|(label, causes)| *label != "clean" && !causes.iter().any(exists))
        .map(|(label, _)| label)
        .collect();
    assert!(without.is_empty(), "no cause of bypeer would be right for {without:?}");
}

#[test]
fn the_changelog_tells_of_this_version() {
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    let version = env!("CARGO_PKG_VERSION");
    let told = changelog.lines().filter(|line| line.starts_with("## ")).any(|line| {
        line.split(|c: char| c.is_whitespace() || "[]()".contains(c))
            .any(|word| word == version)
    });
    assert!(told, "no heading for {version}");
}

#[cfg(unix)]
#[test]
fn commands_that_the_readme_names_exist() {
    use std::os::unix::fs::PermissionsExt;
    for command in ["test", ".ci/run"] {
        let path = root().join(command);
        let mode = path
            .metadata()
            .unwrap_or_else(|error| panic!("{command}: {error}"))
            .permissions()
            .mode();
        assert!(mode & 0o111 == 0o111, "{command} is not executable: {mode:o}");
    }
    // Whatever the README and its companions start with `./` is there.
    for document in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
        for word in text.split(|c: char| c.is_whitespace() || "`'\"()[],;".contains(c)) {
            if let Some(name) = word.strip_prefix("./").filter(|name| !name.starts_with("target/")) {
                let name = name.trim_end_matches(['.', ':', '/']);
                assert!(
                    root().join(name).exists(),
                    "{document} names {word}, which is not there"
                );
            }
        }
    }
}
