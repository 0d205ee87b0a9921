//! What `embryo run` exits with, and the one line that says why.

mod support;

use embryo_tests::{is_root, rerun_as_nobody, tempdir};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::{embryo, shell};

#[test]
fn a_programs_own_status_is_passed_on() {
    for status in ["0", "1", "7", "125", "126", "127", "255"] {
        let ran = embryo(&["run", "--", "sh", "-c", &format!("exit {status}")]);
        assert_eq!(ran.code, status.parse().ok(), "{ran:?}");
        assert_eq!(ran.err, "");
    }
}

#[test]
fn what_a_program_died_of_is_what_embryo_dies_of() {
    // RTMIN+3, which has no name, and one that would dump core.
    for signal in [1, 2, 9, 11, 13, 15, 37] {
        let kill = format!("kill -{signal} $$");
        let ran = embryo(&["run", "--", "sh", "-c", &kill]);
        assert_eq!((ran.code, ran.signal), (None, Some(signal)), "{ran:?}");
        let ran = embryo(&["run", "--signal-as-status", "--", "sh", "-c", &kill]);
        assert_eq!((ran.code, ran.signal), (Some(128 + signal), None), "{ran:?}");
        let ran = shell(&format!("\"$E\" run -- sh -c '{kill}'; echo $?"));
        assert_eq!(ran.out.trim(), (128 + signal).to_string(), "{ran:?}");
    }
}

#[test]
fn a_program_that_is_not_there_is_127() {
    let line = embryo(&["run", "--path", "/usr/bin:/bin", "no-such-program"]).fails(127);
    assert!(line.contains("exec-name no-such-program: No such file or directory (ENOENT)"));
    let line = embryo(&["run", "/no/such/program"]).fails(127);
    assert!(line.contains("exec /no/such/program") && line.contains("the program does not exist"));
    let line = embryo(&["run", "--path", "/bin", "ls -l"]).fails(127);
    assert!(line.contains("(hint: program and arguments are separate words"), "{line}");
    let line = embryo(&["run", "--path", "/bin", "A=1", "ls"]).fails(127);
    assert!(line.contains("(hint: --env NAME=VALUE"), "{line}");
    // The search goes on past what is no directory.
    embryo(&["run", "--path", "/etc/passwd:/no", "--", "ls"]).fails(127);
}

#[test]
fn a_closed_directory_in_path_does_not_make_a_missing_program_126() {
    if is_root() {
        return rerun_as_nobody(embryo_tests::here!());
    }
    let dir = tempdir();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    let list = format!("{}:/bin", closed.display());
    let line = embryo(&["run", "--path", &list, "no-such-program"]).fails(127);
    assert!(line.contains("EACCES") && line.contains("may not be searched by this user"), "{line}");
    assert_eq!(embryo(&["run", "--path", &list, "echo", "x"]).ok(), "x\n");
}

#[test]
fn a_program_that_cannot_be_run_is_126() {
    let dir = tempdir();
    let path = |name: &str, text: &str, mode| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let plain = path("plain", "#!/bin/sh\n", 0o644);
    let line = embryo(&["run", &plain]).fails(126);
    assert!(line.contains("EACCES") && line.contains("no execute permission"), "{line}");
    assert!(line.ends_with("(hint: chmod +x)"), "{line}");
    let bare = path("bare", "echo $0\n", 0o755);
    let line = embryo(&["run", &bare]).fails(126);
    assert!(line.contains("ENOEXEC") && line.contains("--shell-fallback"), "{line}");
    assert_eq!(embryo(&["run", "--shell-fallback", &bare]).ok(), format!("{bare}\n"));
    let line = embryo(&["run", "/"]).fails(126);
    assert!(line.contains("the program is a directory"), "{line}");
    // env(1) gives 127 here too: the errno is that of something missing.
    let orphan = path("orphan", "#!/no/interpreter\n", 0o755);
    let line = embryo(&["run", &orphan]).fails(127);
    assert!(line.contains("#! interpreter /no/interpreter does not exist"), "{line}");
}

