//! The client of an agent against one that the tests make up: a thread with the other end of a socket, which
//! answers late, in another order, nonsense, or not at all.
//!
//! Whatever it does, a client must neither hang nor panic.
#![cfg(feature = "agent")]

#[cfg(feature = "tokio")]
#[path = "agent_client/asynchronous.rs"]
mod asynchronous;
#[path = "agent_client/fake.rs"]
mod fake;
#[path = "agent_client/hostile.rs"]
mod hostile;

use embryo::agent::Agent;
use embryo::agent::wire::{self, flags, kind};
use embryo::{Command, Error, Op, Plan, SpawnOptions, Stdio};
use fake::{Fake, Sleeper, agent, plan, within};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn answers_find_whoever_asked_in_whatever_order_they_come() {
    const ASKING: u64 = 16;
    within(|| {
        let agent = agent(|fake| {
            let mut asked: Vec<_> =
                (0..ASKING).map(|_| fake.receive().expect("a request")).collect();
            asked.reverse();
            for request in asked {
                assert_eq!(request.kind, kind::LOG);
                let since = wire::Since::read_from_bytes(&request.body).expect("a body");
                let text = since.entry.get().to_string();
                fake.send(kind::TEXT, request.request, 0, text.as_bytes(), &[]);
            }
        });
        std::thread::scope(|scope| {
            for number in 0..ASKING {
                let agent = agent.clone();
                scope.spawn(move || {
                    assert_eq!(agent.log(number).expect("an answer"), number.to_string());
                });
            }
        });
    });
}

#[test]
fn a_child_starts_and_ends() {
    within(|| {
        let agent = agent(|fake| {
            let mut sleeper = Sleeper::new();
            let request = fake.receive().expect("a request");
            assert_eq!(request.kind, kind::SPAWN);
            let (_, sent) = wire::Spawn::read_from_prefix(&request.body).expect("a body");
            assert_eq!(sent, plan().as_bytes());
            fake.started(request.request, 7, sleeper.pidfd());
            // Before anybody asks.
            sleeper.end();
            fake.ended(request.request, 7, 3 << 8);
            let list = fake.receive().expect("a request");
            fake.send(kind::TEXT, list.request, 0, b"[]", &[]);
        });
        let mut process = agent.spawn(&plan(), &[]).expect("it starts");
        assert_eq!((process.id(), process.image_id()), (1007, 2007));
        assert_eq!(agent.list().expect("an answer"), "[]");
        assert_eq!(process.wait().expect("it ends").code(), Some(3));
        assert_eq!(process.wait().expect("asked again").code(), Some(3));
        assert_eq!(process.usage().expect("it is told").user, Duration::from_nanos(11));
        assert_eq!(process.usage_now().expect("the same").user, Duration::from_nanos(11));
        assert_eq!(process.signal(15).expect_err("it has ended").raw_os_error(), Some(3));
        process.kill().expect("that is no error");
    });
}

#[test]
fn many_children_are_waited_for_at_once() {
    const CHILDREN: u64 = 12;
    within(|| {
        let agent = agent(|fake| {
            let mut sleeper = Sleeper::new();
            let mut requests = Vec::new();
            for child in 0..CHILDREN {
                let request = fake.receive().expect("a request");
                fake.started(request.request, child, sleeper.pidfd());
                requests.push((request.request, child));
            }
            fake.expect_nothing(Duration::from_millis(50));
            for (request, child) in requests.into_iter().rev() {
                fake.ended(request, child, (child as i32) << 8);
            }
            sleeper.end();
        });
        let children: Vec<_> =
            (0..CHILDREN).map(|_| agent.spawn(&plan(), &[]).expect("it starts")).collect();
        let waiting = children.into_iter().map(|mut child| {
            std::thread::spawn(move || child.wait().expect("it ends").code().expect("a code"))
        });
        let waiting: Vec<_> = waiting.collect();
        let codes: Vec<i32> =
            waiting.into_iter().map(|one| one.join().expect("no panic")).collect();
        assert_eq!(codes, (0..CHILDREN as i32).collect::<Vec<_>>());
    });
}

