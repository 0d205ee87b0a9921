//! `embryo run --load`: programs that start without exec, all options with them, and what is
//! refused before anything happens.

#![cfg(target_arch = "x86_64")]

mod support;

use embryo_tests::{is_root, require_root, rerun_as_nobody, skip, tempdir};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{command, embryo, field, finish, shell, state};

/// Prints its arguments and its environment, and exits with 42.
const REPORT: &str = r#"
#include <stdio.h>
extern char **environ;
int main(int argc, char **argv) {
    for (int at = 0; at < argc; at++) printf("arg %s\n", argv[at]);
    for (char **at = environ; *at; at++) printf("env %s\n", *at);
    return 42;
}
"#;

/// Runs a program with `--load`, and without it, and compares what they print.
#[track_caller]
fn same(options: &[&str], program: &[&str]) -> String {
    let run = |load: &[&str]| embryo(&[&["run"], load, options, &["--"], program].concat());
    let (loaded, launched) = (run(&["--load"]), run(&[]));
    assert_eq!((&loaded.out, &loaded.err), (&launched.out, &launched.err), "{options:?}");
    assert_eq!((loaded.code, loaded.signal), (launched.code, launched.signal), "{options:?}");
    loaded.out
}

/// Says of the program that it runs whether exec brought it in.
fn exe(options: &[&str]) -> String {
    embryo(&[&["run"], options, &["--", "readlink", "/proc/self/exe"]].concat()).ok()
}

#[test]
fn no_exec_happens() {
    assert!(!exe(&["--load"]).contains("readlink"), "exec would have named the program");
    assert!(!exe(&[]).contains("memfd"));
}

#[test]
fn programs_of_every_kind_start() {
    let dir = tempdir();
    let source = dir.path().join("report.c");
    fs::write(&source, REPORT).unwrap();
    let kinds: [(&str, &[&str]); 4] = [
        ("dynamic", &["-pie", "-fPIE"]),
        ("no-pie", &["-no-pie", "-fno-pie"]),
        ("static", &["-static", "-no-pie", "-fno-pie"]),
        ("static-pie", &["-static-pie", "-fPIE"]),
    ];
    for (kind, flags) in kinds {
        let program = dir.path().join(kind);
        let compiled = Command::new("cc").args(flags).arg("-o").arg(&program).arg(&source).output();
        if !compiled.is_ok_and(|compiled| compiled.status.success()) {
            embryo_tests::log_skip("load", &format!("no C compiler, or none for {kind}"));
            continue;
        }
        let program = program.to_str().unwrap();
        let options = ["--clearenv", "--env", "A=1", "--env", "B="];
        let out = same(&options, &[program, "x", "", "y z"]);
        assert_eq!(out, format!("arg {program}\narg x\narg \narg y z\nenv A=1\nenv B=\n"));
        let args = ["run", "--load", "--argv0", "name", "-i", program];
        let ran = embryo(&args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(42), "arg name\n"), "{kind}: {ran:?}");
    }
}

