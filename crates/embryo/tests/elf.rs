//! Programs that are loaded print what they print when they are launched, find what they would
//! find, and files that are no programs are refused before anything happens.
//!
//! It must never compare with a launch of ours: the normal one is `std::process::Command`.

#![cfg(target_arch = "x86_64")]

mod elf_support;

use elf_support::{Run, Tiny, cc, launched, loaded, loaded_into, scratch, skipped};
use embryo::{Embryo, Error, Keep, Load, MapFlags, Op, Plan};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::RwLock;

/// Held shared by all tests, and alone by the one that counts what this process has.
static COUNTED: RwLock<()> = RwLock::new(());

macro_rules! shared {
    () => {
        let _shared = COUNTED.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    };
}

/// Loads and launches, and compares.
#[track_caller]
fn same(program: &str, args: &[&str], env: &[(&str, &str)]) -> Run {
    let loaded = loaded(program, args, env);
    assert_eq!(loaded, launched(program, args, env), "{program} {args:?}");
    loaded
}

#[test]
fn programs_print_what_they_print_when_launched() {
    shared!();
    let path = std::env::var("PATH").expect("there is a PATH");
    let env = [("PATH", path.as_str()), ("LANG", "C.UTF-8"), ("HOME", "/")];
    let echo = same("/bin/echo", &["hello", "", "a b"], &env);
    assert_eq!(echo.out, b"hello  a b\n");
    same("/bin/echo", &[], &[]);
    same("/bin/ls", &["-l", "/etc"], &env);
    same("/bin/ls", &["/no/such/file"], &env);
    let script = "set -e; x=$(echo sub); (exit 3) || echo \"$x $? $0 $1\"; ls / | wc -l; exit 5";
    assert_eq!(same("/bin/sh", &["-c", script, "zero", "one"], &env).status.code(), Some(5));
    same("/bin/sh", &["-c", "kill -TERM $$"], &env);
    same("/usr/bin/env", &[], &[("A", "1"), ("B", ""), ("C", "x=y")]);
}

#[test]
fn git_and_python_print_what_they_print_when_launched() {
    shared!();
    let path = std::env::var("PATH").expect("there is a PATH");
    let env = [("PATH", path.as_str()), ("HOME", "/"), ("PYTHONHASHSEED", "0")];
    match elf_support::find("git") {
        Some(git) => {
            assert!(same(&git, &["--version"], &env).out.starts_with(b"git version"));
            let dir = scratch("git");
            let dir = dir.path().to_str().expect("it is text");
            same(&git, &["init", "--quiet", dir], &env);
            same(&git, &["-C", dir, "status", "--branch", "--porcelain"], &env);
            same(&git, &["-C", dir, "log"], &env);
        }
        None => skipped("git", "git is not installed"),
    }
    // What PATH holds may be a script that looks for the real one.
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let found = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match found.ok().filter(|python| Path::new(python).is_file()) {
        Some(python) => {
            assert_eq!(same(&python, &["-c", "print(6*7)"], &env).out, b"42\n");
            let program = "import sys, os, json, threading, subprocess, ctypes\n\
                print(sys.argv, sys.executable, sys.prefix, sorted(os.environ), os.listdir('/'))\n\
                t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()\n\
                print(subprocess.run(['echo', 'child'], capture_output=True).stdout)\n\
                print(sum(len(json.dumps([i] * 100)) for i in range(10000)))";
            same(&python, &["-c", program, "x", "y z"], &env);
        }
        None => skipped("python3", "python3 is not installed"),
    }
    match elf_support::find("busybox") {
        Some(busybox) => {
            // Its shell would run other applets by way of /proc/self/exe, which names the seed.
            same(&busybox, &["sh", "-c", "for x in 1 2; do echo $((x * 21)); done"], &env);
            same(&busybox, &["ls", "-l", "/etc"], &env);
            same(&busybox, &["sha256sum", "/etc/passwd"], &env);
        }
        None => skipped("busybox", "busybox is not installed"),
    }
}

