//! Promise 1: nothing is inherited. What a child has was granted, kept by name, or is the default.
//!
//! Each test gives the caller much to lose and looks at the child from inside. It must never look
//! at one attribute alone where a whole report is at hand.

mod launch;
mod stop;

use embryo::{Access, ExecFlags, Keep, Op, Plan, SpawnOptions};
use embryo_tests::{Report, alone, children_of_self, skip, tempdir};
use launch::{Draft, Way, borrow, c_path};
use rustix::fs::{Mode, OFlags};
use std::io::{Read, pipe};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use stop::Stop;

/// The caller's mask, as bits of signals: USR2, WINCH and two real-time ones.
const CALLER_BLOCKS: u64 = 1 << 11 | 1 << 27 | 1 << 39 | 1 << 63;

// ---- the plans ----

fn check_path() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_embryo-check"))
}

/// A plan of the check that says everything a plan has to say and keeps nothing. Descriptors 0 to 2
/// are `/dev/null`, except that 1 is slot 0 if it is `granted`.
fn bare_check(granted: bool) -> Plan {
    let mut plan = Plan::builder();
    plan.op(&Op::SetSid)
        .op(&Op::OpenNull { fd: 0, access: Access::Read })
        .op(&Op::OpenNull { fd: 2, access: Access::Write })
        .op(&Op::ChdirPath { path: c"/" })
        .op(&Op::Umask { mode: 0o022 })
        .op(&Op::ExecPath { path: &c_path(&check_path()), flags: ExecFlags::empty() })
        .arg("embryo-check")
        .arg("0,1,2")
        .arg("signals");
    if granted {
        let slot = plan.slot();
        plan.op(&Op::PutFd { slot, fd: 1 });
    } else {
        plan.op(&Op::OpenNull { fd: 1, access: Access::Write });
    }
    plan.build().expect("it is a plan")
}

/// Starts the check and says how it ended.
fn check(plan: &Plan, granted: bool, options: SpawnOptions) -> Option<i32> {
    let (reader, writer) = pipe().expect("a pipe can be made");
    let grants = [writer.as_raw_fd()];
    let grants = if granted { &grants[..] } else { &[] };
    let started = embryo::spawn_with(plan, &borrow(grants), options);
    let mut process = started.unwrap_or_else(|e| panic!("{e}"));
    drop((reader, writer));
    process.wait().expect("it can be waited for").code()
}

// ---- while other threads do what they must not notice ----

/// What a thread of the caller does again and again: opens and closes files that exec would keep.
fn open_and_close(stop: &AtomicBool, high: i32) {
    calm_down();
    let open = || rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty());
    while !stop.load(Ordering::Relaxed) {
        let files: Vec<OwnedFd> = (0..20).filter_map(|_| open().ok()).collect();
        let copies: Vec<OwnedFd> = files.iter().filter_map(|fd| rustix::io::dup(fd).ok()).collect();
        // SAFETY: nothing else has this number: it is this thread's, above all that are handed out.
        let high = unsafe { libc::dup2(files[0].as_raw_fd(), high) };
        // SAFETY: just made, and owned by nobody yet.
        let high = (high >= 0).then(|| unsafe { OwnedFd::from_raw_fd(high) });
        drop((files, copies, high));
    }
}

/// Lets the threads that spawn have the processor: this thread's nice value is its own.
fn calm_down() {
    let own = rustix::thread::gettid();
    // A thread that is refused only makes the test slower.
    let _ = rustix::process::setpriority_process(Some(own), 19);
}

#[test]
fn no_descriptor_while_others_open_and_close() {
    alone!();
    const SPAWNS: u32 = 10_000;
    let stop = AtomicBool::new(false);
    let left = AtomicU32::new(SPAWNS);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        for thread in 0..8 {
            let stop = &stop;
            scope.spawn(move || open_and_close(stop, 900 + thread));
        }
        let _stop = Stop::at_end(&stop);
        let spawners: Vec<_> = (0..4).map(|_| scope.spawn(|| spawn_checks(&left))).collect();
        spawners.into_iter().flat_map(|spawner| spawner.join().expect("it spawns")).collect()
    });
    assert!(wrong.is_empty(), "{} of {SPAWNS} children: {:?}", wrong.len(), &wrong[..1]);
    assert!(children_of_self().is_empty());
}

