//! Each option's effect, as the program sees it itself.

mod support;

use embryo_tests::{is_root, require_root, rerun_as_nobody, tempdir};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::{embryo, field, shell};

/// What a file says, read by a child with these options.
fn read(options: &[&str], file: &str) -> String {
    embryo(&[&["run"], options, &["--", "cat", file]].concat()).ok()
}

#[test]
fn descriptors() {
    let dir = tempdir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let file = path("a:b");
    fs::write(&file, "text").unwrap();
    let grant = |mode: &str| format!("7={file}{mode}");
    let sh =
        |options: &[&str], line: &str| embryo(&[&["run"], options, &["sh", "-c", line]].concat());
    assert_eq!(sh(&["--fd", &grant("")], "cat <&7").ok(), "text");
    assert_eq!(sh(&["--fd", &grant(":a")], "echo more >&7").ok(), "");
    assert_eq!(sh(&["--fd", &grant(":rw")], "cat <&7").ok(), "textmore\n");
    assert_ne!(sh(&["--fd", &grant(":r")], "echo x >&7").code, Some(0));
    assert_eq!(sh(&["--fd", &grant(":w")], "echo new >&7").ok(), "");
    assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
    let line = sh(&["--fd", &grant(":x")], "true").fails(125);
    assert!(line.contains("EEXIST"), "{line}");
    assert_eq!(sh(&["--null", "7"], "echo x >&7; readlink /proc/self/fd/7").ok(), "/dev/null\n");
    let target = "for n in 3 4; do readlink /proc/self/fd/$n; done";
    let swap =
        shell(&format!("exec 3</etc 4</usr; \"$E\" run --fd 3=4 --fd 4=3 -- sh -c '{target}'"));
    assert_eq!(swap.ok(), "/usr\n/etc\n");

    let out = path("out");
    embryo(&["run", "--stdout", &out, "--stderr", "1", "sh", "-c", "echo a; echo b >&2"]).ok();
    assert_eq!(fs::read_to_string(&out).unwrap(), "a\n");
    let ran = embryo(&["run", "--stderr", "1", "sh", "-c", "echo b >&2"]);
    assert_eq!(ran.ok(), "b\n");
    assert_eq!(embryo(&["run", "--stdin", &out, "cat"]).ok(), "a\n");
    let closed = ["run", "--stdin", "closed", "--stderr", "null", "ls", "/proc/self/fd"];
    // ls opens the directory at the first free number, which is 0.
    assert_eq!(embryo(&closed).ok(), "0\n1\n2\n");
}

#[test]
fn programs_by_descriptor() {
    let dir = tempdir();
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\necho $0 $1\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    assert_eq!(embryo(&["run", "--exec-fd", "/bin/echo", "name", "x"]).ok(), "x\n");
    assert_eq!(shell("\"$E\" run --exec-fd 9 name x 9</bin/echo").ok(), "x\n");
    let line = embryo(&["run", "--exec-fd", script, "name"]).fails(126);
    assert!(line.contains("#! script") && line.contains("--keep-image-open"), "{line}");
    let open = ["run", "--exec-fd", script, "--keep-image-open", "name", "x"];
    assert!(embryo(&open).ok().ends_with(" x\n"));
    let argv0 = ["run", "--argv0", "other", "sh", "-c", "cat /proc/$$/cmdline | tr '\\0' ' '"];
    assert!(embryo(&argv0).ok().starts_with("other -c "));
}

#[test]
fn directories() {
    assert_eq!(embryo(&["run", "-C", "/usr", "pwd"]).ok(), "/usr\n");
    assert_eq!(shell("\"$E\" run --chdir-fd 5 pwd 5</usr").ok(), "/usr\n");
    assert_eq!(embryo(&["run", "--umask", "0", "sh", "-c", "umask"]).ok(), "0000\n");
}

#[test]
fn a_root_directory() {
    require_root!();
    let inside = ["run", "--root", "/", "readlink", "/proc/self/cwd"];
    assert_eq!(embryo(&inside).ok(), "/\n");
    assert_eq!(embryo(&["run", "--root", "/", "-C", "/usr", "pwd"]).ok(), "/usr\n");
    assert_eq!(shell("\"$E\" run --root-fd 5 -C /usr pwd 5</").ok(), "/usr\n");
    let dir = tempdir();
    let line = embryo(&["run", "--root", dir.path().to_str().unwrap(), "/bin/true"]).fails(127);
    assert!(line.contains("the program does not exist"), "{line}");
}

