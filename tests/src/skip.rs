//! Tests that cannot run here say so: a skipped test is otherwise a passed one.
//!
//! It must never stay silent. The harness keeps what a passed test prints, so this writes to
//! standard error itself, and to the file named by `EMBRYO_SKIP_LOG` if that is set, from which a
//! run's skipped tests can be listed.

use std::fs::OpenOptions;
use std::io::Write;

/// Says that the current test is skipped, and why, then returns from it.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::log_skip($crate::here!(), &::std::format!($($reason)+));
        return;
    }};
}

/// Skips the current test unless root runs it.
#[macro_export]
macro_rules! require_root {
    () => {
        if !$crate::is_root() {
            $crate::skip!("it needs root");
        }
    };
}

/// The path of the function this stands in, as the harness names tests.
///
/// A thread's name will not do: a test that runs alone runs on the main thread.
#[macro_export]
macro_rules! here {
    () => {{
        fn here() {}
        $crate::test_name(::std::any::type_name_of_val(&here))
    }};
}

/// Whether the effective user is root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The name of a test from that of a function inside it: without the crate and the function.
#[must_use]
pub fn test_name(inner: &'static str) -> &'static str {
    let name = inner.strip_suffix("::here").unwrap_or(inner);
    let name = name.trim_end_matches("::{{closure}}");
    name.split_once("::").map_or(name, |(_crate, name)| name)
}

/// Records that `test` is skipped; [`skip!`](crate::skip) calls it.
pub fn log_skip(test: &str, reason: &str) {
    record(&format!("SKIPPED: {test}: {reason}\n"));
}

/// Writes a line that says a test was skipped, in one piece: tests run in parallel.
pub(crate) fn record(line: &str) {
    // Standard error may be closed or full, and a test is not to fail for that.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let Some(path) = std::env::var_os("EMBRYO_SKIP_LOG").filter(|path| !path.is_empty()) else {
        return;
    };
    let log = OpenOptions::new().append(true).create(true).open(&path);
    log.and_then(|mut log| log.write_all(line.as_bytes()))
        .unwrap_or_else(|e| panic!("EMBRYO_SKIP_LOG={} cannot be written: {e}", path.display()));
}