#[test]
fn waiting_has_a_limit_and_an_end_in_time_is_found() {
    within(|| {
        let (go, gone) = std::sync::mpsc::channel();
        let agent = agent(move |fake| {
            let mut sleeper = Sleeper::new();
            let request = fake.receive().expect("a request");
            fake.started(request.request, 1, sleeper.pidfd());
            gone.recv().expect("told to go on");
            fake.ended(request.request, 1, 9);
            sleeper.end();
            fake.wait_for_end();
        });
        let mut process = agent.spawn(&plan(), &[]).expect("it starts");
        assert_eq!(process.try_wait().expect("it runs"), None);
        assert_eq!(process.wait_timeout(Duration::from_millis(20)).expect("it runs"), None);
        go.send(()).expect("it is there");
        let status = process.wait_timeout(Duration::from_secs(20)).expect("an answer");
        assert_eq!(status.expect("it has ended").signal(), Some(9));
    });
}

#[test]
fn signals_kills_and_usage_are_asked_for() {
    within(|| {
        let agent = agent(|fake| {
            let sleeper = Sleeper::new();
            let request = fake.receive().expect("a request");
            fake.started(request.request, 5, sleeper.pidfd());
            let signal = fake.receive().expect("a request");
            let body = wire::Signal::read_from_bytes(&signal.body).expect("a body");
            assert_eq!((signal.kind, body.child.get(), body.signal.get()), (kind::SIGNAL, 5, 15));
            fake.send(kind::DONE, signal.request, 0, &[], &[]);
            let signal = fake.receive().expect("a request");
            fake.send(kind::REFUSED, signal.request, 0, b"signals\0USR1 is not listed", &[]);
            let usage = fake.receive().expect("a request");
            assert_eq!(usage.kind, kind::USAGE);
            let used = wire::Used { max_rss: 4096.into(), ..Default::default() };
            fake.send(kind::USED, usage.request, 0, used.as_bytes(), &[]);
            let kill = fake.receive().expect("a request");
            assert_eq!(kill.kind, kind::KILL);
            // It has just ended.
            let fault =
                wire::Fault { index: u32::MAX.into(), errno: 3.into(), ..Default::default() };
            fake.send(kind::FAULT, kill.request, 0, fault.as_bytes(), &[]);
            // Dropped with kill_on_drop.
            let kill = fake.receive().expect("a request");
            assert_eq!(kill.kind, kind::KILL);
            let body = wire::Child::read_from_bytes(&kill.body).expect("a body");
            assert_eq!(body.child.get(), 5);
            fake.wait_for_end();
        });
        let mut process = agent.spawn(&plan(), &[]).expect("it starts");
        process.signal(15).expect("it is sent");
        match process.signal(10).expect_err("it is refused") {
            Error::Refused { rule, why } => {
                assert_eq!((&*rule, &*why), ("signals", "USR1 is not listed"));
            }
            other => panic!("{other}"),
        }
        assert_eq!(process.signal(0).expect("it runs"), ());
        assert_eq!(process.signal(65).expect_err("none").raw_os_error(), Some(22));
        assert_eq!(process.usage_now().expect("it is told").max_rss, 4096);
        process.kill().expect("that is no error");
        process.kill_on_drop(true);
    });
}

