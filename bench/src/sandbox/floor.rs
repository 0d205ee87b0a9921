//! The least that six new namespaces cost: one clone(2), one execve(2), and nothing set up in between.

use std::io;
use std::path::Path;

use crate::child::ChildSpec;
use crate::contender::{Contender, sharing_memory};

/// Those of a sandbox.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// The floor.
pub(super) fn namespaces(child: &Path) -> io::Result<Box<dyn Contender>> {
    sharing_memory(&ChildSpec::timed(child)?, NAMESPACES)
}
