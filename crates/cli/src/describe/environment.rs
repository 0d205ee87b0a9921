//! Which variables the child has: the few that most programs need, unless said otherwise.
//!
//! It must never pass on a variable that is not in the list here and was not asked for.

use crate::accounts::Account;
use crate::args::ChildArgs;
use crate::value::Variable;
use embryo::Command;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What is passed on by default, with everything that begins with `LC_`.
const MINIMAL: [&str; 5] = ["PATH", "HOME", "TERM", "LANG", "USER"];

/// Says what the environment is.
pub(super) fn apply(args: &ChildArgs, account: Option<&Account>, command: &mut Command) {
    command.env_clear();
    if !args.clearenv {
        let minimal = |name: &OsStr| {
            MINIMAL.iter().any(|known| name == *known) || name.as_bytes().starts_with(b"LC_")
        };
        command.envs(callers(|name| args.inherit_env || minimal(name)));
        if let Some(account) = account {
            become_user(account, args.inherit_env, command);
        }
    }
    for name in &args.unsetenv {
        command.env_remove(name);
    }
    for variable in &args.env {
        match variable {
            Variable::Set(name, value) => {
                command.env(name, value);
            }
            Variable::Pass(wanted) => {
                command.envs(callers(|name| name == wanted));
            }
            Variable::PassPrefix(prefix) => {
                command.envs(callers(|name| name.as_bytes().starts_with(prefix.as_bytes())));
            }
        }
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
