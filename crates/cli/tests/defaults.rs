//! What a program is given when nothing is asked for, as it sees it itself.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use support::{command, embryo, field, finish, shell};

#[test]
fn the_environment_is_the_minimal_one() {
    let env = |args: &[&str]| {
        let mut env = command(&[&["run"], args, &["/usr/bin/env"]].concat());
        env.env_clear().envs([
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/h"),
            ("TERM", "dumb"),
            ("LANG", "C"),
            ("LC_ALL", "C"),
            ("LC_TIME", "POSIX"),
            ("USER", "me"),
            ("LANGUAGE", "no"),
            ("LD_PRELOAD_NOT", "no"),
            ("SECRET", "s"),
            ("APP_A", "a"),
            ("APP_B", "b"),
        ]);
        let out = finish(&mut env).ok();
        let pairs = out.lines().map(|line| line.split_once('=').unwrap());
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let names = |args: &[&str]| env(args).into_keys().collect::<Vec<_>>().join(" ");
    let minimal = "HOME LANG LC_ALL LC_TIME PATH TERM USER";
    assert_eq!(names(&[]), minimal);
    assert_eq!(names(&["--unsetenv", "LC_TIME", "-uHOME"]), "LANG LC_ALL PATH TERM USER");
    assert_eq!(names(&["--env", "SECRET"]), "HOME LANG LC_ALL LC_TIME PATH SECRET TERM USER");
    assert_eq!(names(&["--clearenv", "--env", "APP_*", "--env", "X="]), "APP_A APP_B X");
    assert_eq!(names(&["--clearenv", "--env", "NOT_THERE"]), "");
    assert_eq!(names(&["--inherit-env", "-u", "SECRET"]).split(' ').count(), 11);
    let set = env(&["-E", "HOME=/other", "--env", "Q=a=b c"]);
    assert_eq!((set["HOME"].as_str(), set["Q"].as_str()), ("/other", "a=b c"));
}

#[test]
fn descriptors_are_the_three_streams() {
    // 3 is the directory that ls reads.
    let ran = shell("exec 5</dev/null 6>/dev/null 9</etc/passwd; \"$E\" run -- ls /proc/self/fd");
    assert_eq!(ran.ok(), "0\n1\n2\n3\n");
}

#[test]
fn a_stream_that_is_closed_here_is_dev_null_there() {
    let ran = shell("exec 0<&-; \"$E\" run -- readlink /proc/self/fd/0");
    assert_eq!(ran.ok(), "/dev/null\n");
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    let line = "trap '' HUP INT TERM; \"$E\" run -- cat /proc/self/status";
    let status = shell(line).ok();
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(field(&status, set).as_deref(), Some("0000000000000000"), "{set}");
    }
    // Above 31, posix_spawn(3) of glibc leaves its own two ignored in whoever started the shell.
    let ignored = |options: &str| {
        let line = format!("trap '' HUP INT; \"$E\" run {options} -- cat /proc/self/status");
        let set = field(&shell(&line).ok(), "SigIgn").unwrap();
        u64::from_str_radix(&set, 16).unwrap() & 0x7fff_ffff
    };
    assert_eq!(ignored("--keep-ignored-signals"), 0b11);
    assert_eq!(ignored("--keep-ignored-signals --default-signal INT"), 0b01);
    assert_eq!(ignored("--ignore-signal QUIT,PIPE --ignore-signal 1"), 0b1_0000_0000_0101);
}

#[test]
fn directory_umask_and_session_are_the_callers() {
    let dir = embryo_tests::tempdir();
    let mut pwd = command(&["run", "--", "pwd", "-P"]);
    let out = finish(pwd.current_dir(dir.path())).ok();
    let at = std::fs::metadata(out.trim()).unwrap();
    assert_eq!(at.ino(), std::fs::metadata(dir.path()).unwrap().ino());
    assert_eq!(shell("umask 027; \"$E\" run -- sh -c umask").ok(), "0027\n");
    let ids = "ps -o pgid=,sid= -p $$";
    if shell("command -v ps").code == Some(0) {
        let outer_and_inner = shell(&format!("{ids}; \"$E\" run -- sh -c '{ids}'")).ok();
        let [outer, inner] = outer_and_inner.lines().collect::<Vec<_>>()[..] else {
            panic!("{outer_and_inner}")
        };
        assert_eq!(outer, inner);
    }
}

#[test]
fn arguments_arrive_as_they_are() {
    let args = ["run", "printf", "%s|", "-l", "--", "--nice", "a b", "", "*"];
    assert_eq!(embryo(&args).ok(), "-l|--|--nice|a b||*|");
    assert_eq!(embryo(&["run", "--", "echo", "--", "x"]).ok(), "-- x\n");
}

#[test]
fn the_program_is_looked_up_in_its_own_path() {
    let dir = embryo_tests::tempdir();
    let name = "embryo-test-program";
    std::os::unix::fs::symlink("/bin/echo", dir.path().join(name)).unwrap();
    let dir = dir.path().to_str().unwrap();
    embryo(&["run", name, "x"]).fails(127);
    assert_eq!(embryo(&["run", "--env", &format!("PATH={dir}"), name, "x"]).ok(), "x\n");
    assert_eq!(embryo(&["run", "--path", dir, name, "x"]).ok(), "x\n");
    assert_eq!(embryo(&["run", "--clearenv", "echo", "x"]).ok(), "x\n");
}
