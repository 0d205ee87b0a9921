//! Descriptors by the hundred, of the wrong kind, and of the agent's own.

use crate::victim::{CONFIG, Victim, exit, serve_somebody, stay, with_slots};
use embryo::agent::wire::{FDS_MAX, kind};
use embryo_tests::agent::{AgentOptions, RawClient, Reader};
use embryo_tests::{require_root, wait_for};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, socketpair,
};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

fn null() -> File {
    File::open("/dev/null").expect("there is one")
}

#[test]
fn as_many_grants_as_the_kernel_sends_are_taken_or_refused() {
    let victim = Victim::start();
    let client = victim.client();
    let null = null();
    let mut reader = Reader::default();
    let fds = vec![null.as_fd(); FDS_MAX];
    // Whatever the plan wants, all of them are closed again.
    for request in 10..110 {
        let plan = with_slots(request as usize % 3);
        client.spawn(request, plan.as_bytes(), &fds);
        assert_eq!(reader.answer(&client, request).rule(), Some("grants"));
    }
    let plan = with_slots(FDS_MAX);
    for request in 200..220 {
        client.spawn(request, plan.as_bytes(), &fds);
        let answer = reader.answer(&client, request);
        assert_eq!(answer.head.kind, kind::STARTED, "{}", answer.words());
        reader.want(&client, request, kind::ENDED);
    }
    drop(client);
    victim.check();
}

#[test]
fn a_plan_gets_exactly_the_slots_that_it_names() {
    let victim = Victim::start();
    let client = victim.client();
    let null = null();
    let mut reader = Reader::default();
    for (slots, sent) in [(1, 0), (2, 1), (100, 99), (0, 1), (1, 2), (254, 253)] {
        let plan = with_slots(slots);
        client.spawn(5, plan.as_bytes(), &vec![null.as_fd(); sent]);
        let answer = reader.answer(&client, 5);
        assert_eq!(answer.rule(), Some("grants"), "{slots} slots, {sent} sent: {answer:?}");
    }
    drop(client);
    victim.check();
}

/// The agent's table is full: it says so to whom it concerns, and goes on.
#[test]
fn a_full_table_of_descriptors_is_survived() {
    let options = AgentOptions { limits: vec![('n', 160)], ..AgentOptions::default() };
    let victim = Victim::start_with(CONFIG, &options);
    let (one, other) = (victim.client(), victim.client());
    let null = null();
    let fds = vec![null.as_fd(); FDS_MAX];
    let mut reader = Reader::default();
    for request in 10..40 {
        one.spawn(request, with_slots(FDS_MAX).as_bytes(), &fds);
        let answer = reader.answer(&one, request);
        assert_eq!(answer.rule(), Some("agent.descriptors"), "{answer:?}");
        assert_eq!(other.run(request, exit(4).as_bytes(), &[]), 4 << 8);
    }
    // By connections, and who is there already is served.
    let many: Vec<RawClient> =
        (0..200).filter_map(|_| RawClient::try_connect(&victim.agent.socket()).ok()).collect();
    assert_eq!(many.len(), 200, "they wait to be accepted");
    // It has none left to say itself how many it has.
    let full = || embryo_tests::is_root() && victim.agent.fd_count() >= 150;
    let _ = wait_for(Duration::from_secs(2), full);
    // There may be no number for a pidfd then; that is no reason to hang or to go.
    other.spawn(50, exit(0).as_bytes(), &[]);
    let _ = other.hear();
    drop((one, other, many));
    victim.check();
}

/// A socket on its way through itself, which nobody can read again once its owner has gone.
#[test]
fn sockets_that_are_sent_through_themselves_are_closed() {
    let victim = Victim::start();
    let plan = with_slots(2);
    for round in 0..50 {
        let client = victim.client();
        let (ours, theirs) = pair();
        // The client's own end, and a pair that holds another.
        let own = client.socket.as_fd();
        let other = RawClient { socket: ours };
        other.send(b"x", &[own, theirs.as_fd()]).expect("it can be sent");
        for request in 0..8 {
            client.spawn(request, plan.as_bytes(), &[own, other.socket.as_fd()]);
        }
        if round % 2 == 0 {
            let _ = client.hear();
        }
    }
    victim.check();
}

