//! How a launch fails and how a child ends, compared with what std says of the same. It must never
//! compare texts: those are meant to be better.

use crate::launch::Way;
use embryo_tests::{alone, probe_path, tempdir};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// The same calls on both kinds of `Command`.
macro_rules! both {
    ($program:expr, $way:expr, |$command:ident| $body:expr) => {{
        let ours = {
            let mut $command = embryo::Command::new($program);
            $command.spawn_options($way.options());
            $body;
            $command
        };
        let theirs = {
            let mut $command = std::process::Command::new($program);
            $body;
            $command
        };
        (ours, theirs)
    }};
}

#[test]
fn errors_have_the_kind_that_std_gives() {
    alone!();
    let dir = tempdir();
    std::fs::write(dir.path().join("plain"), "no program").expect("it is ours");
    let plain = dir.path().join("plain");
    let compare = |mut ours: embryo::Command, mut theirs: std::process::Command| {
        let ours = ours.spawn().expect_err("it cannot be started");
        let theirs = theirs.spawn().expect_err("it cannot be started");
        assert_eq!(ours.kind(), theirs.kind(), "{ours} / {theirs}");
        assert_eq!(std::io::Error::from(ours).kind(), theirs.kind());
    };
    for way in Way::BOTH {
        for program in [Path::new("/no/such/program"), Path::new("embryo-no-such"), &plain] {
            let (ours, theirs) = both!(program, way, |command| command.arg("x"));
            compare(ours, theirs);
        }
        let (ours, theirs) = both!("/", way, |command| command.arg("x"));
        compare(ours, theirs);
        let (ours, theirs) = both!("/bin/sh", way, |command| command.current_dir("/no/where"));
        compare(ours, theirs);
        let (ours, theirs) = both!("/bin/sh", way, |command| command.arg("a\0b"));
        compare(ours, theirs);
        let (ours, theirs) = both!("/bin/sh", way, |command| command.env("A", "b\0"));
        compare(ours, theirs);
        // Within what a plan may hold, and beyond what the kernel takes.
        let huge = vec!["x".repeat(100_000); 40];
        let (ours, theirs) = both!("/bin/sh", way, |command| command.args(&huge));
        compare(ours, theirs);
    }
}

#[test]
fn statuses_are_the_same() {
    alone!();
    for way in Way::BOTH {
        for (mode, number) in
            [("exit", 0), ("exit", 1), ("exit", 255), ("signal", 9), ("signal", 15), ("signal", 64)]
        {
            let number = number.to_string();
            let arguments = [mode, &number];
            let (mut ours, mut theirs) = both!(probe_path(), way, |c| c.args(arguments));
            let ours = ours.status().expect("it can be started");
            let theirs = theirs.status().expect("it can be started");
            assert_eq!(ours, theirs, "{arguments:?}");
            assert_eq!((ours.code(), ours.signal()), (theirs.code(), theirs.signal()));
        }
    }
}

#[test]
fn outputs_are_the_same() {
    alone!();
    for way in Way::BOTH {
        let script = "cat; echo out; echo error >&2; exit 3";
        let (mut ours, mut theirs) = both!("sh", way, |command| command.args(["-c", script]));
        let ours = ours.output().expect("it can be started");
        let theirs = theirs.output().expect("it can be started");
        assert_eq!(ours, theirs);
        assert_eq!((&*ours.stdout, &*ours.stderr), (&b"out\n"[..], &b"error\n"[..]));
    }
}
