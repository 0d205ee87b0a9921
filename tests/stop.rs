//! Threads that do something until they are told to stop.
//!
//! It must never leave one running behind a panic: a scope waits for its threads, and a test that
//! failed would hang instead.

use std::sync::atomic::{AtomicBool, Ordering};

/// Raised when it is dropped.
pub(crate) struct Stop<'a>(&'a AtomicBool);

impl<'a> Stop<'a> {
    /// Stops those who look at this flag, at the end of the scope.
    pub(crate) fn at_end(flag: &'a AtomicBool) -> Self {
        Self(flag)
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
