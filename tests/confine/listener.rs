//! The listener of a filter: handed over before the image is executed, whoever waits for what.

use crate::filter::{ALLOW, errno, filter};
use crate::launch::{Draft, PATIENCE, Way};
use crate::{leaving_nothing, probe};
use embryo::{
    Action, AddFd, Cause, Error, FilterFlags, Hatchery, Listener, Notification, Op, Policy,
    Process, SpawnOptions,
};
use embryo_tests::{alone, skip, wait_for};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const LISTENER: FilterFlags = FilterFlags::LISTENER;

/// Whether somebody listens to these tests already: there is one listener at most.
fn listened_to() -> bool {
    !filters_are_few()
}

fn filters_are_few() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    status.contains("Seccomp:\t0")
}

/// One call, in time.
#[track_caller]
fn next(listener: &Listener) -> Notification {
    listener.receive_timeout(PATIENCE).expect("it can be read").expect("a call comes in time")
}

#[track_caller]
fn end(process: &mut Process) -> std::process::ExitStatus {
    process.wait_timeout(PATIENCE).expect("it can be waited for").expect("it ends")
}

/// The probe says its session; getsid(2) is asked about.
fn asked(calls: &[libc::c_long]) -> Vec<u8> {
    filter(calls, NOTIFY, ALLOW)
}

#[test]
fn a_call_is_answered() {
    alone!();
    if !crate::have_python() {
        skip!("not installed: /usr/bin/python3");
    }
    if listened_to() {
        skip!("this process is under a filter, which may have a listener");
    }
    leaving_nothing(|| {
        let mut command = probe(&["report"]);
        let program = asked(&[libc::SYS_sethostname]);
        let mut process =
            command.no_new_privs(true).seccomp(LISTENER, &program).spawn().expect("it starts");
        let listener = process.take_listener().expect("a filter has one");
        assert!(process.take_listener().is_none(), "one");
        assert!(end(&mut process).success());
        let nobody = listener.receive_timeout(PATIENCE).expect("it can be read");
        assert_eq!(nobody, None, "nobody is under it any more");
        assert!(listener.receive().expect("it can be read").is_none());
    });
    leaving_nothing(|| {
        let errnos = [libc::EPERM, 4095];
        for expected in errnos {
            let mut process = spawn_python(
                "import os\ntry:\n os.truncate('/x', 0)\nexcept OSError as e: os._exit(e.errno & 127)",
            );
            let listener = process.take_listener().expect("a filter has one");
            let call = next(&listener);
            assert_eq!(i64::from(call.number), libc::SYS_truncate);
            assert!(listener.is_waiting(call.id));
            assert_eq!(call.tid, process.id());
            listener.reply_errno(call.id, expected).expect("it waits");
            assert!(!listener.is_waiting(call.id));
            let again = listener.reply_errno(call.id, 1).expect_err("it has its answer");
            let answers = [Some(libc::ENOENT), Some(libc::EINPROGRESS)];
            assert!(answers.contains(&again.raw_os_error()), "{again}");
            let bad = listener.reply_errno(call.id, 0).expect_err("no errno");
            assert_eq!(bad.raw_os_error(), Some(libc::EINVAL));
            assert_eq!(end(&mut process).code(), Some(expected & 127));
        }
    });
    leaving_nothing(|| {
        // A value that no truncate(2) returns, which the C library hands on.
        let mut process =
            spawn_python("import ctypes, os\nos._exit(ctypes.CDLL(None).truncate(b'/x', 0) & 127)");
        let listener = process.take_listener().expect("a filter has one");
        let call = next(&listener);
        listener.reply_value(call.id, 77).expect("it waits");
        assert_eq!(end(&mut process).code(), Some(77));
    });
    leaving_nothing(|| {
        let file = tempfile::NamedTempFile::new().expect("made");
        std::fs::write(file.path(), "text").expect("it can be written");
        let length = || file.as_file().metadata().expect("open").len();
        let path = file.path().display();
        let script = format!("import os\nos.truncate('{path}', 2)\nos._exit(3)");
        let mut process = spawn_python(&script);
        let listener = process.take_listener().expect("a filter has one");
        assert_eq!(length(), 4);
        listener.continue_(next(&listener).id).expect("it waits");
        assert_eq!(end(&mut process).code(), Some(3));
        assert_eq!(length(), 2);
    });
    leaving_nothing(|| {
        // A descriptor instead of an answer, at a number and at any.
        let mut process = spawn_python(
            "import ctypes, os\nfd = ctypes.CDLL(None).truncate(b'/x', 0)\n\
             os.write(fd, b'there'); os.write(50, b' and'); os._exit(0)",
        );
        let (mut reader, writer) = std::io::pipe().expect("made");
        let listener = process.take_listener().expect("a filter has one");
        let call = next(&listener);
        let at = listener.add_fd(call.id, writer.as_fd(), AddFd::new().at(50)).expect("it waits");
        assert_eq!(at, 50);
        let at = listener.add_fd(call.id, writer.as_fd(), AddFd::new().cloexec().reply());
        // As an answer only since Linux 5.14.
        let at = match at {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let how = AddFd::new().cloexec();
                let at = listener.add_fd(call.id, writer.as_fd(), how).expect("it waits");
                listener.reply_value(call.id, at.into()).expect("it waits");
                at
            }
            other => other.expect("it waits"),
        };
        assert!(at > 2 && at != 50, "{at}");
        drop(writer);
        assert_eq!(end(&mut process).code(), Some(0));
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("it can be read");
        assert_eq!(text, "there and");
    });
}

