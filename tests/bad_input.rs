//! Promises 2 and 6: whatever is wrong with a description, or lacking for a launch, is a clear
//! error, and nothing is left behind.
//!
//! That each malformed plan is rejected for its own reason is tested where plans are made; here
//! are arbitrary bytes in large numbers, and what only shows when a plan is executed.

mod before;
mod launch;

use before::{Before, warm_up};
use embryo::{Cause, Command, Error, ExecFlags, Keep, Op, Plan, SpawnError, Stdio, Step};
use embryo_tests::{alone, is_root, probe_path, rerun_as_nobody, tempdir};
use launch::{Draft, Way, c_path};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;

// ---- bytes that are alleged to be a plan ----

/// A plan with something of each kind in it: slots, numbers, paths, lists, strings.
fn rich_plan() -> Plan {
    let mut plan = Plan::builder();
    let slots = [plan.slot(), plan.slot()];
    plan.keep(Keep::SESSION | Keep::SIGNAL_MASK)
        .op(&Op::PutFd { slot: slots[1], fd: 0 })
        .op(&Op::PutFd { slot: slots[0], fd: 9 })
        .op(&Op::OpenNull { fd: 2, access: embryo::Access::Write })
        .op(&Op::Rlimit { resource: 4, soft: 0, hard: u64::MAX })
        .op(&Op::Nice { value: -3 })
        .op(&Op::Affinity { mask: &[1, 0, 0, 0, 0, 0, 0, 0] })
        .op(&Op::Groups { list: &[1, 0, 0, 0, 2, 0, 0, 0] })
        .op(&Op::ChdirPath { path: c"/tmp" })
        .op(&Op::Umask { mode: 0o077 })
        .op(&Op::SignalIgnore { set: 1 << 12 })
        .op(&Op::ExecName { name: c"true", search: c"/bin:/usr/bin", flags: ExecFlags::SHELL })
        .arg("true")
        .arg("")
        .env("A", "b")
        .env_string("");
    plan.build().expect("it is a plan")
}

/// Bytes are a plan or they are not. What is one can be read to its end, and says the same bytes.
fn assert_sound(bytes: &[u8]) -> bool {
    match Plan::from_bytes(bytes) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
        Ok(plan) => {
            assert_eq!(plan.as_bytes(), bytes);
            let view = plan.as_plan();
            assert!(view.ops().all(|op| op.is_some()));
            assert_eq!(view.argv().count(), view.argv().by_ref().count());
            assert!(!format!("{:?}{}", plan, embryo::Explained(view)).is_empty());
            true
        }
    }
}

#[test]
fn no_part_of_a_plan_is_a_plan() {
    let plan = rich_plan();
    let bytes = plan.as_bytes();
    assert!(assert_sound(bytes));
    for len in 0..bytes.len() {
        assert!(!assert_sound(&bytes[..len]), "{len} of {} bytes", bytes.len());
        assert!(!assert_sound(&bytes[bytes.len() - len..]), "the last {len} bytes");
    }
    for extra in [1, 7, 64, 4096] {
        assert!(!assert_sound(&[bytes, &vec![0; extra]].concat()), "{extra} bytes more");
    }
}

/// With one bit changed, two plans that are one have different bytes, since there is one encoding.
#[test]
fn no_bit_is_without_meaning() {
    let plan = rich_plan();
    let mut still = 0;
    for at in 0..plan.as_bytes().len() {
        for bit in 0..8 {
            let mut bytes = plan.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            still += u32::from(assert_sound(&bytes));
        }
    }
    // A letter of a path or a bit of a set may well change.
    assert!(still > 100, "{still} changes made another plan");
}

/// Every field of 2, 4 and 8 bytes, set to what overflows.
#[test]
fn no_number_overflows() {
    let plan = rich_plan();
    let extremes =
        [u64::MAX, u64::MAX - 1, i64::MAX as u64, 1 << 63, 1 << 31, (1 << 31) - 1, 1 << 16];
    for at in 0..plan.as_bytes().len() {
        for width in [2, 4, 8] {
            for extreme in extremes {
                let mut bytes = plan.as_bytes().to_vec();
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&extreme.to_le_bytes()[..end - at]);
                assert_sound(&bytes);
            }
        }
    }
}

// ---- what a description cannot say ----

#[test]
fn a_nul_is_refused_wherever_it_stands() {
    let nul = "a\0b";
    let mut commands = [
        Command::new(nul),
        Command::new("true"),
        Command::new("true"),
        Command::new("true"),
        Command::new("true"),
        Command::new("true"),
        Command::new("true"),
    ];
    commands[1].arg(nul);
    commands[2].env("NAME", nul);
    commands[3].env(nul, "value");
    commands[4].current_dir(nul);
    commands[5].chroot(nul);
    commands[6].arg0(nul);
    for command in &mut commands {
        let error = command.spawn().unwrap_err();
        assert!(matches!(error, Error::Plan(_)), "{command:?}: {error}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{command:?}: {error}");
        assert!(error.to_string().contains("NUL"), "{command:?}: {error}");
    }
}

