//! Agents that die, lie, or are none.

use super::fake::{Fake, Sleeper, agent, plan, within};
use embryo::Error;
use embryo::agent::Agent;
use embryo::agent::wire::{self, Head, flags, kind};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use zerocopy::IntoBytes;

const EPIPE: i32 = 32;
const EBADMSG: i32 = 74;
const EPROTONOSUPPORT: i32 = 93;

/// Of whatever the caller got, that it is an error of the connection with this errno.
fn assert_agent<T: std::fmt::Debug>(outcome: Result<T, Error>, errno: i32) {
    match outcome {
        Err(Error::Agent(error)) => {
            assert_eq!(error.source.raw_os_error(), Some(errno), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

fn connect_to(script: impl FnOnce(Fake) + Send + 'static) -> Result<Agent, Error> {
    let (theirs, fake) = Fake::pair();
    let playing = std::thread::spawn(move || script(fake));
    let agent = Agent::from_fd(theirs);
    playing.join().expect("no panic");
    agent
}

#[test]
fn what_cannot_be_connected_to_is_said() {
    within(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = directory.path().join("missing");
        let errno = |path: &std::path::Path| {
            let error = Agent::connect(path).expect_err("nobody is there");
            assert!(error.to_string().contains("hint"), "{error}");
            error.raw_os_error().expect("an errno")
        };
        assert_eq!(errno(&missing), 2);
        std::fs::write(&missing, "").expect("a file");
        assert_eq!(errno(&missing), 111);
        let stream = directory.path().join("stream");
        let _listener = std::os::unix::net::UnixListener::bind(&stream).expect("it binds");
        assert_eq!(errno(&stream), 91);
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert_agent(Agent::from_fd(one.into()), 91);
        let file = std::fs::File::open("/dev/null").expect("it opens");
        assert_agent(Agent::from_fd(file.into()), 88);
    });
}

#[test]
fn another_version_is_said() {
    within(|| {
        assert_agent(connect_to(|mut fake| fake.greet_with(9, 1)), EPROTONOSUPPORT);
        let refused = connect_to(|mut fake| {
            let hello = fake.receive().expect("a greeting");
            fake.send(kind::REFUSED, hello.request, 0, b"version\0only 2 and 3", &[]);
        });
        assert!(matches!(refused, Err(Error::Refused { rule, .. }) if &*rule == "version"));
        // A head of another version.
        let newer = connect_to(|mut fake| {
            let hello = fake.receive().expect("a greeting");
            let mut head = Head::new(kind::WELCOME, hello.request, 0, size_of::<wire::Hello>());
            head.version = 2.into();
            let body = wire::Hello::default();
            fake.send_bytes(&[head.as_bytes(), body.as_bytes()].concat(), &[]);
        });
        assert_agent(newer, EPROTONOSUPPORT);
    });
}

#[test]
fn an_agent_may_die_before_it_says_anything() {
    within(|| {
        assert_agent(connect_to(drop), EPIPE);
        assert_agent(connect_to(|mut fake| drop(fake.receive())), EPIPE);
    });
}

#[test]
fn everybody_who_waits_learns_that_the_agent_has_died() {
    within(|| {
        let (theirs, mut fake) = Fake::pair();
        let dying = std::thread::spawn(move || {
            fake.greet();
            for _ in 0..8 {
                fake.receive().expect("a request");
            }
        });
        let agent = Agent::from_fd(theirs).expect("it is greeted");
        std::thread::scope(|scope| {
            for index in 0..8 {
                let agent = agent.clone();
                scope.spawn(move || match index % 2 {
                    0 => assert_agent(agent.list(), EPIPE),
                    _ => assert_agent(agent.spawn(&plan(), &[]), EPIPE),
                });
            }
        });
        dying.join().expect("no panic");
        assert_agent(agent.list(), EPIPE);
    });
}

/// A child whose agent dies, or says that it stops.
fn orphan(stopping: bool) {
    let (theirs, mut fake) = Fake::pair();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let dying = std::thread::spawn(move || {
        let mut sleeper = Sleeper::new();
        fake.greet();
        let request = fake.receive().expect("a request");
        fake.started(request.request, 1, sleeper.pidfd());
        let fake = stopping.then(|| {
            fake.send(kind::STOPPING, 0, 0, &[], &[]);
            fake
        });
        gone.recv().expect("told to go on");
        sleeper.end();
        fake
    });
    let agent = Agent::from_fd(theirs).expect("it is greeted");
    let mut process = agent.spawn(&plan(), &[]).expect("it starts");
    assert_eq!(process.wait_timeout(Duration::from_millis(30)).expect("it runs"), None);
    assert_eq!(process.try_wait().expect("it runs"), None);
    process.signal(18).expect("its handle is there");
    let errno = agent.list().expect_err("nobody answers").raw_os_error();
    assert_eq!(errno, Some(if stopping { 108 } else { EPIPE }));
    go.send(()).expect("it is there");
    match process.wait() {
        Ok(status) => assert_eq!(status.signal(), Some(9)),
        // Before Linux 6.15 nobody tells.
        Err(Error::Reaped { pid, by }) => assert!(pid == 1001 && by.contains("agent")),
        Err(other) => panic!("{other}"),
    }
    assert!(process.usage().is_none());
    drop(dying.join().expect("no panic"));
}

#[test]
fn a_child_is_waited_for_when_its_agent_has_gone() {
    within(|| orphan(false));
}

#[test]
fn a_child_is_waited_for_when_its_agent_stops() {
    within(|| orphan(true));
}

#[test]
fn an_end_that_was_told_before_the_agent_died_counts() {
    within(|| {
        let (theirs, mut fake) = Fake::pair();
        let dying = std::thread::spawn(move || {
            let mut sleeper = Sleeper::new();
            fake.greet();
            let request = fake.receive().expect("a request");
            fake.started(request.request, 1, sleeper.pidfd());
            sleeper.end();
            fake.ended(request.request, 1, 5 << 8);
        });
        let agent = Agent::from_fd(theirs).expect("it is greeted");
        let mut process = agent.spawn(&plan(), &[]).expect("it starts");
        dying.join().expect("no panic");
        assert_agent(agent.list(), EPIPE);
        assert_eq!(process.wait().expect("it was told").code(), Some(5));
        assert!(process.usage().is_some());
    });
}

#[test]
fn an_end_that_the_agent_does_not_know_is_asked_of_the_kernel() {
    within(|| {
        let agent = agent(|fake| {
            let mut sleeper = Sleeper::new();
            let request = fake.receive().expect("a request");
            fake.started(request.request, 1, sleeper.pidfd());
            sleeper.end();
            let ended = wire::Ended { child: 1.into(), ..Default::default() };
            let flags = flags::UNKNOWN | flags::TIME_IS_OVER;
            fake.send(kind::ENDED, request.request, flags, ended.as_bytes(), &[]);
        });
        let mut process = agent.spawn(&plan(), &[]).expect("it starts");
        match process.wait() {
            Ok(status) => assert_eq!(status.signal(), Some(9)),
            Err(error) => assert!(matches!(error, Error::Reaped { .. }), "{error}"),
        }
        assert!(process.time_was_over());
    });
}

#[test]
fn what_is_no_answer_breaks_the_connection() {
    within(|| {
        type Script = fn(&mut Fake, u64);
        let scripts: [(&str, Script); 16] = [
            ("no head", |fake, _| fake.send_bytes(b"x", &[])),
            ("other bytes", |fake, _| fake.send_bytes(&[0xff; 100], &[])),
            ("a wrong length", |fake, request| {
                let head = Head::new(kind::STARTED, request, 0, 7);
                fake.send_bytes(head.as_bytes(), &[]);
            }),
            ("too long", |fake, _| fake.send_bytes(&vec![0; wire::MESSAGE_BYTES_MAX + 1], &[])),
            ("an unknown kind", |fake, request| fake.send(0x8fff, request, 0, &[], &[])),
            ("a request", |fake, request| fake.send(kind::LIST, request, 0, &[], &[])),
            ("of another request", |fake, request| {
                fake.send(kind::REFUSED, request + 1, 0, b"x", &[]);
            }),
            ("of no request", |fake, _| fake.send(kind::DONE, 0, 0, &[], &[])),
            ("of another kind", |fake, request| fake.send(kind::DONE, request, 0, &[], &[])),
            ("twice", |fake, request| {
                // In one go, so that nobody has taken the first one when the second comes.
                fake.send(kind::REFUSED, request + 1, 0, b"x", &[]);
                fake.send(kind::REFUSED, request, 0, b"x", &[]);
            }),
            ("a start without a handle", |fake, request| {
                fake.send(kind::STARTED, request, 0, wire::Started::default().as_bytes(), &[]);
            }),
            ("a start without a body", |fake, request| {
                let null = std::fs::File::open("/dev/null").expect("it opens");
                fake.send(kind::STARTED, request, 0, &[], &[null.as_fd()]);
            }),
            ("two descriptors", |fake, request| {
                let null = std::fs::File::open("/dev/null").expect("it opens");
                let body = wire::Started::default();
                let fds = [null.as_fd(); 2];
                fake.send(kind::STARTED, request, 0, body.as_bytes(), &fds);
            }),
            ("many descriptors", |fake, request| {
                let null = std::fs::File::open("/dev/null").expect("it opens");
                let body = wire::Started::default();
                let fds = [null.as_fd(); 200];
                fake.send(kind::STARTED, request, 0, body.as_bytes(), &fds);
            }),
            ("the end of nobody", |fake, request| fake.ended(request, 1, 0)),
            ("an end without a body", |fake, request| {
                fake.send(kind::ENDED, request, 0, b"x", &[]);
            }),
        ];
        for (what, script) in scripts {
            let agent = agent(move |fake| {
                let request = fake.receive().expect("a request");
                script(fake, request.request);
            });
            let errno = agent.spawn(&plan(), &[]).expect_err(what).raw_os_error();
            assert_eq!(errno, Some(EBADMSG), "{what}");
            assert_agent(agent.list(), EBADMSG);
        }
    });
}

#[test]
fn ends_that_cannot_be_are_not_believed() {
    within(|| {
        for twice in [false, true] {
            let agent = agent(move |fake| {
                let mut sleeper = Sleeper::new();
                let request = fake.receive().expect("a request");
                fake.started(request.request, 1, sleeper.pidfd());
                let child = if twice { 1 } else { 2 };
                fake.ended(request.request, child, 0);
                fake.ended(request.request, child, 0);
                sleeper.end();
            });
            let mut process = agent.spawn(&plan(), &[]).expect("it starts");
            assert_agent(agent.list(), EBADMSG);
            let status = process.wait();
            match twice {
                true => assert_eq!(status.expect("the first one counts").code(), Some(0)),
                false => assert!(status.map_or(true, |status| status.signal() == Some(9))),
            }
        }
    });
}

#[test]
fn a_text_by_descriptor_makes_nobody_wait() {
    within(|| {
        let (silent, _writer) = std::io::pipe().expect("a pipe");
        let agent = agent(move |fake| {
            let request = fake.receive().expect("a request");
            fake.send(kind::TEXT, request.request, flags::IN_FD, &[], &[silent.as_fd()]);
            let request = fake.receive().expect("a request");
            let file = tempfile::tempfile().expect("a file");
            std::io::Write::write_all(&mut &file, b"text").expect("it is written");
            fake.send(kind::TEXT, request.request, flags::IN_FD, &[], &[file.as_fd()]);
            let request = fake.receive().expect("a request");
            fake.send(kind::TEXT, request.request, 0, &[0xff], &[]);
        });
        assert_agent(agent.list(), EBADMSG);
        assert_eq!(agent.list().expect("a text"), "text");
        assert_agent(agent.list(), EBADMSG);
    });
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    /// Any messages at all, with heads that are right or not, to whoever waits for an answer and an end.
    #[test]
    fn nothing_that_an_agent_says_makes_a_client_panic(
        messages in proptest::collection::vec(
            (
                proptest::sample::select(vec![0u16, 1, 0x8001, 0x8002, 0x8003, 0x8004, 0x8005, 0x8006, 0x8007, 0x8008, 0x8009, 0x800a]),
                0u64..5,
                0u32..64,
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
                0usize..3,
            ),
            0..6,
        )
    ) {
        let (theirs, mut fake) = Fake::pair();
        let playing = std::thread::spawn(move || {
            let null = std::fs::File::open("/dev/null").expect("it opens");
            fake.greet();
            for (kind, request, flags, body, fds) in messages {
                fake.send(kind, request, flags, &body, &vec![null.as_fd(); fds]);
            }
        });
        let agent = Agent::from_fd(theirs).expect("it is greeted");
        if let Ok(mut process) = agent.spawn(&plan(), &[]) {
            let _ = process.wait_timeout(Duration::from_millis(10));
            let _ = process.kill();
        }
        let _ = agent.list();
        let _ = agent.mandate();
        playing.join().expect("no panic");
    }
}
