//! Capabilities and what else a program may do.
//!
//! It must never give more than embryo itself has: ALL is all of that.

use crate::args::ChildArgs;
use crate::failure::Failure;
use embryo::{CapSet, Privileges, Securebits, SessionKeyring, ThpDisable};
use embryo_job::Job;
use std::fmt::Display;
use std::ops::{BitOr, Sub};
use std::str::FromStr;

/// Says what it may do, beside what the job says.
pub(super) fn overlay(args: &ChildArgs, job: &mut Job) -> Result<(), Failure> {
    let options = &args.privilege;
    if let Some(only) = exactly(args)? {
        let Privileges { bounding, effective, permitted, inheritable, ambient, .. } = only;
        let given = std::mem::take(&mut job.privileges);
        job.privileges =
            Privileges { bounding, effective, permitted, inheritable, ambient, ..given };
    }
    let privileges = &mut job.privileges;
    if let Some(list) = &options.bounding_set {
        let set = changed("--bounding-set", list, CapSet::current_bounding())?;
        privileges.bounding = Some(set);
    }
    if let Some(list) = &options.inh_caps {
        let [_, _, inheritable] = current()?;
        privileges.inheritable = Some(changed("--inh-caps", list, inheritable)?);
    }
    if let Some(list) = &options.ambient_caps {
        // All means all that it has: no other can be ambient.
        let [_, permitted, _] = current()?;
        let set = changed("--ambient-caps", list, CapSet::current_ambient())?;
        let all = set == CapSet::ALL;
        privileges.ambient = Some(if all { permitted } else { set });
    }
    if let Some(list) = &options.securebits {
        let bits = changed("--securebits", list, Securebits::current())?;
        privileges.securebits = Some(bits);
    }
    if let Some(name) = &options.new_session_keyring {
        privileges.session_keyring = Some(match name {
            None => SessionKeyring::Anonymous,
            Some(name) => SessionKeyring::Named(name.clone()),
        });
    }
    privileges.mdwe |= options.mdwe;
    if let Some(except) = &options.no_thp {
        privileges.thp_disable = Some(match except {
            None => ThpDisable::Always,
            Some(_) => ThpDisable::ExceptAdvised,
        });
    }
    job.core_scheduling |= options.core_sched;
    super::set(&mut job.memory_policy, options.mempolicy.clone());
    Ok(())
}

fn current() -> Result<[CapSet; 3], Failure> {
    CapSet::current().map_err(|error| Failure::io("cannot read", "the capabilities", &error))
}

/// What `--cap-add` and `--cap-drop` come to.
fn exactly(args: &ChildArgs) -> Result<Option<Privileges>, Failure> {
    let edits = &args.privilege.caps.0;
    if edits.is_empty() {
        return Ok(None);
    }
    let [_, permitted, _] = current()?;
    // Somebody that the program becomes is not root, or it would not be said.
    let stays = args.user.is_none() && args.uid.is_none();
    let root = stays && rustix::process::geteuid().is_root();
    let mut set = if root { permitted } else { CapSet::NONE };
    for (adds, names) in edits {
        let option = if *adds { "--cap-add" } else { "--cap-drop" };
        let named = read::<CapSet>(option, names)?;
        set = match (named, adds) {
            (CapSet::ALL, true) => permitted,
            (_, true) => set | named,
            (_, false) => set - named,
        };
    }
    Ok(Some(Privileges::only(set)))
}

fn read<T: FromStr<Err: Display>>(option: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::new(format!("{option}: {error}")))
}

/// A list with signs, which change `now`, or without, which replaces it.
fn changed<T>(option: &str, list: &str, now: T) -> Result<T, Failure>
where
    T: FromStr<Err: Display> + BitOr<Output = T> + Sub<Output = T>,
{
    if !list.contains(['+', '-']) || !list.starts_with(['+', '-']) {
        return read(option, list);
    }
    list.split(',').try_fold(now, |set, part| match part.split_at_checked(1) {
        Some(("+", name)) => Ok(set | read(option, name)?),
        Some(("-", name)) => Ok(set - read(option, name)?),
        _ => Err(Failure::new(format!("{option}: {part:?} has no sign, but others have"))),
    })
}
