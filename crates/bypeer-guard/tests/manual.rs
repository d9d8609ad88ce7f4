//! The manual's tables are those of the code.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use bypeer_guard::config::keys::KEYS;
use bypeer_guard::config::read::read_text;
use bypeer_guard::guard::Figures;
use bypeer_guard::say::metrics::{LEARNED, Metrics};
use bypeer_guard::upstream::Shared;

fn manual() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guard.md")).unwrap()
}

/// What stands between `<!-- NAME -->` and `<!-- /NAME -->`.
fn block<'a>(manual: &'a str, name: &str) -> &'a str {
    let (_, rest) = manual.split_once(&format!("<!-- {name} -->\n")).unwrap();
    rest.split_once(&format!("<!-- /{name} -->")).unwrap().0
}

#[test]
fn every_key_and_flag_stands_in_the_manual_as_it_is() {
    let mut table = String::from("| key | flag | default | can be | |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let default = if key.default.is_empty() {
            "–".to_owned()
        } else {
            format!("`{}`", key.default)
        };
        let _ = writeln!(
            table,
            "| `{}` | `--{}` | {default} | {} | {} |",
            key.name,
            key.flag,
            key.kind.range(),
            key.about
        );
    }
    let manual = manual();
    assert_eq!(block(&manual, "keys"), table, "in place of what stands there:\n{table}");
}

#[test]
fn every_metric_stands_in_the_manual() {
    let text = "listen = \":1\"\nto = \"http://127.0.0.1:2\"";
    let config = read_text(Path::new("x"), text, &[]).unwrap().settings.config;
    let shared = Shared::new(&config.upstream, &config.retry, std::sync::Arc::new(())).unwrap();
    let mut figures = Figures::default();
    figures.certificates.insert("127.0.0.1:443".parse().unwrap(), 0);
    let rendered = Metrics::new("0").render(Some((figures, shared)));
    let mut table = String::from("| metric | type | |\n|---|---|---|\n");
    let mut help = "";
    for line in rendered.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            help = line.split_once(' ').unwrap().1;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let labels = rendered.lines().find_map(|line| {
                let labels = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once('}')?.0;
                let names = labels.split(',').filter_map(|label| label.split('=').next());
                Some(format!("{{{}}}", names.collect::<Vec<_>>().join(",")))
            });
            // Nothing is learned yet.
            let labels = labels.or_else(|| LEARNED.contains(&name).then(|| "{to}".to_owned()));
            let _ = writeln!(table, "| `{name}{}` | {kind} | {help} |", labels.unwrap_or_default());
        }
    }
    let manual = manual();
    assert_eq!(
        block(&manual, "metrics"),
        table,
        "in place of what stands there:\n{table}"
    );
}

#[test]
fn every_field_of_the_log_stands_in_the_manual() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/guard-1.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let manual = manual();
    let (_, log) = manual.split_once("\n## The log\n").unwrap();
    let (log, _) = log.split_once("\n## ").unwrap();
    let mut fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    for list in ["attempts", "findings"] {
        fields.extend(
            schema["properties"][list]["items"]["properties"]
                .as_object()
                .unwrap()
                .keys(),
        );
    }
    let missing: Vec<&&String> = fields
        .iter()
        .filter(|field| !log.contains(&format!("`{field}`")))
        .collect();
    assert!(missing.is_empty() && fields.len() > 25, "{missing:?}");
}

#[test]
fn the_files_of_the_manual_are_right() {
    let manual = manual();
    let mut files = 0;
    for (index, text) in manual.split("```toml\n").skip(1).enumerate() {
        let text = text.split("```").next().unwrap();
        let whole = if text.contains("listen") {
            text.to_owned()
        } else {
            format!("listen = \":1\"\n{text}")
        };
        read_text(Path::new("guard.toml"), &whole, &[])
            .unwrap_or_else(|problems| panic!("file {index}: {problems:#?}"));
        files += 1;
    }
    assert_eq!(files, 2);
}
