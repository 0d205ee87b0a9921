//! A command in a sandbox: what it says itself, laid over what the sandbox says.

use super::Command;
use crate::caps::Privileges;
use crate::error::Error;
#[cfg(feature = "landlock")]
use crate::landlock::{Landlock, LandlockRights};
use crate::mount::{Mount, MountAttributes, NewRoot};
use crate::namespace::{NamespaceKind, UserNamespace};
#[cfg(feature = "seccomp")]
use crate::policy::{Policy, PolicyError};
use crate::sandbox::{NOBODY, ROOT_BYTES, Sandbox};
use embryo_plan::IdRange;

/// `RLIMIT_NPROC`.
const PROCESSES: u32 = 6;
/// The version of Landlock whose rights are restricted: Linux 5.19.
#[cfg(feature = "landlock")]
const LANDLOCK_ABI: u32 = 2;

impl Command {
    /// Runs in a sandbox. What is said of the command itself, before or after this, wins: its mounts come
    /// after the sandbox's, and its variables, working directory, limits, ids, capabilities and
    /// namespaces are its own.
    ///
    /// As root the child is nobody, uid and gid 65534, unless [`Command::user_namespace`] or
    /// [`Command::uid`] say otherwise.
    pub fn sandbox(&mut self, sandbox: &Sandbox) -> &mut Self {
        self.sandbox = Some(Box::new(sandbox.clone()));
        self
    }

    /// The sandbox that was given, to be changed.
    pub fn sandbox_mut(&mut self) -> Option<&mut Sandbox> {
        self.sandbox.as_deref_mut()
    }

    /// The same command without a sandbox, but with all that the sandbox says.
    pub(super) fn expanded(&self) -> Result<Option<Self>, Error> {
        let Some(sandbox) = &self.sandbox else { return Ok(None) };
        let mut command = Self { sandbox: None, ..self.clone() };
        command.expand(sandbox)?;
        Ok(Some(command))
    }

    fn expand(&mut self, sandbox: &Sandbox) -> Result<(), Error> {
        self.expand_namespaces(sandbox);
        self.expand_mounts(sandbox);
        self.expand_environment(sandbox);
        if let Some(most) = sandbox.processes {
            self.rlimits.entry(PROCESSES).or_insert((most, most));
        }
        if self.privileges == Privileges::default() {
            self.privileges = Privileges::only(sandbox.capabilities);
        }
        self.no_new_privs(true);
        if sandbox.die_with_handle {
            self.die_with_handle(true);
        }
        #[cfg(feature = "seccomp")]
        if let Some(name) = &sandbox.seccomp {
            let unknown = || PolicyError::UnknownProfile(name.clone());
            let profile = Policy::profile(name).ok_or_else(unknown)?;
            self.seccomp_policy(&profile)?;
        }
        #[cfg(feature = "landlock")]
        if sandbox.landlock && !self.has_landlock() {
            let landlock = landlock_of(self.mounts.iter().map(|(mount, _)| mount));
            self.landlock(&landlock);
        }
        Ok(())
    }

    fn expand_namespaces(&mut self, sandbox: &Sandbox) {
        let root = rustix::process::geteuid().is_root();
        if root && self.namespaces.user.is_none() && self.uids.is_none() && self.gids.is_none() {
            // Root is there to make the mounts, and to be left.
            let map = || [0, NOBODY].map(|id| IdRange { inside: id, outside: id, count: 1 });
            let (uids, gids) = (map().to_vec(), map().to_vec());
            let users = UserNamespace::Mapped { uids, gids, deny_setgroups: false };
            self.uid(NOBODY).gid(NOBODY).user_namespace(users);
        }
        self.unshare([NamespaceKind::User, NamespaceKind::Mount, NamespaceKind::Pid]);
        self.unshare(sandbox.namespaces.iter().copied());
        if sandbox.namespaces.contains(&NamespaceKind::Uts) && self.namespaces.hostname.is_none() {
            self.hostname(&sandbox.hostname);
        }
        if sandbox.namespaces.contains(&NamespaceKind::Net) && sandbox.loopback {
            self.loopback(true);
        }
    }

    fn expand_mounts(&mut self, sandbox: &Sandbox) {
        let own = std::mem::take(&mut self.mounts);
        let cwd = std::env::current_dir().ok();
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let (mounts, start) = sandbox.layout(cwd.as_deref(), home.as_deref());
        self.mounts.extend(mounts.into_iter().map(|mount| (mount, None)));
        self.mounts.extend(own);
        // What was put together is of no further use to anybody.
        for target in ["/dev", "/"] {
            let (set, clear) = (MountAttributes::READ_ONLY, MountAttributes::NONE);
            let set = MountAttributes { nodev: false, ..set };
            let finished = Mount::Attributes { target: target.into(), set, clear, flat: true };
            self.mounts.push((finished, None));
        }
        self.new_root.get_or_insert(NewRoot { size: Some(ROOT_BYTES), ..NewRoot::default() });
        if self.cwd.is_none() {
            self.current_dir(start);
        }
    }

    fn expand_environment(&mut self, sandbox: &Sandbox) {
        if self.env_clear {
            return;
        }
        let said = std::mem::take(&mut self.env);
        self.env_clear = true;
        for (name, value) in std::env::vars_os() {
            let passed = |pattern: &String| match pattern.strip_suffix('*') {
                Some(start) => name.as_encoded_bytes().starts_with(start.as_bytes()),
                None => name == pattern.as_str(),
            };
            if sandbox.environment.iter().any(passed) {
                self.env.insert(name, Some(value));
            }
        }
        for (name, value) in &sandbox.set_environment {
            self.env.insert(name.into(), Some(value.into()));
        }
        self.env.extend(said);
    }
}

/// Reading and executing everywhere, and writing where what is mounted can be written.
#[cfg(feature = "landlock")]
fn landlock_of<'a>(mounts: impl Iterator<Item = &'a Mount>) -> Landlock {
    let mut landlock = Landlock::new();
    landlock.abi = LANDLOCK_ABI;
    let everything = LandlockRights::READ | LandlockRights::EXECUTE;
    landlock.path_inside("/", everything);
    for target in mounts.filter_map(Mount::written) {
        landlock.path_inside(target, everything | LandlockRights::WRITE);
    }
    landlock
}
