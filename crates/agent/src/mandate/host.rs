//! What the agent itself is, since a child is that wherever its plan says nothing else. It is looked at once, and
//! must never be taken from a client.

use embryo::CapSet;

/// Ids and capabilities of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Real, effective and saved uid.
    pub uids: [u32; 3],
    /// Real, effective and saved gid.
    pub gids: [u32; 3],
    /// Supplementary groups.
    pub groups: Box<[u32]>,
    /// What is permitted.
    pub permitted: CapSet,
    /// The bounding set.
    pub bounding: CapSet,
    /// The ambient set.
    pub ambient: CapSet,
}

impl Host {
    /// Those of the calling thread. The saved ids are taken to be the effective ones, which they are of whoever has
    /// not changed them since the last exec.
    #[must_use]
    pub fn current() -> Self {
        use rustix::process::{getegid, geteuid, getgid, getgroups, getuid};
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let groups = getgroups().unwrap_or_default();
        Self {
            uids: [getuid().as_raw(), uid, uid],
            gids: [getgid().as_raw(), gid, gid],
            groups: groups.into_iter().map(|group| group.as_raw()).collect(),
            permitted: CapSet::current().map_or(CapSet::ALL, |[_, permitted, _]| permitted),
            bounding: CapSet::current_bounding(),
            ambient: CapSet::current_ambient(),
        }
    }
}