#[track_caller]
fn fault(outcome: Result<embryo::Process, Error>) -> SpawnError {
    match outcome {
        Err(Error::Spawn(error)) => *error,
        Err(other) => panic!("another error: {other}"),
        Ok(process) => panic!("a success: {process:?}"),
    }
}

/// The kernel takes a quarter of the stack limit, 2 MiB by default and 6 MiB at most.
#[test]
fn too_many_strings_are_refused_by_the_plan_or_by_the_kernel() {
    alone!();
    warm_up();
    let before = Before::capture();
    let word = "x".repeat(100_000);
    let with = |count: usize, env: bool| {
        let mut command = Command::new(probe_path());
        command.arg("exit").arg("0").env_clear();
        for number in 0..count {
            match env {
                true => command.env(format!("N{number}"), &word),
                false => command.arg(&word),
            };
        }
        command
    };
    let stack = getrlimit(Resource::Stack);
    let lower = Rlimit { current: Some(8 << 20), ..stack };
    setrlimit(Resource::Stack, lower).expect("a soft limit can be set");
    for env in [false, true] {
        let mut fits = with(15, env);
        assert!(fits.spawn().is_ok_and(|mut process| process.wait().is_ok()));
        for way in Way::BOTH {
            let mut command = with(30, env);
            let error = fault(command.spawn_options(way.options()).spawn());
            assert_eq!((error.op(), error.fault.errno), ("exec", 7), "{way:?}: {error}");
            assert_eq!(error.cause, Cause::Refused);
            assert!(error.hint.is_some(), "{error}");
        }
        let error = with(70, env).spawn().unwrap_err();
        assert!(matches!(error, Error::Plan(_)), "{error}");
    }
    let error = Command::new("true").arg("x".repeat(128 << 10)).spawn().unwrap_err();
    assert!(matches!(error, Error::Plan(_)), "{error}");
    let long = "x".repeat((128 << 10) - 1);
    assert!(Command::new("true").arg(long).status().expect("it starts").success());
    before.assert_nothing_left();
}

#[test]
fn a_wrong_number_of_grants_is_refused_before_anything_happens() {
    let mut draft = Draft::probe(&["exit", "0"]);
    let file = File::open("/dev/null").expect("there is one");
    let slot = draft.grant(file.try_clone().expect("it can be copied"));
    draft.op(&Op::PutFd { slot, fd: 3 });
    let plan = draft.build();
    for grants in [vec![], vec![std::os::fd::AsFd::as_fd(&file); 2]] {
        match embryo::spawn(&plan, &grants) {
            Err(Error::Grants { slots: 1, given }) => assert_eq!(given, grants.len()),
            other => panic!("{other:?}"),
        }
    }
    let batch = embryo::PlanBuilder::batch().op(&Op::Umask { mode: 0 }).build();
    let error = embryo::spawn(&batch.expect("a batch is a plan"), &[]).unwrap_err();
    assert!(matches!(error, Error::Plan(_)), "{error}");
}

// ---- what is no program ----

#[test]
fn what_is_no_program_is_told_apart() {
    alone!();
    warm_up();
    let before = Before::capture();
    let dir = tempdir();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("directory")).expect("it can be made");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("fifo"),
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o777),
        0,
    )
    .expect("anybody can make a FIFO");
    let socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("it can be made");
    std::os::unix::fs::symlink("nowhere", path("dangling")).expect("it can be made");
    std::os::unix::fs::symlink("loop", path("loop")).expect("it can be made");
    std::fs::write(path("text"), "text").expect("it can be written");
    let expect = |name: &str, errno: i32, word: &str| {
        for way in Way::BOTH {
            let mut draft = Draft::probe(&[]);
            draft.op(&Op::ExecPath { path: &c_path(&path(name)), flags: ExecFlags::empty() });
            let error = fault(draft.spawn(way));
            assert_eq!(i32::from(error.fault.errno), errno, "{name}, {way:?}: {error}");
            assert!(error.to_string().contains(word), "{name}, {way:?}: {error}");
            assert!(error.to_string().contains(name), "{name}, {way:?}: {error}");
        }
    };
    expect("nowhere", libc::ENOENT, "does not exist");
    expect("nowhere/at/all", libc::ENOENT, "does not exist");
    expect("dangling", libc::ENOENT, "symbolic link");
    expect("loop", libc::ELOOP, "symbolic links");
    expect("text/below", libc::ENOTDIR, "Not a directory");
    expect("directory", libc::EACCES, "is a directory");
    // It must not be waited for somebody to open the other end.
    expect("fifo", libc::EACCES, "not a regular file");
    expect("socket", libc::EACCES, "not a regular file");
    expect("text", libc::EACCES, "no execute permission");
    expect(&"x".repeat(300), libc::ENAMETOOLONG, "too long");
    drop(socket);
    before.assert_nothing_left();
}

