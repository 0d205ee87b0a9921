//! Promise: what a plan mounts is seen by its child alone, whatever becomes of the child; and nothing that stands
//! in a root, however it got there, leads a target out of it.
//!
//! It must never rely on what an error says: it looks at what was touched.

mod before;
mod launch;

use before::{Before, warm_up};
use embryo::{
    Command, Embryo, Keep, Mount, MountAttributes, MountFlags, MountOp, NamespaceKind, NamespaceOp,
    Namespaces, NewRoot, Op, Plan, Stdio, Upper,
};
use embryo_tests::{alone, children_of_self, here, is_root, rerun_as_nobody, skip, tempdir};
use launch::{Draft, PATIENCE, Way, c_path};
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NONE: MountFlags = MountFlags::empty();
const NEW_ROOT: MountOp<'static> = MountOp::NewRoot { size: 0, mode: 0o755, inodes: 0 };

/// Runs a test as root, if that is who runs the tests, and as an ordinary user.
macro_rules! as_both {
    () => {
        alone!();
        if is_root() {
            rerun_as_nobody(here!());
        }
    };
}

fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").expect("there is a /proc")
}

/// Of an ordinary user a mount namespace takes a user namespace.
fn namespaces() -> Vec<Op<'static>> {
    let own = Op::Namespace(NamespaceOp::Unshare { kinds: Namespaces::MOUNT });
    if is_root() {
        return vec![own];
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    vec![Op::Namespace(NamespaceOp::User { uid, gid }), own]
}

