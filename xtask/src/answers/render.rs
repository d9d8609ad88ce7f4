//! The template with what was measured in it.

use super::measured::Measured;
use super::metric::{Metric, Unit};
use super::spec::{Run, Spec};
use super::template::{Fixes, Piece, Table, Template};

/// Finds what was measured.
pub trait Measurements {
    /// Of one run.
    fn of(&self, run: &Run) -> Option<&Measured>;
}

/// The text; `made`: when, where and how it was measured.
///
/// # Errors
/// What was not measured or has no value.
pub fn render(template: &Template, measurements: &dyn Measurements, made: &str) -> Result<String, String> {
    let mut out = String::new();
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Made => out.push_str(made),
            Piece::Value(metric, spec) => out.push_str(&metric.words(find(measurements, spec)?)),
            Piece::Sum(sum, unit, text) => {
                let value = sum.value(&|metric, spec| look(measurements, metric, spec));
                out.push_str(&unit.write(value.map_err(|why| format!("{{{{{text}}}}}: {why}"))?));
            }
            Piece::Fixes(fixes) => out.push_str(&fixes_table(fixes, measurements)?),
            Piece::Table(table) => out.push_str(&value_table(table, measurements)?),
        }
    }
    Ok(out)
}

/// What prose says and is not so, in words. `partly`: claims of what was not measured are left out.
pub fn contradictions(template: &Template, measurements: &dyn Measurements, partly: bool) -> Vec<String> {
    let check = |guard: &super::template::Guard| {
        let measured = |spec: &&Spec| measurements.of(&spec.run).is_some();
        if partly && !guard.claim.specs().iter().all(measured) {
            return None;
        }
        let held = guard.claim.check(&|metric, spec| look(measurements, metric, spec));
        let why = held.err()?;
        Some(format!(
            "line {}: rewrite {:?}\n  it says that {}\n  {why}",
            guard.line, guard.prose, guard.claim.text
        ))
    };
    template.guards.iter().filter_map(check).collect()
}

fn find<'a>(measurements: &'a dyn Measurements, spec: &Spec) -> Result<&'a Measured, String> {
    measurements
        .of(&spec.run)
        .ok_or_else(|| format!("{} was not measured", spec.run))
}

fn look(measurements: &dyn Measurements, metric: &Metric, spec: &Spec) -> Option<f64> {
    metric.value(measurements.of(&spec.run)?)
}

