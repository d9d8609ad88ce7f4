//! The examples of `docs/chain.md`, run as they stand there: a block `sh`, and what it prints in the block `text` after it.

use super::*;

fn guide() -> String {
    std::fs::read_to_string(repository().join("docs/chain.md")).unwrap()
}

/// The blocks of a guide: kind and text.
fn blocks(guide: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        match line.strip_prefix("```") {
            Some(kind) if !inside => {
                blocks.push((kind.to_owned(), String::new()));
                inside = true;
            }
            Some(_) => inside = false,
            None if inside => {
                if let Some((_, text)) = blocks.last_mut() {
                    *text += &format!("{line}\n");
                }
            }
            None => {}
        }
    }
    blocks
}

#[cfg(unix)]
#[test]
fn examples_print_what_the_guide_shows() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bypeer");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bypeer"), &program).unwrap();
    let path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let blocks = blocks(&guide());
    let mut seen = 0;
    for pair in blocks.windows(2) {
        let [(kind, script), (after, shown)] = pair else {
            continue;
        };
        if kind != "sh" || after != "text" {
            continue;
        }
        seen += 1;
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(data())
            .env("PATH", &path)
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        let printed = out + &err;
        let mut lines = printed.lines();
        for line in shown.lines().filter(|line| line.trim() != "…") {
            assert!(
                lines.any(|printed| printed.trim_end() == line.trim_end()),
                "docs/chain.md shows a line that is not printed, or not in this place:\n{line}\n\n{script}\nprints:\n{printed}"
            );
        }
    }
    assert!(seen >= 5, "{seen} examples");
}

#[test]
fn the_file_in_the_guide_is_the_one_that_is_tested() {
    let file = std::fs::read_to_string(data().join("chain.toml")).unwrap();
    assert!(
        blocks(&guide())
            .iter()
            .any(|(kind, text)| kind == "toml" && *text == file),
        "docs/chain.md shows another chain.toml"
    );
}

#[test]
fn every_output_in_the_guide_is_of_a_command() {
    let blocks = blocks(&guide());
    for (index, (kind, text)) in blocks.iter().enumerate() {
        let is_of = index > 0 && blocks[index - 1].0 == "sh";
        assert!(kind != "text" || is_of, "no command before:\n{text}");
    }
}
