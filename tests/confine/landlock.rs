//! Landlock as data, seen by what the child may still do.

use crate::{leaving_nothing, probe};
use embryo::{Command, Error, Landlock, LandlockError, LandlockLog, LandlockRights, LandlockScope};
use embryo_tests::{alone, is_root, require_root, rerun_as_nobody, skip, tempdir};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

const READ: LandlockRights = LandlockRights::READ;
const EXECUTE: LandlockRights = LandlockRights::EXECUTE;
const WRITE: LandlockRights = LandlockRights::WRITE;

/// Skips a test whose kernel has less.
macro_rules! require_abi {
    ($abi:expr) => {
        if Landlock::kernel_abi().is_none_or(|found| found < $abi) {
            skip!("this kernel's Landlock is {:?}, below ABI {}", Landlock::kernel_abi(), $abi);
        }
    };
}

/// Skips a test that python has to try things for.
macro_rules! require_python {
    () => {
        if !crate::have_python() {
            skip!("not installed: /usr/bin/python3");
        }
    };
}

/// What python needs to run, and nothing else.
fn for_python() -> Landlock {
    let mut landlock = Landlock::new();
    landlock.abi = Landlock::kernel_abi().unwrap_or(1).min(Landlock::ABI);
    for path in ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"] {
        if Path::new(path).exists() {
            landlock.path(path, READ | EXECUTE);
        }
    }
    landlock
}

fn python(script: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-S", "-c", script]).env_clear().current_dir("/");
    command.spawn_options(crate::Way::Seed.options());
    command
}

/// What the script prints.
#[track_caller]
fn told(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("it is text")
}

/// Tries things by name, and prints how each ends.
const TRY: &str = "
import os, sys
def attempt(name, what):
    try:
        what()
        print(name, 'ok')
    except OSError as error:
        print(name, os.strerror(error.errno) if error.errno not in (1, 13) else ('EPERM', 'EACCES')[error.errno == 13])
";

#[test]
fn files_are_restricted() {
    alone!();
    require_python!();
    require_abi!(3);
    let open = tempdir();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(open.path(), mode(0o777)).expect("ours");
    let shut = tempdir();
    std::fs::set_permissions(shut.path(), mode(0o777)).expect("ours");
    for dir in [&open, &shut] {
        let file = dir.path().join("file");
        std::fs::write(&file, "text").expect("writable");
        std::fs::set_permissions(&file, mode(0o666)).expect("ours");
    }
    let (inside, outside) = (open.path().display(), shut.path().display());
    let script = format!(
        "{TRY}
attempt('read inside', lambda: open('{inside}/file').read())
attempt('write inside', lambda: open('{inside}/new', 'w').write('x'))
attempt('truncate inside', lambda: os.truncate('{inside}/file', 1))
attempt('remove inside', lambda: os.remove('{inside}/new'))
attempt('list inside', lambda: os.listdir('{inside}'))
attempt('read outside', lambda: open('{outside}/file').read())
attempt('write outside', lambda: open('{outside}/new', 'w').write('x'))
attempt('truncate outside', lambda: os.truncate('{outside}/file', 1))
attempt('list outside', lambda: os.listdir('{outside}'))
attempt('move out', lambda: os.rename('{inside}/file', '{outside}/file2'))
attempt('read /etc/passwd', lambda: open('/etc/passwd').read())
attempt('write /usr', lambda: open('/usr/embryo', 'w'))
sys.stdout.flush()
attempt('execute outside', lambda: os.execv('{outside}/file', ['x']))
"
    );
    leaving_nothing(|| {
        let mut landlock = for_python();
        landlock.path(open.path(), READ | WRITE);
        let output = python(&script).landlock(&landlock).output();
        let found = told(output.unwrap_or_else(|error| panic!("{error}")));
        assert_eq!(
            found,
            "read inside ok\nwrite inside ok\ntruncate inside ok\nremove inside ok\nlist inside ok\n\
             read outside EACCES\nwrite outside EACCES\ntruncate outside EACCES\nlist outside EACCES\n\
             move out EACCES\nread /etc/passwd EACCES\nwrite /usr EACCES\nexecute outside EACCES\n"
        );
    });
    // The caller itself is as it was.
    std::fs::write(shut.path().join("mine"), "").expect("writable");
}