/// A descriptor that only names a file (`O_PATH`) serves as a program and as a directory, as far
/// as the kernel lets it, and never as a terminal.
#[test]
fn a_path_descriptor_serves_where_a_name_would() {
    alone!();
    warm_up();
    let before = Before::capture();
    let path_fd = |path: &std::path::Path| -> OwnedFd {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).expect("it exists")
    };
    for way in Way::BOTH {
        let mut draft = Draft::probe(&["exit", "7"]);
        let image = draft.grant(path_fd(&probe_path()));
        let dir = draft.grant(path_fd(std::path::Path::new("/usr")));
        draft.op(&Op::ChdirSlot { slot: dir });
        draft.op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() });
        let mut process = draft.spawn(way).unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert_eq!(process.wait().expect("it can be waited for").code(), Some(7), "{way:?}");

        let mut draft = Draft::probe(&[]);
        let image = draft.grant(path_fd(std::path::Path::new("/usr")));
        draft.op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() });
        let error = fault(draft.spawn(way));
        assert_eq!((error.op(), error.fault.errno), ("exec-fd", 13), "{way:?}: {error}");

        let mut draft = Draft::probe(&[]);
        let terminal = draft.grant(path_fd(std::path::Path::new("/dev/null")));
        draft.op(&Op::SetSid).op(&Op::ControllingTty { slot: terminal });
        let error = fault(draft.spawn(way));
        assert_eq!((error.op(), error.fault.errno), ("controlling-tty", 9), "{way:?}: {error}");
    }
    before.assert_nothing_left();
}

// ---- what runs out ----

/// From no free descriptor at all to enough of them: each launch is an error or a whole child,
/// and none leaves anything.
#[test]
fn descriptors_run_out() {
    alone!();
    for reserved in [false, true] {
        if reserved {
            warm_up();
        }
        let room = 40;
        let open = || rustix::fs::open("/dev/null", OFlags::CLOEXEC, Mode::empty());
        let first_free = std::os::fd::AsRawFd::as_raw_fd(&open().expect("there is room"));
        let limit = getrlimit(Resource::Nofile);
        let lower = Rlimit { current: Some((first_free.cast_unsigned() + room).into()), ..limit };
        setrlimit(Resource::Nofile, lower).expect("it is lower");
        let mut files: Vec<OwnedFd> = std::iter::from_fn(|| open().ok()).collect();
        // To look takes descriptors too, so the limit is lifted meanwhile.
        let look = |what: fn() -> usize| {
            setrlimit(Resource::Nofile, limit).expect("it was so before");
            let seen = what();
            setrlimit(Resource::Nofile, lower).expect("it is lower");
            seen
        };
        let (mut worked, mut refused) = (0, 0);
        while !files.is_empty() {
            for through_seed in [false, true] {
                let before = look(descriptors);
                let mut command = Command::new(probe_path());
                let command = command.args(["exit", "3"]).stdin(Stdio::null());
                let options = embryo::SpawnOptions::new().timeout(launch::PATIENCE);
                let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
                match piped.spawn_options(options.through_seed(through_seed)).spawn() {
                    Ok(mut process) => {
                        let status = process.wait().expect("it can be waited for");
                        assert_eq!(status.code(), Some(3), "{through_seed}");
                        worked += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                        refused += 1;
                        assert!(worked == 0 || through_seed, "{error}: it had worked with less");
                    }
                }
                assert_eq!(look(|| embryo_tests::children_of_self().len()), 0);
                // The reserved sockets are made as soon as they can be, and stay.
                let kept = look(descriptors) - before;
                assert!(kept == 0 || !reserved && kept <= 40, "{kept} descriptors were left");
            }
            files.pop();
        }
        assert!(worked > 0 && refused > 0, "{worked} worked, {refused} were refused");
        setrlimit(Resource::Nofile, limit).expect("it was so before");
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The child has a limit of its own, which a grant's number may exceed.
#[test]
fn a_number_beyond_the_limit_is_refused() {
    alone!();
    warm_up();
    let before = Before::capture();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..limit }).expect("it is lower");
    for way in Way::BOTH {
        for (number, works) in [(199, true), (200, false), (100_000, false)] {
            let mut draft = Draft::probe(&["exit", "0"]);
            let slot = draft.grant(File::open("/dev/null").expect("there is one"));
            draft.op(&Op::PutFd { slot, fd: number });
            match draft.spawn(way) {
                Ok(mut process) => assert!(works && process.wait().expect("it ends").success()),
                Err(error) => {
                    let error = fault(Err(error));
                    assert!(!works, "{way:?}, {number}: {error}");
                    assert_eq!((error.op(), error.fault.errno), ("put-fd", 9), "{error}");
                    assert!(error.hint.is_some(), "{error}");
                }
            }
        }
    }
    drop(before);
}