#[test]
fn sessions_and_groups() {
    let ids = |options: &[&str]| {
        let stat = read(options, "/proc/self/stat");
        let (pid, rest) = stat.split_once(" (cat) S ").or(stat.split_once(" (cat) R ")).unwrap();
        let ids: Vec<i32> = rest.split(' ').take(3).map(|id| id.parse().unwrap()).collect();
        (pid.parse::<i32>().unwrap(), ids[1], ids[2])
    };
    let (pid, group, session) = ids(&["--setsid"]);
    assert_eq!((group, session), (pid, pid));
    let (pid, group, session) = ids(&["--pgid", "new"]);
    assert!(group == pid && session != pid);
    let (pid, group, _) = ids(&[]);
    assert_ne!(group, pid);
    // No pid is as high.
    let line = embryo(&["run", "--pgid", "4194304", "true"]).fails(125);
    assert!(
        line.contains("set-pgid pgid=4194304: ") && line.contains("no such process group"),
        "{line}"
    );
    let line = embryo(&["run", "--foreground", "true"]).fails(125);
    assert!(line.contains("no standard stream is a terminal"), "{line}");
}

#[test]
fn limits() {
    let limits = read(
        &["--rlimit", "nofile=64:128", "--rlimit", "core=:0", "--rlimit", "STACK=4M:"],
        "/proc/self/limits",
    );
    let line = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("Max open files"), "64 128");
    assert!(line("Max stack size").starts_with("4194304 "));
    // The soft limit that the caller has may be above.
    let core = embryo(&["run", "--rlimit", "core=0", "sh", "-c", "ulimit -c; ulimit -Hc"]).ok();
    assert_eq!(core, "0\n0\n");
}

#[test]
fn priorities() {
    let stat = |options: &[&str], field: usize| {
        let stat = read(options, "/proc/self/stat");
        // The name is field 2; what follows its parenthesis is counted from 3.
        stat.split_once(") ").unwrap().1.split(' ').nth(field - 3).unwrap().to_owned()
    };
    assert_eq!(stat(&["--nice", "7"], 19), "7");
    assert_eq!(stat(&["--sched", "batch"], 41), "3");
    assert_eq!(stat(&["--sched", "idle", "--reset-on-fork"], 41), "5");
    assert_eq!(read(&["--oom-score-adj", "500"], "/proc/self/oom_score_adj"), "500\n");
    // Of another process it may not be read.
    assert_eq!(read(&["--timer-slack", "70us"], "/proc/self/timerslack_ns"), "70000\n");
    let status = read(&["--cpus", "0"], "/proc/self/status");
    assert_eq!(field(&status, "Cpus_allowed_list").as_deref(), Some("0"));
    let line = embryo(&["run", "--cpus", "8191", "true"]).fails(125);
    assert!(line.contains("affinity cpus=8191") && line.contains("EINVAL"), "{line}");
    let explained = embryo(&["run", "--explain", "--ioprio", "best-effort:7", "true"]).ok();
    assert!(explained.contains("io-priority class=best-effort level=7"), "{explained}");
    embryo(&["run", "--ioprio", "idle", "true"]).ok();
}

#[test]
fn real_time_policies() {
    require_root!();
    let stat = |options: &[&str]| {
        let stat = read(options, "/proc/self/stat");
        let fields: Vec<String> =
            stat.split_once(") ").unwrap().1.split(' ').map(str::to_owned).collect();
        (fields[40 - 3].clone(), fields[41 - 3].clone())
    };
    assert_eq!(stat(&["--sched", "fifo:9"]), ("9".into(), "1".into()));
    assert_eq!(stat(&["--deadline", "1ms:10ms:20ms"]).1, "6");
}

#[test]
fn privileges() {
    let status = read(&["--no-new-privs"], "/proc/self/status");
    assert_eq!(field(&status, "NoNewPrivs").as_deref(), Some("1"));
    let persona = |options: &[&str]| read(options, "/proc/self/personality").trim().to_owned();
    if fs::read("/proc/self/personality").is_ok() {
        assert_eq!(persona(&["--no-aslr"]), "00040000");
        assert_eq!(persona(&["--personality", "0x8", "--no-aslr"]), "00040008");
    }
    assert!(embryo(&["run", "--personality", "linux32", "uname", "-m"]).ok().starts_with('i'));
    let explained = embryo(&["run", "--explain", "--subreaper", "--pdeathsig", "9", "true"]).ok();
    assert!(explained.contains("subreaper") && explained.contains("death-signal signal=KILL"));
    embryo(&["run", "--subreaper", "--pdeathsig", "SIGTERM", "true"]).ok();
}

