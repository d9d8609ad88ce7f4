use std::collections::BTreeSet;

use super::*;

/// How much later the server's interface sees what the client's saw: longer than copies of one interface lie apart.
const DELAY: u64 = 40_000;

/// A capture as two vantage points saw it: each packet of a classic pcap on interface `client`, and 40 ms later on the
/// second one. The interface of each packet, in the order of the file, comes with it.
fn both_ends(name: &str, second: &str) -> (Vec<u8>, Vec<u32>) {
    let pcap = raw(name);
    let word = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap());
    let nanoseconds = match word(0) {
        0xa1b2_c3d4 => false,
        0xa1b2_3c4d => true,
        magic => panic!("{magic:x}"),
    };
    let mut packets = Vec::new();
    let mut at = 24;
    while at < pcap.len() {
        let (seconds, fraction, captured, original) = (word(at), word(at + 4), word(at + 8), word(at + 12));
        let fraction = if nanoseconds { fraction / 1000 } else { fraction };
        let microseconds = u64::from(seconds) * 1_000_000 + u64::from(fraction);
        let data = &pcap[at + 16..at + 16 + captured as usize];
        packets.push((microseconds, 0_u32, original, data));
        packets.push((microseconds + DELAY, 1, original, data));
        at += 16 + data.len();
    }
    packets.sort_by_key(|(microseconds, ..)| *microseconds);

    let mut bytes = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    for name in ["client", second] {
        let option = words(&[(name.len() as u32) << 16 | 2]);
        bytes.extend(block(
            1,
            &[words(&[word(20), 0]), option, padded(name.as_bytes())].concat(),
        ));
    }
    for (microseconds, interface, original, data) in &packets {
        let (high, low) = ((microseconds >> 32) as u32, *microseconds as u32);
        let head = words(&[*interface, high, low, data.len() as u32, *original]);
        bytes.extend(block(6, &[head, padded(data)].concat()));
    }
    (bytes, packets.iter().map(|(_, interface, ..)| *interface).collect())
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}

/// A pcapng block.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (12 + body.len() as u32).to_le_bytes();
    [&kind.to_le_bytes(), &length, body, &length].concat()
}

/// What a finding says, but for its packets and times.
fn gist(findings: &[Value]) -> BTreeSet<String> {
    let gist = |finding: &Value| {
        let parts = ["stream", "client", "server", "cause", "confidence", "blame", "retry"];
        parts.map(|part| finding[part].to_string()).join(" ")
    };
    findings.iter().map(gist).collect()
}

/// The interfaces of the packets that findings cite.
fn cited(findings: &[Value], interfaces: &[u32]) -> BTreeSet<u32> {
    findings
        .iter()
        .flat_map(|finding| finding["evidence"].as_array().unwrap())
        .filter_map(|item| item["number"].as_u64())
        .map(|number| interfaces[number as usize - 1])
        .collect()
}

#[test]
fn two_vantage_points_say_what_one_says() {
    for (name, connections) in [(RACE, 37), (CLEAN, 5)] {
        let (once, alone) = records(&explain(&data(name), &["--format", "json"]));
        assert_eq!(alone["notes"].as_array().unwrap().len(), 0);
        let (bytes, interfaces) = both_ends(name, "server");
        let half = interfaces.len() as u64 / 2;

        let (findings, summary) = records(&explain_bytes(&bytes, &["--format", "json"]));
        assert_eq!(gist(&findings), gist(&once), "{name}");
        assert_eq!(summary["connections"], connections, "{name}");
        assert_eq!(
            summary["issues"]["duplicate"],
            Value::Null,
            "copies are not counted twice"
        );
        let note = summary["notes"][0].as_str().unwrap();
        for part in [
            format!("{connections} connections were seen by several interfaces"),
            format!("({connections} by client); {half} packets"),
            format!("--interface judges by one alone: 0 client ({half} packets), 1 server ({half} packets)"),
        ] {
            assert!(note.contains(&part), "{part:?} in {note}");
        }
        assert!(cited(&findings, &interfaces).iter().all(|interface| *interface == 0));

        for (which, number) in [("client", 0), ("server", 1), ("0", 0), ("1", 1)] {
            let ran = explain_bytes(&bytes, &["--format", "json", "--interface", which]);
            let (findings, summary) = records(&ran);
            assert_eq!(gist(&findings), gist(&once), "{name}, {which}");
            assert_eq!(
                (&summary["packets"], &summary["connections"]),
                (&half.into(), &connections.into())
            );
            assert!(
                cited(&findings, &interfaces)
                    .iter()
                    .all(|interface| *interface == number)
            );
            let note = summary["notes"][0].as_str().unwrap();
            assert!(note.contains(&format!("{half} of {} packets", 2 * half)), "{note}");
        }
    }
}

#[test]
fn streams_are_those_of_the_whole_file() {
    let (findings, _) = records(&explain(&data(RACE), &["--format", "json"]));
    let stream = findings[0]["stream"].to_string();
    let (bytes, interfaces) = both_ends(RACE, "server");
    let options = ["--format", "json", "--interface", "server", "--connection", &stream];
    let (found, _) = records(&explain_bytes(&bytes, &options));
    assert_eq!(gist(&found), gist(&findings[..1]));
    assert_eq!(cited(&found, &interfaces), BTreeSet::from([1]));
}

#[test]
fn a_pipe_has_interfaces_too() {
    let (bytes, _) = both_ends(RACE, "server");
    for (which, code) in [("server", 1), ("sever", 2)] {
        let mut child = command()
            .args(["explain", "-", "--interface", which])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    }
}

#[test]
fn an_interface_that_is_not_there_is_trouble() {
    let (bytes, interfaces) = both_ends(RACE, "ser\u{1b}ver");
    let half = interfaces.len() / 2;
    for (which, what) in [
        ("eth0", r#"no interface is called "eth0""#),
        ("Client", r#"no interface is called "Client""#),
        ("2", "there is no interface 2"),
        ("", r#"no interface is called """#),
    ] {
        let ran = explain_bytes(&bytes, &["--interface", which]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{which}");
        let list = format!("{what}; the capture has 0 client ({half} packets), 1 ser\\u{{1b}}ver ({half} packets)\n");
        assert!(ran.err.ends_with(&list), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1);
    }
    let (_, summary) = records(&explain_bytes(&bytes, &["--format", "json", "--interface", "2"]));
    assert_eq!((&summary["packets"], &summary["exit"]), (&0.into(), &2.into()));
    assert_eq!(summary["notes"].as_array().unwrap().len(), 0);
}

#[test]
fn classic_pcap_has_interface_0_alone() {
    let ran = explain(&data(RACE), &["--interface", "0"]);
    assert_eq!(ran.code, 1);
    assert!(!ran.out.contains("saw alone"), "there is nothing else: {}", ran.out);
    let ran = explain(&data(RACE), &["--interface", "eth0"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("the capture has 0 (no name, 500 packets)"),
        "{}",
        ran.err
    );
}
