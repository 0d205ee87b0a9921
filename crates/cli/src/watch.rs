//! The signals that this process gets for its child, and who sent them.
//!
//! It must never watch a signal that the caller ignores: under nohup(1), or in the background of a
//! script, ignoring it is what was asked for.

use crate::failure::Failure;
use embryo_syscall::Disposition;
use rustix::fd::{AsFd, BorrowedFd};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;

pub(crate) const SIGHUP: i32 = 1;
pub(crate) const SIGINT: i32 = 2;
pub(crate) const SIGQUIT: i32 = 3;
pub(crate) const SIGPIPE: u32 = 13;
pub(crate) const SIGTERM: i32 = 15;
pub(crate) const SIGCHLD: i32 = 17;
pub(crate) const SIGCONT: i32 = 18;
pub(crate) const SIGSTOP: i32 = 19;
pub(crate) const SIGTSTP: i32 = 20;
pub(crate) const SIGTTIN: i32 = 21;
pub(crate) const SIGTTOU: i32 = 22;
pub(crate) const SIGWINCH: i32 = 28;

/// Not watched, because they cannot be (KILL, STOP), because they mean that this program has
/// a fault (ILL, TRAP, BUS, FPE, SEGV, SYS) or has used up what is its own (XCPU, XFSZ), or because
/// a handler would turn a stop into a loop (TTIN, TTOU, whose interrupted call is restarted).
const LEFT_ALONE: [u32; 12] = [4, 5, 7, 8, 9, 11, 19, 21, 22, 24, 25, 31];
/// The two that the C library uses itself.
const LIBC_OWN: [u32; 2] = [32, 33];

/// Signals are caught from when this is made until the process ends.
pub(crate) struct Watch {
    /// Never dropped: a handler that finds nobody at the other end gets SIGPIPE, which is watched too,
    /// and so on for ever.
    delivery: ManuallyDrop<SignalDelivery<UnixStream, WithOrigin>>,
}

/// Who is behind a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The kernel: a terminal, most often.
    Kernel,
    /// A process, by its pid; 0 if it is in another pid namespace, or not known.
    Process(i32),
}

impl Watch {
    /// Starts to watch. It has to be done before the child is made, or a signal could be lost.
    pub(crate) fn start() -> Result<Self, Failure> {
        let fail = |error| Failure::io("cannot watch", "signals", &error);
        let (read, write) = UnixStream::pair().map_err(fail)?;
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), watched());
        Ok(Self { delivery: ManuallyDrop::new(delivery.map_err(fail)?) })
    }

    /// The signals that have arrived.
    pub(crate) fn arrived(&mut self) -> Vec<(i32, Sender)> {
        self.delivery.pending().map(|origin| (origin.signal, sender(&origin))).collect()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

fn sender(origin: &Origin) -> Sender {
    match (origin.cause, origin.process) {
        (Cause::Kernel, _) => Sender::Kernel,
        (_, Some(process)) => Sender::Process(process.pid),
        (_, None) => Sender::Process(0),
    }
}

fn watched() -> impl Iterator<Item = i32> {
    let ignored =
        |signal: &u32| embryo_syscall::get_disposition(*signal) == Ok(Disposition::Ignore);
    (1..=64)
        .filter(|signal| !LEFT_ALONE.contains(signal) && !LIBC_OWN.contains(signal))
        // An ignored SIGCHLD would make the kernel reap the child, and its status be lost.
        .filter(move |signal| *signal == SIGCHLD.unsigned_abs() || !ignored(signal))
        .map(u32::cast_signed)
}