/// Directly, with a grant from high up, and through the seed; one after the other until enough
/// were started.
fn spawn_checks(left: &AtomicU32) -> Vec<String> {
    let plans = [bare_check(false), bare_check(true)];
    let mut wrong = Vec::new();
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    while let Ok(number) = take() {
        let granted = number % 2 == 1;
        let seed = number % 5 == 0;
        let options = SpawnOptions::new().timeout(launch::PATIENCE).through_seed(seed);
        match check(&plans[usize::from(granted)], granted, options) {
            Some(0) => {}
            status => wrong.push(format!("granted {granted}, seed {seed}: exit {status:?}")),
        }
    }
    wrong
}

/// The child's dispositions are those of the moment it was made, and then the default, whatever
/// the caller's become meanwhile.
#[test]
fn no_disposition_while_another_thread_changes_them() {
    alone!();
    let stop = AtomicBool::new(false);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for handler in [libc::SIG_IGN, libc::SIG_DFL] {
                    for signal in [1, 10, 13, 33, 40, 64] {
                        set_disposition(signal, handler);
                    }
                }
            }
        });
        let _stop = Stop::at_end(&stop);
        let plan = bare_check(false);
        let options = |number| SpawnOptions::new().through_seed(number % 4 == 0);
        (0..1000).map(|number| check(&plan, false, options(number))).collect()
    });
    let wrong = statuses.iter().filter(|status| **status != Some(0));
    assert_eq!(wrong.count(), 0, "{:?}", statuses.iter().find(|status| **status != Some(0)));
}

// ---- a caller with much to lose ----

/// Sets a disposition by the system call: libc hides 32 and 33, which exec does not reset either.
fn set_disposition(signal: i32, handler: usize) {
    // Handler, flags, restorer where there is one, and mask: all words are 0 but the first.
    let action = [handler, 0, 0, 0, 0];
    // SAFETY: the kernel's structure is no longer than these words. The one handler that is ever
    // set is for signals that nobody sends, so that it lacks a restorer does not matter.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            std::ptr::null_mut::<usize>(),
            8_usize,
        )
    };
    assert_eq!(result, 0, "signal {signal} has a disposition");
}

extern "C" fn never_called(_: i32) {}

/// Ignores what can be ignored except SIGCHLD, without which the test itself could not wait, and
/// the signals that faults raise; handles three.
fn fill_signals() {
    for signal in 1..=64 {
        match signal {
            libc::SIGKILL | libc::SIGSTOP | libc::SIGCHLD => {}
            4 | 7 | 8 | 11 => {}
            libc::SIGHUP | libc::SIGTERM | 50 => {
                set_disposition(signal, never_called as *const () as usize);
            }
            _ => set_disposition(signal, libc::SIG_IGN),
        }
    }
    let mask = CALLER_BLOCKS;
    // SAFETY: the call reads 8 bytes from a `u64` and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            std::ptr::null_mut::<u64>(),
            8_usize,
        )
    };
    assert_eq!(result, 0, "a mask can be set");
}

/// A session of this process's own with a controlling terminal, as a login has.
///
/// `None` where no terminal can be made; otherwise its two ends, which must stay open.
fn fill_session() -> Option<[OwnedFd; 2]> {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let manager = rustix::pty::openpt(flags).ok()?;
    rustix::pty::grantpt(&manager).ok()?;
    rustix::pty::unlockpt(&manager).ok()?;
    let name = rustix::pty::ptsname(&manager, Vec::new()).ok()?;
    rustix::process::setsid().ok()?;
    let terminal = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).ok()?;
    rustix::process::ioctl_tiocsctty(&terminal).ok()?;
    Some([manager, terminal])
}