/// A plan that makes all sorts of mounts; and after so many of its ops, fails.
fn plan(fails_after: Option<usize>) -> Plan {
    let (size, mode, inodes, flags) = (0, 0o755, 0, NONE);
    let mut ops = namespaces();
    let overlay = if is_root() { NONE } else { MountFlags::USERXATTR };
    ops.extend(
        [
            NEW_ROOT,
            MountOp::Bind { source: c"/", target: c"/", flags: MountFlags::READ_ONLY },
            MountOp::Tmpfs { target: c"/mnt", flags, size, mode, inodes },
            MountOp::Devpts { target: c"/mnt/pts" },
            MountOp::Overlay {
                layers: b"/etc\0",
                target: c"/mnt/etc",
                flags: MountFlags::THROWAWAY | overlay,
            },
            MountOp::Unmount { target: c"/mnt/pts" },
            MountOp::EnterRoot,
        ]
        .map(Op::Mount),
    );
    let fails = Op::Fail { errno: 125 };
    if let Some(after) = fails_after {
        ops.insert(after, fails);
    }
    let mut plan = Plan::builder();
    plan.keep(Keep::UMASK | Keep::SESSION);
    for op in &ops {
        plan.op(op);
    }
    plan.op(&Op::ChdirPath { path: c"/" })
        .op(&Op::ExecPath { path: c"/bin/true", flags: embryo::ExecFlags::empty() })
        .arg("true");
    plan.build().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_callers_mounts_stay_what_they_are() {
    as_both!();
    warm_up();
    let before = Before::capture();
    let mounts = mountinfo();
    let options = Way::Seed.options();
    let mut process = embryo::spawn_with(&plan(None), &[], options).expect("it can be started");
    assert!(process.wait().expect("it ends").success());
    drop(process);
    for after in 0..plan(None).as_plan().entries().len() - 2 {
        let error = embryo::spawn_with(&plan(Some(after)), &[], options).expect_err("it fails");
        assert_eq!(error.raw_os_error(), Some(125), "{error}");
        assert_eq!(mountinfo(), mounts, "after {after} ops");
        before.assert_nothing_left();
    }
    assert_eq!(mountinfo(), mounts);
}

#[test]
fn nothing_is_left_of_one_that_is_killed_at_any_moment() {
    as_both!();
    warm_up();
    let before = Before::capture();
    let mounts = mountinfo();
    let plan = plan(None);
    let over = AtomicBool::new(false);
    let (mut started, mut killed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pause = 0u64;
            while !over.load(Ordering::Relaxed) {
                // Some numbers between 0 and a few milliseconds, in no order.
                pause = (pause * 7 + 311) % 3001;
                std::thread::sleep(Duration::from_micros(pause));
                for child in children_of_self() {
                    let pid = rustix::process::Pid::from_raw(child.pid).expect("it is one");
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        });
        for _ in 0..150 {
            match embryo::spawn_with(&plan, &[], Way::Seed.options()) {
                Ok(mut process) => {
                    let _ = process.wait();
                    started += 1;
                }
                Err(_) => killed += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    eprintln!("{started} were started, {killed} killed before");
    assert!(killed > 0, "none was killed while it was built");
    assert_eq!(mountinfo(), mounts);
    before.assert_nothing_left();
}

/// Where mounts spread, as systemd has it, they spread to no other namespace either.
#[test]
fn nothing_spreads_to_where_the_namespace_was_copied_from() {
    const SHARED: &str = "EMBRYO_TEST_SHARED";
    if std::env::var_os(SHARED).is_none() {
        as_both!();
        let user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
        let output = std::process::Command::new("unshare")
            .args(user)
            .args(["--mount", "--propagation", "shared", "--"])
            .arg(std::env::current_exe().expect("a test has an executable"))
            .args([here!(), "--exact", "--nocapture", "--test-threads=1"])
            .env(SHARED, "")
            .env_remove("EMBRYO_SKIP_LOG")
            .output();
        let Ok(output) = output else { skip!("there is no unshare(1)") };
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("1 passed"), "{said}{complained}");
        return;
    }
    let mounts = mountinfo();
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
    assert!(root.is_some_and(|line| line.contains("shared:")), "{mounts}");
    // An ordinary user is root here.
    let ops = namespaces();
    let (size, mode, inodes, flags) = (0, 0o755, 0, NONE);
    let target = c"/mnt";
    for with_root in [false, true] {
        let mut draft = Draft::watched();
        ops.iter().for_each(|op| _ = draft.op(op));
        if with_root {
            draft.op(&Op::Mount(NEW_ROOT));
            draft.op(&Op::Mount(MountOp::Bind { source: c"/", target: c"/", flags }));
        }
        draft.op(&Op::Mount(MountOp::Tmpfs { target, flags, size, mode, inodes }));
        if with_root {
            draft.op(&Op::Mount(MountOp::EnterRoot)).op(&Op::ChdirPath { path: c"/" });
        }
        let child = draft.watch(Way::Seed);
        assert!(child.text("mountinfo").contains(" /mnt "), "{}", child.text("mountinfo"));
        assert_eq!(mountinfo(), mounts);
        child.end();
        assert_eq!(mountinfo(), mounts);
    }
}

/// A directory that is hostile to whoever takes it for a root.
struct Hostile {
    dir: tempfile::TempDir,
    /// What is beside it, and what it wants changed.
    outside: tempfile::TempDir,
}

impl Hostile {
    fn new() -> Self {
        let (dir, outside) = (tempdir(), tempdir());
        std::fs::write(outside.path().join("file"), "untouched").expect("it can be written");
        let at = |name: &str| dir.path().join(name);
        let link = |to: &Path, name: &str| symlink(to, at(name)).expect("a link can be made");
        link(Path::new("/"), "root");
        link(Path::new("../../../../../../../.."), "up");
        link(outside.path(), "outside");
        link(&outside.path().join("file"), "file");
        link(&Path::new("/up").join(outside.path().strip_prefix("/").expect("absolute")), "both");
        link(Path::new("/proc/self/root"), "magic");
        link(Path::new("/proc/self/cwd"), "cwd");
        link(Path::new("loop"), "loop");
        link(Path::new("/nowhere"), "dangling");
        std::fs::create_dir(at("proc")).expect("it can be made");
        std::fs::create_dir(at("dev")).expect("it can be made");
        let made = std::process::Command::new("mkfifo").arg(at("fifo")).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo(1) is part of every system");
        Self { dir, outside }
    }

    /// Everything below the directory beside it, and what it holds; and what is in `/`.
    fn world(&self) -> (Vec<String>, String, Vec<PathBuf>) {
        let names = |dir: &Path| {
            let mut names: Vec<PathBuf> = std::fs::read_dir(dir)
                .expect("it can be listed")
                .flatten()
                .map(|e| e.path())
                .collect();
            names.sort();
            names
        };
        let outside = names(self.outside.path());
        let of = |path: &PathBuf| {
            use std::os::unix::fs::MetadataExt;
            let meta = path.symlink_metadata().expect("it is there");
            format!("{} {:o} {}", path.display(), meta.mode(), meta.len())
        };
        let text = std::fs::read_to_string(self.outside.path().join("file"));
        (outside.iter().map(of).collect(), text.expect("it is there"), names(Path::new("/")))
    }
}

#[test]
fn a_hostile_root_leads_no_op_out_of_it() {
    as_both!();
    warm_up();
    let hostile = Hostile::new();
    let before = hostile.world();
    let mounts = mountinfo();
    let data = File::open("/etc/passwd").expect("it is there");
    let links =
        ["root", "up", "outside", "file", "both", "magic", "cwd", "loop", "dangling", "fifo"];
    let paths = links.iter().flat_map(|link| [format!("/{link}"), format!("/{link}/x/y")]);
    let paths: Vec<CString> = paths.map(|path| CString::new(path).expect("no NUL")).collect();
    let (size, mode, inodes, flags) = (0, 0o755, 0, NONE);
    let source = c_path(hostile.dir.path());
    for target in paths.iter().map(CString::as_c_str) {
        let slot = embryo::Slot(0);
        let over = MountFlags::OVER;
        let ops = [
            MountOp::Tmpfs { target, flags, size, mode, inodes },
            MountOp::Bind { source: c"/etc/passwd", target, flags },
            MountOp::Bind { source: c"/etc", target, flags },
            MountOp::Devpts { target },
            MountOp::Symlink { text: c"text", target },
            MountOp::Directory { target, mode: 0o777 },
            MountOp::FileSlot { slot, target, flags, mode: 0o666 },
            MountOp::FileSlot { slot, target, flags: over, mode: 0o666 },
            MountOp::Chmod { target, mode: 0o777 },
            MountOp::Attributes { target, flags: MountFlags::READ_ONLY, clear: NONE },
            MountOp::Propagation { target, flags, spread: embryo::Spread::Shared },
            MountOp::Unmount { target },
        ];
        for op in ops {
            let mut draft = Draft::probe(&["exit", "0"]);
            let granted = draft.grant(data.try_clone().expect("it can be copied"));
            assert_eq!(granted, slot);
            namespaces().iter().for_each(|op| _ = draft.op(op));
            draft.op(&Op::Mount(NEW_ROOT));
            draft.op(&Op::Mount(MountOp::Bind { source: &source, target: c"/", flags }));
            draft.op(&Op::Mount(MountOp::Bind { source: c"/proc", target: c"/proc", flags }));
            draft.op(&Op::Mount(op)).op(&Op::Mount(MountOp::EnterRoot));
            draft.op(&Op::ChdirPath { path: c"/" });
            // It ends one way or the other: there is no program in that root, and what it is about was touched
            // or refused before.
            let outcome = draft.spawn(Way::Seed);
            let said = outcome.err().map(|error| error.to_string());
            assert_eq!(hostile.world(), before, "{op:?}: {said:?}");
            assert_eq!(mountinfo(), mounts, "{op:?}: {said:?}");
        }
    }
    // What it did inside: links to the root led to the root of the child's.
    assert!(hostile.dir.path().join("x/y").exists());
}

#[test]
fn a_magic_link_is_refused_and_a_fifo_is_not_opened() {
    as_both!();
    let hostile = Hostile::new();
    let source = c_path(hostile.dir.path());
    let fails = |op: MountOp<'_>| {
        let mut draft = Draft::probe(&["exit", "0"]);
        namespaces().iter().for_each(|op| _ = draft.op(op));
        draft.op(&Op::Mount(NEW_ROOT));
        draft.op(&Op::Mount(MountOp::Bind { source: &source, target: c"/", flags: NONE }));
        draft.op(&Op::Mount(MountOp::Bind { source: c"/proc", target: c"/proc", flags: NONE }));
        draft.op(&Op::Mount(op)).op(&Op::Mount(MountOp::EnterRoot));
        draft.op(&Op::ChdirPath { path: c"/" });
        draft.spawn(Way::Seed).expect_err("it cannot be done")
    };
    let error = fails(MountOp::Directory { target: c"/magic/x", mode: 0o755 });
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP), "{error}");
    assert!(error.to_string().contains("magic link"), "{error}");
    // Mounted over, and then there is no program.
    let error = fails(MountOp::Bind { source: c"/etc/passwd", target: c"/fifo", flags: NONE });
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
    let long = CString::new(format!("/{}", "a".repeat(256))).expect("no NUL");
    let error = fails(MountOp::Directory { target: &long, mode: 0o755 });
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG), "{error}");
}

