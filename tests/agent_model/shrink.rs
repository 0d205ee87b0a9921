//! From a list of actions that shows a difference to a short one.
//!
//! It must never take longer than somebody waits: what it has when its time is over is the answer.

use super::action::Action;
use super::world;
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(60);

/// Leaves out whatever can be left out so that some difference is still seen, and says which that is then.
pub(super) fn shrink(actions: &[Action], difference: &str) -> (Vec<Action>, String) {
    let begun = Instant::now();
    let (mut shortest, mut last) = (actions.to_vec(), difference.to_owned());
    let mut part = shortest.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < shortest.len() && begun.elapsed() < TIME {
            let mut fewer = shortest.clone();
            fewer.drain(at..shortest.len().min(at + part));
            match world::run(&fewer) {
                Err(difference) => (shortest, last) = (fewer, difference),
                Ok(()) => at += part,
            }
        }
        part = if part == 1 || begun.elapsed() >= TIME { 0 } else { part.div_ceil(2) };
    }
    (shortest, last)
}
