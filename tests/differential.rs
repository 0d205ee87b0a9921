//! The oracle: one description given to `embryo` on both routes, piece by piece and from a hatchery, to the standard library
//! and to glibc's posix_spawn(3), and to an agent in a process of its own, makes children that report the same of themselves, but for the differences
//! that are documented, which are listed here one by one.
//!
//! It must never leave out a field of the report that is not in that list.

mod launch;

use embryo_tests::{Report, Text, alone, is_root, probe_path, rerun_as_nobody, skip, tempdir};
use launch::Way;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

#[path = "differential/by_agent.rs"]
mod by_agent;
#[path = "differential/endings.rs"]
mod endings;
#[path = "differential/piecemeal.rs"]
mod piecemeal;
#[path = "differential/posix_spawn.rs"]
mod posix_spawn;

/// A way to launch a description, which writes its report to the path.
struct Launcher {
    name: &'static str,
    /// Whether it is ours, or one that ours are compared with.
    ours: bool,
    launch: fn(&Description, &Path),
    /// Whether it can say all that is described.
    can: fn(&Description) -> bool,
}

impl Launcher {
    const fn ours(name: &'static str, launch: fn(&Description, &Path)) -> Self {
        Self { name, ours: true, launch, can: |_| true }
    }

    const fn theirs(name: &'static str, launch: fn(&Description, &Path)) -> Self {
        Self { ours: false, ..Self::ours(name, launch) }
    }
}

/// All of them.
const LAUNCHERS: &[Launcher] = &[
    Launcher::ours("directly", |child, report| child.by_embryo(report, Way::AsRouted)),
    Launcher::ours("through the seed", |child, report| child.by_embryo(report, Way::Seed)),
    Launcher::ours("piece by piece", |child, report| piecemeal::launch(&child.command(report))),
    Launcher::ours("from a hatchery", Description::by_hatchery),
    Launcher::theirs("std", Description::by_std),
    Launcher {
        can: |child| child.ids.is_none(),
        ..Launcher::theirs("posix_spawn", posix_spawn::launch)
    },
];

/// What becomes of a standard stream.
#[derive(Clone, Debug)]
enum Stream {
    Inherit,
    Null,
    File(Rc<File>),
}

/// A child, said in words that all of them understand.
#[derive(Clone, Debug)]
struct Description {
    program: OsString,
    arg0: Option<OsString>,
    /// `None` is the caller's.
    env: Option<Vec<(OsString, OsString)>>,
    cwd: Option<PathBuf>,
    streams: [Stream; 3],
    group: Option<i32>,
    /// User, group, supplementary groups.
    ids: Option<(u32, u32, Vec<u32>)>,
}

impl Description {
    fn new() -> Self {
        Self {
            program: probe_path().into(),
            arg0: None,
            env: Some(Vec::new()),
            cwd: None,
            streams: [Stream::Inherit, Stream::Inherit, Stream::Inherit],
            group: None,
            ids: None,
        }
    }