#[test]
fn a_fault_is_that_of_the_clients_plan() {
    within(|| {
        let agent = agent(|fake| {
            let fault = |index: u32, code: u16, errno: u16, words: &str| {
                let fault =
                    wire::Fault { index: index.into(), code: code.into(), errno: errno.into() };
                [fault.as_bytes(), words.as_bytes()].concat()
            };
            let code = |index| plan().as_plan().code(index).expect("an op") as u16;
            for (flags, body) in [
                (0, fault(3, code(3), 2, "")),
                (0, fault(u32::MAX, code(2), 1, "forced")),
                (0, fault(u32::MAX, 0, 28, "making the child's cgroup")),
                (flags::KILLED, fault(u32::MAX, 0, 4, "")),
                (flags::TIMED_OUT, fault(u32::MAX, 0, 110, "")),
            ] {
                let request = fake.receive().expect("a request");
                fake.send(kind::FAULT, request.request, flags, &body, &[]);
            }
            let request = fake.receive().expect("a request");
            fake.send(kind::REFUSED, request.request, 0, b"images\0/nowhere", &[]);
        });
        let spawn = || agent.spawn(&plan(), &[]).expect_err("it does not start");
        let error = spawn();
        let fault = error.as_spawn().expect("of a launch");
        assert_eq!((fault.index(), fault.op(), fault.fault.errno), (Some(3), "exec", 2));
        assert_eq!(fault.object.as_deref(), Some("/does/not/exist"), "{fault}");
        let error = spawn();
        let fault = error.as_spawn().expect("of a launch");
        assert_eq!((fault.index(), fault.op()), (None, "umask"));
        assert_eq!(fault.detail.as_deref(), Some("forced"));
        let error = spawn();
        assert!(matches!(error, Error::Agent(_)), "{error:?}");
        assert!(error.to_string().contains("cgroup: No space left on device (ENOSPC)"), "{error}");
        let error = spawn();
        assert!(matches!(error.as_spawn().expect("one").cause, embryo::Cause::Killed(_)));
        let error = spawn();
        assert_eq!(error.as_spawn().expect("one").cause, embryo::Cause::TimedOut);
        let error = spawn();
        assert_eq!(error.to_string(), "refused by the agent: images: /nowhere");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    });
}

#[test]
fn a_long_plan_comes_in_a_sealed_file_before_its_grants() {
    within(|| {
        let mut long = Plan::builder();
        let slot = long.slot();
        long.op(&Op::SetSid)
            .op(&Op::ChdirPath { path: c"/" })
            .op(&Op::Umask { mode: 0o22 })
            .op(&Op::PutFd { slot, fd: 3 })
            .op(&Op::ExecPath { path: c"/bin/true", flags: embryo::ExecFlags::empty() });
        (0..3000).for_each(|_| {
            long.arg("an argument that takes some room");
        });
        let long = long.build().expect("a plan");
        let bytes = long.as_bytes().to_vec();
        assert!(bytes.len() > wire::MESSAGE_BYTES_MAX);
        let agent = agent(move |fake| {
            let request = fake.receive().expect("a request");
            assert_eq!(request.flags, flags::IN_FD);
            assert_eq!(request.body.len(), size_of::<wire::Spawn>());
            assert_eq!(request.fds.len(), 2);
            use rustix::fs::SealFlags;
            let seals = rustix::fs::fcntl_get_seals(&request.fds[0]).expect("a memfd");
            assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK));
            let mut sent = vec![0; bytes.len() + 1];
            let read = rustix::io::pread(&request.fds[0], &mut sent, 0).expect("it is read");
            assert_eq!(&sent[..read], bytes);
            fake.send(kind::REFUSED, request.request, 0, b"plan\0too long", &[]);
        });
        let null = std::fs::File::open("/dev/null").expect("it opens");
        let error = agent.spawn(&long, &[null.as_fd()]).expect_err("it is refused");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let error = agent.spawn(&long, &[]).expect_err("a grant is missing");
        assert!(matches!(error, Error::Grants { slots: 1, given: 0 }), "{error}");
    });
}

#[test]
fn no_more_is_asked_at_once_than_the_agent_takes() {
    within(|| {
        const LIMIT: usize = 4;
        let (agent, mut fake) = Fake::pair();
        let greeting = std::thread::spawn(move || {
            fake.greet_with(wire::VERSION, LIMIT as u32);
            fake
        });
        let agent = Agent::from_fd(agent).expect("it is greeted");
        let mut fake = greeting.join().expect("no panic");
        std::thread::scope(|scope| {
            for number in 0..3 * LIMIT as u64 {
                let agent = agent.clone();
                scope.spawn(move || assert_eq!(agent.log(number).expect("an answer"), "x"));
            }
            for _ in 0..3 {
                let asked: Vec<_> = (0..LIMIT).map(|_| fake.receive().expect("one")).collect();
                fake.expect_nothing(Duration::from_millis(50));
                for request in asked {
                    fake.send(kind::TEXT, request.request, 0, b"x", &[]);
                }
            }
        });
    });
}

