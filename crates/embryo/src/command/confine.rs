//! What confines the child: filters of system calls and Landlock.

use super::{Command, Draft, Grant};
use crate::error::Error;
#[cfg(feature = "landlock")]
use crate::landlock::Landlock;
#[cfg(feature = "seccomp")]
use crate::policy::{Architecture, Compiled, Policy};
use embryo_plan::{ConfineOp, FilterFlags, LandlockFlags, Op};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What a command says of it.
#[derive(Clone, Default)]
pub(super) struct Confine {
    filters: Vec<(FilterFlags, Vec<u8>)>,
    ruleset: Option<Ruleset>,
}

#[derive(Clone)]
enum Ruleset {
    Granted(Arc<OwnedFd>, LandlockFlags),
    /// Made anew for each child: a rule that one of them adds is no other's.
    #[cfg(feature = "landlock")]
    Described(Box<Landlock>),
}

impl Command {
    /// What the child may call; seccomp(2). `program` is an array of `struct sock_filter`, which is
    /// installed right before exec and has to let execve(2) through. Needs
    /// [`Command::no_new_privs`] or `CAP_SYS_ADMIN`. Through the seed.
    ///
    /// Each call adds a filter; of what several say the most restrictive is done. With
    /// [`FilterFlags::LISTENER`] the process comes with a [`crate::Listener`]; if the filter
    /// notifies it of execve(2), take it with [`crate::Launching::take_listener`] from
    /// [`Command::launch`], and answer while the start is waited for.
    pub fn seccomp(&mut self, flags: FilterFlags, program: &[u8]) -> &mut Self {
        self.confine.filters.push((flags, program.to_vec()));
        self
    }

    /// What the child may call, as a policy, which is compiled now for this architecture. Sets
    /// [`Command::no_new_privs`]. One that notifies makes a [`crate::Listener`], as
    /// [`Command::seccomp`] says.
    ///
    /// # Errors
    /// [`Error::Policy`].
    #[cfg(feature = "seccomp")]
    pub fn seccomp_policy(&mut self, policy: &Policy) -> Result<&mut Self, Error> {
        let Compiled { program, flags } = policy.compile(Architecture::HERE)?;
        Ok(self.no_new_privs(true).seccomp(flags, &program))
    }

    /// What the child may do with files, ports and its surroundings; landlock(7). The ruleset is made at
    /// each spawn. Sets [`Command::no_new_privs`]. Through the seed.
    ///
    /// A spawn is [`Error::Landlock`] if the kernel has less than that, or a path is not there.
    #[cfg(feature = "landlock")]
    pub fn landlock(&mut self, landlock: &Landlock) -> &mut Self {
        self.confine.ruleset = Some(Ruleset::Described(Box::new(landlock.clone())));
        self.no_new_privs(true)
    }

    /// A Landlock ruleset that was made elsewhere; landlock_restrict_self(2). Needs
    /// [`Command::no_new_privs`] or `CAP_SYS_ADMIN`. Through the seed.
    pub fn landlock_ruleset(
        &mut self,
        ruleset: impl Into<OwnedFd>,
        flags: LandlockFlags,
    ) -> &mut Self {
        self.confine.ruleset = Some(Ruleset::Granted(Arc::new(ruleset.into()), flags));
        self
    }

    /// Whether it says anything of Landlock.
    #[cfg(feature = "landlock")]
    pub(super) fn has_landlock(&self) -> bool {
        self.confine.ruleset.is_some()
    }

    pub(super) fn add_confinement(&self, draft: &mut Draft) -> Result<(), Error> {
        match &self.confine.ruleset {
            None => {}
            Some(Ruleset::Granted(fd, flags)) => {
                let slot = draft.grant(Grant::Shared(Arc::clone(fd)));
                draft.plan.op(&Op::Confine(ConfineOp::Landlock { slot, flags: *flags }));
            }
            #[cfg(feature = "landlock")]
            Some(Ruleset::Described(landlock)) => {
                if let Some(ruleset) = landlock.ruleset()? {
                    let slot = draft.grant(Grant::Shared(Arc::new(ruleset.fd)));
                    for (path, access) in ruleset.inside {
                        let path = super::c_string(path.as_os_str(), "a path of Landlock")?;
                        let op = ConfineOp::LandlockPath { slot, path: &path, access };
                        draft.plan.op(&Op::Confine(op));
                    }
                    let flags = ruleset.flags;
                    draft.plan.op(&Op::Confine(ConfineOp::Landlock { slot, flags }));
                }
            }
        }
        for (flags, program) in &self.confine.filters {
            draft.plan.op(&Op::Seccomp { flags: *flags, program });
        }
        Ok(())
    }
}
