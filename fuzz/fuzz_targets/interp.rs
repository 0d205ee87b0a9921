//! Checked plans against the interpreter, in real children of this process.
//!
//! Plans come from descriptions, and from their bytes with some of them changed, as far as the
//! checker lets those pass. Every one of them is made harmless and must fail: none has an image
//! that can be executed. What it fails on has to be an op of its own, and this process has to be what it was.
#![no_main]

use embryo::{Cause, Error, Op, OpCode, Plan, RawPlan, SpawnError, SpawnOptions, Step, spawn_with};
use embryo_fuzz::{Caller, Description, Grants, harmless};
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use std::sync::OnceLock;
use std::time::Duration;

/// Long enough for a child that has to wait for a processor; only a stuck one takes it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Signals that only a mistake of the interpreter's can raise: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const MISTAKES: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match plan_of(bytes) {
        Ok(Some((plan, options))) => {
            launch(&plan, options);
            Corpus::Keep
        }
        _ => Corpus::Reject,
    }
});

/// How a plan comes out of the fuzzer's bytes, and how it is to be executed.
fn plan_of(bytes: &[u8]) -> Result<Option<(Plan, SpawnOptions)>> {
    let mut from = Unstructured::new(bytes);
    let options = SpawnOptions::new()
        .timeout(TIMEOUT)
        .through_seed(from.ratio(1u8, 8u8)?)
        .trace(from.arbitrary()?);
    let changes: Vec<(u16, u8)> = if from.arbitrary()? { from.arbitrary()? } else { Vec::new() };
    let Ok(plan) = Description::arbitrary_take_rest(from)?.build() else {
        return Ok(None);
    };
    let mut bytes = plan.as_bytes().to_vec();
    for (at, byte) in changes {
        let at = usize::from(at) % bytes.len();
        bytes[at] = byte;
    }
    let checked = RawPlan(&bytes).check();
    Ok(checked.ok().and_then(|plan| harmless(&plan, grants())).map(|plan| (plan, options)))
}

fn grants() -> &'static Grants {
    static GRANTS: OnceLock<Grants> = OnceLock::new();
    GRANTS.get_or_init(|| {
        let grants = Grants::new();
        warm_up();
        grants
    })
}

/// Lets the library make what it makes once and keeps: its low socket and the seed's image.
fn warm_up() {
    for through_seed in [false, true] {
        let mut plan = Plan::builder();
        let slot = plan.slot();
        plan.keep(embryo::Keep::all())
            .op(&Op::PutFd { slot, fd: 9 })
            .op(&Op::Fail { errno: 1 })
            .op(&Op::ExecPath { path: c"/", flags: embryo::ExecFlags::empty() })
            .arg("warm-up");
        let plan = plan.build().expect("the first plan is one");
        let (high, _) = std::io::pipe().expect("a pipe can be made");
        let options = SpawnOptions::new().through_seed(through_seed);
        let grants = [std::os::fd::AsFd::as_fd(&high)];
        assert!(spawn_with(&plan, &grants, options).is_err());
    }
}

fn launch(plan: &Plan, options: SpawnOptions) {
    let view = plan.as_plan();
    let mut terminal = None;
    let grants = grants().of(&view, &mut terminal);
    let before = Caller::look();
    let outcome = spawn_with(plan, &grants, options);
    let after = Caller::look();
    match outcome {
        Ok(mut process) => {
            let ended = process.wait_timeout(Duration::from_secs(1));
            let _ = process.kill();
            let report = process.report();
            panic!("a plan without an image started: {ended:?} {report:?} {plan:?}");
        }
        Err(Error::Spawn(error)) => judge(plan, &error),
        Err(error) => panic!("{error}: {plan:?}"),
    }
    assert!(before == after, "the caller has changed: {before:#?} {after:#?} {plan:?}");
}

/// The fault must be one that this plan can have.
fn judge(plan: &Plan, error: &SpawnError) {
    assert!(!error.to_string().is_empty());
    let view = plan.as_plan();
    match error.cause {
        Cause::Killed(Some(signal)) if MISTAKES.contains(&signal) => {
            panic!("the interpreter was killed by signal {signal}: {plan:?}");
        }
        // A limit on processor time kills.
        Cause::Killed(_) => {
            let limited = view.ops().flatten().any(|op| matches!(op, Op::Rlimit { .. }));
            assert!(limited, "{error}: {plan:?}");
            return;
        }
        Cause::TimedOut => panic!("{error}: {plan:?}"),
        _ => {}
    }
    let Some(index) = error.index() else {
        let known = !matches!(error.step(), None | Some(Step::Decode));
        assert!(known, "{error}: {plan:?}");
        return;
    };
    let code = view.code(index);
    assert_eq!(code.map(|code| code as u16), Some(error.fault.code), "{error}: {plan:?}");
    let first_fail = view.ops().position(|op| op.is_some_and(|op| op.code() == OpCode::Fail));
    assert!(first_fail.is_none_or(|fail| index as usize <= fail), "{error}: {plan:?}");
}
