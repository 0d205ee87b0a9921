//! Messages that are none, each field wrong in turn.

use crate::victim::{Victim, exit};
use embryo::agent::wire::{Hello, MESSAGE_BYTES_MAX, Signal, Spawn, flags, kind};
use embryo_tests::agent::{RawClient, Reader};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use zerocopy::IntoBytes;

/// A request that is wrong, and how many descriptors go with it.
struct Wrong {
    what: String,
    packet: Vec<u8>,
    fds: usize,
}

fn wrong(what: impl Into<String>, packet: Vec<u8>, fds: usize) -> Wrong {
    Wrong { what: what.into(), packet, fds }
}

const REQUEST: u64 = 0x0123_4567_89ab_cdef;

fn spawn() -> Vec<u8> {
    let body = [Spawn::default().as_bytes(), exit(0).as_bytes()].concat();
    RawClient::packet(kind::SPAWN, REQUEST, 0, &body)
}

/// The packet with these bytes at that offset.
fn patched(mut packet: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

fn heads() -> Vec<Wrong> {
    let mut all = Vec::new();
    for at in 0..4 {
        all.push(wrong(format!("magic, byte {at}"), patched(spawn(), at, b"!"), 0));
    }
    for version in [0u16, 2, u16::MAX] {
        let packet = patched(spawn(), 4, &version.to_le_bytes());
        all.push(wrong(format!("version {version}"), packet, 0));
    }
    for kind in [0u16, 8, 15, 18, 0x7fff, 0x8000, kind::STARTED, kind::ENDED, u16::MAX] {
        let packet = patched(spawn(), 6, &kind.to_le_bytes());
        all.push(wrong(format!("kind {kind:#x}"), packet, 0));
    }
    for bit in 1..32 {
        let packet = patched(spawn(), 16, &(1u32 << bit).to_le_bytes());
        all.push(wrong(format!("flag {bit}"), packet, 0));
    }
    let len = spawn().len() as u32 - 24;
    for length in [0, 1, len - 1, len + 1, MESSAGE_BYTES_MAX as u32, i32::MAX as u32, u32::MAX] {
        let packet = patched(spawn(), 20, &length.to_le_bytes());
        all.push(wrong(format!("length {length}"), packet, 0));
    }
    all
}

fn bodies() -> Vec<Wrong> {
    let packet = |kind, body: &[u8]| RawClient::packet(kind, REQUEST, 0, body);
    let fixed = [
        ("signal", kind::SIGNAL, size_of::<Signal>()),
        ("kill", kind::KILL, 8),
        ("usage", kind::USAGE, 8),
        ("log", kind::LOG, 8),
        ("mandate", kind::MANDATE, 0),
        ("list", kind::LIST, 0),
    ];
    let mut all = Vec::new();
    for (name, kind, size) in fixed {
        for other in [0, 1, 7, 8, 9, 15, 16, 17, 24, 4096].into_iter().filter(|len| *len != size) {
            all.push(wrong(format!("{name} of {other}"), packet(kind, &vec![0; other]), 0));
        }
        let body = if kind == kind::SIGNAL { signal(15, 0) } else { vec![0; size] };
        all.push(wrong(format!("{name} with a descriptor"), packet(kind, &body), 1));
    }
    for number in [0, 65, 1 << 8, u32::MAX] {
        all.push(wrong(format!("signal {number}"), packet(kind::SIGNAL, &signal(number, 0)), 0));
    }
    all.push(wrong("signal, reserved", packet(kind::SIGNAL, &signal(15, 1)), 0));
    all.push(wrong("narrow, empty", packet(kind::NARROW, &[]), 0));
    all.push(wrong("narrow with descriptors", packet(kind::NARROW, b"{}"), 3));
    for len in 0..=8 {
        all.push(wrong(format!("spawn of {len}"), packet(kind::SPAWN, &vec![0; len]), 0));
    }
    all.push(wrong("spawn, reserved", patched(spawn(), 24 + 4, &[1]), 0));
    let in_fd = |body: &[u8]| RawClient::packet(kind::SPAWN, REQUEST, flags::IN_FD, body);
    all.push(wrong("a plan in no descriptor", in_fd(&[0; 8]), 0));
    all.push(wrong("a plan here and there", in_fd(&[0; 9]), 1));
    all
}

fn signal(signal: u32, reserved: u32) -> Vec<u8> {
    let body = Signal { child: 1.into(), signal: signal.into(), reserved: reserved.into() };
    body.as_bytes().to_vec()
}

fn hello() -> Hello {
    Hello { oldest: 1.into(), newest: 1.into(), ..Hello::default() }
}

/// It is said what it is, and the connection ends.
#[track_caller]
fn assert_ends(client: &RawClient, what: &str, request: Option<u64>) {
    let answer = client.hear().unwrap_or_else(|| panic!("{what}: closed without a word"));
    assert_eq!(answer.rule(), Some("protocol"), "{what}: {answer:?}");
    assert!(!answer.words().is_empty(), "{what}: it does not say why");
    if let Some(request) = request {
        assert_eq!(answer.head.request, request, "{what}");
    }
    assert!(client.hear().is_none(), "{what}: it goes on after that");
}

fn assert_all_end(all: &[Wrong]) {
    let victim = Victim::start();
    let null = File::open("/dev/null").expect("there is one");
    for Wrong { what, packet, fds } in all {
        let client = victim.client();
        client.send(packet, &vec![null.as_fd(); *fds]).unwrap_or_else(|e| panic!("{what}: {e}"));
        let has_head = !what.starts_with("magic") && !what.starts_with("length");
        assert_ends(&client, what, Some(if has_head { REQUEST } else { 0 }));
    }
    victim.check();
}

#[test]
fn a_wrong_head_ends_the_connection() {
    assert_all_end(&heads());
}

#[test]
fn a_wrong_body_ends_the_connection() {
    assert_all_end(&bodies());
}

#[test]
fn nothing_comes_before_hello() {
    let victim = Victim::start();
    let kinds = [kind::MANDATE, kind::LIST];
    let empty = kinds.map(|kind| RawClient::packet(kind, 5, 0, &[]));
    let kill = RawClient::packet(kind::KILL, 5, 0, &[0; 8]);
    for packet in empty.into_iter().chain([spawn(), kill]) {
        let client = RawClient::connect(&victim.agent.socket());
        client.send(&packet, &[]).expect("it can be sent");
        assert_ends(&client, "before hello", None);
    }
    for len in [0, 1, 23, 25, 64] {
        let client = RawClient::connect(&victim.agent.socket());
        client.say(kind::HELLO, 5, 0, &vec![0; len], &[]);
        assert_ends(&client, "another hello", Some(5));
    }
    victim.check();
}

#[test]
fn hello_comes_again_if_nothing_is_under_way() {
    let victim = Victim::start();
    let client = victim.client();
    client.hello();
    let _ = client.run(2, exit(0).as_bytes(), &[]);
    client.hello();
    client.spawn(3, crate::victim::stay().as_bytes(), &[]);
    let started = client.hear().expect("it is answered");
    assert_eq!(started.head.kind, kind::STARTED, "{started:?}");
    client.say(kind::HELLO, 5, 0, hello().as_bytes(), &[]);
    assert_ends(&client, "hello while a child runs", Some(5));
    victim.check();
}

#[test]
fn a_message_that_is_cut_off_ends_the_connection() {
    let victim = Victim::start();
    let whole = spawn();
    for len in (1..whole.len()).step_by(3) {
        let client = victim.client();
        client.send(&whole[..len], &[]).expect("it can be sent");
        assert_ends(&client, &format!("{len} bytes"), Some(0));
    }
    // An empty packet is the end, as far as the agent can tell.
    let client = victim.client();
    client.send(&[], &[]).expect("it can be sent");
    assert!(client.hear().is_none());
    victim.check();
}

#[test]
fn a_message_that_is_too_long_ends_the_connection() {
    let victim = Victim::start();
    for len in [MESSAGE_BYTES_MAX + 1, MESSAGE_BYTES_MAX + 4096, 150_000] {
        let client = victim.client();
        let packet = RawClient::packet(kind::NARROW, 3, 0, &vec![b' '; len - 24]);
        match client.send(&packet, &[]) {
            Ok(()) => assert_ends(&client, &format!("{len} bytes"), None),
            Err(error) => assert_eq!(error, Errno::MSGSIZE, "{len}"),
        }
    }
    // The longest that may be is read.
    let client = victim.client();
    client.say(kind::NARROW, 3, 0, &vec![b' '; MESSAGE_BYTES_MAX - 24], &[]);
    assert_ne!(Reader::default().answer(&client, 3).rule(), Some("protocol"));
    drop(client);
    victim.check();
}

#[test]
fn bytes_that_are_no_plan_are_refused_and_the_connection_goes_on() {
    let victim = Victim::start();
    let client = victim.client();
    let plan = exit(0);
    let plan = plan.as_bytes();
    let mut reader = Reader::default();
    let mut request = 100;
    let mut refused = |bytes: &[u8]| {
        request += 1;
        client.spawn(request, bytes, &[]);
        let answer = reader.answer(&client, request);
        if answer.head.kind == kind::STARTED {
            reader.want(&client, request, kind::ENDED);
        }
        answer.rule().map(str::to_owned)
    };
    for len in 1..plan.len() {
        assert_eq!(refused(&plan[..len]).as_deref(), Some("plan"), "{len} bytes of it");
    }
    // Each byte of header and entry otherwise, and a few of the strings.
    for at in 0..plan.len() {
        for bit in [0x01, 0x80] {
            let mut bytes = plan.to_vec();
            bytes[at] ^= bit;
            let rule = refused(&bytes);
            assert_ne!(rule.as_deref(), Some("protocol"), "byte {at}");
            let in_head = at < 72 + 64 && ![20, 21, 22, 23, 72, 74, 75].contains(&at);
            assert!(rule.is_some() || !in_head, "byte {at} of it does not matter");
        }
    }
    assert_eq!(client.run(9000, plan, &[]), 0, "the connection goes on");
    drop(client);
    victim.check();
}

/// Not even by chance: packets of every length and kind, with descriptors.
#[test]
fn noise_is_answered_or_ends_the_connection() {
    let victim = Victim::start();
    let null = File::open("/dev/null").expect("there is one");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..500 {
        let client = victim.client();
        for _ in 0..4 {
            let len = (next() % 200) as usize + 1;
            let mut packet: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            if next() % 2 == 0 {
                let kind = (next() % 20) as u16;
                packet = RawClient::packet(kind, next(), (next() % 3) as u32, &packet);
            }
            let fds = vec![null.as_fd(); (next() % 4) as usize];
            if client.send(&packet, &fds).is_err() {
                break;
            }
        }
    }
    victim.check();
}