#[test]
fn the_interpreter_sees_the_auxiliary_vector_that_it_would_see() {
    shared!();
    let env = [("LD_SHOW_AUXV", "1")];
    let lines = |run: Run| -> Vec<(String, String)> {
        let text = String::from_utf8(run.out).expect("it is text");
        let pair = |line: &str| {
            let (key, value) = line.split_once(':').expect("KEY: VALUE");
            (key.to_owned(), value.trim().to_owned())
        };
        text.lines().map(pair).collect()
    };
    let (ours, kernels) =
        (lines(loaded("/bin/true", &[], &env)), lines(launched("/bin/true", &[], &env)));
    if kernels.is_empty() {
        return skipped("auxv", "the interpreter does not know LD_SHOW_AUXV");
    }
    let keys = |lines: &[(String, String)]| -> Vec<String> {
        lines.iter().map(|(key, _)| key.clone()).collect()
    };
    assert_eq!(keys(&ours), keys(&kernels));
    for ((key, our), (_, kernel)) in ours.iter().zip(&kernels) {
        // Addresses are random, but where there is one there is one.
        if ["AT_SYSINFO_EHDR", "AT_PHDR", "AT_BASE", "AT_ENTRY", "AT_RANDOM"]
            .contains(&key.as_str())
        {
            assert_eq!(our == "0x0", kernel == "0x0", "{key}: {our}");
            let within = |text: &str| {
                u64::from_str_radix(text.trim_start_matches("0x"), 16).map(|at| at % 16)
            };
            if key != "AT_RANDOM" {
                assert_eq!(within(our), within(kernel), "{key}");
            }
        } else {
            assert_eq!(our, kernel, "{key}");
        }
    }
}

#[test]
fn compiled_programs_of_every_kind_find_all_in_order() {
    shared!();
    let dir = scratch("cc");
    let source = dir.path().join("report.c");
    fs::write(&source, include_str!("elf_support/report.c")).expect("a file can be written");
    let kinds: [(&str, &[&str]); 6] = [
        ("dynamic", &["-pie", "-fPIE"]),
        ("no-pie", &["-no-pie", "-fno-pie"]),
        ("static", &["-static", "-no-pie", "-fno-pie"]),
        ("static-pie", &["-static-pie", "-fPIE"]),
        ("one-page-apart", &["-static", "-no-pie", "-fno-pie", "-Wl,-z,noseparate-code"]),
        ("aligned", &["-static-pie", "-fPIE", "-Wl,-z,max-page-size=0x200000"]),
    ];
    for (kind, flags) in kinds {
        let program = dir.path().join(kind);
        if let Err(why) = cc(&source, &program, flags) {
            skipped(kind, &why);
            continue;
        }
        let program = program.to_str().expect("it is text");
        let run = same(program, &["a", "", "b c"], &[("X", "1"), ("Y", "")]);
        assert_eq!(run.status.code(), Some(42), "{kind}: {run:?}");

        // The heap finds its place taken.
        let mut embryo = Embryo::create().expect("an embryo can be made");
        let wall =
            Op::Map { addr: 0x100_0000, len: 0x6000_0000, prot: 0, flags: MapFlags::NORESERVE };
        embryo.apply(&wall, &[]).expect("it is free");
        let run = loaded_into(embryo, program, &["a", "", "b c"], &[("X", "1"), ("Y", "")]);
        assert_eq!(run.status.code(), Some(42), "{kind} without brk: {run:?}");
    }
}

#[test]
fn proc_shows_what_it_would_show() {
    shared!();
    let env = [("A", "1"), ("B", "")];
    let cmdline = same("/bin/cat", &["/proc/self/cmdline", "/dev/null"], &env);
    if loaded_layout("/bin/cat").is_none() {
        return skipped("proc", "this kernel cannot be told a layout (CONFIG_CHECKPOINT_RESTORE)");
    }
    assert_eq!(cmdline.out, b"/bin/cat\0/proc/self/cmdline\0/dev/null\0");
    assert_eq!(same("/bin/cat", &["/proc/self/environ"], &env).out, b"A=1\0B=\0");
    // What ps(1) shows, of itself.
    let ps = loaded("/bin/ps", &["-o", "args="], &[]);
    let text = String::from_utf8(ps.out).expect("it is text");
    assert!(text.lines().any(|line| line == "/bin/ps -o args="), "{text}");
}