/// Opens files that exec keeps, at low numbers and at a high one.
fn fill_descriptors() -> Vec<OwnedFd> {
    let open = |_| rustix::fs::open("/", OFlags::RDONLY, Mode::empty()).expect("there is a root");
    let mut files: Vec<OwnedFd> = (0..8).map(open).collect();
    // SAFETY: nothing has this number yet.
    let high = unsafe { libc::dup2(files[0].as_raw_fd(), 700) };
    assert_eq!(high, 700);
    // SAFETY: just made, and owned by nobody yet.
    files.push(unsafe { OwnedFd::from_raw_fd(high) });
    files
}

/// Everything at once. What is returned must be kept.
struct Full {
    terminal: Option<[OwnedFd; 2]>,
    _files: Vec<OwnedFd>,
    dir: tempfile::TempDir,
}

fn fill_everything() -> Full {
    let terminal = fill_session();
    let files = fill_descriptors();
    let dir = tempdir();
    std::env::set_current_dir(dir.path()).expect("one may enter one's own directory");
    rustix::process::umask(Mode::from_raw_mode(0o137));
    // Kept across exec, and so to be seen in a child unless the kernel resets them at its birth.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::URG))
        .expect("a death signal can be set");
    rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT))
        .expect("anybody can be a subreaper");
    let day = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval { tv_sec: 86_400, tv_usec: 0 },
    };
    // SAFETY: the call reads one itimerval; the timer's signal is ignored, and a day away.
    let armed = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const day, std::ptr::null_mut()) };
    assert_eq!(armed, 0);
    fill_signals();
    Full { terminal, _files: files, dir }
}

/// A plan of the probe with everything said and nothing kept, reporting to slot 0 at descriptor 5.
fn bare_report() -> Plan {
    let mut plan = Plan::builder();
    let slot = plan.slot();
    plan.op(&Op::SetSid)
        .op(&Op::PutFd { slot, fd: 5 })
        .op(&Op::ChdirPath { path: c"/" })
        .op(&Op::Umask { mode: 0o022 })
        .op(&Op::ExecPath { path: &c_path(&embryo_tests::probe_path()), flags: ExecFlags::empty() })
        .arg("embryo-probe")
        .arg("report")
        .arg("5");
    plan.build().expect("it is a plan")
}

fn report_of(plan: &Plan, way: Way) -> Report {
    let (mut reader, writer) = pipe().expect("a pipe can be made");
    let grants = [writer.as_raw_fd()];
    let started = embryo::spawn_with(plan, &borrow(&grants), way.options());
    let mut process = started.unwrap_or_else(|e| panic!("{way:?}: {e}"));
    drop(writer);
    let mut json = Vec::new();
    reader.read_to_end(&mut json).expect("a pipe can be read");
    assert!(process.wait().expect("it can be waited for").success(), "{way:?}");
    Report::parse(&json)
}

#[test]
fn nothing_at_all_unless_granted() {
    alone!();
    let caller = Report::capture(Vec::new(), Vec::new());
    let full = fill_everything();
    for way in Way::BOTH {
        let child = report_of(&bare_report(), way);
        assert_eq!(child.fd_numbers(), [5], "{way:?}");
        assert_eq!(child.argv, ["embryo-probe", "report", "5"], "{way:?}");
        assert!(child.envp.is_empty(), "{way:?}: {:?}", child.envp);
        assert_eq!(child.ignored(), [0; 0], "{way:?}");
        assert_eq!(child.blocked(), [0; 0], "{way:?}");
        assert_eq!(child.signals.caught, [0; 0], "{way:?}");
        assert_eq!(child.signals.pending, [0; 0], "{way:?}");
        assert_eq!(child.umask, 0o022, "{way:?}");
        assert_eq!(child.cwd.as_ref().map(|cwd| cwd.as_path()), Some(Path::new("/")), "{way:?}");
        assert_eq!((child.sid, child.pgid), (child.pid, child.pid), "{way:?}");
        assert_eq!(child.tty, None, "{way:?}");
        assert_eq!(child.pdeathsig, Some(0), "{way:?}");
        assert_eq!(child.child_subreaper, Some(0), "{way:?}");
        assert_eq!(child.more.get("itimer_real_armed").copied().unwrap_or(0), 0, "{way:?}");
        assert!(child.alt_stack.as_ref().is_none_or(|stack| !stack.enabled), "{way:?}");
        assert_eq!(child.threads, Some(1), "{way:?}");
        assert!(!child.at_secure, "{way:?}");
        // Authority is the caller's own, by the restrictions in the library's documentation.
        let authority = |report: &Report| {
            (report.uids, report.gids, report.groups.clone(), report.caps.clone())
        };
        assert_eq!(authority(&child), authority(&caller), "{way:?}");
        assert_eq!(child.rlimits, caller.rlimits, "{way:?}");
        assert_eq!(child.namespaces, caller.namespaces, "{way:?}");
    }
    drop(full);
}

