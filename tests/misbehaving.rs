//! Promise: an embryo that is dead, stopped or silent, or that lies, is an error for its owner: within
//! the timeout, without a panic, and nothing is left of it. And a seed whose owner says what is no request
//! says so or ends.
//!
//! It must never wait for longer than [`PATIENCE`] without failing: that is what is promised.

use embryo::fuzzing::{
    Reply, ReplyKind, Request, RequestFlags, RequestKind, answer_instead, reply_bytes,
    request_bytes,
};
use embryo::{
    Cause, Embryo, Error, ExecFlags, Keep, MapFlags, Op, Plan, PlanBuilder, Slot, SpawnOptions,
};
use embryo_tests::{
    Leftovers, alone, assert_nothing_left, children_of_self, is_root, rerun_as_nobody, skip,
};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Signal, pidfd_send_signal};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

/// What an embryo gets for an answer here.
const TIMEOUT: Duration = Duration::from_millis(200);
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn embryo(timeout: Duration) -> Embryo {
    Embryo::create_with(SpawnOptions::new().timeout(timeout)).expect("an embryo can be made")
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).expect("sockets can be made")
}

fn say(socket: impl AsFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// An answer: a head, and whatever is to follow it.
fn reply(kind: ReplyKind, traced: u32, rest: &[u8]) -> Vec<u8> {
    let head = Reply { kind: kind as u32, traced, ..Reply::default() };
    [reply_bytes(&head), rest].concat()
}

/// Runs it in a thread that must come to an end.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()));
    let outcome = receiver.recv_timeout(PATIENCE);
    let outcome = outcome.unwrap_or_else(|e| panic!("{what}: it hangs or panics: {e}"));
    let _ = thread.join().expect("it has answered");
    outcome
}

/// An embryo in whose place somebody has said `said` already, and maybe goes on listening.
fn liar(said: &[Vec<u8>], listens: bool) -> (Embryo, OwnedFd, Option<OwnedFd>) {
    let mut embryo = embryo(TIMEOUT);
    let (ours, theirs) = pair();
    let real = answer_instead(&mut embryo, theirs);
    for bytes in said {
        say(&ours, bytes).expect("there is room");
    }
    (embryo, real, listens.then_some(ours))
}

fn image() -> Plan {
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() }).arg("true");
    plan.build().expect("it is a plan")
}

fn cause(error: &Error) -> Option<Cause> {
    error.as_spawn().map(|fault| fault.cause)
}

#[test]
fn dead_stopped_or_silent() {
    alone!();
    drop(embryo(PATIENCE));
    let before = Leftovers::capture();
    for round in 0..6 {
        for (signal, timeout) in [(Signal::KILL, PATIENCE), (Signal::STOP, TIMEOUT)] {
            // While a message is under way: contents that take a while to copy.
            let mut embryo = embryo(timeout);
            let len = 8 << 20;
            let map = Op::Map { addr: 0, len, prot: 3, flags: MapFlags::empty() };
            let at = embryo.apply(&map, &[]).expect("it is mapped");
            let pidfd = embryo.pidfd().try_clone_to_owned().expect("it can be copied");
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(700 * round));
                pidfd_send_signal(pidfd, signal)
            });
            let filled = embryo.apply(&Op::Fill { addr: at, len, byte: 1 }, &[]);
            killer.join().expect("it does not panic").expect("it is ours");
            let error = match filled {
                Err(error) => error,
                // It was done before the signal came, which the next message meets.
                Ok(_) => embryo.apply(&Op::SetSid, &[]).expect_err("it is dead or stopped"),
            };
            match cause(&error) {
                Some(Cause::TimedOut) if signal == Signal::STOP => {}
                Some(Cause::Killed(_)) if signal == Signal::KILL => {}
                _ => panic!("{signal:?}: {error}"),
            }
            drop(embryo);
        }
    }
    assert_nothing_left(&before);
}

#[test]
fn stopped_or_dead_before_a_start() {
    alone!();
    drop(embryo(PATIENCE));
    let before = Leftovers::capture();
    for signal in [Signal::KILL, Signal::STOP] {
        let embryo = embryo(TIMEOUT);
        pidfd_send_signal(embryo.pidfd(), signal).expect("it is ours");
        let error = in_time("a start", move || embryo.start(&image(), &[]).map_err(|(e, _)| e));
        let error = error.expect_err("it does not start");
        let expected =
            if signal == Signal::STOP { Cause::TimedOut } else { Cause::Killed(Some(9)) };
        // A dead one may be found out when the message is sent.
        let found = cause(&error).map(|cause| match cause {
            Cause::Killed(None) => Cause::Killed(Some(9)),
            other => other,
        });
        assert_eq!(found, Some(expected), "{error}");
    }
    assert_nothing_left(&before);
}

