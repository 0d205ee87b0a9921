//! Who the child is and what it may still become.
//!
//! It must never leave root's groups with a child that is not root unless they were asked for;
//! the library sees to that when the uid changes and no groups are given.

use crate::accounts::{Account, gid, uid};
use crate::callers::Callers;
use crate::error::Error;
use crate::fill::open;
use crate::job::Job;
use crate::namespaces::{Namespace, UserMap};
use crate::value::{Id, Ids, MemoryPolicy, Persona, Source};
use embryo::{Command, FilterFlags, UserNamespace, limits};
use std::io::Read;

impl Job {
    /// Says which credentials and privileges it has.
    pub(super) fn add_credentials(
        &self,
        account: Option<&Account>,
        command: &mut Command,
    ) -> Result<(), Error> {
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid).groups(&account.groups);
        }
        // The one uid and gid that there are in a user namespace of the caller alone are its own.
        let alone = self.alone()?;
        if let Some(users) = &alone {
            command.user_namespace(users.clone());
        }
        if let Some(ids) = self.uid.as_ref().filter(|_| alone.is_none()) {
            let [real, effective, saved] =
                ids.0.each_ref().map(|id| uid(id).map_err(|error| error.at("uid")));
            command.resuid(real?, effective?, saved?);
        }
        if let Some(ids) = self.gid.as_ref().filter(|_| alone.is_none()) {
            let [real, effective, saved] =
                ids.0.each_ref().map(|id| gid(id).map_err(|error| error.at("gid")));
            command.resgid(real?, effective?, saved?);
        }
        if let Some(groups) = &self.groups {
            let groups: Result<Vec<u32>, Error> = groups.0.iter().map(gid).collect();
            command.groups(&groups.map_err(|error| error.at("groups"))?);
        }
        if self.keep_groups {
            let groups = rustix::process::getgroups().map_err(|errno| {
                Error::io("cannot read", "the groups", &errno.into()).at("keep-groups")
            })?;
            let groups: Vec<u32> = groups.into_iter().map(rustix::process::Gid::as_raw).collect();
            command.groups(&groups);
        }
        command.no_new_privs(self.no_new_privs).child_subreaper(self.subreaper);
        let aslr = if self.no_aslr { Persona::NO_ASLR } else { 0 };
        match self.personality {
            Some(persona) => command.personality(persona.0 | aslr),
            None if self.no_aslr => command.personality(aslr),
            None => command,
        };
        Ok(())
    }

    /// The user namespace of the caller alone whose ids `uid` and `gid` say, if it is one.
    fn alone(&self) -> Result<Option<UserNamespace>, Error> {
        if self.uid.is_none() && self.gid.is_none() {
            return Ok(None);
        }
        let made = match &self.namespaces.user {
            None => self.namespaces.unshare.contains(&Namespace::User) || self.sandbox.is_some(),
            Some(UserMap(users)) => *users == UserNamespace::Same,
        };
        if !made {
            return Ok(None);
        }
        // There is one id of each kind in it: several are for the checker to refuse.
        let several = |Ids([real, effective, saved]): &Ids| real != effective || saved != effective;
        if self.uid.as_ref().is_some_and(several) || self.gid.as_ref().is_some_and(several) {
            return Ok(None);
        }
        let (mut user, mut group) =
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if let Some(Ids([id, ..])) = self.uid.as_ref().filter(|ids| ids.0[0] != Id::Keep) {
            user = uid(id).map_err(|error| error.at("uid"))?;
        }
        if let Some(Ids([id, ..])) = self.gid.as_ref().filter(|ids| ids.0[0] != Id::Keep) {
            group = gid(id).map_err(|error| error.at("gid"))?;
        }
        Ok(Some(UserNamespace::As { uid: user, gid: group }))
    }

    /// Reads the filters, each of which ends where its file or pipe does, and says the rest of what
    /// confines it.
    pub(super) fn add_filter(&self, callers: &Callers, command: &mut Command) -> Result<(), Error> {
        for source in &self.seccomp {
            let program = filter(source, callers).map_err(|error| error.at("seccomp"))?;
            command.no_new_privs(true).seccomp(FilterFlags::empty(), &program);
        }
        for filter in &self.seccomp_policy {
            let wrong = |message: String| Error::new(format!("{filter}: {message}"));
            let policy = filter.policy().ok_or_else(|| wrong("there is no such profile".into()));
            let policy = policy.map_err(|error| error.at("seccomp-policy"))?;
            if policy.notifies() {
                let message = "it asks a listener, and nobody here is one";
                return Err(wrong(message.into()).at("seccomp-policy"));
            }
            let set = command.seccomp_policy(&policy).map(drop);
            set.map_err(|error| wrong(error.to_string()).at("seccomp-policy"))?;
        }
        if let Some(landlock) = &self.landlock {
            command.landlock(landlock);
        }
        Ok(())
    }

    /// Cgroup, guardian, and what the library calls privileges.
    pub(super) fn add_privileges(
        &self,
        callers: &Callers,
        command: &mut Command,
    ) -> Result<(), Error> {
        command.privileges(self.privileges.clone());
        command.core_scheduling(self.core_scheduling).die_with_handle(self.die_with_handle);
        if let Some(MemoryPolicy { mode, nodes }) = &self.memory_policy {
            command.memory_policy(*mode, nodes.iter().copied());
        }
        if let Some(dir) = &self.cgroup {
            command.cgroup(dir);
        }
        if let Some(fd) = self.cgroup_fd {
            command.cgroup_fd(callers.get(fd).map_err(|error| error.at("cgroup-fd"))?);
        }
        if let Some(cgroup) = &self.transient_cgroup {
            command.transient_cgroup(cgroup.clone());
        }
        Ok(())
    }
}

fn filter(source: &Source, callers: &Callers) -> Result<Vec<u8>, Error> {
    const INSTRUCTION_BYTES: u64 = 8;
    // One byte more than there may be, so that a longer one is not cut but refused.
    let most = limits::FILTER_INSTRUCTIONS_MAX as u64 * INSTRUCTION_BYTES + 1;
    let mut program = Vec::new();
    let file = std::fs::File::from(open(source, callers)?);
    file.take(most)
        .read_to_end(&mut program)
        .map_err(|error| Error::io("cannot read a filter from", source, &error))?;
    Ok(program)
}
