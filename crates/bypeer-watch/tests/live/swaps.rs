//! Answers on the wrong connection, and descriptors whose numbers were given away.

use super::*;

#[test]
#[ignore = "needs root"]
fn an_answer_on_the_wrong_connection() {
    let mut watched = Watched::new(Tier::Calls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let (_first, (mut server, remote)) = asked(&listener);
    server.read_exact(&mut [0; 7]).unwrap();
    let descriptor = server.as_raw_fd();
    let inode_of_first = inode(&server);

    // Another thread closes it, by mistake, and the next connection gets its number.
    let mut second = TcpStream::connect(at).unwrap();
    let (other, other_remote) = listener.accept().unwrap();
    let closer = thread::spawn(move || (gettid(), put_in_its_place(server, &other)));
    let (closer, mut server) = closer.join().unwrap();
    assert_eq!(server.as_raw_fd(), descriptor);
    assert_ne!(inode(&server), inode_of_first);
    server.write_all(b"for the first").unwrap();
    second.read_exact(&mut [0; 13]).unwrap();

    let event = watched.find("a swap", |event| event.kind == Kind::Swapped && event.local == Some(at));
    assert_eq!(event.remote, Some(other_remote));
    assert_eq!(event.inode, inode(&server));
    assert_eq!((event.task.tid, event.task.acting), (gettid(), true));
    assert!(event.user_stack.is_some_and(|stack| !stack.bytes.is_empty()));
    let swapped = event.other.unwrap();
    assert_eq!((swapped.local, swapped.remote), (at, remote));
    assert_eq!(
        (swapped.descriptor, swapped.answered),
        (descriptor.cast_unsigned(), false)
    );
    let closing = swapped.closed_by.unwrap();
    assert_eq!((closing.task.tid, closing.cookie), (closer, swapped.cookie));
    let stack = closing.user_stack.unwrap();
    assert!(stack.bytes.len() >= 1024, "{} bytes", stack.bytes.len());
}

/// A client that has sent `request`, and what was accepted of it.
fn asked(listener: &TcpListener) -> (TcpStream, (TcpStream, SocketAddr)) {
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"request").unwrap();
    (client, listener.accept().unwrap())
}

/// Gives the descriptor of the first to the second, and closes the first by that: other tests open files meanwhile, and dup3 makes it that
/// number for certain.
fn put_in_its_place(first: TcpStream, second: &TcpStream) -> TcpStream {
    let mut first = std::os::fd::OwnedFd::from(first);
    rustix::io::dup3(second, &mut first, rustix::io::DupFlags::empty()).unwrap();
    TcpStream::from(first)
}