#[test]
fn a_described_program_can_be_loaded_instead_of_executed() {
    shared!();
    let output = |command: &mut embryo::Command| {
        let output = command.output().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(output.stderr, b"", "{output:?}");
        (output.status.code(), String::from_utf8(output.stdout).expect("it is text"))
    };
    let describe = || {
        let mut command = embryo::Command::new("sh");
        command.args(["-c", "cat; echo $A $0 $PWD; exit 5", "zero"]).env("A", "1");
        command.current_dir("/usr").load(true);
        command
    };
    let expected = (Some(5), "1 zero /usr\n".to_owned());
    assert_eq!(output(&mut describe()), expected);
    // As often as wanted, and with something on its standard input.
    let mut command = describe();
    for _ in 0..3 {
        let output = command.output_with_input(b"in\n").expect("it starts");
        assert_eq!(output.stdout, b"in\n1 zero /usr\n");
    }
    let mut exe = embryo::Command::new("readlink");
    exe.arg("/proc/self/exe").load(true);
    assert_eq!(output(&mut exe).1, "/memfd:embryo:seed (deleted)\n");
    let file = fs::File::open("/bin/echo").expect("it is there");
    let mut by_file = embryo::Command::from_fd(file, "name");
    assert_eq!(output(by_file.arg("x").load(true)), (Some(0), "x\n".to_owned()));
    // std's habit: the ignored signals of the caller, but for SIGPIPE, which Rust ignores.
    let ignored = |load| {
        let mut command = embryo::Command::new("grep");
        output(command.args(["SigIgn", "/proc/self/status"]).load(load)).1
    };
    assert_eq!(ignored(true), ignored(false));

    type Change = fn(&mut embryo::Command);
    let refused: [(Change, &str); 5] = [
        (|command| _ = command.chroot("/"), "the plan enters another"),
        (|command| _ = command.personality(0), "a personality takes effect at exec"),
        (|command| _ = command.shell_fallback(true), "a shell to fall back on takes exec"),
        (|command| _ = command.search_path("/no/such"), "no such program in the search list"),
        (|command| _ = command.current_dir("/no/such"), "working directory /no/such"),
    ];
    for (change, text) in refused {
        let mut command = describe();
        change(&mut command);
        let error = command.spawn().expect_err(text);
        assert!(matches!(error, Error::Load(_)) && error.to_string().contains(text), "{error}");
    }
}

/// Each thing that the head of `elf.rs` says a program can tell, seen by one that looks.
#[test]
fn what_can_be_told_apart_is_what_is_said() {
    shared!();
    let exe = loaded("/usr/bin/readlink", &["/proc/self/exe"], &[]);
    assert_eq!(exe.out, b"/memfd:embryo:seed (deleted)\n");
    assert_eq!(loaded("/bin/cat", &["/proc/self/comm"], &[]).out, b"embryo\n");
    let maps = String::from_utf8(loaded("/bin/cat", &["/proc/self/maps"], &[]).out).expect("text");
    let kernels = String::from_utf8(launched("/bin/cat", &["/proc/self/maps"], &[]).out);
    let code = |maps: &str| maps.lines().filter(|line| line.contains(" r-xp ")).count();
    assert_eq!(code(&maps), code(&kernels.expect("text")) + 1, "{maps}");
    assert!(maps.contains("[stack]") || loaded_layout("/bin/cat").is_none(), "{maps}");

    // A file that nobody may execute is loaded all the same, and may be written to while it runs.
    let dir = scratch("apart");
    let program = dir.path().join("cat");
    fs::copy("/bin/cat", &program).expect("it can be copied");
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&program, mode).expect("it is ours");
    };
    mode(0o644);
    let path = program.to_str().expect("it is text");
    assert_eq!(loaded(path, &["/proc/self/comm"], &[]).out, b"embryo\n");
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let load = Load::open(path).expect("it is a program");
    let mut plan = Plan::builder();
    let slot = plan.slot();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION).op(&Op::PutFd { slot, fd: 0 });
    let embryo = Embryo::create().expect("an embryo can be made");
    let started = embryo.start_loaded(&load, plan, &[reader.as_fd()]);
    let mut process = started.map_err(|(error, _)| error).expect("it starts");
    fs::File::options().write(true).open(&program).expect("exec would make this ETXTBSY");
    drop((reader, writer));
    process.wait().expect("it ends");

    // Set-user-id is not honoured, and a changed uid leaves it undumpable; both take root to see.
    if !rustix::process::geteuid().is_root() {
        return skipped("apart", "only root can make the rest");
    }
    mode(0o4755);
    let as_nobody = |program: &str, args: &[&str]| {
        let mut load = Load::open(program).expect("it is a program");
        load.args(args);
        let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
        let mut plan = Plan::builder();
        let slot = plan.slot();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
            .op(&Op::PutFd { slot, fd: 1 })
            .op(&Op::Uid { real: 65534, effective: 65534, saved: 65534 });
        let embryo = Embryo::create().expect("an embryo can be made");
        let started = embryo.start_loaded(&load, plan, &[writer.as_fd()]);
        let mut process = started.map_err(|(error, _)| error).expect("it starts");
        drop(writer);
        let text = std::io::read_to_string(&mut reader).expect("it writes");
        process.wait().expect("it ends");
        text
    };
    let status = as_nobody(path, &["/proc/self/status"]);
    assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
    // Whose this file is tells whether a process is dumpable.
    let owner = as_nobody("/usr/bin/stat", &["--format=%u", "/proc/self/environ"]);
    assert_eq!(owner, "0\n");
}

