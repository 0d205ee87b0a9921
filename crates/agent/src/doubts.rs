//! What a file allows that its writer perhaps did not mean: a mandate that gives more than it seems to.
//!
//! It must never stand for a check: an agent with such a file runs.

use crate::config::{Config, Remark};
use embryo::agent::mandate::{Ids, ImageRule, Lifetime, Mandate, Numbers};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// All of a file.
pub(crate) fn of(config: &Config) -> Vec<Remark> {
    let mut found = Vec::new();
    for (name, mandate) in &config.mandates {
        let used = config.listen.iter().any(|listen| listen.mandate == *name);
        let of = Of { name, mandate };
        if !used {
            found.push(of.remark(&[], "no socket has this mandate"));
            continue;
        }
        found.extend(of.who(config));
        if mandate.operator && mandate.images.is_none() {
            // It starts nothing.
            continue;
        }
        found.extend(of.images());
        found.extend(of.ids());
        found.extend(of.confinement());
        found.extend(of.numbers());
    }
    found
}

/// Who, other than root and the agent itself, can change what is at a path: the first one.
pub(crate) fn writers(path: &Path) -> Option<String> {
    let trusted = |uid: u32| uid == 0 || uid == geteuid().as_raw();
    path.ancestors().find_map(|place| {
        let found = fs::symlink_metadata(place).ok()?;
        let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        let at = place.display();
        match () {
            () if found.is_symlink() => None,
            () if !trusted(found.uid()) => Some(format!("uid {}, who owns {at},", found.uid())),
            () if sticky && place != path => None,
            () if found.mode() & 0o002 != 0 => Some(format!("anybody (by {at})")),
            () if found.mode() & 0o020 != 0 && found.gid() != 0 => {
                Some(format!("gid {} (by {at})", found.gid()))
            }
            () => None,
        }
    })
}

struct Of<'a> {
    name: &'a str,
    mandate: &'a Mandate,
}

impl Of<'_> {
    fn remark(&self, keys: &[&str], message: impl Into<String>) -> Remark {
        Remark::new(&[&["mandates", self.name], keys].concat(), message)
    }

    fn who(&self, config: &Config) -> Vec<Remark> {
        let everybody = |peer: &embryo::agent::mandate::Peer| {
            peer.uids.is_none() && peer.gids.is_none() && peer.cgroup.is_none()
        };
        let Some(peers) = self.mandate.peers.as_ref().filter(|peers| !peers.is_empty()) else {
            let message = "nobody may connect, since no peers are named";
            return vec![self.remark(&[], message).hint("peers = [{ uids = [...] }] names them")];
        };
        if !peers.iter().any(everybody) {
            return Vec::new();
        }
        let of_ours = config.listen.iter().filter(|listen| listen.mandate == self.name);
        let wide = of_ours
            .filter(|listen| listen.fd_name.is_some() || listen.permissions().unwrap_or(0) & 7 != 0)
            .count();
        let message = match (self.mandate.operator, wide) {
            (true, _) => "whoever can open the socket is an operator, and kills any child",
            (false, 0) => return Vec::new(),
            (false, _) => "any uid that can open the socket may connect",
        };
        vec![self.remark(&["peers"], message).hint("peers = [{ uids = [...] }] names them")]
    }

    fn images(&self) -> Vec<Remark> {
        let rules = self.mandate.images.iter().flatten();
        rules.enumerate().filter_map(|(index, rule)| self.image(&index.to_string(), rule)).collect()
    }

    fn image(&self, index: &str, rule: &ImageRule) -> Option<Remark> {
        let message = "a start by registers is any program at all";
        rule.registers.then(|| self.remark(&["images", index, "registers"], message))
    }

    fn ids(&self) -> Option<Remark> {
        let root = |ids: &Ids| match ids {
            Ids::Number(number) => *number == 0,
            Ids::Text(text) => {
                let first = text.split('-').next().unwrap_or_default();
                text == "root" || first.parse() == Ok(0u32)
            }
        };
        let forced = self.mandate.forced.uid.as_ref();
        let allowed = self.mandate.bounds.uids.iter().flatten().any(root);
        let (keys, is_root) = match forced {
            Some(uid) => (["forced", "uid"], root(uid)),
            None => (["bounds", "uids"], allowed),
        };
        is_root.then(|| self.remark(&keys, "children may run as root"))
    }

    fn confinement(&self) -> Vec<Remark> {
        let Mandate { forced, bounds, .. } = self.mandate;
        let mut found = Vec::new();
        if !forced.no_new_privs {
            let message = "no-new-privs is not forced: a setuid program gives its owner's rights";
            found.push(self.remark(&["forced"], message));
        }
        if forced.seccomp.is_none() {
            let message = "no filter of system calls is forced";
            found.push(self.remark(&["forced"], message).hint("seccomp = \"default\" is one"));
        }
        if bounds.capabilities.is_some_and(|capabilities| !capabilities.is_empty()) {
            found.push(self.remark(&["bounds", "capabilities"], "children may have capabilities"));
        }
        for (index, source) in bounds.sources.iter().flatten().enumerate() {
            if source.writable {
                let message = format!("children may write {}", source.path.display());
                found.push(self.remark(&["bounds", "sources", &index.to_string()], message));
            }
        }
        if self.mandate.environment.iter().flatten().any(|name| name == "*") {
            let message =
                "every variable is allowed, such as those that programs are led astray with";
            found.push(self.remark(&["environment"], message));
        }
        found
    }

    fn numbers(&self) -> Vec<Remark> {
        let (all, each) = (&self.mandate.numbers, &self.mandate.numbers_per_uid);
        let none = |number: fn(&Numbers) -> Option<u64>| number(all).or(number(each)).is_none();
        let mut found = Vec::new();
        if none(|numbers| numbers.children) {
            let message = "nothing limits how many children there are at once";
            found.push(self.remark(&["numbers"], message).hint("children = 16 would"));
        }
        if self.mandate.lifetime == Some(Lifetime::LiveOn) && none(|numbers| numbers.seconds) {
            let message = "children live on, and nothing limits how long";
            found.push(self.remark(&["lifetime"], message).hint("numbers.seconds would"));
        }
        found
    }
}
