//! What is told of messages as they happen, against the records that are made when their connections are over.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use bypeer_input::{Event, Input, Source};
use bypeer_wire::app::{Notice, Noticed, Protocol};
use bypeer_wire::conn::{Connection, Limits, Table};
use bypeer_wire::packet::{Decoded, Decoder};

/// All notices of a capture, by stream, and the records.
fn hear(folder: &Path, notices: bool) -> (BTreeMap<u32, Vec<Notice>>, Vec<Connection>) {
    let source = Source::open(folder.join("capture.pcap.zst")).unwrap();
    let limits = Limits {
        notices,
        ..Limits::default()
    };
    let (mut decoder, mut table) = (Decoder::new(), Table::new(limits));
    let (mut told, mut records): (Vec<Notice>, _) = (Vec::new(), Vec::new());
    Input::new(vec![source])
        .unwrap()
        .for_each(|event| {
            if let Event::Frame(frame) = event {
                match decoder.decode(frame.link, frame.data, frame.original_len, frame.at.time) {
                    Decoded::Tcp(segment) => table.push(frame.at, &segment, &mut |ended| records.push(ended)),
                    Decoded::IcmpError(error) => table.push_icmp(frame.at, &error),
                    _ => {}
                }
                told.extend(table.notices());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    table.finish(&mut |ended| records.push(ended));
    told.extend(table.notices());
    let mut by_stream: BTreeMap<u32, Vec<Notice>> = BTreeMap::new();
    for notice in told {
        by_stream.entry(notice.stream).or_default().push(notice);
    }
    (by_stream, records)
}

/// How many requests were told to be whole with a whole answer.
fn whole(notices: &[Notice]) -> u32 {
    let asked: BTreeSet<u32> = notices
        .iter()
        .filter_map(|notice| match notice.what {
            Noticed::AskedAll { index, .. } => Some(index),
            _ => None,
        })
        .collect();
    let answered = notices.iter().filter(|notice| match notice.what {
        Noticed::Answered {
            index: Some(index),
            complete: true,
            ..
        } => asked.contains(&index),
        _ => false,
    });
    answered.count() as u32
}

#[test]
fn the_records_are_the_same_with_and_without() {
    for folder in common::folders("cases") {
        let (told, with) = hear(&folder, true);
        let (none, without) = hear(&folder, false);
        assert!(none.is_empty());
        assert_eq!(format!("{with:?}"), format!("{without:?}"), "{}", folder.display());
        drop(told);
    }
}

/// Two ways to the same numbers: the exchanges of a record and the notices are counted apart.
#[test]
fn every_whole_exchange_was_told() {
    let mut compared = [0; 2];
    for folder in common::folders("cases") {
        let (told, records) = hear(&folder, true);
        let mut streams = BTreeMap::new();
        for record in &records {
            *streams.entry(record.stream).or_insert(0) += 1;
        }
        for record in records.iter().filter(|record| streams[&record.stream] == 1) {
            let name = format!("{} stream {}", folder.display(), record.stream);
            let notices = told.get(&record.stream).map_or(&[][..], Vec::as_slice);
            let app = &record.app;
            if app.protocol != Protocol::Http1 {
                assert!(
                    app.protocol == Protocol::Redis || notices.is_empty(),
                    "{name}: {notices:?}"
                );
                continue;
            }
            let begun = notices.first().map(|notice| &notice.what);
            let Some(Noticed::Begun { whole: seen, .. }) = begun else {
                panic!("{name}: {begun:?}");
            };
            let lost = notices.iter().any(|notice| notice.what == Noticed::Lost);
            if !seen || lost {
                assert!(whole(notices) <= app.exchanges.complete, "{name}");
                compared[1] += 1;
                continue;
            }
            assert_eq!(whole(notices), app.exchanges.complete, "{name}: {notices:#?}");
            for notice in notices {
                assert_eq!((notice.client, notice.server), (record.client, record.server), "{name}");
            }
            compared[0] += 1;
        }
    }
    assert!(compared[0] > 900 && compared[1] < 20, "{compared:?}");
}

/// By the captures' own truth: in one of them a server sends a second answer, in the others nobody does; and every answer that was asked for left
/// its server after the request's head had come.
#[test]
fn answers_left_after_their_requests_came() {
    let mut unasked = BTreeSet::new();
    let mut answers = 0;
    for folder in common::folders("cases") {
        for notices in hear(&folder, true).0.values() {
            let mut heads = BTreeMap::new();
            let mut seen_whole = false;
            for notice in notices {
                match &notice.what {
                    Noticed::Begun { whole, .. } => seen_whole = *whole,
                    Noticed::Asked { index, head_end, .. } => {
                        heads.insert(*index, *head_end);
                    }
                    Noticed::Answering {
                        index: Some(index),
                        acked,
                        ..
                    } => {
                        answers += 1;
                        assert!(acked.unwrap() >= heads[index], "{}: {notice:?}", folder.display());
                    }
                    Noticed::Answered { index: None, look, .. } if seen_whole => {
                        unasked.insert((folder.file_name().unwrap().to_owned(), look.status));
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(answers > 1000, "{answers}");
    let unasked: Vec<_> = unasked
        .iter()
        .map(|(case, status)| (case.to_str().unwrap(), *status))
        .collect();
    // HAProxy tells a client that closed without a word that this was no request.
    let expected = [("haproxy-pool-purge", Some(400)), ("uwsgi-wrong-length", Some(200))];
    assert_eq!(unasked, expected);
}

/// A stream, its commands and its replies.
type Counted = (u32, usize, usize);

/// Counted by another program in the captures.
#[test]
fn commands_and_replies_of_redis_are_told() {
    let expected: [(&str, &[Counted]); 4] = [
        ("client-half-close", &[(1, 4, 4)]),
        (
            "redis-cli-ends-well",
            &[(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 100, 100)],
        ),
        (
            "redis-idle-timeout",
            &[(0, 2, 1), (1, 2, 1), (2, 2, 1), (3, 2, 2), (4, 2, 2)],
        ),
        (
            "redis-killed-blocked-clients",
            &[(0, 1, 1), (1, 1, 0), (2, 1, 0), (3, 1, 0)],
        ),
    ];
    for (case, streams) in expected {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(case);
        let (told, _) = hear(&folder, true);
        for (stream, commands, replies) in streams {
            let count = |which: fn(&Noticed) -> bool| told[stream].iter().filter(|notice| which(&notice.what)).count();
            let asked = count(|what| matches!(what, Noticed::AskedAll { .. }));
            let answered = count(|what| matches!(what, Noticed::Answered { complete: true, .. }));
            assert_eq!((asked, answered), (*commands, *replies), "{case} stream {stream}");
        }
    }
}