fn loaded_layout(program: &str) -> Option<embryo::Layout> {
    let mut embryo = Embryo::create().expect("an embryo can be made");
    let load = Load::open(program).expect("it is a program");
    embryo.load(&load).expect("it can be loaded").layout()
}

/// Asks for the time with a filter that kills whoever asks the kernel: only the vdso answers.
const ASKS_THE_VDSO: &str = r#"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
int main(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clock_gettime, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { 4, code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 1;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 2;
    struct timespec now = { 0, 0 };
    /* A clock that needs no counter of the processor, which a guest may not have. */
    if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) || !now.tv_sec) return 3;
    return 42;
}
"#;

#[test]
fn the_vdso_answers_wherever_it_was_moved() {
    shared!();
    let dir = scratch("vdso");
    let source = dir.path().join("vdso.c");
    fs::write(&source, ASKS_THE_VDSO).expect("a file can be written");
    let program = dir.path().join("vdso");
    if let Err(why) = cc(&source, &program, &[]) {
        return skipped("vdso", &why);
    }
    let program = program.to_str().expect("it is text");
    if launched(program, &[], &[]).status.code() != Some(42) {
        return skipped("vdso", "libc asks the kernel for the time here, not the vdso");
    }
    assert_eq!(loaded(program, &[], &[]).status.code(), Some(42));
    for to in [0x1_0000_0000, 0] {
        let mut embryo = Embryo::create().expect("an embryo can be made");
        let at = embryo.apply(&Op::MoveVdso { to }, &[]).expect("it can be moved");
        assert!(at >= to && at - to < 1 << 20 || to == 0, "{at:#x}");
        assert_eq!(loaded_into(embryo, program, &[], &[]).status.code(), Some(42), "{to:#x}");
    }
    // Without it, libc asks the kernel.
    let mut embryo = Embryo::create().expect("an embryo can be made");
    embryo.apply(&Op::DropVdso, &[]).expect("it is there");
    let run = loaded_into(embryo, program, &[], &[]);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&run.status), Some(31), "{run:?}");
}