#[test]
fn only_reading_is_less_than_writing() {
    alone!();
    require_python!();
    require_abi!(1);
    let dir = tempdir();
    let file = dir.path().join("file");
    std::fs::write(&file, "text").expect("writable");
    let path = file.display();
    let script = format!(
        "{TRY}
attempt('read', lambda: open('{path}').read())
attempt('write', lambda: open('{path}', 'r+').write('x'))
"
    );
    // A rule on a file takes what a file can have.
    let mut landlock = for_python();
    landlock.path(&file, READ);
    let output = python(&script).landlock(&landlock).output().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(told(output), "read ok\nwrite EACCES\n");
}

/// A rule is on a file or directory, wherever that is mounted: opened on the caller's /usr it holds for a
/// bind of /usr in a new root. What the new root has of its own is not covered by what was opened under the
/// same name. (It is after a chroot(2) alone: the kernel looks further up than a root directory.)
#[test]
fn a_rule_holds_for_a_bind_of_what_it_is_on() {
    alone!();
    require_python!();
    require_abi!(1);
    let dir = tempdir();
    let root = dir.path().display();
    let mut landlock = Landlock::new();
    landlock.abi = 1;
    landlock.path("/usr", READ).path("/", LandlockRights::from_bits(1 << 3));
    let ruleset = landlock.ruleset().expect("made").expect("there is Landlock");
    let script = format!(
        "{TRY}
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        error = ctypes.get_errno()
        sys.exit(f'{{name}}: {{os.strerror(error)}}')
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
call('mount', b'none', b'/', None, MS_REC | MS_PRIVATE, None)
call('mount', b'none', b'{root}', b'tmpfs', 0, None)
os.mkdir('{root}/usr'); os.mkdir('{root}/own')
open('{root}/own/file', 'w').close()
call('mount', b'/usr', b'{root}/usr', None, MS_BIND | MS_REC, None)
os.chdir('{root}')
call('syscall', {pivot_root}, b'.', b'.')
call('umount2', b'.', 2)
os.chdir('/')
call('prctl', 38, 1, 0, 0, 0)
call('syscall', 446, 9, 0)
attempt('bind', lambda: open('/usr/bin/python3', 'rb').read(4))
attempt('own', lambda: open('/own/file'))
attempt('list own root', lambda: os.listdir('/'))
",
        pivot_root = libc::SYS_pivot_root
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "/usr/bin/python3", "-S", "-c", &script]);
    let output = command.fd(9, ruleset.fd).output().unwrap_or_else(|error| panic!("{error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("unshare") || errors.contains("mount: Operation not permitted") {
        skip!("no user namespace with mounts can be had: {errors}");
    }
    assert_eq!(told(output), "bind ok\nown EACCES\nlist own root EACCES\n");
}

