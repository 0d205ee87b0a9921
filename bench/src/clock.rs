//! The one clock: CLOCK_MONOTONIC in nanoseconds, which the child reads too.

use rustix::time::{ClockId, clock_gettime};

/// clock_gettime(CLOCK_MONOTONIC) in nanoseconds since its start.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // Both fields of a monotonic time are nonnegative.
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