#[test]
fn whose_socket_is_closed() {
    alone!();
    let (mut closed, real, _) = liar(&[], false);
    let error = closed.apply(&Op::SetSid, &[]).expect_err("nobody is there");
    assert!(cause(&error).is_some(), "{error}");
    let (error, _) = closed.start(&image(), &[]).expect_err("nobody is there");
    assert!(cause(&error).is_some(), "{error}");
    drop(real);
    assert_eq!(children_of_self(), []);
}

/// Answers to one op that are none.
#[test]
fn that_answers_nonsense_is_killed() {
    alone!();
    let word = 7u64.to_le_bytes();
    let most = vec![0; (embryo::limits::ENTRIES_MAX as usize + 1) * 8];
    let lies = [
        reply(ReplyKind::Done, 0, &[]),
        reply(ReplyKind::Done, 1, &[]),
        reply(ReplyKind::Done, 2, &word),
        reply(ReplyKind::Done, u32::MAX, &word),
        reply(ReplyKind::Done, 1, &word[..7]),
        reply(ReplyKind::Done, 1, &[&word[..], &[0]].concat()),
        reply(ReplyKind::Done, 2, &[word, word].concat()),
        reply(ReplyKind::Done, most.len() as u32 / 8, &most),
        reply(ReplyKind::Fault, 0, &[1]),
        reply(ReplyKind::Entering, 0, &[]),
        vec![0],
        vec![0xff; 15],
        vec![0xff; 16],
        vec![0xff; 100_000],
    ];
    for lie in lies {
        let shown = lie[..lie.len().min(32)].to_vec();
        for listens in [false, true] {
            let (mut embryo, _real, _ours) = liar(std::slice::from_ref(&lie), listens);
            let map = Op::Map { addr: 0, len: 4096, prot: 3, flags: MapFlags::empty() };
            let outcome = in_time("an op", move || (embryo.apply(&map, &[]), embryo));
            let (outcome, embryo) = outcome;
            let error = outcome.expect_err("it is no answer");
            assert!(cause(&error).is_some(), "{error}: {shown:x?}");
            assert_eq!(embryo.regions().count(), 0, "{shown:x?}");
        }
        assert_eq!(children_of_self(), [], "{shown:x?}");
    }
}

/// Answers that are well-formed and untrue: where memory is, how much was written.
#[test]
fn that_lies_about_its_memory_harms_nobody() {
    alone!();
    let done = |words: &[u64]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        reply(ReplyKind::Done, words.len() as u32, &bytes)
    };
    let (at, len) = (0x1000_0000, 4096);
    for lie in [0, 1, len, at, u64::MAX, u64::MAX - len, 1 << 63] {
        let mut batch = PlanBuilder::batch();
        batch
            .op(&Op::Map { addr: 0, len, prot: 3, flags: MapFlags::empty() })
            .op(&Op::Map { addr: at, len: 2 * len, prot: 3, flags: MapFlags::FIXED })
            .op(&Op::Protect { addr: at, len: 1 << 46, prot: 1 })
            .op(&Op::Remap { addr: at, len, to: 0, to_len: 3 * len })
            .op(&Op::Unmap { addr: 0x2000, len: 1 << 46 });
        let batch = batch.build_in_order().expect("it is a batch");
        let said = [done(&[lie; 5]), done(&[lie; 5]), done(&[lie])];
        let (mut embryo, _real, _ours) = liar(&said, true);
        for _ in 0..2 {
            embryo.apply_all(&batch, &[]).expect("it is an answer");
        }
        let _ = embryo.regions().count();
        // It says that it wrote what it never was asked for.
        let error = embryo.read(at, 10).expect_err("nothing is there");
        assert!(error.to_string().contains("reading what the embryo wrote"), "{error}");
        drop(embryo);
        assert_eq!(children_of_self(), []);
    }
}

