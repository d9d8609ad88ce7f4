use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bypeer_diagnose::{Confidence, Finding, Judge};
use bypeer_wire::capture::{PacketDirection, Parser, Step};
use bypeer_wire::conn::{Connection, Limits, Table};
use bypeer_wire::packet::{Decoded, Decoder};
use bypeer_wire::{Endpoint, Timestamp};

use super::super::{Interface, LATE, Ring};
use super::*;

fn packet(index: u32, time: i64, flags: u8) -> Packet {
    let mut bytes = vec![0x45, 0, 0, 140, 0, 1, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    bytes.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 7, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    Packet {
        time: Timestamp(1_700_000_000_123_456_789 + time),
        interface: Arc::new(Interface {
            index,
            name: format!("eth{index}"),
        }),
        direction: PacketDirection::Inbound,
        original_len: 140,
        bytes: bytes.into(),
    }
}

fn create(path: &Path) -> CaptureFile {
    CaptureFile::create(path, &Options::default(), LARGEST_FILE).unwrap()
}

/// Interface, time, captured and original length of each packet.
fn read(path: &Path) -> Vec<(String, i64, usize, u32)> {
    let bytes = fs::read(path).unwrap();
    let (mut parser, mut at, mut packets) = (Parser::new(), 0, Vec::new());
    while at < bytes.len() {
        match parser.next(&bytes[at..]).unwrap() {
            Step::Frame { consumed, frame } => {
                let (number, time) = (frame.interface, frame.at.time.0);
                let (length, original) = (frame.data.len(), frame.original_len);
                let name = parser.interface(number).unwrap().name.unwrap().to_owned();
                packets.push((name, time - 1_700_000_000_123_456_789, length, original));
                at += consumed;
            }
            Step::Skipped { consumed } => at += consumed,
            Step::NeedMore { .. } => panic!("a torn block at {at} of {}", bytes.len()),
        }
    }
    parser.end(&bytes[at..]).unwrap();
    assert_eq!(parser.issues().iter().count(), 0);
    packets
}

#[test]
fn the_file_is_whole_after_each_finding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watch.pcapng");
    let mut file = create(&path);
    assert_eq!(read(&path), []);
    assert_eq!(
        file.add(&[packet(1, 0, 2), packet(2, 1, 4)], "one").unwrap(),
        Written::Packets(2)
    );
    assert_eq!(read(&path).len(), 2);
    assert_eq!(file.add(&[], "nothing to hang on").unwrap(), Written::NoPackets);
    assert_eq!(
        file.add(&[packet(2, 2, 2), packet(3, 3, 4)], "two").unwrap(),
        Written::Packets(2)
    );
    let expected = [("eth1", 0), ("eth2", 1), ("eth2", 2), ("eth3", 3)];
    assert_eq!(
        read(&path),
        expected.map(|(name, time)| (name.to_owned(), time, 40, 140))
    );
    assert_eq!(file.written(), path.metadata().unwrap().len());
}

#[test]
fn only_its_owner_reads_it_and_an_old_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watch.pcapng");
    let other = folder.path().join("other-name");
    fs::write(
        &path,
        "what was there before, and is longer than a section's header".repeat(10),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::hard_link(&path, &other).unwrap();
    create(&path);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(read(&path), []);
    assert!(fs::read_to_string(&other).unwrap().starts_with("what was there"));
}

#[test]
fn neither_links_nor_devices_are_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link, dangling) = ["target", "link", "dangling"]
        .map(|name| folder.path().join(name))
        .into();
    fs::write(&target, "precious").unwrap();
    symlink(&target, &link).unwrap();
    symlink(folder.path().join("nowhere"), &dangling).unwrap();
    let create = |path: &Path| CaptureFile::create(path, &Options::default(), LARGEST_FILE).unwrap_err();
    for path in [&link, &dangling] {
        let error = create(path);
        assert!(matches!(error, FileError::Symlink(_)), "{error}");
        assert!(path.is_symlink());
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    for path in [folder.path(), Path::new("/dev/null")] {
        assert!(matches!(create(path), FileError::NotAFile(_)));
    }
    let error = create(&folder.path().join("no/such/folder"));
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}

#[test]
fn a_file_does_not_grow_beyond_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watch.pcapng");
    let mut file = CaptureFile::create(&path, &Options::default(), 2000).unwrap();
    while file.add(&[packet(1, 0, 4)], "why").unwrap() != Written::Full {}
    assert!(file.written() <= 2000 && read(&path).len() > 5);
}

#[test]
fn a_write_that_fails_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watch.pcapng");
    let mut file = create(&path);
    file.add(&[packet(1, 0, 4)], "first").unwrap();
    // A descriptor that cannot be written to stands in for a disk that is full.
    let real = std::mem::replace(&mut file.file, File::open(&path).unwrap());
    let error = file.add(&[packet(2, 1, 4)], "lost").unwrap_err();
    assert!(error.to_string().contains("watch.pcapng"), "{error}");
    file.file = real;
    file.add(&[packet(3, 2, 4)], "third").unwrap();
    let names: Vec<String> = read(&path).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["eth1", "eth3"]);
}

