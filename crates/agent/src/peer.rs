//! Who has connected. It is asked once, of the kernel, when a connection is accepted; a narrower connection
//! keeps the answer of the one that it was made from.

use embryo_syscall as sys;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::{BorrowedFd, OwnedFd};
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

impl Peer {
    /// Whoever is at the other end of a connection.
    ///
    /// # Errors
    /// What getsockopt(2) answers.
    ///
    /// # Kernel
    /// Source: unix(7), `SO_PEERCRED`, `SO_PEERGROUPS`, `SO_PEERPIDFD`.
    pub fn of(socket: BorrowedFd<'_>) -> std::io::Result<Self> {
        let os = |errno: sys::Errno| std::io::Error::from_raw_os_error(errno.number().into());
        let credentials = sys::peer_credentials(socket).map_err(os)?;
        let mut groups = vec![0; 4 * GROUPS_MAX];
        let len = sys::peer_groups(socket, &mut groups).map_err(os)?;
        let groups = groups.get(..len).unwrap_or_default().as_chunks::<4>().0;
        let groups = groups.iter().map(|bytes| u32::from_ne_bytes(*bytes)).collect();
        let pidfd = sys::peer_pidfd(socket).ok();
        let pid = credentials.pid.unsigned_abs();
        let cgroup = cgroup_of(pid).filter(|_| lives(pidfd.as_ref()));
        Ok(Self { pid, uid: credentials.uid, gid: credentials.gid, groups, cgroup, pidfd })
    }
}

/// The kernel's `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65_536;

/// The line of cgroup v2 in /proc/PID/cgroup.
fn cgroup_of(pid: u32) -> Option<PathBuf> {
    if pid == 0 {
        return None;
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from)
}

/// Whether what was read of a pid was read of that process. Without a handle it is not known, and then
/// it was not.
fn lives(pidfd: Option<&OwnedFd>) -> bool {
    let Some(pidfd) = pidfd else { return false };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
}
