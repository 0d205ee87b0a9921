//! How far ops may go, compiled. What is judged by it stands in `ops.rs` and `credentials.rs`; it must never
//! stand for more than the mandate says.

use super::cgroups::Group;
use super::compile::{Whose, Wrong};
use super::ids::IdSet;
use super::paths::{Kind, PathRule};
use embryo::{CapSet, Namespaces, limits, resource_name};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Limits by `RLIMIT_*`.
pub(crate) type Limits = [Option<u64>; limits::RESOURCES_MAX as usize];

#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) uids: Option<IdSet>,
    pub(crate) gids: Option<IdSet>,
    pub(crate) limits: Option<Limits>,
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) cgroups: Option<Vec<Group>>,
    pub(crate) namespaces: Option<Namespaces>,
    pub(crate) directories: Option<Vec<PathRule>>,
    pub(crate) roots: Option<Vec<PathRule>>,
    pub(crate) sources: Option<Vec<Source>>,
    pub(crate) capabilities: Option<CapSet>,
}

/// Something that may be bound.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) rule: PathRule,
    pub(crate) writable: bool,
}

impl Bounds {
    pub(crate) fn new(
        source: &embryo::agent::mandate::Bounds,
        whose: Whose,
        wrong: &mut Wrong,
    ) -> Self {
        let file = whose == Whose::File;
        let path = |path: &PathBuf, below, kind| {
            if file {
                PathRule::opened(path, below, &[], kind)
            } else {
                PathRule::written(path, below)
            }
        };
        let directory = |path: &PathBuf| {
            if file { PathRule::place(path) } else { PathRule::written(path, true) }
        };
        let uids = whose.list(&source.uids, &Vec::new()).map(|l| IdSet::of(l, whose.users()));
        let gids = whose.list(&source.gids, &Vec::new()).map(|l| IdSet::of(l, whose.groups()));
        let limits = whose.list(&source.limits, &BTreeMap::new()).map(limits_of);
        let cgroups = whose
            .list(&source.cgroups, &Vec::new())
            .map(|list| list.iter().map(|path| Group::open(path, file)).collect());
        let kinds = whose
            .list(&source.namespaces, &Vec::new())
            .map(|kinds| kinds.iter().fold(Namespaces::empty(), |all, kind| all | kind.flag()));
        let directories = whose
            .list(&source.directories, &Vec::new())
            .map(|list| list.iter().map(directory).collect());
        let roots = whose
            .list(&source.roots, &Vec::new())
            .map(|list| list.iter().map(|at| path(at, false, Kind::Directory)).collect());
        let sources = whose.list(&source.sources, &Vec::new()).map(|list| {
            let made = list.iter().map(|from| {
                let rule = path(&from.path, true, Kind::Any)?;
                Ok(Source { rule, writable: from.writable })
            });
            made.collect()
        });
        Self {
            uids: uids.and_then(|part| wrong.take("bounds.uids", part)),
            gids: gids.and_then(|part| wrong.take("bounds.gids", part)),
            limits: limits.and_then(|part| wrong.take("bounds.limits", part)),
            nice: whose.list(&source.nice, &0).copied(),
            oom_score_adj: whose.list(&source.oom_score_adj, &0).copied(),
            cgroups: cgroups.and_then(|part| wrong.take("bounds.cgroups", part)),
            namespaces: kinds,
            directories: directories.and_then(|part| wrong.take("bounds.directories", part)),
            roots: roots.and_then(|part| wrong.take("bounds.roots", part)),
            sources: sources.and_then(|part| wrong.take("bounds.sources", part)),
            capabilities: whose.list(&source.capabilities, &CapSet::NONE).copied(),
        }
    }
}

/// Limits by number.
///
/// # Errors
/// A name that is none.
pub(crate) fn limits_of(names: &BTreeMap<String, u64>) -> Result<Limits, String> {
    let mut found = Limits::default();
    for (name, value) in names {
        let number = (0..limits::RESOURCES_MAX)
            .find(|number| resource_name(*number).is_some_and(|it| it.eq_ignore_ascii_case(name)));
        let place = number.and_then(|number| found.get_mut(number as usize));
        *place.ok_or_else(|| format!("there is no limit {name:?}"))? = Some(*value);
    }
    Ok(found)
}