#[test]
fn that_lies_about_its_start() {
    alone!();
    let record = [0u8; 16];
    let lies = [
        vec![reply(ReplyKind::Entering, 5, &record)],
        vec![reply(ReplyKind::Entering, u32::MAX, &[record; 100].concat())],
        vec![reply(ReplyKind::Entering, 0, &[]), reply(ReplyKind::Fault, 9, &record[..15])],
        vec![reply(ReplyKind::Done, 1, &record[..8])],
        vec![reply(ReplyKind::Fault, 0, &[]), reply(ReplyKind::Fault, 0, &[])],
        vec![vec![0xff; 40]],
        vec![vec![1]],
    ];
    for lie in lies {
        for listens in [false, true] {
            let (embryo, _real, _ours) = liar(&lie, listens);
            match in_time("a start", move || embryo.start(&image(), &[])) {
                // It lives, and says that it has started: that is what a process may say.
                Ok(mut process) => {
                    let _ = process.kill();
                    process.wait().expect("it was killed");
                }
                Err((error, _)) => assert!(cause(&error).is_some(), "{error}"),
            }
        }
        assert_eq!(children_of_self(), []);
    }
}

/// One that goes on and on.
#[test]
fn that_never_stops_answering() {
    alone!();
    for kind in [ReplyKind::Done, ReplyKind::Entering] {
        let (embryo, _real, ours) = liar(&[], true);
        let ours = ours.expect("it listens");
        let said = reply(kind, 1, &[0; 16]);
        let talk = |socket: OwnedFd| {
            let said = said.clone();
            std::thread::spawn(move || {
                let flags = SendFlags::NOSIGNAL;
                while rustix::net::send(&socket, &said, flags) != Err(rustix::io::Errno::PIPE) {}
            })
        };
        let talkers = [(); 4].map(|()| talk(ours.try_clone().expect("it can be copied")));
        drop(ours);
        let outcome = in_time("a start", move || embryo.start(&image(), &[]));
        let (error, _) = outcome.expect_err("it never starts");
        assert!(cause(&error).is_some(), "{error}");
        for talker in talkers {
            talker.join().expect("it does not panic");
        }
    }
    assert_eq!(children_of_self(), []);
}

/// Descriptors that come with an answer are not wanted.
#[test]
fn that_sends_descriptors_leaves_none() {
    alone!();
    drop(embryo(PATIENCE));
    let before = Leftovers::capture();
    let file = std::fs::File::open("/dev/null").expect("it is there");
    for count in [1, 2, 100, 253] {
        let (mut embryo, real, ours) = liar(&[], true);
        let ours = ours.expect("it listens");
        let said = reply(ReplyKind::Done, 1, &0u64.to_le_bytes());
        let fds = vec![file.as_fd(); count];
        let mut space = vec![MaybeUninit::uninit(); 2048];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        assert!(rights.push(SendAncillaryMessage::ScmRights(&fds)), "there is room");
        let flags = SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&ours, &[IoSlice::new(&said)], &mut rights, flags)
            .expect("it is sent");
        embryo.apply(&Op::SetSid, &[]).expect_err("an answer has no descriptors");
        drop((embryo, real, ours));
    }
    drop(file);
    let left = before.diff(&Leftovers::capture());
    assert!(left.iter().all(|line| line.contains("was closed")), "{left:?}");
}

/// One request, well-formed but for what is changed.
fn request(change: impl FnOnce(&mut Request)) -> Vec<u8> {
    let plan = PlanBuilder::batch().build().expect("it is a batch");
    let mut head = Request {
        magic: Request::MAGIC,
        kind: RequestKind::Apply as u32,
        plan_len: plan.as_bytes().len() as u32,
        ..Request::default()
    };
    change(&mut head);
    [request_bytes(&head), plan.as_bytes()].concat()
}

