//! Ids, and what a process may do and is told because of them. It must never change the ids of
//! the test itself.

use super::{Failure, Sample};
use crate::filter::{ALLOW, errno, filter, long};
use crate::refusal::Refusal;
use embryo::{FilterFlags, Op, OpCode, limits};
use embryo_tests::Ids;
use rustix::thread::CapabilitySet;

const KEEP: u32 = u32::MAX;

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::Groups, "three", |draft| {
        draft.op(&Op::Groups { list: &list([7, 5, 100_000]) });
        Box::new(|child| {
            assert_eq!(child.report.groups, [5, 7, 100_000]);
            assert_eq!(child.status("Groups"), "5 7 100000");
        })
    })
    .with(CapabilitySet::SETGID),
    Sample::new(OpCode::Groups, "none", |draft| {
        draft.op(&Op::Groups { list: &[] });
        Box::new(|child| {
            assert_eq!(child.report.groups, [0u32; 0]);
            assert_eq!(child.status("Groups"), "");
        })
    })
    .with(CapabilitySet::SETGID),
    Sample::new(OpCode::Groups, "as many as there can be", |draft| {
        draft.op(&Op::Groups { list: &list(1..=65_536) });
        Box::new(|child| assert!(child.report.groups.iter().copied().eq(1..=65_536)))
    })
    .with(CapabilitySet::SETGID),
    Sample::new(OpCode::Gid, "three different ones", |draft| {
        draft.op(&Op::Gid { real: 11, effective: 12, saved: 13 });
        Box::new(|child| {
            assert_eq!(child.report.gids, Ids { real: 11, effective: 12, saved: 12, fs: 12 });
            assert_eq!(child.status("Gid"), "11 12 12 12");
        })
    })
    .with(CapabilitySet::SETGID),
    Sample::new(OpCode::Gid, "one's own again", |draft| {
        let own = rustix::process::getegid().as_raw();
        draft.op(&Op::Gid { real: own, effective: KEEP, saved: KEEP });
        Box::new(move |child| assert!(child.report.gids.all(own)))
    }),
    Sample::new(OpCode::Uid, "an ordinary user", |draft| {
        draft.op(&Op::Uid { real: 21, effective: 21, saved: 21 });
        Box::new(|child| {
            assert!(child.report.uids.all(21));
            assert_eq!(child.report.caps.effective, format!("{:016x}", 0));
            assert_eq!(child.report.caps.permitted, format!("{:016x}", 0));
            assert_eq!(child.status("Uid"), "21 21 21 21");
        })
    })
    .with(CapabilitySet::SETUID),
    Sample::new(OpCode::Uid, "another real one", |draft| {
        draft.op(&Op::Uid { real: 22, effective: KEEP, saved: KEEP });
        let own = rustix::process::geteuid().as_raw();
        Box::new(move |child| {
            assert_eq!(child.report.uids, Ids { real: 22, effective: own, saved: own, fs: own });
        })
    })
    .with(CapabilitySet::SETUID),
    Sample::new(OpCode::Uid, "with groups, a death signal and a directory", |draft| {
        draft
            .op(&Op::Groups { list: &list([31]) })
            .op(&Op::Gid { real: 32, effective: 32, saved: 32 })
            .op(&Op::Uid { real: 33, effective: 33, saved: 33 })
            .op(&Op::DeathSignal { signal: 12 })
            .op(&Op::ChdirPath { path: c"/" });
        Box::new(|child| {
            assert!(child.report.uids.all(33) && child.report.gids.all(32));
            assert_eq!(child.report.groups, [31]);
            assert_eq!(child.report.pdeathsig, Some(12));
            assert_eq!(child.report.dumpable, Some(1));
        })
    })
    .with(CapabilitySet::SETUID.union(CapabilitySet::SETGID)),
    Sample::new(OpCode::Uid, "one's own again", |draft| {
        let own = rustix::process::geteuid().as_raw();
        draft.op(&Op::Uid { real: own, effective: KEEP, saved: own });
        Box::new(move |child| assert!(child.report.uids.all(own)))
    }),
    Sample::new(OpCode::DeathSignal, "with a name", |draft| {
        draft.op(&Op::DeathSignal { signal: 15 });
        Box::new(|child| assert_eq!(child.report.pdeathsig, Some(15)))
    }),
    Sample::new(OpCode::DeathSignal, "real-time", |draft| {
        draft.op(&Op::DeathSignal { signal: 64 });
        Box::new(|child| assert_eq!(child.report.pdeathsig, Some(64)))
    }),
    Sample::new(OpCode::Subreaper, "set", |draft| {
        draft.op(&Op::Subreaper);
        Box::new(|child| assert_eq!(child.report.child_subreaper, Some(1)))
    }),
    Sample::new(OpCode::Personality, "no address randomisation", |draft| {
        draft.op(&Op::Personality { persona: NO_RANDOM });
        Box::new(|child| {
            assert_eq!(child.report.personality, i64::from(NO_RANDOM));
            // Who may not trace the child may not look.
            if let Some(text) = child.try_text("personality") {
                assert_eq!(text.trim(), format!("{NO_RANDOM:08x}"));
            }
        })
    }),
    Sample::new(OpCode::NoNewPrivs, "set", |draft| {
        draft.op(&Op::NoNewPrivs);
        Box::new(|child| {
            assert_eq!(child.report.no_new_privs, Some(1));
            assert_eq!(child.status("NoNewPrivs"), "1");
        })
    }),
    Sample::new(OpCode::Seccomp, "a call refused, with no_new_privs", |draft| {
        // The probe asks for its session, and its parent's, among much else.
        let program = filter(&[libc::SYS_getsid], errno(99), ALLOW);
        draft.op(&Op::NoNewPrivs).op(&Op::Seccomp { flags: LOG, program: &program });
        Box::new(|child| {
            assert_eq!(child.status("Seccomp"), "2");
            assert_eq!(child.report.no_new_privs, Some(1));
            assert!(child.report.sid <= 0, "getsid(2) is refused: {}", child.report.sid);
        })
    }),
    Sample::new(OpCode::Seccomp, "with the capability instead", |draft| {
        let flags = FilterFlags::SPEC_ALLOW;
        draft.op(&Op::Seccomp { flags, program: &long(limits::FILTER_INSTRUCTIONS_MAX) });
        Box::new(|child| {
            assert_eq!(child.status("Seccomp"), "2");
            assert_eq!(child.report.no_new_privs, Some(0));
        })
    })
    .with(CapabilitySet::SYS_ADMIN),
    Sample::new(OpCode::Seccomp, "behind new ids", |draft| {
        draft
            .op(&Op::Uid { real: 21, effective: 21, saved: 21 })
            .op(&Op::NoNewPrivs)
            .op(&Op::Seccomp { flags: FilterFlags::empty(), program: &long(1) });
        Box::new(|child| {
            assert_eq!(child.status("Seccomp"), "2");
            assert!(child.report.uids.all(21));
        })
    })
    .with(CapabilitySet::SETUID),
];

