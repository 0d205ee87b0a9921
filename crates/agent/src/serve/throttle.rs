//! How much of what clients do wrong is logged: a client that is refused without end is not to fill the log, in
//! which an operator looks for something else.

use std::time::{Duration, Instant};

/// Lines in a second, of all clients.
const LINES_MAX: u32 = 32;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Throttle {
    begun: Option<Instant>,
    lines: u32,
    withheld: u64,
}

impl Throttle {
    /// Whether a line is to be written now, and how many were not before it.
    pub(super) fn admits(&mut self, now: Instant) -> Option<u64> {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= SECOND) {
            self.begun = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.withheld += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let written = (0..1000).filter(|_| throttle.admits(now).is_some()).count();
        assert_eq!(written, LINES_MAX as usize);
        assert_eq!(throttle.admits(now + SECOND), Some(1000 - u64::from(LINES_MAX)));
        assert_eq!(throttle.admits(now + SECOND), Some(0));
    }
}
