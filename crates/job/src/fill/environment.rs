//! Which variables the child has: the few that most programs need, unless said otherwise.
//!
//! It must never pass on a variable that is not in the list here and was not asked for.

use crate::accounts::Account;
use crate::error::Error;
use crate::job::Job;
use embryo::Command;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What is passed on by default, with everything that begins with `LC_`.
const MINIMAL: [&str; 5] = ["PATH", "HOME", "TERM", "LANG", "USER"];

impl Job {
    /// Says what the environment is: the caller's as far as it is passed on, less what is unset,
    /// then what is kept by name, then what is set.
    pub(super) fn add_environment(
        &self,
        account: Option<&Account>,
        command: &mut Command,
    ) -> Result<(), Error> {
        let env = &self.env;
        // A sandbox has a list of its own.
        let listed = self.sandbox.is_some() && !env.clear && !env.inherit;
        if !listed {
            command.env_clear();
        }
        if !env.clear && !listed {
            let minimal = |name: &OsStr| {
                MINIMAL.iter().any(|known| name == *known) || name.as_bytes().starts_with(b"LC_")
            };
            command.envs(callers(|name| env.inherit || minimal(name)));
            if let Some(account) = account {
                become_user(account, env.inherit, command);
            }
        }
        for name in &env.unset {
            command.env_remove(name);
        }
        for name in &env.keep {
            match name.as_bytes() {
                [prefix @ .., b'*'] => {
                    command.envs(callers(|name| name.as_bytes().starts_with(prefix)))
                }
                whole => command.envs(callers(|name| name.as_bytes() == whole)),
            };
        }
        for (name, value) in &env.set {
            if name.as_bytes().is_empty() || name.as_bytes().contains(&b'=') {
                let message = format!("{:?} is no name of a variable", name.0);
                return Err(Error::new(message).at("env"));
            }
            command.env(name, value);
        }
        Ok(())
    }
}

/// What would otherwise still speak of the user that was.
fn become_user(account: &Account, all: bool, command: &mut Command) {
    command.env("HOME", &account.home).env("USER", &account.name);
    if all {
        command.env("LOGNAME", &account.name).env("SHELL", &account.shell);
    }
}

fn callers(wanted: impl Fn(&OsStr) -> bool) -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(move |(name, _)| wanted(name))
}