#[test]
fn embryos_own_failure_is_125() {
    for args in [
        &["run"][..],
        &["run", "--"],
        &["run", "--no-such-option", "true"],
        &["run", "--nice", "20", "true"],
        &["run", "--explain", "--trace", "true"],
        &["run", "--reset-on-fork", "true"],
        &["run", "--user", "no-such-user", "true"],
        &["run", "--uid", "no-such-user", "true"],
        &["run", "--gid", "no-such-group", "true"],
        &["run", "--fd", "99", "true"],
        &["run", "--fd", "3=/no/such/file", "true"],
        &["run", "--plan", "/no/such/file"],
        &["no-such-command"],
        &["check"],
    ] {
        embryo(args).fails(125);
    }
    let ran = embryo(&["run", "--json", "true"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""));
    assert!(ran.err.starts_with("{\"error\":{") && ran.err.contains("--json needs"), "{ran:?}");
    let line = embryo(&["run", "--chdir", "/no/such/dir", "true"]).fails(125);
    assert!(line.contains("chdir /no/such/dir: No such file or directory (ENOENT)"), "{line}");
    let line = embryo(&["run", "--nise", "3", "true"]).fails(125);
    assert!(line.contains("'--nise'") && line.contains("'--nice'"), "{line}");
    // Now and then a child is there before the clock has been looked at.
    let mut late = (0..200).map(|_| embryo(&["run", "--start-timeout", "1ns", "true"]));
    let late = late.find(|ran| ran.code != Some(0)).expect("one is too late");
    assert!(late.fails(125).contains("did not start in time"));
}

#[test]
fn a_refused_operation_names_itself_and_a_hint() {
    if is_root() {
        return rerun_as_nobody(embryo_tests::here!());
    }
    for (args, op, hint) in [
        (&["--uid", "0"][..], "uid real=0 effective=0 saved=0: ", "CAP_SETUID"),
        (&["--gid", "0"], "gid real=0 effective=0 saved=0: ", "CAP_SETGID"),
        (&["--groups", "0"], "groups gids=0: ", "CAP_SETGID"),
        (&["--root", "/"], "chroot /: ", "CAP_SYS_CHROOT"),
        (&["--nice", "-5"], "nice value=-5: ", "CAP_SYS_NICE"),
        (&["--rlimit", "core=0:", "--rlimit", "nofile=2G"], "rlimit resource=NOFILE", "CAP_SYS"),
        (&["--sched", "fifo:1"], "sched policy=FIFO priority=1: ", "CAP_SYS_NICE"),
        (&["--oom-score-adj", "-999"], "oom-score-adj value=-999: ", "CAP_SYS_RESOURCE"),
    ] {
        let line = embryo(&[&["run"], args, &["true"]].concat()).fails(125);
        assert!(line.contains(op) && line.contains("(hint: ") && line.contains(hint), "{line}");
    }
}

#[test]
fn a_time_limit_is_that_of_timeout() {
    let ran = embryo(&["run", "--timeout", "100ms", "--", "sleep", "60"]);
    assert_eq!((ran.code, ran.signal), (Some(124), None), "{ran:?}");
    let deaf = "trap '' TERM; while :; do sleep 1; done";
    let limits = ["run", "--timeout", "100ms", "--kill-after", "100ms", "--", "sh", "-c", deaf];
    assert_eq!(embryo(&limits).code, Some(137));
    // One that is stopped cannot notice SIGTERM before it is continued.
    let ran = embryo(&["run", "--timeout", "300ms", "--setsid", "sh", "-c", "kill -STOP $$"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
    assert_eq!(embryo(&["run", "--timeout", "20s", "sh", "-c", "exit 3"]).code, Some(3));
}

#[test]
fn help_and_version_are_no_failure() {
    let version = embryo(&["--version"]).ok();
    assert_eq!(version, format!("embryo {}\n", env!("CARGO_PKG_VERSION")));
    for args in [&["--help"][..], &["run", "--help"], &["run", "-h"], &["help", "run"]] {
        assert!(embryo(args).ok().contains("Usage: embryo"));
    }
    let help = embryo(&["run", "--help"]).ok();
    for part in ["Exit status:", "Examples:", "128+N", "Resources:", "Signals and job control:"] {
        assert!(help.contains(part), "{part}");
    }
    let ran = embryo(&[]);
    assert_eq!(ran.code, Some(125));
}
