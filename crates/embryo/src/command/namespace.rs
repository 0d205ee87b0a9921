//! A command's namespaces.

use super::{Command, Draft, Grant, c_string};
use crate::error::Error;
use crate::namespace::{Clock, NamespaceKind, UserNamespace, subids};
use embryo_plan::{IdRange, NamespaceOp, Namespaces, Op, UserFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What was said of namespaces.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    joined: Vec<(Arc<OwnedFd>, Namespaces)>,
    pub(super) user: Option<UserNamespace>,
    nested: Option<(u32, u32)>,
    unshared: Namespaces,
    clocks: BTreeMap<Clock, (i64, u32)>,
    pid: Option<u32>,
    pub(super) hostname: Option<OsString>,
    domainname: Option<OsString>,
    loopback: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            joined: Vec::new(),
            user: None,
            nested: None,
            unshared: Namespaces::empty(),
            clocks: BTreeMap::new(),
            pid: None,
            hostname: None,
            domainname: None,
            loopback: false,
        }
    }
}

/// Namespaces: namespaces(7). All of them are the child's; the caller stays where it is.
impl Command {
    /// A new user namespace; see [`UserNamespace`] for its ids. It owns the others that are made,
    /// which gives anybody the capabilities to make those.
    ///
    /// # Kernel
    /// Source: user_namespaces(7). `user.max_user_namespaces`, and what distributions add, may forbid
    /// it: `embryo doctor` looks.
    pub fn user_namespace(&mut self, namespace: UserNamespace) -> &mut Self {
        self.namespaces.user = Some(namespace);
        self
    }

    /// A user namespace within the first, made after the mounts: what was mounted cannot be
    /// undone from it. The child's ids alone are mapped, to these.
    pub fn nested_user_namespace(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.namespaces.nested = Some((uid, gid));
        self
    }

    /// New namespaces of these kinds; unshare(2). Of users it is [`UserNamespace::Same`] unless
    /// [`Command::user_namespace`] says otherwise, of pids as [`Command::pid_namespace`].
    pub fn unshare(&mut self, kinds: impl IntoIterator<Item = NamespaceKind>) -> &mut Self {
        for kind in kinds {
            match kind {
                NamespaceKind::User => {
                    self.namespaces.user.get_or_insert_default();
                }
                NamespaceKind::Pid => {
                    self.namespaces.pid.get_or_insert(0);
                }
                other => self.namespaces.unshared |= other.flag(),
            }
        }
        self
    }

    /// A new pid namespace, in which the image is pid 2 below an init of ours.
    ///
    /// The [`crate::Process`] is then the init: it forwards what signals it gets, all but SIGKILL and
    /// SIGSTOP, which no process can take (SIGSTOP stops the init alone; SIGTSTP is forwarded);
    /// it reaps what is orphaned; and it ends when the image ends, with all that is left in the
    /// namespace. [`crate::Process::wait`] tells how the image itself ended.
    ///
    /// # Kernel
    /// Source: pid_namespaces(7). Not from the init of a pid namespace's own embryo: EINVAL.
    pub fn pid_namespace(&mut self, new: bool) -> &mut Self {
        self.namespaces.pid = new.then(|| self.namespaces.pid.unwrap_or(0));
        self
    }

    /// The image's pid in its new pid namespace, which this asks for; 0 leaves the choice to the kernel.
    ///
    /// # Kernel
    /// Linux 5.5. Source: clone3(2), `set_tid`.
    pub fn set_tid(&mut self, pid: u32) -> &mut Self {
        self.namespaces.pid = Some(pid);
        self
    }

    /// Joins the namespace that a descriptor of /proc/PID/ns or of
    /// [`crate::Process::namespace`] names; setns(2). Several are joined in the order given, but that
    /// of users first.
    pub fn join_namespace(
        &mut self,
        namespace: impl Into<OwnedFd>,
        kind: NamespaceKind,
    ) -> &mut Self {
        self.namespaces.joined.push((Arc::new(namespace.into()), kind.flag()));
        self
    }

    /// Joins these namespaces of the process that a pidfd names.
    ///
    /// # Kernel
    /// Linux 5.8. Source: setns(2).
    pub fn join_namespaces_of(
        &mut self,
        pidfd: impl Into<OwnedFd>,
        kinds: impl IntoIterator<Item = NamespaceKind>,
    ) -> &mut Self {
        let kinds = kinds.into_iter().map(NamespaceKind::flag).collect();
        self.namespaces.joined.push((Arc::new(pidfd.into()), kinds));
        self
    }

