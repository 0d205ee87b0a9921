//! embryo's sandbox, in the library's words.

use std::io;
use std::path::Path;

use ::embryo::{CapSet, Command, FilterFlags, Mount, NamespaceKind, NewRoot};

use super::Filter;
use super::programs::INSIDE;
use crate::contender::{Contender, commanded, spawned};

/// What `programs::bubblewrap` says.
pub(super) fn command(child: &Path, filter: &Filter) -> io::Result<Box<dyn Contender>> {
    Ok(commanded(described(child, filter)))
}

/// The same, with the plan made before.
pub(super) fn plan(child: &Path, filter: &Filter) -> io::Result<Box<dyn Contender>> {
    let (plan, grants) = described(child, filter).plan()?;
    Ok(spawned(plan, grants))
}

fn described(child: &Path, filter: &Filter) -> Command {
    use NamespaceKind::{Ipc, Mount as Mounts, Net, Pid, User, Uts};
    let mut command = Command::new(INSIDE);
    command.unshare([User, Pid, Mounts, Net, Ipc, Uts]);
    command.new_root(NewRoot::default());
    command.mount(Mount::read_only("/", "/"));
    command.mount(Mount::tmpfs("/tmp"));
    command.mount(Mount::read_only(child, INSIDE));
    command.mount(Mount::proc("/proc"));
    command.mount(Mount::dev("/dev"));
    command.capability_bounding_set(CapSet::NONE).no_new_privs(true);
    command.seccomp(FilterFlags::empty(), filter.program());
    command.env_clear().env("LANG", "C").current_dir("/");
    command
}
