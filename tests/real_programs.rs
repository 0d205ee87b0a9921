//! Programs that people run: git, a compiler, a shell with job control, python, find and tar.
//!
//! A program that is not installed here is a test skipped, never one passed.

mod launch;

use embryo::{Command, SpawnOptions, Stdio};
use embryo_tests::{skip, tempdir, wait_for};
use launch::PATIENCE;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where a program is found in `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Skips the current test unless all of these programs are there.
macro_rules! require {
    ($($program:literal),+) => {
        $(if find($program).is_none() {
            skip!("{} is not installed", $program);
        })+
    };
}

/// A command with a deadline for a busy machine.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.spawn_options(SpawnOptions::new().timeout(PATIENCE));
    command
}

/// Runs a command, checks that it ended well, and returns what it wrote.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn git_clones_a_repository() {
    require!("git");
    let dir = tempdir();
    let git = |place: &str, args: &[&str]| {
        let mut git = command("git");
        git.args(args).current_dir(dir.path().join(place));
        // Nobody's settings but these.
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "A")
                .env(format!("GIT_{who}_EMAIL"), "a@example.org");
        }
        run(&mut git)
    };
    std::fs::create_dir(dir.path().join("from")).expect("it can be made");
    git("from", &["init", "-q"]);
    for number in 0..3 {
        std::fs::write(dir.path().join(format!("from/file{number}")), format!("{number}\n"))
            .expect("it can be written");
        git("from", &["add", "."]);
        git("from", &["commit", "-q", "-m", &format!("commit {number}")]);
    }
    // Through a pack and a second process, not by linking files.
    let from = dir.path().join("from").into_os_string().into_string().expect("it is text");
    git(".", &["clone", "-q", &format!("file://{from}"), "to"]);
    assert_eq!(git("to", &["log", "--format=%s"]), "commit 2\ncommit 1\ncommit 0\n");
    assert_eq!(git("to", &["rev-parse", "HEAD"]), git("from", &["rev-parse", "HEAD"]));
    git("to", &["fsck", "--strict"]);
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).expect("it is there");
    assert_eq!(read("to/file2"), "2\n");
}

#[test]
fn a_compiler_compiles_and_the_result_runs() {
    require!("cc");
    let dir = tempdir();
    let source = dir.path().join("answer.c");
    std::fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"42\"); return 42; }\n")
        .expect("it can be written");
    run(command("cc").args(["-O1", "-o", "answer", "answer.c"]).current_dir(dir.path()));
    // A relative path with a slash starts at the child's working directory.
    let output = command("./answer").current_dir(dir.path()).output().expect("it starts");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(42), &b"42\n"[..]));
    let file = File::open(dir.path().join("answer")).expect("it is there");
    let mut by_descriptor = Command::from_fd(file, "answer");
    let output = by_descriptor.output().expect("it starts");
    assert_eq!(output.status.code(), Some(42));

    let mut broken = command("cc");
    let broken = broken.args(["-xc", "-", "-o", "/dev/null"]).current_dir(dir.path());
    let output = broken.output_with_input(b"int main( {").expect("it starts");
    assert!(!output.status.success() && !output.stderr.is_empty());
}

/// As much as would fill every pipe many times, both ways at once.
#[test]
fn python_takes_and_gives_a_hundred_mebibytes() {
    require!("python3");
    const SIZE: usize = 100 << 20;
    let script = "import sys, shutil\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)\n\
                  sys.stderr.write('done')";
    let input: Vec<u8> = (0..SIZE).map(|at| (at / 7 % 256) as u8).collect();
    let output = command("python3").args(["-c", script]).output_with_input(&input);
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(output.stderr, b"done");
    assert_eq!(output.stdout.len(), SIZE);
    assert!(output.stdout == input, "the bytes came back changed");
}

/// A child that reads nothing, and one that closes its input early, do not hold the caller up.
#[test]
fn what_a_child_does_not_read_is_dropped() {
    require!("python3", "head");
    let input = vec![b'x'; 10 << 20];
    let script = "import sys\nsys.stdout.write('y' * 5000000)";
    let output = command("python3").args(["-c", script]).output_with_input(&input);
    assert_eq!(output.expect("it starts").stdout.len(), 5_000_000);
    let output = command("head").args(["-c", "10"]).output_with_input(&input);
    assert_eq!(output.expect("it starts").stdout, b"xxxxxxxxxx");
}

/// Two programs with a pipe between them, neither of which knows this one.
#[test]
fn find_feeds_tar_and_tar_feeds_tar() {
    require!("find", "tar");
    let dir = tempdir();
    for number in 0..200 {
        let place = dir.path().join(format!("from/{}", number % 10));
        std::fs::create_dir_all(&place).expect("it can be made");
        std::fs::write(place.join(number.to_string()), vec![number; 10_000]).expect("it can be");
    }
    std::fs::create_dir(dir.path().join("to")).expect("it can be made");
    let mut names = command("find");
    names.args([".", "-type", "f", "-print0"]).current_dir(dir.path().join("from"));
    let mut names = names.stdout(Stdio::piped()).spawn().expect("find starts");
    let mut pack = command("tar");
    pack.args(["-c", "--null", "-T", "-", "-f", "-"]).current_dir(dir.path().join("from"));
    let pack = pack.stdin(names.stdout.take().expect("it is piped")).stdout(Stdio::piped());
    let mut packing = pack.spawn().expect("tar starts");
    let mut unpack = command("tar");
    unpack.args(["-x", "-f", "-"]).current_dir(dir.path().join("to"));
    let unpack = unpack.stdin(packing.stdout.take().expect("it is piped"));
    let mut unpacking = unpack.spawn().expect("tar starts");
    for process in [&mut unpacking, &mut packing, &mut names] {
        assert!(process.wait().expect("it can be waited for").success());
    }
    let compare = ["-r", "from", "to"];
    if find("diff").is_some() {
        assert_eq!(run(command("diff").args(compare).current_dir(dir.path())), "");
    }
    let last = std::fs::read(dir.path().join("to/9/199")).expect("it is there");
    assert_eq!(last, vec![199; 10_000]);
}

#[test]
fn scripts_run_by_their_first_line() {
    require!("sh", "python3", "env");
    let dir = tempdir();
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
        path
    };
    let shell = script("shell", "#!/bin/sh\necho \"$0 $1\"\n");
    let path = shell.to_str().expect("it is text");
    assert_eq!(run(command(path).arg("word")), format!("{path} word\n"));
    let python = script("python", "#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1])\n");
    assert_eq!(run(command(python.to_str().expect("it is text")).arg("word")), "word\n");
    // Found in the search path by its name.
    let mut by_name = command("shell");
    let found = run(by_name.arg("x").search_path(dir.path()));
    assert!(found.ends_with("shell x\n"), "{found}");
    // Without a first line it is no program, unless somebody asks for a shell.
    let bare = script("bare", "echo $1\n");
    let bare = bare.to_str().expect("it is text");
    let error = command(bare).spawn().expect_err("it is no program");
    assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{error}");
    assert_eq!(run(command(bare).arg("word").shell_fallback(true)), "word\n");
}

// ---- a shell with job control ----

/// A terminal that a person would sit at: what is typed, and what appears.
struct Terminal {
    manager: File,
    end: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Option<Self> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let manager =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok()?;
        grantpt(&manager).ok()?;
        unlockpt(&manager).ok()?;
        let name = ptsname(&manager, Vec::new()).ok()?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = rustix::fs::open(&name, flags, Mode::empty()).ok()?;
        let manager = File::from(manager);
        let mut reader = manager.try_clone().ok()?;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // It ends with EIO when nobody has the other end open.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                seen.lock().expect("nobody panics").extend_from_slice(&chunk[..count]);
            }
        });
        Some(Self { manager, end, shown })
    }

    fn copy(&self) -> OwnedFd {
        self.end.try_clone().expect("it can be copied")
    }

    fn type_in(&mut self, text: &str) {
        self.manager.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }

    /// Waits until something has appeared, this many times.
    #[track_caller]
    fn expect(&self, text: &str, times: usize) {
        let seen = || String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned();
        let appeared = wait_for(Duration::from_secs(30), || seen().matches(text).count() >= times);
        assert!(appeared, "{text:?} did not appear {times} times in:\n{}", seen());
    }

    fn foreground(&self) -> Option<i32> {
        rustix::termios::tcgetpgrp(&self.manager).ok().map(|group| group.as_raw_pid())
    }
}

/// A shell as a terminal emulator starts it: leader of a session whose terminal this is, in its
/// foreground.
fn interactive(terminal: &Terminal, home: &Path) -> embryo::Process {
    let mut bash = command("bash");
    bash.args(["--norc", "--noprofile", "-i"]);
    bash.stdin(terminal.copy()).stdout(terminal.copy()).stderr(terminal.copy());
    bash.controlling_tty(terminal.copy()).foreground(terminal.copy());
    bash.env("PS1", "ready> ").env("TERM", "dumb").env("HOME", home).env_remove("PROMPT_COMMAND");
    bash.spawn().unwrap_or_else(|e| panic!("{e}"))
}

/// How many processes of a group run another program than a shell.
fn programs_in(group: i32) -> usize {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let is_member = |stat: &String| {
        let (before, rest) = stat.rsplit_once(") ")?;
        let its_group = rest.split_ascii_whitespace().nth(2)?.parse::<i32>().ok()?;
        Some(its_group == group && !before.ends_with("(bash"))
    };
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| is_member(stat) == Some(true)).count()
}

#[test]
fn a_shell_controls_a_pipeline_of_five() {
    require!("bash", "cat", "sleep", "tr", "wc");
    let Some(mut terminal) = Terminal::open() else { skip!("no terminal can be made here") };
    let dir = tempdir();
    let mut bash = interactive(&terminal, dir.path());
    let shell = bash.id().cast_signed();
    terminal.expect("ready> ", 1);
    assert_eq!(terminal.foreground(), Some(shell), "the shell is in the foreground");
    // Without a terminal of its own it would complain here.
    let shown = String::from_utf8_lossy(&terminal.shown.lock().expect("no panic")).into_owned();
    assert!(!shown.contains("no job control"), "{shown}");

    // Five processes, in the foreground: the shell gives the terminal to their group.
    terminal.type_in("echo one two three | cat | tr a-z A-Z | cat | wc -w; echo end-$((1+1))\n");
    terminal.expect("end-2", 1);
    terminal.expect("3\r\n", 1);
    assert_eq!(terminal.foreground(), Some(shell), "the shell took the terminal back");

    // Stopped by the key for that, gone on in the background, fetched back, interrupted.
    terminal.type_in("sleep 1000 | cat | cat | cat | cat\n");
    assert!(wait_for(Duration::from_secs(30), || {
        terminal.foreground().is_some_and(|group| group != shell)
    }));
    let pipeline = terminal.foreground().expect("somebody has it");
    // One that starts later would miss the signal.
    assert!(wait_for(Duration::from_secs(30), || programs_in(pipeline) == 5));
    terminal.type_in("\x1a");
    terminal.expect("Stopped", 1);
    assert_eq!(terminal.foreground(), Some(shell));
    terminal.type_in("bg; jobs\n");
    terminal.expect("Running", 1);
    terminal.type_in("fg\n");
    assert!(wait_for(Duration::from_secs(30), || terminal.foreground() == Some(pipeline)));
    terminal.type_in("\x03");
    assert!(wait_for(Duration::from_secs(30), || terminal.foreground() == Some(shell)));

    terminal.type_in("exit 7\n");
    let status = bash.wait_timeout(Duration::from_secs(30)).expect("it can be waited for");
    assert_eq!(status.and_then(|status| status.code()), Some(7));
}

/// A shell without a terminal, and many processes in it: nothing but the streams is shared.
#[test]
fn a_shell_script_runs_jobs() {
    require!("bash", "seq", "sort");
    let script = "for n in $(seq 20); do (echo $((n * n))) & done | sort -n | tail -1; wait; ls -1 /proc/$$/fd; true";
    let mut bash = command("bash");
    let said = run(bash.args(["-c", script]).stdin(Stdio::null()));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "400");
    // 255 is bash's own.
    let descriptors: Vec<&str> = lines[1..].iter().copied().filter(|fd| *fd != "255").collect();
    assert_eq!(descriptors, ["0", "1", "2"]);
}

/// The caller's own streams are lent as they are, with the caller's handles still good after.
#[test]
fn streams_can_be_files() {
    require!("cat");
    let dir = tempdir();
    std::fs::write(dir.path().join("in"), "text").expect("it can be written");
    let out = File::create(dir.path().join("out")).expect("it can be made");
    let mut cat = command("cat");
    cat.stdin(File::open(dir.path().join("in")).expect("it is there"));
    cat.stdout(out.try_clone().expect("it can be copied"));
    assert!(cat.status().expect("it starts").success());
    assert_eq!(std::fs::read(dir.path().join("out")).expect("it is there"), b"text");
    assert!(rustix::fs::fstat(out.as_fd()).is_ok_and(|stat| stat.st_size == 4));
}
