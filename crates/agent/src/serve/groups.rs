//! The cgroups that are made for children: one in its parent for each, which goes when nobody is in it.
//!
//! Removing one takes as long as somebody is still ending in it, and the loop must never wait for that.

use crate::files::cgroup::{CgroupError, Own, Parent};
use embryo::agent::mandate::ForcedCgroup;
use std::collections::HashMap;
use std::path::PathBuf;

/// Parents that stay open. There are as many as mandates name; a narrower one may name further ones.
const PARENTS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Groups {
    parents: HashMap<PathBuf, Parent>,
    /// Those that are to go.
    going: Vec<Own>,
}

impl Groups {
    /// Makes one as a mandate says.
    pub(super) fn make(&mut self, group: &ForcedCgroup) -> Result<Own, CgroupError> {
        if !self.parents.contains_key(&group.path) {
            if self.parents.len() >= PARENTS_MAX {
                self.parents.clear();
            }
            let parent = Parent::open(&group.path)?;
            let removed = parent.leftovers();
            if removed > 0 {
                let parent = group.path.display();
                tracing::info!(%parent, removed, "removed cgroups of an agent that has gone");
            }
            self.parents.insert(group.path.clone(), parent);
        }
        match self.parents.get(&group.path) {
            Some(parent) => parent.make(&group.limits),
            None => Parent::open(&group.path)?.make(&group.limits),
        }
    }

    /// Ends whoever is in one, and removes it, now or later.
    pub(super) fn end(&mut self, own: Own) {
        if !ended(&own) {
            self.going.push(own);
        }
    }

    /// Whether some are still to go.
    pub(super) fn has_going(&self) -> bool {
        !self.going.is_empty()
    }

    /// Tries again.
    pub(super) fn try_again(&mut self) {
        self.going.retain(|own| !ended(own));
    }
}

/// Kills whoever is in it, and says whether it is gone.
fn ended(own: &Own) -> bool {
    if own.is_populated()
        && let Err(error) = own.kill()
    {
        tracing::error!(%error, "a cgroup cannot be killed");
    }
    match own.try_remove() {
        Ok(gone) => gone,
        Err(error) => {
            tracing::error!(%error, "a cgroup stays");
            true
        }
    }
}