/// The other direction: what is no request is answered as such, and the embryo can be used on.
#[test]
fn a_seed_answers_what_is_no_request() {
    alone!();
    let mut embryo = embryo(PATIENCE);
    let requests = [
        request(|head| head.magic ^= 1),
        request(|head| head.kind = 0),
        request(|head| head.kind = RequestKind::Grants as u32),
        request(|head| head.plan_len += 1),
        request(|head| head.plan_len = u32::MAX),
        request(|head| head.plan_len -= 1),
        request(|head| head.grants = u32::MAX),
        request(|head| head.flags = RequestFlags::PLAN_IN_FD),
        request(|head| head.flags = RequestFlags::LIVE),
        vec![0xff; 10],
        vec![0xff; 300_000 / 2],
    ];
    for bytes in requests {
        let (ours, theirs) = pair();
        drop(ours);
        let real = answer_instead(&mut embryo, theirs);
        say(&real, &bytes).expect("it can be sent");
        let mut answer = [0; 64];
        let receive = rustix::net::RecvFlags::empty();
        let (len, _) = rustix::net::recv(&real, &mut answer, receive).expect("it answers");
        let _ = answer_instead(&mut embryo, real);
        assert_eq!(answer[..4], (ReplyKind::Fault as u32).to_le_bytes(), "{:x?}", &answer[..len]);
        embryo.apply(&Op::Umask { mode: 0o22 }, &[]).expect("it can be used on");
    }
    // Grants that never come: the next request is no grant, and is lost with the first.
    let (_, theirs) = pair();
    let real = answer_instead(&mut embryo, theirs);
    say(&real, &request(|head| head.grants = 3)).expect("it can be sent");
    say(&real, &request(|_| {})).expect("it can be sent");
    let mut answer = [0; 64];
    let receive = rustix::net::RecvFlags::empty();
    rustix::net::recv(&real, &mut answer, receive).expect("it answers");
    assert_eq!(answer[..4], (ReplyKind::Fault as u32).to_le_bytes());
    let _ = answer_instead(&mut embryo, real);
    let file = std::fs::File::open("/dev/null").expect("it is there");
    let put = Op::PutFd { slot: Slot(0), fd: 30 };
    embryo.apply(&put, &[file.as_fd()]).expect("it can be used on");
}

/// An owner that is gone before its request is whole, and whose socket somebody else still has.
#[test]
fn that_waits_for_grants_dies_with_its_owner() {
    alone!();
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let holder = std::io::pipe().expect("a pipe can be made");
    // SAFETY: this process has one thread.
    let owner = unsafe { libc::fork() };
    if owner == 0 {
        let mut embryo = embryo(PATIENCE);
        let (_, theirs) = pair();
        let real = answer_instead(&mut embryo, theirs);
        say(&real, &request(|head| head.grants = 3)).expect("it can be sent");
        // SAFETY: as above; the grandchild only waits for the test to end.
        if unsafe { libc::fork() } == 0 {
            drop((holder.1, writer));
            let _ = std::io::Read::read(&mut &holder.0, &mut [0]);
            std::process::exit(0);
        }
        std::thread::sleep(Duration::from_millis(50));
        let _ = std::io::Write::write_all(&mut &writer, &embryo.id().to_le_bytes());
        // SAFETY: nothing is to be tidied up.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut pid = [0; 4];
    std::io::Read::read_exact(&mut reader, &mut pid).expect("it tells");
    let mut status = 0;
    // SAFETY: our own child, and a live integer.
    unsafe { libc::waitpid(owner, &raw mut status, 0) };
    let stat = format!("/proc/{}/stat", u32::from_le_bytes(pid));
    let gone = || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| !rest.starts_with(['S', 'R']))
    };
    let died = embryo_tests::wait_for(Duration::from_secs(3), gone);
    drop(holder);
    assert!(embryo_tests::wait_for(PATIENCE, gone), "it does not even die with the socket");
    assert!(died, "it outlives its owner");
}

/// What a start that fails needed for its many strings.
#[test]
fn a_start_that_fails_leaves_no_memory_in_the_embryo() {
    alone!();
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION).arg("x");
    (0..5000).for_each(|number| _ = plan.env(format!("V{number}"), "value"));
    plan.op(&Op::ExecPath { path: c"/no/such/program", flags: ExecFlags::empty() });
    let plan = plan.build().expect("it is a plan");
    let mut embryo = embryo(PATIENCE);
    let size = |embryo: &Embryo| -> u64 {
        let maps = embryo.maps().expect("it lives");
        maps.iter().map(|entry| entry.range.end - entry.range.start).sum()
    };
    let before = size(&embryo);
    for _ in 0..10 {
        let (_, back) = embryo.start(&plan, &[]).expect_err("it is not there");
        embryo = back.expect("it is given back");
    }
    assert_eq!(size(&embryo), before);
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    for test in [
        "dead_stopped_or_silent",
        "stopped_or_dead_before_a_start",
        "whose_socket_is_closed",
        "that_answers_nonsense_is_killed",
        "that_lies_about_its_memory_harms_nobody",
        "that_lies_about_its_start",
        "that_sends_descriptors_leaves_none",
        "a_seed_answers_what_is_no_request",
    ] {
        rerun_as_nobody(test);
    }
}
