//! Where a process belongs, and who ends it.

use crate::fds::Descriptors;
use embryo_plan::CgroupOp;
use embryo_syscall::{self as sys, Errno, Result};

/// What is said to a guardian, and back: one byte.
const TIED: [u8; 1] = [1];

pub(crate) fn apply(op: &CgroupOp, fds: &Descriptors<'_>) -> Result<()> {
    match *op {
        CgroupOp::Join { slot } => join(fds.get(slot)?),
        CgroupOp::Tie { slot } => tie(fds.get(slot)?),
    }
}

/// Moves this process, which has one thread, to a cgroup.
fn join(dir: i32) -> Result<()> {
    let file = sys::open_at(dir, c"cgroup.procs", 1)?;
    let written = sys::write(file, b"0").map(drop);
    sys::close(file)?;
    written
}

/// Tells a guardian of this process. What comes back says that it will be killed; the end of the
/// socket, that there is nobody to do it.
fn tie(guardian: i32) -> Result<()> {
    let pidfd = sys::pidfd_open(sys::getpid())?;
    let told = sys::send_with_fds(guardian, &TIED, &[], &[pidfd]);
    let _ = sys::close(pidfd);
    told?;
    let mut answer = [0u8; 1];
    match sys::recv_with_fds(guardian, &mut answer, &mut [], true)? {
        (1, _) if answer == TIED => Ok(()),
        _ => Err(Errno::PIPE),
    }
}