/// truncate(2) is asked about.
fn spawn_python(script: &str) -> Process {
    let mut command = embryo::Command::new("/usr/bin/python3");
    command.args(["-S", "-c", script]).kill_on_drop(true);
    command.spawn_options(Way::Seed.options()).no_new_privs(true);
    let program = asked(&[libc::SYS_truncate]);
    command.seccomp(LISTENER, &program).spawn().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn nobody_who_listens_is_enosys() {
    alone!();
    if !crate::have_python() {
        skip!("not installed: /usr/bin/python3");
    }
    if listened_to() {
        skip!("this process is under a filter, which may have a listener");
    }
    let script =
        "import os\ntry:\n os.truncate('/x', 0)\nexcept OSError as e: os._exit(e.errno & 127)";
    // With the process goes what was not taken of it; here it is let go of first.
    let mut process = spawn_python(script);
    drop(process.take_listener());
    assert_eq!(end(&mut process).code(), Some(libc::ENOSYS));
}

/// A filter that asks about exec itself: the start waits for an answer, and nobody hangs who does as the
/// documentation says, nor who does not.
#[test]
fn the_start_itself_is_answered() {
    alone!();
    if listened_to() {
        skip!("this process is under a filter, which may have a listener");
    }
    let program = asked(&[libc::SYS_execve, libc::SYS_execveat]);
    let command = || {
        let mut command = probe(&["exit", "5"]);
        command.no_new_privs(true).seccomp(LISTENER, &program);
        command
    };
    leaving_nothing(|| {
        let mut launching = command().launch().expect("it is sent");
        let listener = launching.take_listener().expect("it comes before the image");
        assert!(launching.take_listener().is_none());
        assert!(launching.try_wait().expect("it lives").is_none(), "it waits for an answer");
        let call = next(&listener);
        assert_eq!(i64::from(call.number), libc::SYS_execve);
        listener.continue_(call.id).expect("it waits");
        let mut process = launching.wait().unwrap_or_else(|error| panic!("{error}"));
        assert!(process.take_listener().is_none(), "it was taken");
        assert_eq!(end(&mut process).code(), Some(5));
    });
    // From another thread, and refused: a fault as any.
    leaving_nothing(|| {
        let mut launching = command().launch().expect("it is sent");
        let listener = launching.take_listener().expect("it comes before the image");
        let answers = std::thread::spawn(move || {
            let call = next(&listener);
            listener.reply_errno(call.id, libc::EACCES).expect("it waits");
        });
        let error = launching.wait().expect_err("refused");
        answers.join().expect("it answers");
        assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{error}");
        assert_eq!(error.as_spawn().map(|fault| fault.op()), Some("exec"), "{error}");
    });
    // Whoever cannot answer is told so, at once.
    leaving_nothing(|| {
        let error = command().spawn().expect_err("nobody could answer");
        assert!(matches!(error, Error::StartIsNotified), "{error}");
        let error = command().status().expect_err("nobody could answer");
        assert!(matches!(error, Error::StartIsNotified), "{error}");
        let mut draft = Draft::probe(&["exit", "5"]);
        draft.op(&Op::NoNewPrivs).op(&Op::Seccomp { flags: LISTENER, program: &program });
        let error = draft.spawn(Way::Seed).expect_err("nobody could answer");
        assert!(matches!(error, Error::StartIsNotified), "{error}");
        let embryo = embryo::Embryo::create().expect("made");
        let (error, embryo) = embryo.start(&draft.build(), &[]).expect_err("nobody could answer");
        assert!(matches!(error, Error::StartIsNotified), "{error}");
        assert!(embryo.is_some_and(|embryo| embryo.is_alive()), "and it lives");
    });
    // Whoever does not answer waits as long as for any start.
    leaving_nothing(|| {
        let mut command = command();
        command.spawn_options(SpawnOptions::new().timeout(Duration::from_secs(3)));
        let mut launching = command.launch().expect("it is sent");
        let listener = launching.take_listener().expect("it comes before the image");
        let error = launching.wait().expect_err("nobody answers");
        assert_eq!(error.as_spawn().map(|fault| fault.cause), Some(Cause::TimedOut), "{error}");
        assert!(error.to_string().contains("listener"), "{error}");
        drop(listener);
    });
    // Dropped on its way it is gone, and so for a listener that is dropped.
    leaving_nothing(|| {
        let mut launching = command().launch().expect("it is sent");
        let listener = launching.take_listener().expect("it comes before the image");
        drop(launching);
        let gone = || listener.receive_timeout(Duration::ZERO).is_ok_and(|call| call.is_none());
        assert!(wait_for(PATIENCE, gone));
    });
}

/// An owner that dies while the start waits for an answer leaves nothing that waits for ever.
#[test]
fn an_owner_that_dies_leaves_no_start_that_waits() {
    alone!();
    if listened_to() {
        skip!("this process is under a filter, which may have a listener");
    }
    let program = asked(&[libc::SYS_execve]);
    let (mut reader, writer) = std::io::pipe().expect("made");
    // SAFETY: the copy does nothing but launch and wait to be killed; this test runs alone.
    let owner = unsafe { libc::fork() };
    if owner == 0 {
        drop(reader);
        let mut command = probe(&["exit", "5"]);
        command.no_new_privs(true).seccomp(LISTENER, &program);
        command.spawn_options(SpawnOptions::new().timeout(Duration::from_secs(5)));
        let mut launching = command.launch().expect("it is sent");
        let listener = launching.take_listener().expect("it comes before the image");
        let call = next(&listener);
        std::io::Write::write_all(&mut &writer, &call.tid.to_le_bytes()).expect("there is room");
        loop {
            std::thread::park();
        }
    }
    drop(writer);
    let mut tid = [0; 4];
    reader.read_exact(&mut tid).expect("it says which");
    let path = format!("/proc/{}/status", u32::from_le_bytes(tid));
    assert!(std::fs::exists(&path).expect("readable"), "it waits");
    // SAFETY: a child of this process, which is not reaped yet.
    unsafe { libc::kill(owner, libc::SIGKILL) };
    // SAFETY: likewise; the status is not asked for.
    unsafe { libc::waitpid(owner, std::ptr::null_mut(), 0) };
    assert!(wait_for(PATIENCE, || !std::fs::exists(&path).expect("readable")), "it is gone");
}

/// From a policy, from a hatchery, with several filters.
#[test]
fn whoever_makes_the_child() {
    alone!();
    if !crate::have_python() {
        skip!("not installed: /usr/bin/python3");
    }
    if listened_to() {
        skip!("this process is under a filter, which may have a listener");
    }
    let mut policy = Policy::new(Action::Allow);
    policy.notify(["truncate"]);
    let script =
        "import os\ntry:\n os.truncate('/x', 0)\nexcept OSError as e: os._exit(e.errno & 127)";
    let hatchery = Hatchery::builder().size(1).build().expect("made");
    for from_hatchery in [false, true] {
        let mut command = embryo::Command::new("/usr/bin/python3");
        command.args(["-S", "-c", script]).kill_on_drop(true);
        command.spawn_options(Way::Seed.options());
        if from_hatchery {
            command.hatchery(&hatchery);
        }
        command.seccomp_policy(&policy).expect("a policy");
        // A second one, in front of it in strength only.
        command.seccomp(FilterFlags::empty(), &filter(&[libc::SYS_acct], errno(1), ALLOW));
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{error}"));
        let listener = process.take_listener().expect("a policy that notifies has one");
        let call = next(&listener);
        listener.reply_errno(call.id, libc::EROFS).expect("it waits");
        assert_eq!(end(&mut process).code(), Some(libc::EROFS));
    }
}

/// A second listener is refused by the kernel, and a call that nobody lets through is named.
#[test]
fn what_cannot_be_is_said() {
    alone!();
    if !crate::have_python() {
        skip!("not installed: /usr/bin/python3");
    }
    if listened_to() {
        skip!("this process is under a filter, which may have a listener");
    }
    // Under a filter with a listener, which a child inherits.
    let mut outer = probe(&["exit", "0"]);
    let program = asked(&[libc::SYS_acct]);
    outer.no_new_privs(true).seccomp(LISTENER, &program).seccomp(LISTENER, &program);
    let error = outer.spawn().expect_err("two");
    assert!(error.to_string().contains("at most one filter has a listener"), "{error}");
    let mut command = probe(&["exit", "0"]);
    let forbidden = filter(&[libc::SYS_execve], errno(libc::EPERM), ALLOW);
    let error = command.no_new_privs(true).seccomp(FilterFlags::empty(), &forbidden).spawn();
    let error = error.expect_err("no image").to_string();
    assert!(error.contains("forbids execve(2)") && error.contains("EPERM"), "{error}");
    // A signal ends whoever waits.
    let mut process = spawn_python("import os\nos.truncate('/x', 0)");
    let listener = process.take_listener().expect("a filter has one");
    let call = next(&listener);
    process.kill().expect("it lives");
    assert_eq!(end(&mut process).signal(), Some(libc::SIGKILL));
    assert!(!listener.is_waiting(call.id));
    let late = listener.continue_(call.id).expect_err("nobody waits");
    assert_eq!(late.raw_os_error(), Some(libc::ENOENT));
}
