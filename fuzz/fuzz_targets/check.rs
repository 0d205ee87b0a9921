//! Arbitrary bytes against the checker, and whatever passes through everything that reads a plan.
#![no_main]

use embryo::{Explained, Plan, PlanView, RawPlan};
use embryo_fuzz::{Description, reencode};
use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    look_at(bytes);
    // The same bytes as a description: plans that mere chance would hardly find.
    if let Ok(description) = Description::arbitrary(&mut Unstructured::new(bytes))
        && let Ok(plan) = description.build()
    {
        look_at(plan.as_bytes());
    }
});

fn look_at(bytes: &[u8]) {
    // A seed reads what its owner sent without checking it again; that may be nonsense, not a panic.
    if let Some(unchecked) = PlanView::split(bytes) {
        let ops = unchecked.ops().flatten().map(|op| op.to_string().len()).sum::<usize>();
        let strings = unchecked.argv().chain(unchecked.envp()).map(|text| text.count_bytes()).sum();
        let _: (usize, usize) = (ops, strings);
    }
    let plan = match RawPlan(bytes).check() {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(Plan::from_bytes(bytes).is_err());
            return;
        }
    };
    assert!(!Explained(plan).to_string().is_empty());
    assert_eq!(plan.ops().flatten().count(), plan.entries().len());
    for op in plan.ops().flatten() {
        op.fields(&mut |name, value| assert!(!name.is_empty() && !value.to_string().is_empty()));
    }
    let (argv, envp) = (plan.argv(), plan.envp());
    assert_eq!((argv.count(), envp.count()), (argv.into_iter().count(), envp.into_iter().count()));
    assert_eq!(reencode(&plan).as_bytes(), bytes, "a second encoding of one plan");
}