#[test]
fn many_arguments_arrive_and_too_many_are_refused() {
    shared!();
    let many: Vec<String> = (0..20_000).map(|number| format!("argument number {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    same("/bin/echo", &many, &[]);
    let long = "x".repeat(100_000);
    same("/bin/echo", &[&long, &long], &[("LONG", &long)]);

    let embryo = Embryo::create().expect("an embryo can be made");
    let mut load = Load::open("/bin/echo").expect("it is a program");
    load.args(vec![long.as_str(); 70]);
    let refuse = |embryo: Embryo, load: &Load, text: &str| {
        let plan = Plan::builder();
        let (error, embryo) = embryo.start_loaded(load, plan, &[]).expect_err("it is refused");
        assert!(error.to_string().contains(text), "{error}");
        assert!(matches!(error, Error::Plan(_)), "{error:?}");
        let embryo = embryo.expect("it was not started");
        assert_eq!(embryo.regions().count(), 0);
        embryo
    };
    let embryo = refuse(embryo, &load, "argv and envp take more");
    let mut load = Load::open("/bin/echo").expect("it is a program");
    let embryo = refuse(embryo, load.arg("a\0b"), "NUL");
    let mut load = Load::open("/bin/echo").expect("it is a program");
    refuse(embryo, load.arg("x".repeat(200_000)), "longer than the kernel takes");
}

#[test]
fn nothing_is_left_of_the_seed_but_one_page() {
    shared!();
    let run = loaded("/bin/sh", &["-c", "echo $$; cat /proc/$$/maps; ls /proc/$$/fd"], &[]);
    let text = String::from_utf8(run.out).expect("it is text");
    assert!(!text.contains("seed"), "{text}");
    let nameless = |line: &&str| line.contains(" r-xp ") && line.split_whitespace().count() == 5;
    assert_eq!(text.lines().filter(nameless).count(), 1, "{text}");
    assert!(text.ends_with("\n0\n1\n2\n"), "{text}");
    let writable = |line: &&str| line.contains("rwx");
    assert_eq!(text.lines().find(writable), None, "{text}");

    // Nor is the plan that started it, where that was too long for the message.
    let mut load = Load::open("/bin/cat").expect("it is a program");
    load.arg("/proc/self/maps");
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut plan = Plan::builder();
    let slot = plan.slot();
    let (addr, len) = (0x1_0000_0000, 1 << 20);
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::PutFd { slot, fd: 1 })
        .op(&Op::Map { addr, len, prot: 3, flags: MapFlags::FIXED })
        .op(&Op::Write { addr, contents: &vec![1; len as usize] });
    let embryo = Embryo::create().expect("an embryo can be made");
    let started = embryo.start_loaded(&load, plan, &[writer.as_fd()]);
    let mut process = started.map_err(|(error, _)| error).expect("it starts");
    drop(writer);
    let text = std::io::read_to_string(&mut reader).expect("it writes");
    assert!(process.wait().expect("it ends").success());
    assert!(text.contains("100000000-100100000 rw-p"), "{text}");
    assert!(!text.contains("embryo"), "{text}");
}

#[test]
fn every_load_lies_elsewhere() {
    shared!();
    let load = Load::open("/bin/true").expect("it is a program");
    let mut seen: [BTreeSet<u64>; 4] = Default::default();
    for _ in 0..20 {
        let mut embryo = Embryo::create().expect("an embryo can be made");
        let first = embryo.load(&load).expect("it can be loaded");
        // A second one finds room beside the first.
        let second = embryo.load(&load).expect("it can be loaded again");
        assert_ne!(first, second);
        let of = [first.base(), first.interpreter_base().unwrap_or(0), first.regset().stack()];
        for (seen, value) in seen.iter_mut().zip(of.into_iter().chain([second.base()])) {
            seen.insert(value);
        }
        let maps = embryo.maps().expect("it lives");
        assert!(maps.iter().any(|entry| entry.range.contains(&first.entry()) && entry.prot == 5));
        assert!(first.entry() > first.base());
    }
    // Two of twenty in one page would be a chance of one in a million.
    assert_eq!(seen.map(|values| values.len()), [20; 4]);
}

#[test]
fn what_is_no_program_is_refused_by_name() {
    shared!();
    let dir = scratch("files");
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("a file can be written");
        path
    };
    let check = |path: &Path, text: &str| {
        let error = Load::open(path).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        assert!(matches!(error, Error::Load(_)), "{error:?}");
    };
    check(&file("script", b"#!/usr/bin/env -S perl\n"), "a #! script for /usr/bin/env: load that");
    check(&file("text", "hällo\n".as_bytes()), "no ELF file but a text");
    check(&file("empty", b""), "an empty file");
    check(&file("windows", b"MZ\x90\0\x03"), "a Windows program");
    check(&file("mach", b"\xcf\xfa\xed\xfe\x07"), "a Mach-O program");
    check(&file("zip", b"PK\x03\x04\0"), "something of an unknown kind");
    check(dir.path(), "a directory");
    check(Path::new("/dev/null"), "no regular file");
    let missing = dir.path().join("missing");
    check(&missing, "No such file");
    let kind = Load::open(&missing).expect_err("it is not there").kind();
    assert_eq!(kind, std::io::ErrorKind::NotFound);
    let written = fs::File::create(dir.path().join("written")).expect("a file can be made");
    let error = Load::from_file(written, "written").expect_err("it is open for writing only");
    assert!(error.to_string().contains("cannot load written"), "{error}");
}