#[test]
fn without_a_namespace_of_its_own_nothing_is_mounted() {
    as_both!();
    let mounts = mountinfo();
    let mut embryo = Embryo::create().expect("it can be made");
    let (size, mode, inodes, flags) = (0, 0o755, 0, NONE);
    let target = c"/mnt";
    for op in [
        NEW_ROOT,
        MountOp::Tmpfs { target, flags, size, mode, inodes },
        MountOp::Directory { target: c"/tmp/made-by-a-test", mode },
        MountOp::EnterRoot,
    ] {
        let error = embryo.apply(&Op::Mount(op), &[]).expect_err("it may not");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{op:?}: {error}");
    }
    assert!(!Path::new("/tmp/made-by-a-test").exists());
    assert_eq!(mountinfo(), mounts);
}

#[test]
fn a_root_is_put_together_piece_by_piece_and_survives_faults() {
    as_both!();
    let mut embryo = Embryo::create().expect("it can be made");
    let mut apply = |op: Op<'_>| embryo.apply(&op, &[]).map_err(|error| error.to_string());
    for op in namespaces() {
        apply(op).expect("it may");
    }
    apply(Op::Mount(NEW_ROOT)).expect("a root can be made");
    let missing = MountOp::Bind { source: c"/nowhere", target: c"/x", flags: NONE };
    let error = apply(Op::Mount(missing)).expect_err("there is no source");
    assert!(error.contains("the source /nowhere does not exist"), "{error}");
    // The old root is where it was, as far as paths go.
    apply(Op::ChdirPath { path: c"/etc/../usr" }).expect("it is there");
    // Numbers that its own descriptors have are moved out of the way of those of the plan.
    for fd in 3..12 {
        apply(Op::OpenNull { fd, access: embryo::Access::Read }).expect("it is there");
    }
    let bind = MountOp::Bind { source: c"/", target: c"/", flags: MountFlags::READ_ONLY };
    apply(Op::Mount(bind)).expect("it can be bound");
    let again = apply(Op::Mount(NEW_ROOT)).expect_err("there is one");
    assert!(again.contains("EBUSY"), "{again}");
    apply(Op::Mount(MountOp::EnterRoot)).expect("it can be entered");
    let root =
        std::fs::read_to_string(format!("/proc/{}/mountinfo", embryo.id())).expect("it lives");
    let lines: Vec<&str> = root.lines().filter(|line| line.contains(" / / ")).collect();
    assert!(matches!(lines[..], [line] if line.contains(" ro,")), "{root}");
    let mut start = Plan::builder();
    start.keep(Keep::CWD | Keep::UMASK | Keep::SESSION).arg("true");
    start.op(&Op::ExecPath { path: c"/bin/true", flags: embryo::ExecFlags::empty() });
    let start = start.build().expect("it is a plan");
    let mut process = embryo.start(&start, &[]).unwrap_or_else(|(error, _)| panic!("{error}"));
    let status = process.wait_timeout(PATIENCE).expect("it can be waited for");
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

/// What came read-only from a namespace of more privilege stays so.
#[test]
fn an_ordinary_user_cannot_undo_what_was_mounted_read_only() {
    if is_root() {
        return rerun_as_nobody(here!());
    }
    alone!();
    let usable = |line: &&str| {
        let mut words = line.split(' ');
        let at = words.nth(4).unwrap_or_default();
        words.next().is_some_and(|how| how.starts_with("ro,")) && Path::new(at).is_dir()
    };
    let all = mountinfo();
    let Some(line) = all.lines().find(usable) else { skip!("nothing is mounted read-only here") };
    let at = line.split(' ').nth(4).unwrap_or_default();
    let source = CString::new(at).expect("no NUL");
    let mut draft = Draft::probe(&["exit", "0"]);
    namespaces().iter().for_each(|op| _ = draft.op(op));
    let (target, clear) = (c"/x", MountFlags::READ_ONLY);
    draft.op(&Op::Mount(NEW_ROOT));
    draft.op(&Op::Mount(MountOp::Bind { source: &source, target, flags: NONE }));
    draft.op(&Op::Mount(MountOp::Attributes { target, flags: NONE, clear }));
    draft.op(&Op::Mount(MountOp::EnterRoot)).op(&Op::ChdirPath { path: c"/" });
    let error = draft.spawn(Way::Seed).expect_err("it may not");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    assert!(error.to_string().contains("more privilege"), "{error}");
}

/// A command in a root of the system's programs.
fn command(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env_clear().env("PATH", "/usr/bin:/bin");
    command.unshare([NamespaceKind::Mount]);
    if !is_root() {
        command.unshare([NamespaceKind::User]);
    }
    command.new_root(NewRoot::default()).mount(Mount::read_only("/usr", "/usr"));
    for name in ["bin", "lib", "lib64"] {
        let path = Path::new("/").join(name);
        match std::fs::read_link(&path) {
            Ok(text) => _ = command.mount(Mount::symlink(text, path)),
            Err(_) if path.exists() => _ = command.mount(Mount::read_only(&path, &path)),
            Err(_) => {}
        }
    }
    command
}

#[test]
fn a_command_finds_what_was_described_and_nothing_else() {
    as_both!();
    let lower = tempdir();
    std::fs::write(lower.path().join("lower"), "lower").expect("it can be written");
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    std::io::Write::write_all(&mut { writer }, b"contents").expect("it has room");
    let mut command = command(
        "echo $(ls /) : $(ls /dev) : $(cat /file) : $(cat /o/lower) ; echo x > /dev/null \
         && echo x > /tmp/x && echo x > /o/x && cat /tmp/x && ! touch /usr/x 2>/dev/null \
         && ! touch /dev/new/x 2>/dev/null && test -w /dev/shm && pwd",
    );
    command
        .mount(Mount::dev("/dev"))
        .mount(Mount::Tmpfs {
            target: "/tmp".into(),
            attributes: MountAttributes::NONE,
            size: Some(1 << 20),
            mode: 0o1777,
            inodes: None,
        })
        .mount(Mount::Overlay {
            lower: vec![lower.path().into()],
            target: "/o".into(),
            upper: Upper::Throwaway,
            attributes: MountAttributes::NONE,
            userxattr: None,
        })
        .mount_fd(Mount::file("/file"), reader)
        .stderr(Stdio::inherit());
    let output = command.output().unwrap_or_else(|error| panic!("{error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let names = "bin dev file lib lib64 o tmp usr : core fd full null ptmx pts random shm stderr \
                 stdin stdout tty urandom zero : contents : lower\nx\n/\n";
    assert!(output.status.success(), "{said}");
    if Path::new("/lib64").exists() {
        assert_eq!(said, names);
    }
    assert!(!lower.path().join("x").exists());
}

#[test]
fn a_program_that_is_not_in_the_root_is_said_to_be_missing_there() {
    as_both!();
    let mut missing = Command::new("/usr/nix/bin/x");
    missing.unshare([NamespaceKind::Mount, NamespaceKind::User]);
    missing.new_root(NewRoot::default()).mount(Mount::read_only("/usr", "/usr"));
    let error = missing.spawn().expect_err("there is none");
    assert!(error.to_string().contains("the program does not exist"), "{error}");
    let mut loader = Command::new("/usr/bin/env");
    loader.unshare([NamespaceKind::Mount, NamespaceKind::User]);
    loader.new_root(NewRoot::default()).mount(Mount::read_only("/usr", "/usr"));
    let error = loader.spawn().expect_err("its loader is not there");
    assert!(error.to_string().contains("its ELF loader"), "{error}");
}

#[test]
fn a_device_node_on_a_mount_without_devices_cannot_be_opened() {
    as_both!();
    let script = "cat /null && ! cat /none 2>/dev/null";
    let mut command = command(script);
    command
        .mount(Mount::Bind {
            source: "/dev/null".into(),
            target: "/null".into(),
            attributes: MountAttributes { nodev: false, ..MountAttributes::PLAIN },
            optional: false,
            flat: false,
        })
        .mount(Mount::bind("/dev/null", "/none"));
    let status = command.status().unwrap_or_else(|error| panic!("{error}"));
    assert!(status.success());
}

#[test]
fn a_description_that_lacks_its_descriptor_is_no_plan() {
    let mut command = command("true");
    command.mount(Mount::file("/file"));
    let error = command.spawn().expect_err("it has none");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    let mut command = Command::new("/bin/true");
    command.mount(Mount::tmpfs("/mnt"));
    let error = command.spawn().expect_err("it has no namespace");
    assert!(error.to_string().contains("mount namespace"), "{error}");
}