#[test]
fn nobody_is_held_up_by_an_agent_that_waits_to_be_read() {
    within(|| {
        // More is sent than a socket holds, both ways, and the agent reads only what it has answered.
        let agent = agent(|fake| {
            while let Some(request) = fake.receive() {
                let text = vec![b'x'; 32 << 10];
                fake.send(kind::TEXT, request.request, 0, &text, &[]);
            }
        });
        std::thread::scope(|scope| {
            for _ in 0..32 {
                let agent = agent.clone();
                scope.spawn(move || {
                    for _ in 0..20 {
                        assert_eq!(agent.list().expect("an answer").len(), 32 << 10);
                    }
                });
            }
        });
    });
}

#[test]
fn a_narrower_connection_says_its_version_when_it_is_used() {
    within(|| {
        let agent = agent(|fake| {
            let request = fake.receive().expect("a request");
            assert_eq!(request.kind, kind::NARROW);
            assert_eq!(request.body, br#"{"ops":["umask"]}"#);
            let (theirs, mut ours) = Fake::pair();
            fake.send(kind::NARROWED, request.request, 0, &[], &[theirs.as_fd()]);
            drop(theirs);
            ours.expect_nothing(Duration::from_millis(50));
            ours.greet();
            let request = ours.receive().expect("a request");
            assert_eq!(request.kind, kind::MANDATE);
            let json = br#"[{"description":"all"},{"ops":["umask"]}]"#;
            ours.send(kind::TEXT, request.request, 0, json, &[]);
            ours.wait_for_end();
        });
        let mandate = embryo::agent::mandate::Mandate {
            ops: Some(vec!["umask".into()]),
            ..Default::default()
        };
        let narrower = agent.narrow(&mandate).expect("there is one");
        std::thread::sleep(Duration::from_millis(80));
        let mandates = narrower.mandate().expect("they are told");
        assert_eq!(mandates.last(), Some(&mandate));
        let clone = narrower.clone();
        let narrower = narrower.into_fd().expect_err("there is a clone");
        drop(clone);
        let fd = narrower.into_fd().expect("nobody else has it");
        assert!(rustix::io::fcntl_getfd(&fd).expect("open").contains(rustix::io::FdFlags::CLOEXEC));
    });
}

#[test]
fn a_command_says_nothing_by_habit_to_an_agent() {
    within(|| {
        let agent = agent(|fake| {
            let request = fake.receive().expect("a request");
            let (_, sent) = wire::Spawn::read_from_prefix(&request.body).expect("a body");
            let plan = Plan::from_bytes(sent).expect("a plan");
            let text = format!("{:?}", plan.as_plan());
            assert!(text.contains("ONLY=this") && !text.contains("PATH="), "{text}");
            assert_eq!(request.fds.len(), 1);
            let mut sleeper = Sleeper::new();
            fake.started(request.request, 1, sleeper.pidfd());
            rustix::io::write(&request.fds[0], b"hello").expect("a pipe");
            sleeper.end();
            fake.ended(request.request, 1, 0);
        });
        let output = Command::new("/bin/true")
            .env("ONLY", "this")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .agent(&agent)
            .spawn()
            .expect("it starts")
            .wait_with_output()
            .expect("it ends");
        assert!(output.status.success());
        assert_eq!(output.stdout, b"hello");
    });
}

#[test]
fn options_say_how_long_a_start_may_take() {
    within(|| {
        let agent = agent(|fake| {
            let request = fake.receive().expect("a request");
            let (spawn, _) = wire::Spawn::read_from_prefix(&request.body).expect("a body");
            assert_eq!(spawn.timeout_ms.get(), 1500);
            fake.send(kind::REFUSED, request.request, 0, b"no", &[]);
        });
        let options = SpawnOptions::new().timeout(Duration::from_millis(1500));
        let error = agent.spawn_with(&plan(), &[], options).expect_err("it is refused");
        assert!(matches!(error, Error::Refused { rule, .. } if &*rule == "no"));
    });
}