/// Rules that the child adds are for what it sees: below its new root.
#[test]
fn a_path_inside_is_the_childs() {
    alone!();
    require_root!();
    require_abi!(1);
    let root = tempdir();
    let source = root.path().join("prog.c");
    let code = "#include <errno.h>\n#include <fcntl.h>\n#include <stdio.h>\n\
                int main(void) { int a = open(\"/data/x\", O_RDONLY) < 0 ? errno : 0;\n\
                int b = open(\"/other/x\", O_RDONLY) < 0 ? errno : 0;\n\
                printf(\"%d %d\\n\", a, b); return 0; }\n";
    std::fs::write(&source, code).expect("writable");
    let built = std::process::Command::new("cc")
        .arg("-static")
        .arg(&source)
        .arg("-o")
        .arg(root.path().join("prog"))
        .output();
    if !built.is_ok_and(|output| output.status.success()) {
        skip!("no C compiler that links statically");
    }
    for name in ["data", "other"] {
        std::fs::create_dir(root.path().join(name)).expect("writable");
        std::fs::write(root.path().join(name).join("x"), "").expect("writable");
    }
    let mut landlock = Landlock::new();
    landlock.abi = 1;
    landlock.path_inside("/data", READ).path_inside("/prog", READ | EXECUTE);
    let command = |landlock: &Landlock| {
        let mut command = Command::new("/prog");
        command.chroot(root.path()).landlock(landlock).spawn_options(crate::Way::Seed.options());
        command
    };
    // Twice: what a child adds to its ruleset is not there for the next.
    for _ in 0..2 {
        let output = command(&landlock).output().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(told(output), format!("0 {}\n", libc::EACCES));
    }
    // Looked up by the caller there is no such path, and it is said which.
    let mut outside = Landlock::new();
    outside.abi = 1;
    outside.path("/prog", READ | EXECUTE);
    let error = command(&outside).output().expect_err("not there");
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
    assert!(error.to_string().contains("/prog"), "{error}");
    let mut missing = Landlock::new();
    missing.abi = 1;
    missing.path_inside("/missing", READ);
    let error = command(&missing).output().expect_err("not there");
    assert_eq!(error.as_spawn().map(|fault| fault.op()), Some("landlock-path"), "{error}");
    assert!(error.to_string().contains("/missing"), "{error}");
}

#[test]
fn ports_are_restricted() {
    alone!();
    require_python!();
    require_abi!(4);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let open = listener.local_addr().expect("bound").port();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let shut = other.local_addr().expect("bound").port();
    let script = format!(
        "{TRY}
import socket
s = lambda: socket.socket()
attempt('connect open', lambda: s().connect(('127.0.0.1', {open})))
attempt('connect shut', lambda: s().connect(('127.0.0.1', {shut})))
attempt('bind any', lambda: s().bind(('127.0.0.1', 0)))
attempt('bind 54321', lambda: s().bind(('127.0.0.1', 54321)))
"
    );
    let mut landlock = Landlock::new();
    landlock.connect([open]).bind([0]);
    assert_eq!(landlock.needed_abi().0, 4, "files are not restricted");
    let output = python(&script).landlock(&landlock).output().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        told(output),
        "connect open ok\nconnect shut EACCES\nbind any ok\nbind 54321 EACCES\n"
    );
}

