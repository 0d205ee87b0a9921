//! From many times to a few numbers.

use serde::Serialize;

/// Percentiles of one quantity, in nanoseconds, by nearest rank.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) p10_ns: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

impl Spread {
    /// The percentiles of `times`, which are sorted on the way; `None` if there are none.
    pub(crate) fn of<T: Copy + Ord + Into<u64>>(mut times: Vec<T>) -> Option<Self> {
        if times.is_empty() {
            return None;
        }
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times[rank.max(1) - 1].into()
        };
        Some(Self { p10_ns: at(10), p50_ns: at(50), p99_ns: at(99) })
    }
}

/// A histogram whose buckets are within 1/32 of the times in them.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

/// Buckets for each power of two.
const STEPS: u64 = 32;
const STEPS_LOG2: u32 = STEPS.ilog2();
const BUCKETS: usize = STEPS as usize * (64 - STEPS_LOG2 as usize + 1);

impl Histogram {
    /// One without times.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }

    /// Adds one time.
    pub(crate) fn record(&mut self, time_ns: u64) {
        self.counts[bucket(time_ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(time_ns);
    }

    /// Adds another's times.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The longest time, exactly.
    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The time that `fraction` of all times do not exceed, rounded down to its bucket.
    pub(crate) fn quantile_ns(&self, fraction: f64) -> u64 {
        let rank = (self.total as f64 * fraction).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return floor_ns(index);
            }
        }
        self.max_ns
    }

    /// The sum of all times of at least `least_ns`, each rounded down to its bucket.
    pub(crate) fn sum_from_ns(&self, least_ns: u64) -> u64 {
        let from = bucket(least_ns);
        let long = self.counts.iter().enumerate().skip(from);
        long.map(|(index, count)| floor_ns(index) * count).sum()
    }
}

fn bucket(time_ns: u64) -> usize {
    if time_ns < STEPS {
        return time_ns as usize;
    }
    let shift = time_ns.ilog2() - STEPS_LOG2;
    let step = (time_ns >> shift) - STEPS;
    ((u64::from(shift) + 1) * STEPS + step) as usize
}

fn floor_ns(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    (STEPS + bucket % STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_by_nearest_rank() {
        let spread = Spread::of((1..=200_u32).rev().collect()).unwrap();
        assert_eq!((spread.p10_ns, spread.p50_ns, spread.p99_ns), (20, 100, 198));
        let one = Spread::of(vec![7_u64]).unwrap();
        assert_eq!((one.p10_ns, one.p50_ns, one.p99_ns), (7, 7, 7));
        assert!(Spread::of(Vec::<u64>::new()).is_none());
    }

    #[test]
    fn buckets_hold_their_times() {
        for time in (0..10_000).chain([1 << 20, (1 << 40) - 1, u64::MAX / 2, u64::MAX]) {
            let floor = floor_ns(bucket(time));
            assert!(floor <= time && time - floor <= time / STEPS, "{time} in bucket of {floor}");
        }
    }

    #[test]
    fn quantiles_and_sums() {
        let mut histogram = Histogram::new();
        (0..999).for_each(|_| histogram.record(10));
        histogram.record(1 << 20);
        assert_eq!(histogram.quantile_ns(0.999), 10);
        assert_eq!(histogram.quantile_ns(1.0), 1 << 20);
        assert_eq!(histogram.sum_from_ns(1 << 10), 1 << 20);
        assert_eq!(histogram.max_ns(), 1 << 20);
    }
}