/// Each bit keeps what it names, and nothing but that.
#[test]
fn what_is_kept_is_what_was_named() {
    alone!();
    let full = fill_everything();
    let caller = Report::capture(Vec::new(), Vec::new());
    for way in Way::BOTH {
        let nothing = report_of(&bare_report(), way);
        for kept in Keep::all().iter() {
            let child = report_of(&keeping(kept), way);
            let what = format!("{way:?}, {kept:?}");
            assert_kept(&child, &caller, kept, &what);
            // All else is as if nothing were kept.
            let changed = nothing.diff(&child, &[]);
            let allowed = paths_of(kept);
            let unasked = changed.iter().filter(|line| {
                !allowed.iter().chain(&CHANGES_BY_ITSELF).any(|path| line.starts_with(path))
            });
            let unasked: Vec<_> = unasked.collect();
            assert!(unasked.is_empty(), "{what}: {unasked:?}");
        }
        let child = report_of(&keeping(Keep::all()), way);
        for kept in Keep::all().iter() {
            assert_kept(&child, &caller, kept, &format!("{way:?}, all"));
        }
    }
    if full.terminal.is_none() {
        drop(full);
        skip!("no terminal can be made here; sessions were compared without one");
    }
}

/// What differs between two children of the same plan.
const CHANGES_BY_ITSELF: [&str; 5] = ["pid", "pgid", "sid", "fds.5", "maps_lines"];

/// Where in a report the difference that a bit makes may show.
fn paths_of(kept: Keep) -> &'static [&'static str] {
    match kept {
        Keep::CWD => &["cwd"],
        Keep::UMASK => &["umask"],
        Keep::SESSION => &["tty"],
        Keep::IGNORED_SIGNALS => &["signals.ignored"],
        Keep::SIGNAL_MASK => &["signals.blocked"],
        _ => &[],
    }
}

fn assert_kept(child: &Report, caller: &Report, kept: Keep, what: &str) {
    match kept {
        Keep::CWD => assert_eq!(child.cwd_at, caller.cwd_at, "{what}"),
        Keep::UMASK => assert_eq!((child.umask, caller.umask), (0o137, 0o137), "{what}"),
        Keep::SESSION => {
            assert_eq!((child.sid, child.pgid), (caller.sid, caller.pgid), "{what}");
            let device = |report: &Report| report.tty.as_ref().map(|tty| tty.device);
            assert_eq!(device(child), device(caller), "{what}");
        }
        Keep::IGNORED_SIGNALS => {
            assert_eq!(child.ignored(), caller.ignored(), "{what}");
            assert!(child.ignored().len() > 50, "{what}: the caller ignores most signals");
            assert_eq!(child.signals.caught, [0; 0], "{what}");
        }
        Keep::SIGNAL_MASK => {
            assert_eq!(child.blocked(), caller.blocked(), "{what}");
            assert_eq!(child.blocked(), [12, 28, 40, 64], "{what}");
        }
        other => panic!("no test knows how {other:?} shows"),
    }
}