    /// What is added to a clock, in seconds and nanoseconds on top of them, in a new time namespace,
    /// which has to be asked for.
    pub fn clock_offset(&mut self, clock: Clock, seconds: i64, nanoseconds: u32) -> &mut Self {
        self.namespaces.clocks.insert(clock, (seconds, nanoseconds));
        self
    }

    /// Host name, in a UTS namespace of its own; sethostname(2).
    pub fn hostname(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.namespaces.hostname = Some(name.as_ref().to_owned());
        self
    }

    /// NIS domain name, in a UTS namespace of its own; setdomainname(2).
    pub fn domainname(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.namespaces.domainname = Some(name.as_ref().to_owned());
        self
    }

    /// The loopback device of a network namespace of its own comes up.
    pub fn loopback(&mut self, up: bool) -> &mut Self {
        self.namespaces.loopback = up;
        self
    }

    /// Whether the child may set its groups: by the namespace it is to be in, or as the caller may.
    pub(super) fn child_sets_groups(&self) -> bool {
        match (&self.namespaces.nested, &self.namespaces.user) {
            (Some(_), _) => false,
            (None, Some(user)) => user.sets_groups(),
            (None, None) => super::may_set_groups(),
        }
    }

    /// Whether the child is to be in a user namespace that the caller is not in.
    pub(super) fn has_users(&self) -> bool {
        let joined = &self.namespaces.joined;
        self.namespaces.user.is_some()
            || joined.iter().any(|(_, kinds)| kinds.contains(Namespaces::USER))
    }

    pub(super) fn joins_mounts(&self) -> bool {
        self.namespaces.joined.iter().any(|(_, kinds)| kinds.contains(Namespaces::MOUNT))
    }

    pub(super) fn add_namespaces(&self, draft: &mut Draft) -> Result<(), Error> {
        let wanted = &self.namespaces;
        match &wanted.user {
            None => {}
            Some(UserNamespace::Same) => add(
                draft,
                NamespaceOp::User {
                    uid: rustix::process::geteuid().as_raw(),
                    gid: rustix::process::getegid().as_raw(),
                },
            ),
            Some(UserNamespace::As { uid, gid }) => {
                add(draft, NamespaceOp::User { uid: *uid, gid: *gid });
            }
            Some(UserNamespace::Subids) => {
                let [uids, gids] = subids()?.map(|ranges| bytes(&ranges));
                let flags = UserFlags::empty();
                add(draft, NamespaceOp::MappedUser { flags, uids: &uids, gids: &gids });
            }
            Some(UserNamespace::Mapped { uids, gids, deny_setgroups }) => {
                let denied = UserFlags::DENY_SETGROUPS;
                let flags = if *deny_setgroups { denied } else { UserFlags::empty() };
                let (uids, gids) = (bytes(uids), bytes(gids));
                add(draft, NamespaceOp::MappedUser { flags, uids: &uids, gids: &gids });
            }
        }
        if !wanted.unshared.is_empty() {
            add(draft, NamespaceOp::Unshare { kinds: wanted.unshared });
        }
        for (clock, (seconds, nanoseconds)) in &wanted.clocks {
            let (clock, seconds) = (clock.number(), *seconds);
            add(draft, NamespaceOp::ClockOffset { clock, seconds, nanoseconds: *nanoseconds });
        }
        if let Some(pid) = wanted.pid {
            add(draft, NamespaceOp::Pid { pid });
        }
        if let Some(name) = &wanted.hostname {
            add(draft, NamespaceOp::HostName { name: &c_string(name, "the host name")? });
        }
        if let Some(name) = &wanted.domainname {
            add(draft, NamespaceOp::DomainName { name: &c_string(name, "the domain name")? });
        }
        if wanted.loopback {
            add(draft, NamespaceOp::Loopback);
        }
        if let Some((uid, gid)) = wanted.nested {
            add(draft, NamespaceOp::NestedUser { uid, gid });
        }
        for (fd, kinds) in &wanted.joined {
            let slot = draft.grant(Grant::Shared(Arc::clone(fd)));
            draft.plan.op(&Op::Namespace(NamespaceOp::Join { slot, kinds: *kinds }));
        }
        Ok(())
    }
}

fn add(draft: &mut Draft, op: NamespaceOp<'_>) {
    draft.plan.op(&Op::Namespace(op));
}

fn bytes(ranges: &[IdRange]) -> Vec<u8> {
    ranges.iter().flat_map(|range| range.to_bytes()).collect()
}