    /// It in words of ours.
    fn command(&self, report: &Path) -> embryo::Command {
        let mut command = embryo::Command::new(&self.program);
        command.arg("report").arg(report);
        if let Some(arg0) = &self.arg0 {
            command.arg0(arg0);
        }
        if let Some(env) = &self.env {
            command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let streams = self.streams.each_ref().map(|stream| match stream {
            Stream::Inherit => embryo::Stdio::inherit(),
            Stream::Null => embryo::Stdio::null(),
            Stream::File(file) => copy(file).into(),
        });
        let [stdin, stdout, stderr] = streams;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        if let Some(group) = self.group {
            command.process_group(group);
        }
        if let Some((uid, gid, groups)) = &self.ids {
            command.uid(*uid).gid(*gid).groups(groups);
        }
        command
    }

    fn by_embryo(&self, report: &Path, way: Way) {
        let mut command = self.command(report);
        let status = command.spawn_options(way.options()).status();
        let status = status.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert!(status.success(), "{way:?}: {status:?}");
    }

    /// Always the same one, whatever the caller has become meanwhile.
    fn by_hatchery(&self, report: &Path) {
        static HATCHERY: OnceLock<embryo::Hatchery> = OnceLock::new();
        let hatchery = HATCHERY.get_or_init(|| {
            let options = Way::Seed.options();
            let hatchery = embryo::Hatchery::builder().size(3).options(options).build();
            hatchery.expect("a hatchery can be made")
        });
        let mut command = self.command(report);
        command.spawn_options(Way::Seed.options()).hatchery(hatchery);
        let status = command.status().unwrap_or_else(|e| panic!("from a hatchery: {e}"));
        assert!(status.success(), "from a hatchery: {status:?}");
    }

    fn by_std(&self, report: &Path) {
        let mut command = std::process::Command::new(&self.program);
        command.arg("report").arg(report);
        if let Some(arg0) = &self.arg0 {
            command.arg0(arg0);
        }
        if let Some(env) = &self.env {
            command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let streams = self.streams.each_ref().map(|stream| match stream {
            Stream::Inherit => std::process::Stdio::inherit(),
            Stream::Null => std::process::Stdio::null(),
            Stream::File(file) => copy(file).into(),
        });
        let [stdin, stdout, stderr] = streams;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        if let Some(group) = self.group {
            command.process_group(group);
        }
        if let Some((uid, gid, groups)) = self.ids.clone() {
            let set = move || {
                // SAFETY: the kernel reads as many numbers as there are.
                let mut results = [unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }, 0, 0];
                // SAFETY: the call takes numbers.
                results[1] = unsafe { libc::setresgid(gid, gid, gid) };
                // SAFETY: the call takes numbers.
                results[2] = unsafe { libc::setresuid(uid, uid, uid) };
                if results == [0; 3] { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: the closure makes system calls and does nothing else. (std has no stable name for
            // groups, and with `uid` it would drop them.)
            unsafe { command.pre_exec(set) };
        }
        assert!(command.status().expect("the probe can be started").success());
    }

    /// The reports of all that can say it.
    fn reports(&self) -> Vec<(&'static Launcher, Report)> {
        let dir = tempdir();
        let path = dir.path().join("report");
        let report = |launcher: &'static Launcher| {
            (launcher.launch)(self, &path);
            let json = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", launcher.name));
            std::fs::remove_file(&path).expect("the directory is ours");
            (launcher, Report::parse(&json))
        };
        LAUNCHERS.iter().filter(|launcher| (launcher.can)(self)).map(report).collect()
    }

    /// Checks that all reports are the same but for what is documented.
    #[track_caller]
    fn compare(&self) -> Report {
        let mut reports: Vec<_> = self.reports();
        for (_, report) in &mut reports {
            set_documented_differences_aside(report);
        }
        let ((_, first), others) = reports.split_first().expect("there are some");
        assert!(others.len() >= 3, "too few can say it");
        for (Launcher { name, .. }, report) in others {
            let differences = first.diff(report, &[]);
            assert!(differences.is_empty(), "{name}, {self:?}:\n  {}", differences.join("\n  "));
        }
        first.clone()
    }
}

fn copy(file: &File) -> OwnedFd {
    file.try_clone().expect("it can be copied").into()
}

/// What may differ, and nothing else:
/// - the pid, and the group of a child that leads one, which is its pid;
/// - glibc ignores its two internal signals in what posix_spawn starts, which std uses too;
/// - how the address space was laid out, which differs from one start to the next.
fn set_documented_differences_aside(report: &mut Report) {
    if report.pgid == report.pid {
        report.pgid = 0;
    }
    report.pid = 0;
    report.maps_lines = None;
    report.signals.ignored.retain(|signal| ![32, 33].contains(signal));
}

/// The caller leaves nothing open across exec: with std and posix_spawn a child would keep it. It
/// ignores nothing but SIGPIPE, as any Rust program. (What the harness was started with is not
/// known.)
fn ordinary_caller() {
    for signal in 1..=64 {
        // SAFETY: the default action is no function. Where it is refused (KILL, STOP, and those
        // that libc hides) nothing changes.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    ignore(libc::SIGPIPE);
    // SAFETY: no pointer is passed. Nothing of this process uses a number above the streams yet.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    assert_eq!(result, 0);
}

fn ignore(signal: i32) {
    // SAFETY: to ignore is no function.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn pair(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

#[test]
fn nothing_in_particular() {
    alone!();
    ordinary_caller();
    let report = Description::new().compare();
    assert_eq!(report.fd_numbers(), [0, 1, 2]);
    assert_eq!(report.envp, [""; 0]);
    assert_eq!((report.ignored(), report.blocked()), (&[][..], &[][..]));
}

#[test]
fn environments() {
    alone!();
    ordinary_caller();
    let env = vec![pair("B", "2"), pair("A", "1"), pair("EMPTY", ""), pair("E", "a=b=c")];
    let report = Description { env: Some(env), ..Description::new() }.compare();
    assert_eq!(report.envp, ["A=1", "B=2", "E=a=b=c", "EMPTY="]);
    // The caller's, whose order std keeps if nothing was said of it, and embryo does not.
    let mut reports = Description { env: None, ..Description::new() }.reports();
    for (_, report) in &mut reports {
        set_documented_differences_aside(report);
        assert!(!report.envp.is_empty());
        report.envp.sort();
    }
    for (launcher, report) in &reports[1..] {
        assert_eq!(reports[0].1.diff(report, &[]), [""; 0], "{}", launcher.name);
    }
}

#[test]
fn zeroth_arguments() {
    alone!();
    ordinary_caller();
    for arg0 in ["-login", "", "with spaces and \u{e9}"] {
        let report = Description { arg0: Some(arg0.into()), ..Description::new() }.compare();
        assert_eq!(report.argv[0], arg0);
    }
    use std::os::unix::ffi::OsStrExt;
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    let report = Description { arg0: Some(bytes.into()), ..Description::new() }.compare();
    assert_eq!(&report.argv[0], bytes);
}

#[test]
fn working_directories_and_relative_programs() {
    alone!();
    ordinary_caller();
    let dir = tempdir();
    let at = |cwd: &Path| Description { cwd: Some(cwd.to_owned()), ..Description::new() };
    let report = at(dir.path()).compare();
    assert_eq!(report.cwd, Some(Text::from(dir.path().to_owned())));
    at(Path::new("..")).compare();
    // A relative program is looked for where the child works.
    let home = probe_path().parent().expect("it has one").to_owned();
    let report = Description { program: "./embryo-probe".into(), ..at(&home) }.compare();
    assert_eq!(report.execfn, Some(Text::from("./embryo-probe")));
    // And one without a slash in the child's PATH.
    let path = format!("/nowhere:{}", home.display());
    for cwd in [None, Some("/".into())] {
        let env = Some(vec![pair("PATH", &path)]);
        let program = "embryo-probe".into();
        Description { program, env, cwd, ..Description::new() }.compare();
    }
}

#[test]
fn every_combination_of_standard_streams() {
    alone!();
    ordinary_caller();
    let dir = tempdir();
    let open = |name: &str| {
        let path = dir.path().join(name);
        let mut options = File::options();
        Rc::new(options.read(true).append(true).create(true).open(path).expect("it is ours"))
    };
    let files = ["in", "out", "error"].map(open);
    let kinds = |at: usize| [Stream::Inherit, Stream::Null, Stream::File(Rc::clone(&files[at]))];
    for stdin in kinds(0) {
        for stdout in kinds(1) {
            for stderr in kinds(2) {
                let streams = [stdin.clone(), stdout.clone(), stderr];
                let report = Description { streams, ..Description::new() }.compare();
                assert_eq!(report.fd_numbers(), [0, 1, 2]);
            }
        }
    }
    // One file as all three.
    let same = [(); 3].map(|()| Stream::File(Rc::clone(&files[0])));
    Description { streams: same, ..Description::new() }.compare();
}

#[test]
fn process_groups() {
    alone!();
    ordinary_caller();
    let report = Description { group: Some(0), ..Description::new() }.compare();
    // Its own, set aside above.
    assert_eq!(report.pgid, 0);
    let mut leader = std::process::Command::new(probe_path())
        .args(["hold", "0"])
        .stdin(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the probe can be started");
    let group = leader.id().cast_signed();
    let report = Description { group: Some(group), ..Description::new() }.compare();
    assert_eq!(report.pgid, group);
    drop(leader.stdin.take());
    leader.wait().expect("it ends with its standard input");
}

#[test]
fn ids() {
    embryo_tests::require_root!();
    alone!();
    ordinary_caller();
    for (uid, gid, groups) in [(1, 2, vec![]), (1000, 1000, vec![4, 24]), (0, 5, vec![0])] {
        let ids = Some((uid, gid, groups.clone()));
        let report = Description { ids, ..Description::new() }.compare();
        assert!(report.uids.all(uid) && report.gids.all(gid));
        assert_eq!(report.groups, groups);
    }
}

/// The first documented difference: what was not granted does not arrive.
#[test]
fn a_descriptor_that_was_left_open_reaches_all_but_ours() {
    alone!();
    ordinary_caller();
    let file = File::open("/dev/null").expect("it is there");
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("it is open");
    for (launcher, report) in Description::new().reports() {
        let expected = if launcher.ours { 3 } else { 4 };
        assert_eq!(report.fds.len(), expected, "{}", launcher.name);
    }
}

/// What the caller ignores is ignored, but for SIGPIPE, and a plan that keeps nothing has the
/// defaults.
#[test]
fn ignored_signals() {
    alone!();
    ordinary_caller();
    ignore(libc::SIGUSR1);
    ignore(libc::SIGHUP);
    let report = Description::new().compare();
    assert_eq!(report.ignored(), [1, 10]);
    let dir = tempdir();
    let path = dir.path().join("report");
    for way in Way::BOTH {
        let mut command = embryo::Command::new(probe_path());
        command.arg("report").arg(&path).default_all_signals().spawn_options(way.options());
        assert!(command.status().expect("it can be started").success());
        let report = Report::parse(&std::fs::read(&path).expect("it was written"));
        assert_eq!(report.ignored(), [0u32; 0]);
    }
}

#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    for test in [
        "nothing_in_particular",
        "environments",
        "working_directories_and_relative_programs",
        "every_combination_of_standard_streams",
        "process_groups",
        "by_agent::an_agent_gives_what_is_described",
        "endings::errors_have_the_kind_that_std_gives",
        "endings::statuses_are_the_same",
    ] {
        rerun_as_nobody(test);
    }
}
