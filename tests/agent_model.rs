//! Promise: an agent does what a small model of it does, whatever order its clients connect, narrow, start, signal,
//! kill, close and crash in, and whatever it is told to read again; and at the end nothing is left.
//!
//! It must never look at the clock to know what will happen: numbers per minute have tests of their own.
//!
//! `EMBRYO_MODEL_SECONDS` says for how long to try; without it a few seeds are tried. `EMBRYO_MODEL_SEED` is the one to
//! begin with. A run that fails is made shorter as far as it still fails, and printed.

mod agent_model {
    mod action;
    mod model;
    mod shrink;
    mod world;

    use action::{Action, Narrower, Random};
    use model::{Lifetime, Program};
    use std::time::{Duration, Instant};

    /// Seeds that are tried if nothing is said.
    const SEEDS: u64 = 20;
    /// Actions of one run.
    const LENGTH: usize = 120;

    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    fn actions(seed: u64) -> Vec<Action> {
        let mut random = Random::new(seed);
        (0..LENGTH).map(|_| Action::any(&mut random)).collect()
    }

    /// Whatever a mandate says of lifetimes and a narrower one of it says, the strictest holds.
    #[test]
    fn children_end_as_both_lifetimes_say() {
        for named in 0..3 {
            for lifetime in [Lifetime::Connection, Lifetime::Agent, Lifetime::LiveOn] {
                let narrower = Narrower { lifetime: Some(lifetime), ..Narrower::default() };
                let actions = [
                    Action::Connect(named),
                    Action::Narrow(0, narrower),
                    Action::Spawn(1, Program::Sleep),
                    Action::Close(1),
                    Action::Close(0),
                ];
                let outcome = world::run(&actions);
                assert_eq!(outcome, Ok(()), "{named}, narrowed to {lifetime:?}");
            }
        }
    }

    #[test]
    fn an_agent_does_what_its_model_does() {
        let first = number("EMBRYO_MODEL_SEED").unwrap_or(1);
        let time = number("EMBRYO_MODEL_SECONDS").map(Duration::from_secs);
        let begun = Instant::now();
        for seed in first.. {
            let over = time.map_or(seed >= first + SEEDS, |time| begun.elapsed() >= time);
            if over {
                eprintln!("{} runs of {LENGTH} actions", seed - first);
                return;
            }
            let actions = actions(seed);
            if let Err(difference) = world::run(&actions) {
                eprintln!("seed {seed}: {difference}\nlooking for a shorter one");
                let (fewer, last) = shrink::shrink(&actions, &difference);
                panic!("seed {seed}: {difference}\nin short: {last}, after {fewer:#?}");
            }
        }
    }
}
