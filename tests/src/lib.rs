//! What every promise's test needs: the probe and its [`Report`], a record of what no spawn may
//! change in its caller ([`CallerState`]), a record of what no failed spawn may leave behind
//! ([`Leftovers`]), and ways to run one test again alone or as an ordinary user.
//!
//! It must never spawn through `embryo`: a helper that used the code under test could hide the
//! fault it is there to show. [`std::process::Command`] starts whatever is started here.
//!
//! Descriptors, children, the umask and signal dispositions belong to the whole process, and the
//! test harness runs tests as threads of one process. A test that compares any of them starts
//! with [`alone!`], or a neighbour's descriptor is taken for its own.

pub mod agent;
mod caller;
mod difference;
mod leftovers;
mod observe;
mod report;
mod rerun;
mod skip;
mod text;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use caller::{CallerState, Disposition};
pub use leftovers::{Child, Leftovers, assert_nothing_left, children_of_self, descendants_of_self};
pub use observe::session;
pub use report::{
    AltStack, Capabilities, Fd, Ids, Limit, Place, Report, Schedule, Seccomp, Signals, Tty,
};
pub use rerun::{is_rerun_of, rerun_alone, rerun_as, rerun_as_nobody};
pub use skip::{is_root, log_skip, test_name};
pub use text::Text;

/// The uid and the gid of the ordinary user that [`rerun_as_nobody`] becomes.
pub const NOBODY: u32 = 65534;

/// The path of the probe, from an integration test of this package.
///
/// Cargo names it when the test is compiled, so this cannot be a function; where only a function
/// will do, [`probe_path`] finds the same file.
#[macro_export]
macro_rules! probe {
    () => {
        ::std::path::PathBuf::from(::core::env!("CARGO_BIN_EXE_embryo-probe"))
    };
}

/// The path of the probe, found when the test runs.
///
/// # Panics
/// If the probe has not been built, which `cargo test` does for every integration test.
#[must_use]
pub fn probe_path() -> PathBuf {
    if let Some(path) = std::env::var_os("CARGO_BIN_EXE_embryo-probe") {
        return path.into();
    }
    // Older cargos tell the compiler only. Tests are built into `deps`, programs one level above.
    let test = std::env::current_exe().expect("a running test has an executable");
    let found = test.ancestors().skip(1).take(2).map(|dir| dir.join("embryo-probe"));
    found
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no embryo-probe was built next to {}", test.display()))
}

/// A new directory that every user may enter and write to, removed on drop.
///
/// [`tempfile::tempdir`] makes one for its owner only, where a child that has become another user
/// could neither write its report nor enter it as its working directory.
#[must_use]
pub fn tempdir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    // The mode is set afterwards because the umask would take bits from one given at creation.
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))
        .expect("the mode of one's own directory can be set");
    dir
}

/// Asks `condition` until it holds or `timeout` has passed, and says whether it held.
///
/// It is asked at least once, and a last time after the deadline: a test on a busy machine may
/// have slept through all of it.
#[must_use]
pub fn wait_for(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    condition()
}
