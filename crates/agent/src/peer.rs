//! Who has connected. It is asked once, of the kernel, when a connection is accepted; a narrower connection
//! keeps the answer of the one that it was made from.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A process that has connected, as it was at that moment.
#[derive(Debug)]
pub struct Peer {
    /// Its pid in the agent's pid namespace, 0 if it has none there.
    pub pid: u32,
    /// Its effective uid.
    pub uid: u32,
    /// Its effective gid.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Its cgroup, below the root of cgroup v2, if the kernel says.
    pub cgroup: Option<PathBuf>,
    /// A handle of it (Linux 6.5).
    pub pidfd: Option<OwnedFd>,
}
