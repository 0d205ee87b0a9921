//! What a spawn must find and leave the same in the process that asks for it.
//!
//! It must never hold what changes by itself (file positions, pending signals, mappings): a
//! difference is always somebody's doing.

use crate::{difference, observe, report::Report};
use serde::Serialize;

/// Everything of the calling thread and its process that no spawn may change.
///
/// Descriptors and dispositions belong to the process: use it in a test that is
/// [`alone!`](crate::alone).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallerState {
    /// The thread that was looked at: masks, credentials and much else are a thread's own.
    pub tid: i32,
    /// What the thread says of itself, without what changes by itself.
    pub report: Report,
    /// All 64 signal dispositions.
    pub dispositions: Vec<Disposition>,
}

/// A signal's disposition as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disposition {
    /// The signal, 1 to 64.
    pub signal: u32,
    /// The handler's address; 0 is the default, 1 is to ignore.
    pub handler: usize,
    /// `SA_*`, as a number.
    pub flags: u64,
    /// The address that a handler returns to.
    pub restorer: usize,
    /// The signals blocked while a handler runs, bit 0 for signal 1.
    pub mask: u64,
}

impl CallerState {
    /// Looks at the calling thread.
    #[must_use]
    pub fn capture() -> Self {
        let mut report = Report::capture(Vec::new(), Vec::new());
        report.signals.pending.clear();
        report.threads = None;
        report.maps_lines = None;
        report.more.remove("locked_kib");
        for fd in &mut report.fds {
            fd.offset = None;
        }
        Self {
            tid: rustix::thread::gettid().as_raw_pid(),
            report,
            dispositions: observe::dispositions(),
        }
    }

    /// One line for each place where `after` is not as `self` was; empty if nothing changed.
    #[must_use]
    pub fn diff(&self, after: &Self) -> Vec<String> {
        difference::lines(self, after, &[])
    }

    /// Looks again.
    ///
    /// # Panics
    /// If anything has changed; the message says what.
    #[track_caller]
    pub fn assert_unchanged(&self) {
        let changes = self.diff(&Self::capture());
        assert!(changes.is_empty(), "the caller was changed:\n  {}", changes.join("\n  "));
    }
}