#[test]
fn a_loaded_program_ends_as_a_launched_one_does() {
    for status in ["0", "7", "125", "255"] {
        same(&[], &["sh", "-c", &format!("exit {status}")]);
    }
    for signal in [9, 11, 15] {
        let ran = embryo(&["run", "--load", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!((ran.code, ran.signal), (None, Some(signal)), "{ran:?}");
    }
    let ran = embryo(&["run", "--load", "--timeout", "100ms", "--", "sleep", "100"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
}

#[test]
fn options_take_effect() {
    let dir = tempdir();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    let out = dir.path().join("out").to_str().unwrap().to_owned();
    let file = file.to_str().unwrap();
    let place = dir.path().canonicalize().unwrap();
    let place = place.to_str().unwrap();

    let status = same(
        &["--signal-mask", "USR2", "--ignore-signal", "USR1", "--no-new-privs", "--umask", "27"],
        &["grep", "-E", "Umask|SigBlk|SigIgn|NoNewPrivs|Uid|Gid|Groups", "/proc/self/status"],
    );
    assert_eq!(field(&status, "SigBlk").as_deref(), Some("0000000000000800"));
    assert_eq!(field(&status, "SigIgn").as_deref(), Some("0000000000000200"));
    assert_eq!(field(&status, "NoNewPrivs").as_deref(), Some("1"));
    assert_eq!(field(&status, "Umask").as_deref(), Some("0027"));

    assert_eq!(same(&["--chdir", place], &["pwd", "-P"]), format!("{place}\n"));
    assert_eq!(
        same(&["--rlimit", "nofile=64", "--nice", "19"], &["sh", "-c", "ulimit -n; nice"]),
        "64\n19\n"
    );
    assert_eq!(
        same(&["--fd", &format!("7={file}")], &["sh", "-c", "cat <&7; ls /proc/$$/fd"]),
        "text0\n1\n2\n7\n"
    );
    let ran = embryo(&["run", "--load", "--stdin", file, "--stdout", &out, "--", "cat"]);
    assert_eq!((ran.ok().as_str(), fs::read_to_string(&out).unwrap().as_str()), ("", "text"));
    let ids = "cut -d' ' -f5,6 /proc/$$/stat; echo $$";
    let ids = embryo(&["run", "--load", "--setsid", "--", "sh", "-c", ids]).ok();
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!((ids[0], ids[1]), (ids[2], ids[2]), "it leads a session and a group: {ids:?}");
    assert_eq!(same(&["--exec-fd", "/bin/echo"], &["name", "x"]), "x\n");
    assert_eq!(shell("\"$E\" run --load --exec-fd 9 name x 9</bin/echo").ok(), "x\n");
    // No descriptor of the loaded file is left.
    let fds = embryo(&["run", "--load", "--exec-fd", "/bin/sh", "sh", "-c", "ls /proc/$$/fd"]);
    assert_eq!(fds.ok(), "0\n1\n2\n");
    // The caller's ignored signals, which an embryo does not have of itself.
    let kept = |load: &str| {
        let grep = "--keep-ignored-signals -- grep SigIgn /proc/self/status";
        shell(&format!("trap '' USR1; \"$E\" run {load} {grep}")).ok()
    };
    let ignored = kept("--load");
    assert_eq!(ignored, kept(""));
    assert!(ignored.ends_with("200\n"), "{ignored}");
}

#[test]
fn credentials_are_those_that_it_is_told() {
    require_root!();
    let options = ["--load", "--user", "nobody"];
    let id = |options: &[&str]| embryo(&[&["run"], options, &["--", "/usr/bin/id"]].concat()).ok();
    assert_eq!(id(&options), id(&options[1..]));
    let vector = |load: &[&str], ids: &str| {
        let args = ["--uid", ids, "--gid", ids, "--env", "LD_SHOW_AUXV=1", "--", "/bin/true"];
        let out = embryo(&[&["run"], load, &args].concat()).ok();
        let wanted = |line: &&str| {
            ["AT_UID", "AT_EUID", "AT_GID", "AT_EGID", "AT_SECURE"]
                .iter()
                .any(|key| line.starts_with(key))
        };
        out.lines().filter(wanted).map(str::to_owned).collect::<Vec<_>>()
    };
    let kernels = vector(&[], "1000");
    if kernels.is_empty() {
        skip!("the interpreter does not know LD_SHOW_AUXV");
    }
    assert_eq!(vector(&["--load"], "1000"), kernels);
    // With other effective ids than real ones the interpreter does as it is told: nothing.
    assert_eq!(vector(&["--load"], "1:2:3"), vector(&[], "1:2:3"));
}

#[test]
fn names_are_looked_up_as_exec_does() {
    let dir = tempdir();
    let at = |name: &str| dir.path().join(name);
    for name in ["first", "second", "third"] {
        fs::create_dir(at(name)).unwrap();
    }
    // A file without permission and a directory are passed over.
    fs::copy("/bin/echo", at("first/hello")).unwrap();
    fs::set_permissions(at("first/hello"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(at("second/hello")).unwrap();
    fs::copy("/bin/echo", at("third/hello")).unwrap();
    let list = ["first", "second", "no", "third"].map(|name| at(name).display().to_string());
    let list = list.join(":");
    assert_eq!(same(&["--path", &list], &["hello", "x"]), "x\n");
    let path = format!("PATH={list}");
    assert_eq!(same(&["--env", &path], &["hello", "x"]), "x\n");
    // A relative path starts at the child's directory.
    let third = at("third");
    let third = third.to_str().unwrap();
    assert_eq!(same(&["--chdir", third], &["./hello", "x"]), "x\n");
    assert_eq!(same(&["--chdir", third, "--path", ""], &["hello", "x"]), "x\n");

    let fails = |args: &[&str], code| embryo(&[&["run", "--load"], args].concat()).fails(code);
    let line = fails(&["--path", &list, "nothing"], 127);
    assert!(line.contains("nothing: there is no such program in the search list"), "{line}");
    let line = fails(&["--path", &list, "ls -l"], 127);
    assert!(line.contains("(hint: program and arguments are separate words"), "{line}");
    let line = fails(&["--chdir", "/no/such", "./hello"], 125);
    assert!(line.contains("working directory /no/such: No such file"), "{line}");
    let first = at("first/hello");
    let line = fails(&[first.to_str().unwrap()], 126);
    assert!(line.contains("no execute permission") && line.ends_with("(hint: chmod +x)"), "{line}");
    let (first, _) = list.split_once(":").unwrap();
    let line = fails(&["--path", first, "hello"], 126);
    assert!(line.contains("no execute permission"), "{line}");
}

/// A copy of a program with two bytes changed.
fn changed(dir: &Path, name: &str, at: usize, bytes: [u8; 2]) -> String {
    let mut program = fs::read("/bin/true").unwrap();
    program[at..at + 2].copy_from_slice(&bytes);
    executable(dir, name, &program)
}

fn executable(dir: &Path, name: &str, contents: &[u8]) -> String {
    let path = dir.join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn what_cannot_be_loaded_is_refused_by_name() {
    let dir = tempdir();
    let dir = dir.path();
    let fails = |program: &str, code, text: &str| {
        let line = embryo(&["run", "--load", program]).fails(code);
        assert!(line.contains(text) && line.contains(program), "{text}: {line}");
        line
    };
    fails("/no/such/program", 127, "No such file or directory (ENOENT)");
    fails("/", 126, "it is no ELF file but a directory");
    let script = executable(dir, "script", b"#!/usr/bin/env -S python3 -I\n");
    let line = fails(&script, 126, "it is a #! script for /usr/bin/env");
    assert!(line.contains("without --load the kernel runs the script"), "{line}");
    fails(&executable(dir, "text", b"echo x\n"), 126, "it is no ELF file but a text");
    fails(&executable(dir, "empty", b""), 126, "it is no ELF file but an empty file");
    fails(&executable(dir, "short", b"\x7fELF\x02\x01\x01"), 126, "it is truncated");
    // e_machine: aarch64. e_type: a core dump.
    fails(&changed(dir, "arm", 18, [183, 0]), 126, "it is an ELF file for aarch64, and this is");
    fails(&changed(dir, "core", 16, [4, 0]), 126, "it is a core dump, not a program");
    let mut orphan = fs::read("/bin/true").unwrap();
    let name = b"/lib64/ld-linux-x86-64.so.2";
    match orphan.windows(name.len()).position(|window| window == name) {
        Some(at) => {
            orphan[at + 1..at + 4].copy_from_slice(b"non");
            let orphan = executable(dir, "orphan", &orphan);
            fails(&orphan, 127, "/non64/ld-linux-x86-64.so.2, the interpreter of");
        }
        None => embryo_tests::log_skip("load", "/bin/true has another interpreter"),
    }
    let line = embryo(&["run", "--load", "--json", "--trace", "--", "/no/such"]);
    assert_eq!((line.code, line.out.as_str()), (Some(127), ""));
    let error: Value = serde_json::from_str(&line.err).expect("one object");
    assert_eq!(error["error"]["status"], json!(127), "{error}");
}

#[test]
fn what_takes_exec_is_refused() {
    for option in [
        &["--root", "/"][..],
        &["--shell-fallback"],
        &["--no-aslr"],
        &["--personality", "0"],
        &["--save", "/tmp/never-written"],
        &["--exec-fd", "/bin/true", "--keep-image-open"],
    ] {
        let ran = embryo(&[&["run", "--load"], option, &["--", "true"]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{option:?}: {ran:?}");
        assert!(ran.err.contains("cannot be used with"), "{ran:?}");
    }
    assert!(!Path::new("/tmp/never-written").exists());
}

#[test]
fn it_is_explained_and_traced() {
    let dir = tempdir();
    let file = dir.path().join("new");
    let touch = ["--path", "/usr/bin", "--", "touch", file.to_str().unwrap()];
    let text = embryo(&[&["run", "--load", "--explain"], &touch[..]].concat()).ok();
    assert!(text.starts_with("load: "), "{text}");
    assert!(text.contains("  load path=/usr/bin/touch interpreter=/"), "{text}");
    assert!(!text.contains(" exec-name "), "{text}");
    assert!(text.contains("  argv[0]  touch\n"), "{text}");
    let object = embryo(&[&["run", "--load", "--explain", "--json"], &touch[..]].concat()).ok();
    let object: Value = serde_json::from_str(&object).expect("one object");
    assert_eq!(object["load"]["path"], json!("/usr/bin/touch"), "{object}");
    assert_eq!(object["route"], json!("embryo"));
    assert!(!file.exists(), "nothing was run");
    let missing = embryo(&["run", "--load", "--explain", "--", "/no/such"]).fails(127);
    assert!(missing.contains("cannot load /no/such"), "{missing}");

    let ran = embryo(&["run", "--load", "--trace", "--nice", "19", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().map(str::trim_start).collect();
    assert!(lines[0].starts_with("load ") && lines[0].contains(" ok "), "{ran:?}");
    assert!(lines.iter().any(|line| line.contains("nice value=19")), "{ran:?}");
    let ran = embryo(&["run", "--load", "--trace", "--json", "--", "true"]);
    let object: Value = serde_json::from_str(&ran.err).expect("one object");
    assert_eq!(object["trace"][0]["op"], json!("load"), "{object}");

    // An op that fails is blamed as in a launch, and nothing is left.
    let ran = embryo(&["run", "--load", "--trace", "--chdir", "/", "--pgid", "1", "--", "true"]);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.err.contains("set-pgid") && ran.err.contains("EPERM"), "{ran:?}");
}

#[test]
fn a_signal_to_embryo_reaches_it() {
    let mut child = command(&["run", "--load", "--", "sleep", "1000"]).spawn().unwrap();
    let pid = child.id();
    let kids = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let asleep = || {
        let kids = kids().unwrap_or_default();
        let kid = kids.split_whitespace().next().and_then(|kid| kid.parse().ok());
        // Its name is the seed's until it has started.
        let comm = |kid: u32| fs::read_to_string(format!("/proc/{kid}/comm")).unwrap_or_default();
        kid.is_some_and(|kid| state(kid) == Some('S') && !comm(kid).contains("seed"))
    };
    assert!(embryo_tests::wait_for(support::PATIENCE, asleep));
    finish(Command::new("kill").args(["-TERM", &pid.to_string()])).ok();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "{status:?}");
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        return;
    }
    for test in [
        "no_exec_happens",
        "programs_of_every_kind_start",
        "a_loaded_program_ends_as_a_launched_one_does",
        "options_take_effect",
        "names_are_looked_up_as_exec_does",
        "what_cannot_be_loaded_is_refused_by_name",
        "it_is_explained_and_traced",
    ] {
        rerun_as_nobody(test);
    }
}

/// What may be executed but not read can be launched and not loaded.
#[test]
fn a_program_that_may_not_be_read_is_told_apart() {
    if is_root() {
        return rerun_as_nobody(embryo_tests::here!());
    }
    let dir = tempdir();
    let program = executable(dir.path(), "closed", &fs::read("/bin/true").unwrap());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o111)).unwrap();
    let line = embryo(&["run", "--load", &program]).fails(126);
    assert!(line.contains("it may be executed but not read"), "{line}");
    assert_eq!(embryo(&["run", &program]).ok(), "");
}
