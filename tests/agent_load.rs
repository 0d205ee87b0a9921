//! Many clients at full speed: every status once, and nothing grows.
//!
//! It must never measure: how long it takes is printed and judged by nobody.

use embryo::agent::wire::{Ended, IN_FLIGHT_MAX, flags, kind};
use embryo::{ExecFlags, Keep, Op, Plan};
use embryo_tests::agent::{RunningAgent, agent_config};
use embryo_tests::{skip, wait_for};
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
/// Memory that an agent may have more after all of it than after the first part.
const GROWTH_MAX: u64 = 4 << 20;

/// In all. `EMBRYO_LOAD=200000` for the long form, in a release build.
fn spawns() -> usize {
    std::env::var("EMBRYO_LOAD").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000)
}
