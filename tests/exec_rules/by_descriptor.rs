//! Images by descriptor. It must never leave open what the child would not have got otherwise.

use crate::before;
use crate::launch::{Draft, Way};
use crate::{Yard, outcome};
use embryo::{ExecFlags, Op};
use embryo_tests::alone;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

fn image(file: impl Into<OwnedFd>, flags: ExecFlags) -> Draft {
    let mut draft = Draft::bare();
    draft.args(&["zeroth", "arg"]);
    let slot = draft.grant(file);
    draft.op(&Op::ExecSlot { slot, flags });
    draft
}

#[test]
fn a_script_needs_its_descriptor_left_open() {
    alone!();
    before::warm_up();
    let yard = Yard::new();
    let script = || File::open(yard.path("a/tool")).expect("it is there");
    for way in Way::BOTH {
        let (errno, text) =
            outcome(&image(script(), ExecFlags::empty()), way).expect_err("it is closed");
        assert_eq!(errno, libc::ENOENT, "{text}");
        for part in ["#! script", "cannot open a descriptor that exec has closed", "KEEP_OPEN"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(outcome(&image(script(), ExecFlags::KEEP_OPEN), way), Ok("a arg\n".into()));
        // One that the plan puts somewhere stays open by that.
        let mut draft = Draft::bare();
        draft.args(&["zeroth", "arg"]);
        let file = rustix::io::fcntl_dupfd_cloexec(script(), 77).expect("it can be copied");
        let slot = draft.grant(file);
        draft
            .op(&Op::PutFd { slot, fd: 5 })
            .op(&Op::ExecSlot { slot, flags: ExecFlags::KEEP_OPEN });
        assert_eq!(outcome(&draft, way), Ok("a arg\n".into()));
    }
}

/// A program in memory only, sealed or not, and a script there.
#[test]
fn an_image_that_has_no_file() {
    alone!();
    let memory = |content: &[u8]| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("image", flags).expect("a memfd can be made");
        let mut file = File::from(fd);
        std::io::Write::write_all(&mut file, content).expect("it can be written");
        file
    };
    let probe = std::fs::read(embryo_tests::probe_path()).expect("it is there");
    for way in Way::BOTH {
        for seals in [SealFlags::empty(), SealFlags::WRITE | SealFlags::SHRINK | SealFlags::SEAL] {
            let file = memory(&probe);
            rustix::fs::fcntl_add_seals(&file, seals).expect("it may be sealed");
            let mut draft = image(file, ExecFlags::empty());
            draft.args(&["probe", "echo", "from memory"]);
            assert_eq!(outcome(&draft, way), Ok("from memory\n".into()));
        }
        let script = image(memory(b"#!/bin/sh\necho \"memory $1\"\n"), ExecFlags::KEEP_OPEN);
        assert_eq!(outcome(&script, way), Ok("memory arg\n".into()));
    }
}

#[test]
fn however_it_was_opened() {
    alone!();
    before::warm_up();
    let dir = embryo_tests::tempdir();
    let path = dir.path().join("probe");
    std::fs::copy(embryo_tests::probe_path(), &path).expect("it can be copied");
    let opened = |flags| rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty());
    for way in Way::BOTH {
        for flags in [OFlags::RDONLY, OFlags::PATH] {
            for number in [4, 250, 1000] {
                let file = opened(flags).expect("it is there");
                let file = rustix::io::fcntl_dupfd_cloexec(file, number).expect("it is copied");
                let mut draft = image(file, ExecFlags::empty());
                draft.args(&["probe", "echo", "open"]);
                assert_eq!(outcome(&draft, way), Ok("open\n".into()), "{flags:?} {number}");
            }
        }
        // Nobody may run what somebody may still write.
        for flags in [OFlags::WRONLY, OFlags::RDWR] {
            let draft = image(opened(flags).expect("it is ours"), ExecFlags::empty());
            let (errno, text) = outcome(&draft, way).expect_err("it is open for writing");
            assert_eq!(errno, libc::ETXTBSY, "{text}");
            assert!(text.contains("open for writing"), "{text}");
        }
    }
}

/// The image is closed in the child, unless it was to stay open; also if it is put at a number as
/// well.
#[test]
fn the_image_is_open_in_the_child_only_if_it_was_asked_for() {
    alone!();
    let probe = || File::open(embryo_tests::probe_path()).expect("it is there");
    for way in Way::BOTH {
        for (flags, put, count) in [
            (ExecFlags::empty(), None, 2),
            (ExecFlags::KEEP_OPEN, None, 3),
            (ExecFlags::empty(), Some(5), 3),
            (ExecFlags::KEEP_OPEN, Some(5), 4),
            (ExecFlags::empty(), Some(80), 3),
        ] {
            let mut draft = Draft::watched();
            let file = probe();
            let number = file.as_raw_fd();
            let slot = draft.grant(file);
            if let Some(fd) = put {
                draft.op(&Op::PutFd { slot, fd });
            }
            draft.op(&Op::ExecSlot { slot, flags });
            let child = draft.watch(way);
            let numbers = child.report.fd_numbers();
            assert_eq!(numbers.len(), count, "{way:?} {flags:?} {put:?} {number}: {numbers:?}");
            assert!(put.is_none_or(|fd| numbers.contains(&fd.cast_signed())), "{numbers:?}");
            child.end();
        }
    }
}