/// The plan of [`bare_report`] with one thing kept instead of set.
fn keeping(kept: Keep) -> Plan {
    let mut plan = Plan::builder();
    let slot = plan.slot();
    plan.op(&Op::PutFd { slot, fd: 5 });
    plan.keep(kept);
    if !kept.contains(Keep::SESSION) {
        plan.op(&Op::SetSid);
    }
    if !kept.contains(Keep::CWD) {
        plan.op(&Op::ChdirPath { path: c"/" });
    }
    if !kept.contains(Keep::UMASK) {
        plan.op(&Op::Umask { mode: 0o022 });
    }
    plan.op(&Op::ExecPath {
        path: &c_path(&embryo_tests::probe_path()),
        flags: ExecFlags::empty(),
    });
    plan.arg("embryo-probe").arg("report").arg("5");
    plan.build().expect("it is a plan")
}

/// `Command` copies the habits of std by granting them (ignored signals among them, SIGPIPE not),
/// but for two: descriptors without close-on-exec, and blocked signals.
#[test]
fn a_command_grants_what_std_would_and_nothing_else() {
    alone!();
    let full = fill_everything();
    let mut std = std::process::Command::new(embryo_tests::probe_path());
    let std = Report::by_std(std.env("EMBRYO_MARK", "x").stdin(std::process::Stdio::null()));
    let mut ours = embryo::Command::new(embryo_tests::probe_path());
    let output = ours.env("EMBRYO_MARK", "x").stderr(embryo::Stdio::inherit()).output();
    let ours = Report::parse(&output.unwrap_or_else(|e| panic!("{e}")).stdout);

    assert_eq!(ours.fd_numbers(), [0, 1, 2]);
    assert!(std.fd_numbers().len() > 8, "std lets the files of this test through");
    assert!(ours.ignored().len() > 50 && !ours.ignored().contains(&13), "{:?}", ours.ignored());
    let sorted = |report: &Report| {
        let mut strings = report.envp.clone();
        strings.sort();
        strings
    };
    assert_eq!(sorted(&ours), sorted(&std));
    assert_eq!(ours.blocked(), [0; 0]);
    let exceptions = ["pid", "fds", "signals.blocked", "envp", "maps_lines"];
    let diff = std.diff(&ours, &exceptions);
    assert!(diff.is_empty(), "std -> embryo: {diff:?}");
    drop(full.dir);
}

/// A descriptor that was granted arrives although it is close-on-exec here, and the caller's own
/// copy stays close-on-exec.
#[test]
fn a_grant_arrives_whatever_its_flags_are_here() {
    alone!();
    let (reader, _writer) = pipe().expect("a pipe can be made");
    for way in Way::BOTH {
        for cloexec in [rustix::io::FdFlags::CLOEXEC, rustix::io::FdFlags::empty()] {
            rustix::io::fcntl_setfd(&reader, cloexec).expect("it is open");
            let mut draft = Draft::watched();
            let slot = draft.grant_number(reader.as_raw_fd());
            draft.op(&Op::PutFd { slot, fd: 77 });
            let child = draft.watch(way);
            assert_eq!(child.report.fd_numbers(), [0, 1, 77], "{way:?}");
            assert!(!child.report.fd(77).cloexec, "{way:?}");
            child.end();
            assert_eq!(rustix::io::fcntl_getfd(&reader), Ok(cloexec), "{way:?}");
        }
    }
}

/// A child that outlives the call which made it keeps nothing of the caller alive.
#[test]
fn a_running_child_holds_nothing_of_its_caller() {
    alone!();
    let (mut reader, writer) = pipe().expect("a pipe can be made");
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).expect("it is open");
    let mut plan = Draft::probe(&["sleep", "30"]);
    plan.op(&Op::SetSid);
    let process = plan.spawn(Way::AsRouted).unwrap_or_else(|e| panic!("{e}"));
    drop(writer);
    // Were the write end open in the child, this would wait for as long as it sleeps.
    let mut rest = Vec::new();
    let begun = std::time::Instant::now();
    reader.read_to_end(&mut rest).expect("a pipe can be read");
    assert!(begun.elapsed() < Duration::from_secs(20), "the child held the pipe open");
    let mut process = process;
    process.kill().expect("one's own child can be killed");
    process.wait().expect("it can be waited for");
}
