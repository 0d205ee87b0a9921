//! Ending as the child ended.
//!
//! It must never leave a core dump of this process: the one that matters is the child's.

use crate::supervise::Ended;
use embryo_syscall::Disposition;
use rustix::fd::AsRawFd;
use rustix::process::{DumpableBehavior, PidfdFlags, getpid, pidfd_open, set_dumpable_behavior};
use std::os::unix::process::ExitStatusExt;

/// What timeout(1) exits with.
const TIMED_OUT: u8 = 124;
const SIGKILL: i32 = 9;

/// The status to exit with; does not return if ending by a signal is what is wanted.
pub(crate) fn status(ended: Ended, signal_as_status: bool) -> u8 {
    let (status, timed_out) = match ended {
        Ended::Itself(status) => (status, false),
        Ended::TimedOut(status) => (status, true),
    };
    let as_status = |signal: i32| 128u8.wrapping_add(signal as u8);
    match (status.code(), status.signal()) {
        (_, Some(SIGKILL)) if timed_out => as_status(SIGKILL),
        _ if timed_out => TIMED_OUT,
        (Some(code), _) => code as u8,
        (None, Some(signal)) => {
            if !signal_as_status {
                end_by(signal);
            }
            as_status(signal)
        }
        (None, None) => crate::failure::FAILED,
    }
}

/// Ends this process by a signal, so that whoever waits for it sees what the child died of. It
/// returns if that cannot be, as for the init of a pid namespace.
fn end_by(signal: i32) {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let number = signal.unsigned_abs();
    let _ = embryo_syscall::set_disposition(number, Disposition::Default);
    let _ = embryo_syscall::set_mask(!(1u64 << (number - 1)));
    // The whole process rather than a thread, and any number: real-time signals have no name.
    if let Ok(own) = pidfd_open(getpid(), PidfdFlags::empty()) {
        let _ = embryo_syscall::pidfd_send_signal(own.as_raw_fd(), number);
    }
}