const PRCTL: libc::c_long = libc::SYS_prctl;

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::Groups, "without the capability", libc::EPERM, |draft| {
        draft.op(&Op::Groups { list: &list([1, 2]) });
    })
    .without(CapabilitySet::SETGID)
    .names("gids=1,2"),
    Failure::new(OpCode::Groups, "no such group id", libc::EINVAL, |draft| {
        draft.op(&Op::Groups { list: &list([u32::MAX]) });
    })
    .with(CapabilitySet::SETGID)
    .names("gids=4294967295"),
    Failure::new(OpCode::Gid, "without the capability", libc::EPERM, |draft| {
        draft.op(&Op::Gid { real: KEEP, effective: 0, saved: KEEP });
    })
    .without(CapabilitySet::SETGID)
    .names("effective=0"),
    Failure::new(OpCode::Gid, "refused", libc::EPERM, |draft| {
        draft.op(&Op::Gid { real: 1, effective: KEEP, saved: KEEP });
    })
    .names("real=1 effective=keep")
    .refused(Refusal::of(libc::SYS_setresgid, 1)),
    Failure::new(OpCode::Uid, "without the capability", libc::EPERM, |draft| {
        draft.op(&Op::Uid { real: 0, effective: 0, saved: 0 });
    })
    .without(CapabilitySet::SETUID)
    .names("real=0"),
    Failure::new(OpCode::Uid, "refused", libc::EPERM, |draft| {
        draft.op(&Op::Uid { real: 1, effective: KEEP, saved: KEEP });
    })
    .names("real=1")
    .refused(Refusal::of(libc::SYS_setresuid, 1)),
    Failure::new(OpCode::DeathSignal, "refused", libc::EPERM, |draft| {
        draft.op(&Op::DeathSignal { signal: 9 });
    })
    .names("signal=KILL")
    .refused(Refusal::of(PRCTL, libc::PR_SET_PDEATHSIG as u32)),
    Failure::new(OpCode::Subreaper, "refused", libc::EPERM, |draft| {
        draft.op(&Op::Subreaper);
    })
    .refused(Refusal::of(PRCTL, libc::PR_SET_CHILD_SUBREAPER as u32)),
    Failure::new(OpCode::Personality, "refused", libc::EPERM, |draft| {
        draft.op(&Op::Personality { persona: NO_RANDOM });
    })
    .names("persona=0x40000")
    .refused(Refusal::of(libc::SYS_personality, NO_RANDOM)),
    Failure::new(OpCode::NoNewPrivs, "refused", libc::EPERM, |draft| {
        draft.op(&Op::NoNewPrivs);
    })
    .refused(Refusal::of(PRCTL, libc::PR_SET_NO_NEW_PRIVS as u32)),
    Failure::new(OpCode::Seccomp, "refused", libc::EPERM, |draft| {
        let flags = FilterFlags::empty();
        draft.op(&Op::NoNewPrivs).op(&Op::Seccomp { flags, program: &long(1) });
    })
    .names("instructions=1")
    .refused(Refusal::of(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER)),
];

const LOG: FilterFlags = FilterFlags::LOG;

const NO_RANDOM: u32 = libc::ADDR_NO_RANDOMIZE as u32;

/// Ids as a plan stores them.
pub(crate) fn list(ids: impl IntoIterator<Item = u32>) -> Vec<u8> {
    ids.into_iter().flat_map(u32::to_le_bytes).collect()
}