#[test]
#[ignore = "needs tshark"]
fn wireshark_shows_the_finding_at_the_last_packet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watch.pcapng");
    let mut file = create(&path);
    file.add(
        &[packet(1, 0, 2), packet(1, 1, 4)],
        "closed with “unread” data\ncause: x (likely)",
    )
    .unwrap();
    let fields = [
        "frame.interface_name",
        "frame.comment",
        "frame.len",
        "frame.cap_len",
        "tcp.len",
        "frame.time_epoch",
    ];
    let lines = tshark(&path, &fields);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], ["eth1", "", "140", "40", "100", "1700000000.123456789"]);
    assert!(lines[1][1].starts_with("closed with “unread” data"), "{lines:?}");
    let about = Command::new("capinfos").arg(&path).output().unwrap();
    let text = String::from_utf8(about.stdout).unwrap();
    assert!(
        about.status.success() && about.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&about.stderr)
    );
    for expected in ["bypeer", "Linux", "Payload was left out", "Raw IP", "nanosecond"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

fn tshark(path: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(path)
        .args(["-T", "fields"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    let complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| !line.starts_with("Running as user"))
        .collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        addr: address.ip(),
        port: address.port(),
    }
}

const REQUEST: &str = "POST /secret HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n";

/// A server on `address` that answers a request at once and closes with most of its body unread: its kernel resets. Gives both ends.
fn reset_by_unread_data(listener: &TcpListener) -> (Endpoint, Endpoint) {
    use std::io::Write as _;
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut served, _) = listener.accept().unwrap();
    client.write_all(REQUEST.as_bytes()).unwrap();
    client.write_all(&[b'x'; 5000]).unwrap();
    let mut head = [0; 80];
    served.read_exact(&mut head[..REQUEST.len()]).unwrap();
    // All of the body is there before the close.
    sleep(Duration::from_millis(20));
    served
        .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let ends = [client.local_addr(), client.peer_addr()].map(|address| endpoint(address.unwrap()));
    drop(served);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    ends.into()
}

/// Asks as often as a caller may, until the connection's reset is there.
fn packets_of(ring: &Ring, one: Endpoint, other: Endpoint) -> Vec<Packet> {
    let asked = Instant::now();
    loop {
        let packets = ring.packets_of(one, other, Timestamp(0));
        let has_reset = packets.iter().any(|packet| {
            let tcp = if packet.bytes[0] >> 4 == 4 { 20 } else { 40 };
            packet.bytes[tcp + 13] & 4 != 0
        });
        if has_reset || asked.elapsed() > LATE {
            return packets;
        }
        sleep(Duration::from_millis(5));
    }
}

/// What `explain` makes of a file.
fn explain(path: &Path) -> (Vec<Connection>, Vec<Finding>) {
    let bytes = fs::read(path).unwrap();
    let (mut parser, mut at) = (Parser::new(), 0);
    let (mut decoder, mut table) = (Decoder::new(), Table::new(Limits::default()));
    let (mut judge, mut connections) = (Judge::new(), Vec::new());
    while at < bytes.len() {
        match parser.next(&bytes[at..]).unwrap() {
            Step::Frame { consumed, frame } => {
                let decoded = decoder.decode(frame.link, frame.data, frame.original_len, frame.at.time);
                let Decoded::Tcp(segment) = decoded else {
                    panic!("{decoded:?}");
                };
                table.push_from(frame.at, frame.interface, &segment, &mut |over| connections.push(over));
                at += consumed;
            }
            Step::Skipped { consumed } => at += consumed,
            Step::NeedMore { .. } => panic!("a torn block"),
        }
    }
    table.finish(&mut |over| connections.push(over));
    assert_eq!(table.issues().iter().collect::<Vec<_>>(), []);
    for connection in &connections {
        judge.push(connection.clone());
    }
    (connections, judge.finish().findings)
}

#[test]
#[ignore = "needs root"]
fn a_real_connection_is_whole_in_the_file() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        for payload in [false, true] {
            let listener = TcpListener::bind(address).unwrap();
            let options = Options {
                ports: vec![listener.local_addr().unwrap().port()],
                payload,
                ..Options::default()
            };
            let ring = Ring::start(&options).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("watch.pcapng");
            let mut file = CaptureFile::create(&path, &options, LARGEST_FILE).unwrap();
            for _ in 0..2 {
                let (client, server) = reset_by_unread_data(&listener);
                let packets = packets_of(&ring, client, server);
                assert!(packets.iter().all(|packet| packet.interface.name == "lo"));
                file.add(&packets, "the finding").unwrap();
            }
            let is_secret_kept = fs::read(&path).unwrap().windows(7).any(|bytes| bytes == b"/secret");
            assert_eq!(is_secret_kept, payload);
            assert_eq!(ring.counts().unusable, 0);
            assert_eq!(ring.counts().copies, 0);

            let (connections, findings) = explain(&path);
            assert_eq!(connections.len(), 2, "{address} {payload}");
            for connection in &connections {
                assert!(
                    connection.seen_from_start() && connection.established(),
                    "{address} {payload}"
                );
                let flow = &connection.to_server;
                assert_eq!(
                    (flow.sent, flow.missed),
                    (REQUEST.len() as u64 + 5000, 0),
                    "{address} {payload}"
                );
                assert!(connection.resets_total > 0);
            }
            for finding in &findings {
                println!(
                    "{address} payload {payload}: {} {} {}",
                    finding.cause.id, finding.confidence, finding.verdict
                );
            }
            assert_eq!(findings.len(), 2);
            assert!(
                findings
                    .iter()
                    .all(|finding| finding.confidence >= Confidence::Undecided)
            );
        }
    }
}
