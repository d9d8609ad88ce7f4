//! The lab's records against `docs/schema`.

use super::*;

/// What is wrong with a record by the schema that it names.
pub(crate) fn faults(record: &Value) -> Vec<String> {
    let name = text(record, "schema").strip_prefix("bypeer.").unwrap_or_default();
    let path = repository()
        .join("docs/schema")
        .join(name.replace('/', "-"))
        .with_extension("json");
    let schema = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    schema_check::faults(&schema, record)
        .into_iter()
        .map(|fault| format!("by its schema: {fault}"))
        .collect()
}

#[test]
fn the_list_is_as_its_schema_says() {
    let mut complaints = Complaints::default();
    for scenario in listed() {
        for fault in faults(&scenario) {
            complaints.add(text(&scenario, "scenario"), fault);
        }
    }
    complaints.none();
}

#[test]
#[ignore = "needs root, namespaces"]
fn what_is_kept_can_be_explained_and_is_as_its_schema_says() {
    let _alone = alone();
    let place = Place::new();
    let ran = place.lab(
        As::Oneself,
        &[
            "run",
            "closed-port",
            "--rounds",
            "1",
            "--keep",
            "out",
            "--format",
            "json",
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let kept = place.folder.path().join("out/closed-port/1");
    let record: Value = serde_json::from_slice(&fs::read(kept.join("round.json")).unwrap()).unwrap();
    assert_eq!(faults(&record), Vec::<String>::new());
    assert_eq!(record, ran.records(ROUND)[0]);
    let tally = &ran.records(TALLY)[0];
    assert_eq!(faults(tally), Vec::<String>::new());
    assert_eq!((&tally["rounds"], &tally["shown"]["events"]), (&1.into(), &1.into()));
    for name in ["capture", "client", "server"] {
        let capture = kept.join(name).with_extension("pcapng");
        let explained = Command::new(&place.program)
            .arg("explain")
            .arg(&capture)
            .output()
            .unwrap();
        let explained = Ran::from(explained);
        assert_eq!(explained.code, 1, "{name}: {}{}", explained.out, explained.err);
        assert!(explained.out.contains("closed-port"), "{name}: {}", explained.out);
    }
    // One file holds both ends.
    let both = Command::new(&place.program)
        .args(["explain", "--interface", "server"])
        .arg(kept.join("capture.pcapng"))
        .output()
        .unwrap();
    assert_eq!(Ran::from(both).code, 1);
}