/// Before the agent reads them, since it is stopped.
#[test]
fn cycles_that_are_never_read_are_closed() {
    let victim = Victim::start();
    victim.agent.signal(rustix::process::Signal::STOP);
    let plan = with_slots(1);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(RawClient::connect(&victim.agent.socket()));
    }
    for (at, client) in clients.iter().enumerate() {
        let next = &clients[(at + 1) % clients.len()];
        for fd in [client.socket.as_fd(), next.socket.as_fd()] {
            let body = [&[0; 8], plan.as_bytes()].concat();
            let packet = RawClient::packet(kind::SPAWN, 1, 0, &body);
            client.send_now(&packet, &[fd]).expect("the socket has room");
        }
    }
    drop(clients);
    victim.agent.signal(rustix::process::Signal::CONT);
    victim.check();
}

#[test]
fn a_narrower_connection_may_be_sent_anywhere() {
    let victim = Victim::start();
    let client = victim.client();
    let mut reader = Reader::default();
    let mut narrowed: Vec<OwnedFd> = Vec::new();
    for request in 0..20 {
        client.say(kind::NARROW, request, 0, b"{}", &[]);
        let mut answer = reader.want(&client, request, kind::NARROWED);
        narrowed.append(&mut answer.fds);
    }
    assert_eq!(narrowed.len(), 20);
    let plan = with_slots(20);
    let all: Vec<BorrowedFd<'_>> = narrowed.iter().map(AsFd::as_fd).collect();
    // As grants, over itself, and over each of them.
    client.spawn(50, plan.as_bytes(), &all);
    reader.want(&client, 50, kind::STARTED);
    for fd in &narrowed {
        let narrower = RawClient { socket: fd.try_clone().expect("a number is free") };
        narrower.hello();
        narrower.spawn(51, plan.as_bytes(), &all);
        let mut reader = Reader::default();
        reader.want(&narrower, 51, kind::STARTED);
    }
    drop((narrowed, client));
    victim.check();
}

#[test]
fn a_listening_socket_and_a_pidfd_are_grants_like_any() {
    let victim = Victim::start();
    let client = victim.client();
    let mut reader = Reader::default();
    let (family, kind_of, flags) =
        (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let listening = socket_with(family, kind_of, flags, None).expect("a socket can be made");
    let path = victim.agent.dir().join("other");
    bind(&listening, &SocketAddrUnix::new(&path).expect("it fits")).expect("it can be bound");
    listen(&listening, 8).expect("it can listen");
    // Connected to by the client, and holding its own connection to the agent.
    let inside = RawClient::connect(&path);
    inside.send(b"x", &[client.socket.as_fd(), listening.as_fd()]).expect("it can be sent");
    client.spawn(5, stay().as_bytes(), &[]);
    let mut started = reader.want(&client, 5, kind::STARTED);
    let pidfd = started.fds.pop().expect("a pidfd comes with it");
    let plan = with_slots(3);
    for request in 10..40 {
        let fds = [listening.as_fd(), pidfd.as_fd(), inside.socket.as_fd()];
        client.spawn(request, plan.as_bytes(), &fds);
        assert!([kind::STARTED].contains(&reader.answer(&client, request).head.kind.get()));
    }
    drop((client, listening, inside, pidfd));
    victim.check();
}

/// A client that has too many descriptors on their way is stopped by the kernel, not by the agent. The kernel counts
/// them by uid, and lets pass who has CAP_SYS_RESOURCE: an agent without it that shares its uid with such a client is
/// stopped as well, as is every other process of that uid.
#[test]
fn descriptors_on_their_way_are_the_clients_own_trouble() {
    require_root!();
    let victim = Victim::start();
    let client = victim.client();
    let null = null();
    let fds = vec![null.as_fd(); FDS_MAX];
    let plan = with_slots(0);
    let body = [&[0; 8], plan.as_bytes()].concat();
    let packet = RawClient::packet(kind::SPAWN, 1, 0, &body);
    let mut sent = 0;
    for _ in 0..20_000 {
        match client.send_now(&packet, &fds) {
            Ok(()) => sent += 1,
            Err(Errno::AGAIN | Errno::TOOMANYREFS) => {}
            Err(error) => panic!("after {sent}: {error}"),
        }
    }
    assert!(sent > 0);
    serve_somebody(&victim.agent);
    drop(client);
    victim.check();
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (family, kind, flags) = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    socketpair(family, kind, flags, None).expect("sockets can be made")
}
