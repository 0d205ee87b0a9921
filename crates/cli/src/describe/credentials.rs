//! Who the child is and what it may still become.
//!
//! It must never leave root's groups with a child that is not root unless they were asked for;
//! the library sees to that when the uid changes and no groups are given.

use crate::accounts::{Account, gid, uid};
use crate::args::ChildArgs;
use crate::failure::Failure;
use crate::value::Persona;
use embryo::Command;

/// Says which credentials and privileges it has.
pub(super) fn apply(
    args: &ChildArgs,
    account: Option<&Account>,
    command: &mut Command,
) -> Result<(), Failure> {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid).groups(&account.groups);
    }
    // The one uid and gid that there are in a user namespace of the caller alone are its own already.
    let mapped = super::namespace::ids_are_mapped(args)?;
    if let Some(ids) = args.uid.as_ref().filter(|_| !mapped) {
        let [real, effective, saved] = &ids.0;
        command.resuid(uid(real)?, uid(effective)?, uid(saved)?);
    }
    if let Some(ids) = args.gid.as_ref().filter(|_| !mapped) {
        let [real, effective, saved] = &ids.0;
        command.resgid(gid(real)?, gid(effective)?, gid(saved)?);
    }
    if let Some(groups) = &args.groups {
        let groups: Vec<u32> = groups.0.iter().map(gid).collect::<Result<_, _>>()?;
        command.groups(&groups);
    }
    if args.keep_groups {
        let groups = rustix::process::getgroups()
            .map_err(|errno| Failure::io("cannot read", "the groups", &errno.into()))?;
        let groups: Vec<u32> = groups.into_iter().map(rustix::process::Gid::as_raw).collect();
        command.groups(&groups);
    }
    command.no_new_privs(args.no_new_privs).child_subreaper(args.subreaper);
    let aslr = if args.no_aslr { Persona::NO_ASLR } else { 0 };
    match args.personality {
        Some(persona) => command.personality(persona.0 | aslr),
        None if args.no_aslr => command.personality(aslr),
        None => command,
    };
    Ok(())
}