/// `ret ALLOW` behind `ld [0]; jeq #CALL, 0, 1; ret ERRNO`.
fn filter_refusing(call: i64, errno: u32) -> Vec<u8> {
    let words = [
        0x20,
        (call as u64) << 32 | 0x0100_0015,
        u64::from(0x5_0000 | errno) << 32 | 6,
        0x7fff_0000 << 32 | 6,
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn a_filter_from_a_descriptor() {
    let run = |bytes: &[u8], command: &str| {
        let dir = tempdir();
        let file = dir.path().join("filter");
        fs::write(&file, bytes).unwrap();
        let embryo = env!("CARGO_BIN_EXE_embryo");
        let line = format!("exec {embryo} run --seccomp 9 -- {command} 9<{}", file.display());
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    // From a file on descriptor 9, which is not the child's.
    let program = filter_refusing(libc_getpgid(), 5);
    let (code, status, errors) = run(&program, "cat /proc/self/status");
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(field(&status, "Seccomp").as_deref(), Some("2"));
    assert_eq!(field(&status, "NoNewPrivs").as_deref(), Some("1"), "as bwrap does");
    let (code, _, errors) = run(&program[..12], "true");
    assert_eq!(code, Some(125), "{errors}");
    assert!(errors.contains("seccomp") && errors.contains("wrong length"), "{errors}");
    let (code, _, errors) = run(&[7, 0, 0, 0, 0, 0, 0, 0], "true");
    assert_eq!(code, Some(125), "{errors}");
    assert!(errors.contains("instruction 0 of the filter"), "{errors}");
    // ret KILL: exec itself is forbidden.
    let (code, _, errors) = run(&[6, 0, 0, 0, 0, 0, 0, 0x80], "true");
    assert_eq!(code, Some(125), "{errors}");
    assert!(errors.contains("the filter forbids execve(2)"), "{errors}");
}

/// The number of a call that nothing here makes.
fn libc_getpgid() -> i64 {
    if cfg!(target_arch = "x86_64") { 121 } else { 155 }
}

#[test]
fn signal_sets() {
    let options = ["--signal-mask", "INT,RTMIN+1", "--ignore-signal", "HUP"];
    let status = read(&options, "/proc/self/status");
    assert_eq!(field(&status, "SigBlk").as_deref(), Some("0000000400000002"));
    assert_eq!(field(&status, "SigIgn").as_deref(), Some("0000000000000001"));
    // The mask that this run starts with is the one that the other run gives it.
    let inner = [env!("CARGO_BIN_EXE_embryo"), "run", "--keep-signal-mask"];
    let outer = ["run", "--signal-mask", "TERM"];
    let args = [&outer[..], &inner, &["cat", "/proc/self/status"]].concat();
    assert_eq!(field(&embryo(&args).ok(), "SigBlk").as_deref(), Some("0000000000004000"));
}

#[test]
fn other_users() {
    require_root!();
    let ids = |options: &[&str]| {
        let status = read(options, "/proc/self/status");
        let of = |name| field(&status, name).unwrap();
        (of("Uid"), of("Gid"), of("Groups"))
    };
    let all = |id: u32| format!("{id} {id} {id} {id}");
    let (uid, gid, groups) = ids(&["--uid", "4321"]);
    assert_eq!((uid, groups), (all(4321), String::new()));
    assert_eq!(gid, all(0));
    assert_eq!(ids(&["--gid", "8", "--groups", "5,7"]), (all(0), all(8), "5 7".into()));
    // execve(2) saves the effective id; the file system's, the fourth, follows it.
    assert_eq!(ids(&["--uid", "1:2:3"]).0, "1 2 2 2");
    assert_eq!(ids(&["--gid", ":2:"]).1, "0 2 2 2");
    let (uid, gid, _) = ids(&["--user", "root"]);
    assert_eq!((uid, gid), (all(0), all(0)));
    let nobody = ["run", "--user", "65534", "sh", "-c", "id -u; echo $USER"];
    if shell("getent passwd 65534").code == Some(0) {
        assert!(embryo(&nobody).ok().starts_with("65534\n"));
    }
    let line = embryo(&["run", "--user", "root", "--uid", "1", "true"]).fails(125);
    assert!(line.contains("cannot be used with"), "{line}");
}

#[test]
fn an_ordinary_user_has_all_that_needs_no_privilege() {
    if !is_root() {
        embryo_tests::skip!("that is who runs these tests");
    }
    for test in
        ["descriptors", "directories", "sessions_and_groups", "limits", "priorities", "signal_sets"]
    {
        rerun_as_nobody(test);
    }
}

/// In a user namespace that knows the caller alone there is one uid, one gid and no group to choose.
#[test]
fn what_a_user_namespace_of_one_cannot_have_is_refused() {
    let line = embryo(&["run", "--unshare-user", "--uid", "0", "--groups", "5", "true"]).fails(125);
    assert!(line.contains("groups") && line.contains("refuses setgroups"), "{line}");
    let line = embryo(&["run", "--unshare-user", "--uid", "0:1:0", "true"]).fails(125);
    assert!(line.contains("uid") && line.contains("does not map id"), "{line}");
}
