//! Whether this user can make cgroups, where, and with which controllers; and what to do if not.

use super::{Ability, ability};
use crate::cgroup::{Cgroup, TransientCgroup};
use crate::{Command, Error};
use std::path::{Path, PathBuf};

pub(super) fn abilities() -> Vec<Ability> {
    let mut found = vec![guardian()];
    let Some((mount, own)) = own_cgroup() else {
        let note = "no hierarchy of version 2 is mounted: mount -t cgroup2 none /sys/fs/cgroup";
        found.push(ability("cgroup v2", false, note));
        return found;
    };
    found.push(ability("cgroup v2", true, format!("this process is in {}", own.display())));
    found.push(transient(&mount, &own));
    found
}

fn guardian() -> Ability {
    let mut command = Command::new("/");
    // There is no such program: the guardian and the tie have worked if that is what fails.
    match command.die_with_handle(true).spawn() {
        Err(Error::Spawn(error)) if error.op() == "exec" => {
            ability("die with the handle", true, "tried on a child")
        }
        Err(error) => ability("die with the handle", false, error.to_string()),
        Ok(mut process) => {
            let _ = process.kill();
            ability("die with the handle", false, "a directory was executed")
        }
    }
}

/// Where version 2 is mounted, and the directory of this process's cgroup on it.
fn own_cgroup() -> Option<(PathBuf, PathBuf)> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let mount = PathBuf::from(mount.split(' ').nth(1)?);
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/").map(str::to_owned))?;
    let own = if own.is_empty() { mount.clone() } else { mount.join(own) };
    Some((mount, own))
}

/// The nearest cgroup, from this process's own upwards, in which one can be made and entered.
fn transient(mount: &Path, own: &Path) -> Ability {
    let mut refused = None;
    for parent in own.ancestors().take_while(|path| path.starts_with(mount)) {
        let spec = TransientCgroup::in_parent(parent);
        match Command::new("/").transient_cgroup(spec.clone()).spawn() {
            Err(Error::Spawn(error)) if error.op() == "exec" => {
                let limits = controllers(parent);
                let kill = Cgroup::create(&spec)
                    .is_ok_and(|made| made.path().join("cgroup.kill").exists());
                let how = if kill { "" } else { "; no cgroup.kill before Linux 5.14" };
                return ability(
                    "transient cgroup",
                    true,
                    format!("in {}; {limits}{how}", parent.display()),
                );
            }
            Err(error) => _ = refused.get_or_insert_with(|| error.to_string()),
            Ok(mut process) => _ = process.kill(),
        }
    }
    let why = refused.unwrap_or_default();
    ability(
        "transient cgroup",
        false,
        format!(
            "{why}; start in one that is delegated: systemd-run --user --scope -p Delegate=yes, or as \
             root: mkdir DIR DIR/self; chown -R USER DIR; echo PID > DIR/self/cgroup.procs"
        ),
    )
}

/// Which limits can be had there.
fn controllers(parent: &Path) -> String {
    let list = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(parent.join(file)).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let (has, enabled) = (list("cgroup.controllers"), list("cgroup.subtree_control"));
    let missing: Vec<String> = ["memory", "cpu", "pids", "io", "cpuset"]
        .into_iter()
        .filter(|name| !has.iter().any(|has| has == name))
        .map(str::to_owned)
        .collect();
    let names = |list: &[String]| if list.is_empty() { "none".into() } else { list.join(" ") };
    let mut text = format!("controllers enabled: {}", names(&enabled));
    let others: Vec<String> = has.into_iter().filter(|name| !enabled.contains(name)).collect();
    if !others.is_empty() {
        text += &format!(", to be enabled in its cgroup.subtree_control: {}", names(&others));
    }
    if !missing.is_empty() {
        text += &format!(", not on this hierarchy: {}", names(&missing));
    }
    text
}