#[test]
fn scopes_keep_what_is_inside_inside() {
    alone!();
    require_python!();
    require_abi!(6);
    let script = format!(
        "{TRY}
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind('\\0embryo-inside-%d' % os.getpid())
listener.listen()
attempt('signal', lambda: os.kill(os.getppid(), 0))
attempt('signal self', lambda: os.kill(os.getpid(), 0))
attempt('outside', lambda: socket.socket(socket.AF_UNIX).connect('\\0embryo-outside-{}'))
attempt('inside', lambda: socket.socket(socket.AF_UNIX).connect(listener.getsockname()))
",
        std::process::id()
    );
    use std::os::linux::net::SocketAddrExt;
    let name = format!("embryo-outside-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("short");
    let _outside = std::os::unix::net::UnixListener::bind_addr(&address).expect("free");
    let mut landlock = Landlock::new();
    landlock.scope(LandlockScope::Signal).scope(LandlockScope::AbstractUnixSocket);
    let output = python(&script).landlock(&landlock).output().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(told(output), "signal EPERM\nsignal self ok\noutside EPERM\ninside ok\n");
    let output = python(&script).output().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(told(output), "signal ok\nsignal self ok\noutside ok\ninside ok\n");
}

#[test]
fn what_the_kernel_lacks_is_said_unless_best_effort_will_do() {
    alone!();
    let found = Landlock::kernel_abi();
    let mut landlock = Landlock::new();
    landlock.abi = Landlock::ABI_MAX;
    landlock.path("/", READ | EXECUTE | WRITE);
    if found.is_some_and(|found| found >= Landlock::ABI_MAX) {
        skip!("this kernel has all that is known here");
    }
    let error = probe(&["exit", "4"]).landlock(&landlock).status().expect_err("it lacks that");
    let text = error.to_string();
    assert!(text.contains("ABI 10 (Linux 7.2)") && text.contains("this kernel has"), "{text}");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    let Error::Landlock(reason) = &error else { panic!("{error}") };
    assert!(matches!(**reason, LandlockError::TooOld { needed: 10, .. }), "{error}");
    landlock.best_effort = true;
    let status = probe(&["exit", "4"]).landlock(&landlock).status();
    assert_eq!(status.unwrap_or_else(|error| panic!("{error}")).code(), Some(4));
}

#[test]
fn what_is_wrong_with_a_description_is_said() {
    alone!();
    let check = |landlock: &Landlock, text: &str| {
        let error = probe(&["exit", "0"]).landlock(landlock).status().expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
    };
    check(&Landlock::new(), "restricts nothing");
    let mut landlock = Landlock::new();
    landlock.abi = 11;
    landlock.path("/", READ);
    check(&landlock, "no Landlock ABI 11");
    require_abi!(1);
    landlock.abi = 1;
    landlock.path("/nowhere/to/be/found", READ);
    check(&landlock, "/nowhere/to/be/found: No such file or directory (ENOENT)");
    let mut landlock = Landlock::new();
    landlock.abi = 1;
    landlock.path("/dev/null", LandlockRights::from_bits(1 << 3));
    check(&landlock, "/dev/null");
    landlock.files = None;
    landlock.path("/", LandlockRights::default());
    check(&landlock, "no rights");
    // The image itself may not be executed.
    let mut landlock = Landlock::new();
    landlock.abi = 1;
    landlock.path("/etc", READ);
    check(&landlock, "Landlock ruleset");
    let error = probe(&["exit", "0"]).landlock(&landlock).status().expect_err("no image");
    assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{error}");
    assert_eq!(error.as_spawn().map(|fault| fault.op()), Some("exec"), "{error}");
}

/// What would let a set-user-id program be confused is for the privileged alone.
#[test]
fn it_needs_no_new_privs() {
    if is_root() {
        return rerun_as_nobody("landlock::it_needs_no_new_privs");
    }
    alone!();
    require_python!();
    require_abi!(1);
    let ruleset = for_python().ruleset().expect("made").expect("there is Landlock");
    let mut command = python("");
    command.landlock_ruleset(ruleset.fd, ruleset.flags);
    let error = command.status().expect_err("it may not");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    assert_eq!(error.as_spawn().map(|fault| fault.op()), Some("landlock"), "{error}");
    assert!(error.to_string().contains("no-new-privs in the plan"), "{error}");
    assert!(command.no_new_privs(true).status().expect("it may").success());
}

#[test]
fn what_is_logged_can_be_chosen() {
    alone!();
    require_python!();
    require_abi!(7);
    let mut landlock = for_python();
    landlock.log = vec![LandlockLog::QuietImage, LandlockLog::QuietSubdomains];
    landlock.log.push(LandlockLog::LogNewExec);
    let output = python("print('here')").landlock(&landlock).output();
    assert_eq!(told(output.unwrap_or_else(|error| panic!("{error}"))), "here\n");
}

#[test]
fn rights_have_names() {
    let all = READ | WRITE | EXECUTE;
    assert_eq!(all.names().count(), 16);
    assert_eq!("read,write,execute".parse(), Ok(all));
    assert_eq!(all.to_string().parse(), Ok(all));
    assert_eq!("make-dir,refer".parse::<LandlockRights>().map(LandlockRights::bits), Ok(0x2080));
    let error = "raed".parse::<LandlockRights>().expect_err("none").to_string();
    assert!(error.contains("raed") && error.contains("read-file"), "{error}");
}
