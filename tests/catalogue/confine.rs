//! Landlock. It must never leave the caller confined.

use super::{Check, Failure, Sample, Who};
use crate::launch::Draft;
use crate::refusal::Refusal;
use embryo::{ConfineOp, Landlock, LandlockFlags, LandlockRights, Op, OpCode, Slot};
use std::ffi::CString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const KERNEL: Who = Who::Where("Landlock", || Landlock::kernel_abi().is_some());

pub(super) const SAMPLES: &[Sample] = &[
    Sample {
        who: KERNEL,
        ..Sample::new(OpCode::Landlock, "everything but /proc", |draft| {
            let slot = ruleset(draft, everything_but_proc());
            draft.op(&Op::NoNewPrivs).op(&enforce(slot));
            without_proc()
        })
    },
    Sample {
        who: KERNEL,
        ..Sample::new(OpCode::LandlockPath, "rules of the child's own", |draft| {
            let slot = ruleset(draft, Vec::new());
            draft.op(&Op::NoNewPrivs);
            for directory in everything_but_proc() {
                let path = CString::new(directory.as_os_str().as_bytes()).expect("no NUL");
                draft.op(&rule(slot, &path, READ_AND_EXECUTE.bits()));
            }
            draft.op(&enforce(slot));
            without_proc()
        })
    },
    Sample {
        who: KERNEL,
        ..Sample::new(OpCode::LandlockPath, "of a file, with rights of directories", |draft| {
            let slot = ruleset(draft, everything_but_proc());
            let all = READ_AND_EXECUTE | LandlockRights::WRITE;
            draft
                .op(&Op::NoNewPrivs)
                .op(&rule(slot, c"/proc/self/cgroup", known(all)))
                .op(&enforce(slot));
            // Another one's /proc/self is another file.
            without_proc()
        })
    },
];

pub(super) const FAILURES: &[Failure] = &[
    Failure {
        who: KERNEL,
        ..Failure::new(OpCode::Landlock, "no ruleset", libc::EBADFD, |draft| {
            let slot = draft.grant(File::open("/dev/null").expect("it is there"));
            draft.op(&Op::NoNewPrivs).op(&enforce(slot));
        })
        .names("slot 0")
    },
    Failure {
        who: KERNEL,
        ..Failure::new(OpCode::Landlock, "refused", libc::EPERM, |draft| {
            let slot = ruleset(draft, everything_but_proc());
            draft.op(&Op::NoNewPrivs).op(&enforce(slot));
        })
        .refused(Refusal::always(libc::SYS_landlock_restrict_self))
    },
    Failure {
        who: KERNEL,
        ..Failure::new(OpCode::LandlockPath, "missing", libc::ENOENT, |draft| {
            let slot = ruleset(draft, everything_but_proc());
            draft
                .op(&Op::NoNewPrivs)
                .op(&rule(slot, c"/nowhere/to/be/found", 1))
                .op(&enforce(slot));
        })
        .names("/nowhere/to/be/found")
    },
    Failure {
        who: KERNEL,
        ..Failure::new(
            OpCode::LandlockPath,
            "a right that is not restricted",
            libc::EINVAL,
            |draft| {
                let mut landlock = Landlock::new();
                landlock.abi = 1;
                landlock.files = Some(Vec::new());
                let made = landlock.ruleset().expect("a ruleset").expect("there is Landlock");
                let slot = draft.grant(made.fd);
                // Refer, of ABI 2.
                draft.op(&Op::NoNewPrivs).op(&rule(slot, c"/", 1 << 13)).op(&enforce(slot));
            },
        )
        .names("refer")
    },
];

const READ_AND_EXECUTE: LandlockRights = LandlockRights::from_bits(0b1101);

/// What a ruleset of [`ruleset`] knows of these.
fn known(rights: LandlockRights) -> u64 {
    rights.bits() & 0x1fff
}

fn enforce(slot: Slot) -> Op<'static> {
    Op::Confine(ConfineOp::Landlock { slot, flags: LandlockFlags::empty() })
}

fn rule(slot: Slot, path: &std::ffi::CStr, access: u64) -> Op<'_> {
    Op::Confine(ConfineOp::LandlockPath { slot, path, access })
}

/// The directories of the root but the one that tells of processes.
fn everything_but_proc() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/").expect("the root can be read").flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.ends_with("proc"))
        .collect()
}

/// What is beneath these can be read and executed, and nothing else can be reached.
pub(crate) fn ruleset(draft: &mut Draft, directories: Vec<PathBuf>) -> Slot {
    let mut landlock = Landlock::new();
    landlock.abi = 1;
    landlock.files = Some(Vec::new());
    for directory in directories {
        landlock.path(directory, READ_AND_EXECUTE);
    }
    let made = landlock.ruleset().unwrap_or_else(|error| panic!("{error}"));
    draft.grant(made.expect("there is Landlock").fd)
}

fn without_proc() -> Check {
    Box::new(|child| {
        assert_eq!(child.report.cgroup, None, "it cannot be read from inside");
        assert!(child.try_text("cgroup").is_some(), "it is there");
    })
}