#[test]
#[ignore = "needs root"]
fn a_number_taken_from_under_its_reader() {
    let mut watched = Watched::new(Tier::Calls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let connect = || asked(&listener);
    let (_first, (mut server, remote)) = connect();
    server.read_exact(&mut [0; 7]).unwrap();
    let descriptor = server.as_raw_fd();
    // As event loops do: what the reader reads elsewhere meanwhile is no matter.
    let (_elsewhere, (mut busy, _)) = connect();
    busy.read_exact(&mut [0; 7]).unwrap();

    let (_second, (other, other_remote)) = connect();
    let closer = thread::spawn(move || (gettid(), put_in_its_place(server, &other)));
    let (closer, mut server) = closer.join().unwrap();
    assert_eq!(server.as_raw_fd(), descriptor);
    server.read_exact(&mut [0; 3]).unwrap();
    server.read_exact(&mut [0; 4]).unwrap();

    let event = watched.find("a number retaken", |event| {
        event.kind == Kind::Retaken && event.local == Some(at)
    });
    assert_eq!(event.remote, Some(other_remote));
    assert_eq!((event.task.tid, event.inode), (gettid(), inode(&server)));
    let before = event.other.unwrap();
    assert_eq!((before.local, before.remote), (at, remote));
    assert_eq!(
        (before.descriptor, before.answered),
        (descriptor.cast_unsigned(), false)
    );
    let closing = before.closed_by.unwrap();
    assert_eq!((closing.task.tid, closing.cookie), (closer, before.cookie));
    assert!(before.read_at > 0 && before.read_at < closing.at);
    assert!(closing.user_stack.unwrap().bytes.len() >= 1024);
    // Once: the second read of that connection is its reader's own.
    let (server, mut client) = pair();
    client.write_all(b"unread").unwrap();
    let local = server.local_addr().unwrap();
    drop(server);
    watched.reset(local);
    let told = |event: &&Event| event.kind == Kind::Retaken && event.local == Some(at);
    assert_eq!(watched.events.iter().filter(told).count(), 1);
}

#[test]
#[ignore = "needs root"]
fn numbers_that_were_free_to_take() {
    let mut watched = Watched::new(Tier::Calls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let connect = || {
        let (client, (server, _)) = asked(&listener);
        (client, server)
    };
    let read = |server: &mut TcpStream| server.read_exact(&mut [0; 7]).unwrap();
    let elsewhere =
        |first: TcpStream, second: TcpStream| thread::spawn(move || put_in_its_place(first, &second)).join().unwrap();

    // The reader itself closes it.
    let (_client, mut server) = connect();
    read(&mut server);
    let (_next, next) = connect();
    read(&mut put_in_its_place(server, &next));

    // It had been answered: by its reader, or by the thread that closes.
    let (_client, mut server) = connect();
    read(&mut server);
    server.write_all(b"answer").unwrap();
    let (_next, next) = connect();
    read(&mut elsewhere(server, next));

    // Its client had left.
    let (client, mut server) = connect();
    read(&mut server);
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    let (_next, next) = connect();
    read(&mut elsewhere(server, next));

    // Shut down by another thread, and closed by its reader.
    let (_client, mut server) = connect();
    read(&mut server);
    let server = thread::spawn(move || {
        server.shutdown(Shutdown::Both).unwrap();
        server
    });
    let server = server.join().unwrap();
    let (_next, next) = connect();
    read(&mut put_in_its_place(server, &next));

    // Another thread reads there next: nothing of it is in the first one's hands.
    let (_client, mut server) = connect();
    read(&mut server);
    let (_next, next) = connect();
    let mut server = elsewhere(server, next);
    thread::spawn(move || server.read_exact(&mut [0; 7]).unwrap())
        .join()
        .unwrap();

    // An event that comes after all of these.
    let (server, mut client) = pair();
    client.write_all(b"unread").unwrap();
    let local = server.local_addr().unwrap();
    drop(server);
    watched.reset(local);
    let told: Vec<_> = watched
        .events
        .iter()
        .filter(|event| event.kind == Kind::Retaken && event.local == Some(at))
        .collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
#[ignore = "needs root"]
fn who_hands_over_or_connects_anew_has_not_swapped() {
    let mut watched = Watched::new(Tier::Calls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let request = |client: &mut TcpStream| client.write_all(b"request").unwrap();

    // One thread reads, another answers and closes; the descriptor's next connection is greeted by the first.
    let mut client = TcpStream::connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    request(&mut client);
    server.read_exact(&mut [0; 7]).unwrap();
    let _next_client = TcpStream::connect(at).unwrap();
    let (next, _) = listener.accept().unwrap();
    let mut next = thread::spawn(move || {
        server.write_all(b"answer").unwrap();
        let mut server = std::os::fd::OwnedFd::from(server);
        rustix::io::dup3(&next, &mut server, rustix::io::DupFlags::empty()).unwrap();
        TcpStream::from(server)
    })
    .join()
    .unwrap();
    next.write_all(b"hello").unwrap();

    // A client whose pool closes its connection connects again.
    let client = TcpStream::connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"answer").unwrap();
    (&client).read_exact(&mut [0; 6]).unwrap();
    let again = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let again = thread::spawn(move || {
        let mut client = std::os::fd::OwnedFd::from(client);
        rustix::io::dup3(&again, &mut client, rustix::io::DupFlags::empty()).unwrap();
        Socket::from(client)
    })
    .join()
    .unwrap();
    again.connect(&at.into()).unwrap();
    (&again).write_all(b"request").unwrap();

    // An event that comes after all of these.
    let (server, mut client) = pair();
    request(&mut client);
    let local = server.local_addr().unwrap();
    drop(server);
    watched.reset(local);
    let swaps: Vec<_> = watched
        .events
        .iter()
        .filter(|event| event.kind == Kind::Swapped && [event.local, event.remote].contains(&Some(at)))
        .collect();
    assert!(swaps.is_empty(), "{swaps:#?}");
}
