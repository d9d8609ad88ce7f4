use super::*;

/// A pcap of one packet.
fn pcap(link: u32, packet: &[u8]) -> Vec<u8> {
    let mut bytes = header(link);
    let length = (packet.len() as u32).to_le_bytes();
    for word in [1_700_000_000_u32.to_le_bytes(), [0; 4], length, length] {
        bytes.extend(word);
    }
    bytes.extend(packet);
    bytes
}

/// A pcap file header.
fn header(link: u32) -> Vec<u8> {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
    bytes.extend(link.to_le_bytes());
    bytes
}

/// An IPv4 packet with UDP in it.
const UDP: [u8; 28] = [
    0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 53, 0, 53, 0, 8, 0, 0,
];

/// Trouble: status 2, nothing on standard output, one line that has every part.
fn is_trouble(ran: &Ran, parts: &[&str]) {
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(
        ran.err.starts_with("bypeer: ") && ran.err.lines().count() == 1,
        "{}",
        ran.err
    );
    for part in parts {
        assert_eq!(ran.err.matches(part).count(), 1, "{part:?} once in {}", ran.err);
    }
}

#[test]
fn what_is_no_capture_is_told_apart() {
    is_trouble(
        &run(&["explain", "/nowhere/x.pcap"]),
        &["/nowhere/x.pcap", "no such file"],
    );
    let folder = tempfile::tempdir().unwrap();
    is_trouble(&explain(folder.path(), &[]), &["is a directory"]);
    is_trouble(&explain_bytes(b"", &[]), &["is empty"]);
    is_trouble(
        &explain_bytes(b"<html><body>504</body></html>\n", &[]),
        &["is no packet capture"],
    );
    is_trouble(&explain_bytes(&header(1)[..10], &[]), &["file header"]);
    let torn = std::fs::read(data(RACE)).unwrap();
    is_trouble(&explain_bytes(&torn[..20], &[]), &["incomplete frame"]);
}

#[test]
fn captures_without_use_say_what_they_hold() {
    is_trouble(&explain_bytes(&header(1), &[]), &["holds no packet"]);
    is_trouble(
        &explain_bytes(&pcap(101, &UDP), &[]),
        &["no TCP in its 1 packet", "1 packets of a protocol other than TCP"],
    );
    is_trouble(
        &explain_bytes(&pcap(147, &UDP), &[]),
        &["1 packet of link type 147", "does not decode"],
    );
}

#[test]
fn json_has_a_summary_even_then() {
    let ran = explain_bytes(&pcap(101, &UDP), &["--format", "json"]);
    assert_eq!(ran.code, 2);
    let (findings, summary) = records(&ran);
    assert!(findings.is_empty());
    assert_eq!((&summary["packets"], &summary["connections"]), (&1.into(), &0.into()));
    assert_eq!(summary["issues"]["not-tcp"], 1);
}

#[cfg(unix)]
#[test]
fn no_permission() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(file.path()).is_err() {
        is_trouble(&explain(file.path(), &[]), &["no permission"]);
        return;
    }
    // Root may read everything: the program runs as nobody, from a place where nobody may go.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bypeer");
    std::fs::copy(command().get_program(), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let nobody = 65_534;
    let output = Command::new(&program)
        .uid(nobody)
        .gid(nobody)
        .arg("explain")
        .arg(file.path())
        .output()
        .unwrap();
    is_trouble(&output.into(), &["no permission"]);
}

#[test]
fn a_torn_capture_is_used_as_far_as_it_goes() {
    let bytes = raw(RACE);
    let whole = records(&explain_bytes(&bytes, &["--format", "json"])).1;
    let torn = records(&explain_bytes(&bytes[..bytes.len() * 3 / 4 + 5], &["--format", "json"])).1;
    assert_eq!(torn["issues"]["torn-record"], 1);
    assert!(torn["packets"].as_u64() < whole["packets"].as_u64() && torn["packets"].as_u64() > Some(100));
}

#[test]
fn captures_of_the_same_time_are_not_mixed_up() {
    let path = data(RACE);
    let mut copy = tempfile::NamedTempFile::new().unwrap();
    copy.write_all(&std::fs::read(&path).unwrap()).unwrap();
    let both = |other: &Path| -> Ran { command().arg("explain").args([&path, other]).output().unwrap().into() };
    let ran = both(copy.path());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("overlap"), "{}", ran.err);
    is_trouble(&both(&path), &["given twice"]);
    let detour = path.parent().unwrap().join("../data").join(path.file_name().unwrap());
    is_trouble(&both(&detour), &["given twice"]);
}

#[test]
fn every_connection_is_accounted_for_in_json() {
    for (name, connections) in [(RACE, 37), (CLEAN, 5)] {
        let ran = explain(&data(name), &["--format", "json"]);
        assert_eq!(ran.err, "");
        let (findings, summary) = records(&ran);
        assert_eq!(summary["connections"], connections, "{name}");
        let number = |key: &str| summary[key].as_u64().unwrap();
        let not_judged: u64 = summary["not_judged"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_u64().unwrap())
            .sum();
        let sum = number("ended_well") + number("found") + number("harmless") + number("undecided") + not_judged;
        assert_eq!(sum, connections, "{summary:#}");
        assert_eq!(
            findings.len() as u64,
            number("found") + number("harmless") + number("undecided")
        );
        let accusing = findings.iter().any(|finding| finding["harmless"] == false);
        assert_eq!(ran.code, i32::from(accusing));
        for finding in &findings {
            let numbers: Vec<u64> = finding["evidence"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|item| item["number"].as_u64())
                .collect();
            assert!(
                numbers
                    .iter()
                    .all(|number| (1..=summary["packets"].as_u64().unwrap()).contains(number)),
                "{numbers:?}"
            );
        }
    }
}

#[test]
fn the_race_is_found_and_the_clean_capture_is_not_accused() {
    let ran = explain(&data(RACE), &[]);
    assert_eq!(ran.code, 1);
    for part in [
        "9 of 37 connections to it",
        "10.80.89.2:8080",
        "proof",
        "tcp.stream in {",
        "summary 37 connections in 500 packets",
    ] {
        assert!(ran.out.contains(part), "{part:?} in\n{}", ran.out);
    }
    assert!(ran.out.lines().all(|line| line.chars().count() <= 110), "{}", ran.out);
    assert_eq!(explain(&data(CLEAN), &[]).code, 0);
}