fn fixes_table(fixes: &Fixes, measurements: &dyn Measurements) -> Result<String, String> {
    let [failures, interval] = &fixes.counting;
    let metrics = ["lost", "time", "server-time"].map(Metric::named);
    let [Some(lost), Some(time), Some(server_time)] = &metrics else {
        return Err("a question of the table of changes is missing".to_owned());
    };
    let against = match &fixes.against {
        Some(id) => fixes.with(id),
        None => fixes.base.clone(),
    };
    let against = time.value(find(measurements, &against)?);
    let mut rows = vec![
        [
            "change",
            "who",
            &failures.title(),
            "95 %",
            "bytes lost",
            "time for an answer",
            "added",
            "server's time",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for id in std::iter::once(None).chain(fixes.ids.iter().map(Some)) {
        let spec = id.map_or(fixes.base.clone(), |id| fixes.with(id));
        let run = find(measurements, &spec)?;
        let compared = id == fixes.against.as_ref();
        let added = match time.value(run).zip(against) {
            Some(_) if compared => String::new(),
            Some((mine, other)) => {
                let sign = match mine - other {
                    // What would be written as 0.0 ms.
                    difference if difference.abs() < 5e-5 => "",
                    ..0.0 => "−",
                    _ => "+",
                };
                format!("{sign}{}", Unit::Seconds.write((mine - other).abs()))
            }
            None => "–".to_owned(),
        };
        let (owner, title) = match (id, &run.fix) {
            (Some(id), Some((owner, title))) => (owner.clone(), format!("`{id}`: {title}")),
            _ => (String::new(), "none".to_owned()),
        };
        rows.push(vec![
            title,
            owner,
            failures.words(run),
            interval.words(run),
            lost.words(run),
            time.words(run),
            added,
            server_time.words(run),
        ]);
    }
    Ok(markdown(&rows, 2))
}

fn value_table(table: &Table, measurements: &dyn Measurements) -> Result<String, String> {
    let mut head = vec![table.rows.title.clone()];
    match (&table.columns, table.metrics.as_slice()) {
        (Some(columns), [metric]) => {
            head[0] = format!("{}, by {} and {}", metric.title(), table.rows.title, columns.title);
            head.extend(columns.values.iter().map(|(label, _)| label.clone()));
        }
        _ => head.extend(table.metrics.iter().map(Metric::title)),
    }
    let mut rows = vec![head];
    for ((label, _), specs) in table.rows.values.iter().zip(&table.specs) {
        let mut row = vec![label.clone()];
        for spec in specs {
            let run = find(measurements, spec)?;
            row.extend(table.metrics.iter().map(|metric| metric.words(run)));
        }
        rows.push(row);
    }
    Ok(markdown(&rows, 1))
}

/// The first row is the head; the first `left` columns hold words, the others numbers.
fn markdown(rows: &[Vec<String>], left: usize) -> String {
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |", cells.join(" | "))
        })
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let rule = (0..columns).map(|column| if column < left { "---|" } else { "---:|" });
    lines.insert(1.min(lines.len()), format!("|{}", rule.collect::<String>()));
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fits::fits;
    use super::*;

    impl Measurements for BTreeMap<&str, Measured> {
        fn of(&self, run: &Run) -> Option<&Measured> {
            self.get(run.to_string().as_str())
        }
    }

    const TEMPLATE: &str = "<!-- made -->\n\n## A\n\nFails {{failures s}}, {{= rate(s) / 2 as share}}. \
        <!-- holds: failures(s) > 40 and failures(s fix=x) = 0 -->\n\n<!-- fixes: s; x -->\n\n\
        <!-- table: rate of s; rows delay = 1ms, none: 0; columns fix = never: none, x -->\n";

    fn measurements() -> BTreeMap<&'static str, Measured> {
        let run = |failed: u64, title: Option<&str>| Measured {
            rounds: 100,
            failed,
            lost: vec![300, 100, 200],
            time_per_answer: vec![0.010 + failed as f64 / 1e4],
            fix: title.map(|title| ("server".to_owned(), title.to_owned())),
            ..Measured::default()
        };
        BTreeMap::from([
            ("s", run(50, None)),
            ("s fix=x", run(0, Some("do | not"))),
            ("s delay=1ms", run(100, None)),
            ("s fix=x delay=1ms", run(1, Some("do | not"))),
            ("s delay=0", run(25, None)),
            ("s fix=x delay=0", run(0, Some("do | not"))),
        ])
    }

    #[test]
    fn numbers_and_tables_take_the_place_of_directives() {
        let template = Template::parse(TEMPLATE).unwrap();
        let measurements = measurements();
        let text = render(&template, &measurements, "Measured on a day.").unwrap();
        assert_eq!(
            text,
            "Measured on a day.\n\n## A\n\nFails 50 of 100, 25 %.\n\n\
             | change | who | failures | 95 % | bytes lost | time for an answer | added | server's time |\n\
             |---|---|---:|---:|---:|---:|---:|---:|\n\
             | none |  | 50 of 100 | 40–60 % | 200 | 15.0 ms |  | – |\n\
             | `x`: do \\| not | server | 0 of 100 | 0–3.7 % | 200 | 10.0 ms | −5.0 ms | – |\n\n\
             | failed, by delay and fix | never | x |\n|---|---:|---:|\n\
             | 1ms | 100 % | 1.0 % |\n| none | 25 % | 0 % |\n"
        );
        assert_eq!(contradictions(&template, &measurements, false), [""; 0]);
        assert_eq!(fits(&template, &text), Ok(()));
    }

    #[test]
    fn prose_that_the_numbers_contradict_is_named() {
        let template = Template::parse(TEMPLATE).unwrap();
        let mut measurements = measurements();
        measurements.get_mut("s fix=x").unwrap().failed = 3;
        assert_eq!(
            contradictions(&template, &measurements, false),
            [
                "line 5: rewrite \"Fails {{failures s}}, {{= rate(s) / 2 as share}}.\"\n  \
              it says that failures(s) > 40 and failures(s fix=x) = 0\n  measured: 3 = 0 is false"
            ]
        );
    }

    #[test]
    fn a_text_that_was_changed_by_hand_or_is_of_another_template_does_not_fit() {
        let template = Template::parse(TEMPLATE).unwrap();
        let text = render(&template, &measurements(), "Measured on a day.").unwrap();
        for (from, to) in [
            ("Fails", "Never fails"),
            ("## A", "## B"),
            ("| none |  | 50 of 100", "none, 50 of 100"),
            ("50 of 100, 25", "50 of 100 (one might think that this is a lot), 25"),
            ("Measured on", "Guessed on"),
            ("| 1ms | 100 % | 1.0 % |\n", ""),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(fits(&template, &changed).is_err(), "{from}");
        }
        assert!(fits(&template, &format!("{text}More.\n")).is_err());
        let missing = render(&template, &BTreeMap::<&str, Measured>::new(), "").unwrap_err();
        assert_eq!(missing, "s was not measured");
    }
}
