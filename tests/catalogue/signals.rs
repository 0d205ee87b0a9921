//! Dispositions and mask. It must never send a signal to the test itself.

use super::{Check, Failure, Sample};
use crate::launch::Way;
use crate::refusal::Refusal;
use embryo::{Keep, Op, OpCode, Step};

/// HUP, USR1, 32 and 33 (which libc hides), 64.
const SET: u64 = 1 | 1 << 9 | 1 << 31 | 1 << 32 | 1 << 63;
const NUMBERS: [u32; 5] = [1, 10, 32, 33, 64];
/// All but KILL and STOP.
const ALL: u64 = !(1 << 8 | 1 << 18);

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::SignalIgnore, "some", |draft| {
        draft.op(&Op::SignalIgnore { set: SET });
        Box::new(|child| {
            assert_eq!(child.report.ignored(), NUMBERS);
            assert_eq!(child.report.blocked(), [0u32; 0]);
            assert_eq!(child.status("SigIgn"), format!("{SET:016x}"));
        })
    }),
    Sample::new(OpCode::SignalIgnore, "all", |draft| {
        draft.op(&Op::SignalIgnore { set: ALL });
        seen("SigIgn", ALL)
    }),
    Sample::new(OpCode::SignalIgnore, "none", |draft| {
        draft.op(&Op::SignalIgnore { set: 0 });
        seen("SigIgn", 0)
    }),
    Sample::new(OpCode::SignalMask, "some", |draft| {
        draft.op(&Op::SignalMask { set: SET });
        Box::new(|child| {
            assert_eq!(child.report.blocked(), NUMBERS);
            assert_eq!(child.report.ignored(), [0u32; 0]);
            assert_eq!(child.status("SigBlk"), format!("{SET:016x}"));
        })
    }),
    Sample::new(OpCode::SignalMask, "all", |draft| {
        draft.op(&Op::SignalMask { set: ALL });
        seen("SigBlk", ALL)
    }),
    Sample::new(OpCode::SignalMask, "none", |draft| {
        draft.op(&Op::SignalMask { set: 0 });
        seen("SigBlk", 0)
    }),
    Sample::new(OpCode::SignalDefault, "some of those that the caller ignores", |draft| {
        crate::caller::ignore(&crate::caller::IGNORED);
        draft.keep(Keep::IGNORED_SIGNALS).op(&Op::SignalDefault { set: 1 << 15 | 1 << 32 });
        let mut kept = embryo_tests::CallerState::capture().report.signals.ignored;
        kept.retain(|signal| ![16, 33].contains(signal));
        assert!(kept.contains(&10));
        Box::new(move |child| assert_eq!(child.report.ignored(), kept))
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    // They are applied at the end of a build, when no signal may be lost any more.
    Failure::new(OpCode::SignalIgnore, "refused", libc::EPERM, |draft| {
        draft.op(&Op::SignalIgnore { set: 1 << 9 });
    })
    .as_step(Step::Signals)
    .only(Way::AsRouted)
    .refused(Refusal::of(libc::SYS_rt_sigaction, 10).setting()),
    Failure::new(OpCode::SignalDefault, "refused", libc::EPERM, |draft| {
        draft.keep(Keep::IGNORED_SIGNALS).op(&Op::SignalDefault { set: 1 << 9 });
    })
    .as_step(Step::Signals)
    .only(Way::AsRouted)
    .refused(Refusal::of(libc::SYS_rt_sigaction, 10).setting()),
    Failure::new(OpCode::SignalMask, "refused", libc::EPERM, |draft| {
        draft.op(&Op::SignalMask { set: 1 << 9 });
    })
    .as_step(Step::Signals)
    .only(Way::AsRouted)
    .refused(Refusal::always(libc::SYS_rt_sigprocmask).setting()),
];

fn seen(line: &'static str, set: u64) -> Check {
    Box::new(move |child| assert_eq!(child.status(line), format!("{set:016x}")))
}
