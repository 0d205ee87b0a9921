//! How a caller was before a launch, to be compared with how it is after it.
//!
//! The library keeps a few descriptors from its first launches on (reserved sockets, the seed's image)
//! and may move a socket to a lower number that has become free. Those are told by what they are,
//! not by their numbers. It must never overlook that there are more of them, or fewer.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

use crate::launch::{Draft, Way};
use embryo_tests::{CallerState, Leftovers, Text, wait_for};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the library's descriptors refer to.
static KEPT: Mutex<Vec<Text>> = Mutex::new(Vec::new());

fn open_files() -> Vec<Text> {
    let report = CallerState::capture().report;
    let mut files: Vec<Text> = report.fds.into_iter().filter_map(|fd| fd.target).collect();
    files.sort();
    files
}

fn is_kept(file: &Text) -> bool {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).contains(file)
}

/// Launches on both ways, and remembers what has been kept since.
pub(crate) fn warm_up() {
    let before = open_files();
    for way in Way::BOTH {
        Draft::watched().watch(way).end();
    }
    let mut new = open_files();
    new.retain(|file| !before.contains(file));
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
}

/// Descriptors and descendants before something that is to leave none.
pub(crate) struct Before {
    leftovers: Leftovers,
    kept: Vec<Text>,
}

impl Before {
    /// Looks at the calling process.
    pub(crate) fn capture() -> Self {
        Self { leftovers: Leftovers::capture(), kept: kept_now() }
    }

    /// Looks again, until nothing is left or some time has passed: for tests that let processes go, whose
    /// reaper ends a moment after the last of them.
    #[track_caller]
    pub(crate) fn assert_nothing_left_soon(&self) {
        let _ = wait_for(Duration::from_secs(10), || self.left().is_empty());
        self.assert_nothing_left();
    }

    /// Looks again.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let left = self.left();
        assert!(left.is_empty(), "something was left:\n  {}", left.join("\n  "));
        assert_eq!(kept_now(), self.kept, "the library keeps other descriptors");
    }

    fn left(&self) -> Vec<String> {
        let mut left = self.leftovers.diff(&Leftovers::capture());
        let kept = self.kept.iter().map(|file| format!("{file:?}")).collect::<Vec<_>>();
        left.retain(|line| !kept.iter().any(|file| line.contains(file)));
        left
    }
}

fn kept_now() -> Vec<Text> {
    open_files().into_iter().filter(is_kept).collect()
}

/// The caller, but for the numbers of what the library keeps.
pub(crate) fn caller_state() -> CallerState {
    let mut state = CallerState::capture();
    state.report.fds.retain(|fd| !fd.target.as_ref().is_some_and(is_kept));
    state
}
