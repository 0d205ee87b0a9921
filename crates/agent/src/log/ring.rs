//! The last entries of the log, for operators to ask for.
//!
//! It must never hold more than it was told, in entries and in bytes.

use super::record::Record;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Bytes of all entries, at most.
const BYTES_MAX: usize = 4 << 20;

/// The last entries, each a line of JSON with a number that grows. Clones share them.
#[derive(Clone, Debug)]
pub struct Ring(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    /// The number of the next one.
    next: u64,
    entries_max: usize,
}

impl Ring {
    /// One that keeps so many entries.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        let kept = Kept { lines: VecDeque::new(), bytes: 0, next: 1, entries_max };
        Self(Arc::new(Mutex::new(kept)))
    }

    /// One that goes on with the entries of another: the lines of [`since`](Self::since), and the number of the
    /// next one.
    #[must_use]
    pub fn restored(entries_max: usize, lines: &str, next: u64) -> Self {
        let lines: VecDeque<String> = lines.lines().map(str::to_owned).collect();
        let next = next.max(lines.len() as u64 + 1);
        let mut kept = Kept { bytes: 0, next, entries_max, lines };
        kept.bytes = kept.lines.iter().map(String::len).sum();
        kept.shrink();
        Self(Arc::new(Mutex::new(kept)))
    }

    /// Keeps so many from now on.
    pub fn resize(&self, entries_max: usize) {
        self.with(|kept| {
            kept.entries_max = entries_max;
            kept.shrink();
        });
    }

    /// The number that the next entry will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.with(|kept| kept.next)
    }

    /// Those from this number on which are still there, as lines; as many as fit in so many bytes. The number of
    /// each is in it, so one that is missed is noticed.
    #[must_use]
    pub fn since(&self, entry: u64, bytes_max: usize) -> String {
        self.with(|kept| {
            let first = kept.next - kept.lines.len() as u64;
            let skipped = usize::try_from(entry.saturating_sub(first)).unwrap_or(usize::MAX);
            let mut text = String::new();
            for line in kept.lines.iter().skip(skipped) {
                if text.len() + line.len() + 1 > bytes_max {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            text
        })
    }

    /// What puts events into it.
    pub(super) fn layer(&self) -> RingLayer {
        RingLayer(self.clone())
    }

    fn push(&self, record: &Record) {
        self.with(|kept| {
            let line = record.json(Some(kept.next));
            kept.next += 1;
            kept.bytes += line.len();
            kept.lines.push_back(line);
            kept.shrink();
        });
    }

    fn with<T>(&self, what: impl FnOnce(&mut Kept) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn shrink(&mut self) {
        while self.lines.len() > self.entries_max || self.bytes > BYTES_MAX {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.len();
        }
    }
}

/// Puts events into a [`Ring`].
pub(super) struct RingLayer(Ring);

impl<S: Subscriber> Layer<S> for RingLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.push(&Record::of(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn numbers(text: &str) -> Vec<u64> {
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("it is JSON"));
        lines.map(|line: serde_json::Value| line["entry"].as_u64().expect("a number")).collect()
    }

    #[test]
    fn the_last_entries_are_kept_with_numbers_that_grow() {
        let ring = Ring::new(3);
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(ring.layer()),
            || (0..5).for_each(|number| tracing::info!(number, "an entry")),
        );
        assert_eq!(numbers(&ring.since(0, usize::MAX)), [3, 4, 5]);
        assert_eq!(numbers(&ring.since(5, usize::MAX)), [5]);
        assert_eq!(numbers(&ring.since(9, usize::MAX)), [0u64; 0]);
        let one = ring.since(0, usize::MAX).lines().next().expect("a line").len() + 1;
        assert_eq!(numbers(&ring.since(0, one)), [3]);
        ring.resize(1);
        assert_eq!(numbers(&ring.since(0, usize::MAX)), [5]);
        assert_eq!(ring.next(), 6);
        let ring = Ring::restored(3, &ring.since(0, usize::MAX), ring.next());
        assert_eq!((numbers(&ring.since(0, usize::MAX)), ring.next()), (vec![5], 6));
    }

    #[test]
    fn a_long_or_strange_text_is_cut_and_escaped() {
        let ring = Ring::new(10);
        let strange = format!("\x1b[2J\n{}", "x".repeat(100_000));
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(ring.layer()),
            || tracing::info!(strange, program = %strange, debug = ?strange, "a\x1b\nb"),
        );
        let text = ring.since(0, usize::MAX);
        assert!(text.len() < 5000, "{}", text.len());
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let ring = Ring::new(usize::MAX);
        let long = "x".repeat(1000);
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(ring.layer()),
            || (0..10_000).for_each(|_| tracing::info!(long, "an entry")),
        );
        assert!(ring.since(0, usize::MAX).len() <= BYTES_MAX + 10_000);
        assert_eq!(ring.next(), 10_001);
    }
}