#[test]
fn what_is_malformed_is_refused_by_name() {
    shared!();
    type Change = fn(&mut Tiny);
    let table: [(&str, Change); 36] = [
        ("header ends at byte 0x40, the file at 0x20", |tiny| tiny.bytes.truncate(32)),
        ("for a machine of 32 bits", |tiny| tiny.bytes[4] = 1),
        ("has an unknown class", |tiny| tiny.bytes[4] = 0),
        ("for a big-endian machine", |tiny| tiny.bytes[5] = 2),
        ("has an unknown byte order", |tiny| tiny.bytes[5] = 9),
        ("has an unknown version", |tiny| tiny.bytes[6] = 2),
        ("for i386, and this is", |tiny| tiny.machine(3)),
        ("for machine number 9999", |tiny| tiny.machine(9999)),
        ("an object file, not a program", |tiny| tiny.kind(1)),
        ("a core dump, not a program", |tiny| tiny.kind(4)),
        ("an ELF file of an unknown type", |tiny| tiny.kind(0xfe01)),
        ("has entries of another size", |tiny| tiny.table(64, 55, 2)),
        ("has none or too many entries", |tiny| tiny.table(64, 56, 0)),
        ("has none or too many entries", |tiny| tiny.table(64, 56, 65_535)),
        ("the program header table ends at", |tiny| tiny.table(64, 56, 1170)),
        ("the program header table ends at", |tiny| tiny.table(u64::MAX - 8, 56, 2)),
        ("has nothing to be loaded", |tiny| tiny.each(|segment| segment.kind(4))),
        ("has nothing to be loaded", |tiny| tiny.each(|segment| segment.lengths(0, 0))),
        ("segment 1 is longer in the file than in memory", |tiny| tiny.at(1).lengths(16, 15)),
        ("segment 0 ends at byte 0x1000000, the file at", |tiny| {
            tiny.at(0).lengths(0x100_0000, 0x100_0000);
        }),
        ("segment 1 ends at byte 0xfffffffffffff008", |tiny| {
            tiny.at(1).place(u64::MAX - 0xfff, 0x4000_1000);
        }),
        ("segment 1 lies beyond the end", |tiny| tiny.at(1).place(0, 0x7fff_ffff_f000)),
        ("segment 1 lies beyond the end", |tiny| tiny.at(1).place(0, u64::MAX - 0xfff)),
        ("segment 1 lies beyond the end", |tiny| tiny.at(1).lengths(8, u64::MAX)),
        ("segment 1 is misaligned", |tiny| tiny.at(1).place(8, 0x4000_1000)),
        ("segment 1 lies below", |tiny| tiny.at(1).place(0, 0x3000_0000)),
        ("segment 1 overlaps", |tiny| tiny.at(0).lengths(64, 0x2000)),
        ("segment 1 begins in the page", |tiny| {
            tiny.at(0).lengths(0x100, 0x1800);
            tiny.at(1).place(0x900, 0x4000_1900);
            tiny.bytes.resize(0x2000, 0);
        }),
        ("the entry point lies in no executable segment", |tiny| tiny.entry(0)),
        ("the entry point lies in no executable segment", |tiny| tiny.entry(0x4000_1000)),
        ("the entry point lies in no executable segment", |tiny| tiny.entry(u64::MAX)),
        ("an impossible alignment", |tiny| tiny.at(0).align(0x3000)),
        ("an impossible alignment", |tiny| tiny.at(0).align(1 << 40)),
        ("the interpreter's name is empty or too long", |tiny| tiny.interpreter(b"", 1 << 40)),
        ("the interpreter's name has no final NUL", |tiny| tiny.interpreter(b"/lib/ld", 7)),
        ("/no/such/interpreter, the interpreter of tiny: No such file", |tiny| {
            tiny.interpreter(b"/no/such/interpreter\0", 21);
        }),
    ];
    for (text, change) in table {
        let mut tiny = Tiny::new();
        change(&mut tiny);
        let error = Load::from_file(tiny.file(), "tiny").expect_err(text);
        assert!(error.to_string().contains(text), "{text}: {error}");
        assert!(matches!(error, Error::Load(_)), "{error:?}");
    }
    // An interpreter that is none.
    let mut tiny = Tiny::new();
    tiny.interpreter(b"/etc/passwd\0", 12);
    let error = Load::from_file(tiny.file(), "tiny").expect_err("it is a text");
    assert!(error.to_string().contains("no ELF file but a text"), "{error}");
    // As it was, it runs.
    let load = Load::from_file(Tiny::new().file(), "tiny").expect("it is a program");
    assert_eq!(load.start().expect("it starts").wait().expect("it ends").code(), Some(7));
}