/// RLIMIT_NPROC counts the processes of an ordinary user.
#[test]
fn processes_run_out() {
    if is_root() {
        // Root is not limited, so this runs again as somebody who is.
        return rerun_as_nobody(embryo_tests::here!());
    }
    alone!();
    warm_up();
    let before = Before::capture();
    let limit = getrlimit(Resource::Nproc);
    setrlimit(Resource::Nproc, Rlimit { current: Some(0), ..limit }).expect("it is lower");
    for way in Way::BOTH {
        let error = fault(Draft::probe(&["exit", "0"]).spawn(way));
        assert_eq!((error.step(), error.fault.errno), (Some(Step::Clone), 11), "{way:?}: {error}");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{way:?}: {error}");
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("RLIMIT_NPROC")), "{error}");
        before.assert_nothing_left();
    }
    setrlimit(Resource::Nproc, limit).expect("it was so before");
    assert!(Draft::probe(&["exit", "0"]).spawn(Way::AsRouted).is_ok());
}

/// Not a page more than there is: the launch has no stack to give to a child.
#[test]
fn address_space_runs_out() {
    alone!();
    let before = Before::capture();
    let draft = Draft::probe(&["exit", "0"]);
    let statm = std::fs::read_to_string("/proc/self/statm").expect("there is a /proc");
    let pages: u64 = statm.split(' ').next().and_then(|size| size.parse().ok()).expect("a size");
    let limit = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(pages * 4096), ..limit }).expect("it is lower");
    let outcome = draft.spawn(Way::AsRouted);
    setrlimit(Resource::As, limit).expect("it was so before");
    let error = fault(outcome);
    assert_eq!((error.step(), error.fault.errno), (Some(Step::Prepare), 12), "{error}");
    before.assert_nothing_left();
    assert!(draft.spawn(Way::AsRouted).is_ok_and(|mut process| process.wait().is_ok()));
}

/// A limit that the image cannot live with: the kernel refuses the exec, or kills the image when
/// it is past refusing. Neither is a success that runs, and neither is a hang.
#[test]
fn an_image_that_has_no_room_is_refused_or_killed() {
    alone!();
    warm_up();
    let before = Before::capture();
    // Address space, stack and data.
    for (resource, bytes) in [(9, 1 << 20), (9, 4096), (3, 4096), (3, 0), (2, 0)] {
        for way in Way::BOTH {
            let mut draft = Draft::probe(&["exit", "0"]);
            draft.op(&Op::Rlimit { resource, soft: bytes, hard: bytes });
            match draft.spawn(way) {
                Ok(mut process) => {
                    let status = process.wait().expect("it can be waited for");
                    // The loader says so itself, if it gets so far.
                    let killed = matches!(status.signal(), Some(libc::SIGKILL | libc::SIGSEGV));
                    let gave_up = status.code().is_some_and(|code| code != 0);
                    let small = resource != 9;
                    assert!(killed || gave_up || small, "{resource}, {bytes}, {way:?}: {status}");
                }
                Err(error) => {
                    let error = fault(Err(error));
                    let known = [libc::E2BIG, libc::ENOMEM].contains(&error.fault.errno.into());
                    let died = matches!(error.cause, Cause::Killed(_));
                    assert!(known || died, "{resource}, {bytes}, {way:?}: {error}");
                }
            }
            before.assert_nothing_left();
        }
    }
}

/// A caller with a small stack starts children all the same: they are built on a stack of ours.
#[test]
fn a_small_stack_of_the_callers_is_no_obstacle() {
    alone!();
    warm_up();
    let before = Before::capture();
    let limit = getrlimit(Resource::Stack);
    let low = Rlimit { current: Some(256 << 10), ..limit };
    setrlimit(Resource::Stack, low).expect("it is lower");
    for way in Way::BOTH {
        let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            let mut draft = Draft::bare();
            let search = c"/nowhere:/usr/bin:/bin";
            draft.op(&Op::ExecName { name: c"true", search, flags: ExecFlags::empty() });
            draft.arg("true");
            draft.spawn(way).map(|mut process| process.wait())
        });
        let outcome = thread.expect("a thread can be made").join().expect("it does not panic");
        assert!(outcome.is_ok_and(|status| status.is_ok_and(|s| s.success())), "{way:?}");
    }
    before.assert_nothing_left();
}