#[test]
fn what_does_not_fit_is_refused_and_the_embryo_goes_on() {
    shared!();
    let mut embryo = Embryo::create().expect("an embryo can be made");
    let seed = embryo.maps().expect("it lives")[0].range.start;
    let mut refuse = |change: &dyn Fn(&mut Tiny), text: &str| {
        let mut tiny = Tiny::new();
        change(&mut tiny);
        let load = Load::from_file(tiny.file(), "tiny").expect("its headers are sound");
        let error = embryo.load(&load).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
        assert!(embryo.is_alive() && embryo.regions().count() == 0);
    };
    let at = |from: u64| {
        move |tiny: &mut Tiny| {
            tiny.at(0).place(0, from);
            tiny.at(1).place(0, from + 0x1000);
            tiny.entry(from + 0x100);
        }
    };
    refuse(&at(seed), "embryo:seed");
    refuse(&at(seed - 0x1000), "embryo:seed");
    refuse(&at(0), "mmap_min_addr");
    refuse(
        &|tiny| {
            tiny.kind(3);
            tiny.at(1).lengths(8, 1 << 45);
        },
        "no room of",
    );
    refuse(&|tiny| tiny.at(1).lengths(8, 0x7fff_b000_0000), "0x40000000..0x7ffff0001000, where");
    let taken = Op::Map { addr: 0x4000_1000, len: 0x1000, prot: 1, flags: MapFlags::FIXED };
    embryo.apply(&taken, &[]).expect("it is free");
    let load = Load::from_file(Tiny::new().file(), "tiny").expect("it is a program");
    let error = embryo.load(&load).expect_err("somebody is there");
    assert!(error.to_string().contains("0x40000000..0x40003000, where something else"), "{error}");
    embryo.apply(&Op::Unmap { addr: 0x4000_1000, len: 0x1000 }, &[]).expect("it is mapped");

    // Nothing of all that is in its way.
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    let mut process =
        embryo.start_loaded(&load, plan, &[]).map_err(|(error, _)| error).expect("it starts");
    assert_eq!(process.wait().expect("it ends").code(), Some(7));
}

#[test]
fn a_hundred_loads_leave_nothing_behind() {
    let _alone = COUNTED.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    let fds = || fs::read_dir("/proc/self/fd").expect("there is a /proc").count();
    let children = || {
        let own = std::process::id().to_string();
        let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let parent = |stat: String| -> Option<String> {
            Some(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned())
        };
        let pids = fs::read_dir("/proc").expect("there is a /proc").flatten();
        pids.filter(|entry| {
            entry.file_name().to_str().and_then(stat).and_then(parent).as_ref() == Some(&own)
        })
        .count()
    };
    loaded("/bin/true", &[], &[]);
    let before = (fds(), children());
    let load = Load::open("/bin/true").expect("it is a program");
    let huge = Load::from_file(
        {
            let mut tiny = Tiny::new();
            // The kernel has not that much memory to promise.
            tiny.at(1).lengths(8, 1 << 44);
            tiny.file()
        },
        "huge",
    )
    .expect("it is a program");
    for round in 0..100 {
        if round % 2 == 0 {
            assert_eq!(loaded("/bin/true", &[], &[]).status.code(), Some(0));
        } else {
            let mut embryo = Embryo::create().expect("an embryo can be made");
            embryo.load(&load).expect("it can be loaded");
            let error = embryo.load(&huge).expect_err("there is not that much memory");
            assert_eq!(error.as_spawn().map(|fault| fault.op()), Some("map"), "{error}");
        }
    }
    drop((load, huge));
    assert_eq!((fds(), children()), before);
}

#[test]
fn a_program_that_is_written_to_while_it_is_loaded_is_an_error_or_runs() {
    shared!();
    // The file shrinks after it was checked: pages behind its end cannot be read.
    let tiny = Tiny::new();
    let file = tiny.file();
    let load =
        Load::from_file(file.try_clone().expect("it is open"), "tiny").expect("it is a program");
    file.set_len(0).expect("it is ours");
    let mut embryo = Embryo::create().expect("an embryo can be made");
    let outcome = embryo.load(&load);
    assert!(outcome.is_ok() || matches!(outcome, Err(Error::Spawn(_))), "{outcome:?}");
    // Whatever it said, nobody hangs.
    assert!(embryo.apply(&Op::Umask { mode: 0o22 }, &[]).is_ok() || !embryo.is_alive());
}
