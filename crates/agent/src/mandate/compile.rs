//! A mandate as it is enforced: names are numbers, directories are open, the filter is a program.
//!
//! What is a client's is compiled without anything that could wait: no name is looked up, no path opened but in the
//! file system of cgroups. It must never make of a list that is not there one that allows more than the mandate
//! above it.

use super::bounds::Bounds;
use super::environment::NameRules;
use super::force::Force;
use super::host::Host;
use super::ids::{IdSet, Names};
use super::images::Rule;
use super::{Refusal, ops, refusal};
use crate::peer::Peer;
use embryo::agent::mandate::{Mandate, SignalName};
use embryo::{limits, signal_name};
use std::path::PathBuf;

/// One mandate as it is enforced.
///
/// A list is `None` where it adds no restriction, which only happens in a narrower mandate.
#[derive(Debug)]
pub struct Compiled {
    /// Its name in the agent's file; of a narrower one, that with `/narrower` behind it.
    pub name: String,
    /// What it was made from.
    pub source: Mandate,
    /// What the agent is.
    pub(super) host: Host,
    pub(super) peers: Vec<PeerRule>,
    pub(super) images: Option<Vec<Rule>>,
    pub(super) ops: Option<ops::Named>,
    pub(super) bounds: Bounds,
    pub(super) environment: Option<NameRules>,
    pub(super) forced: Force,
    pub(super) signals: Option<u64>,
}

/// Whose a mandate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The agent's file's.
    File,
    /// A client's.
    Client,
}

impl Whose {
    pub(super) fn users(self) -> Names {
        if self == Self::File { Names::Users } else { Names::Refused }
    }

    pub(super) fn groups(self) -> Names {
        if self == Self::File { Names::Groups } else { Names::Refused }
    }

    /// A list that is not there: empty in the agent's file, no restriction in a client's mandate.
    pub(super) fn list<'a, T: Default>(self, list: &'a Option<T>, empty: &'a T) -> Option<&'a T> {
        match self {
            Self::File => Some(list.as_ref().unwrap_or(empty)),
            Self::Client => list.as_ref(),
        }
    }
}

/// What is wrong with a mandate so far.
#[derive(Debug, Default)]
pub(super) struct Wrong(pub(super) Vec<Refusal>);

impl Wrong {
    /// Takes what a part of it became, or notes what is wrong with it.
    pub(super) fn take<T>(&mut self, rule: &str, part: Result<T, String>) -> Option<T> {
        part.map_err(|why| self.0.push(refusal(rule, why))).ok()
    }
}

#[derive(Debug)]
pub(super) struct PeerRule {
    uids: Option<IdSet>,
    gids: Option<IdSet>,
    cgroup: Option<PathBuf>,
}

impl Compiled {
    /// From the agent's file. Names of users are looked up and paths opened here.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the key that it is about.
    pub fn named(name: &str, source: &Mandate) -> Result<Self, Vec<Refusal>> {
        Self::named_on(Host::current(), name, source)
    }

    /// The same for an agent that is something else.
    ///
    /// # Errors
    /// As [`Compiled::named`].
    pub fn named_on(host: Host, name: &str, source: &Mandate) -> Result<Self, Vec<Refusal>> {
        Self::compile(host, name.to_owned(), source, Whose::File)
    }

    /// From a client. Ids are numbers here, since a look-up of a name may take its time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn narrower(name: &str, source: &Mandate) -> Result<Self, Refusal> {
        let only_named = [
            ("peers", source.peers.is_some()),
            ("operator", source.operator),
            ("numbers-per-uid", source.numbers_per_uid != Default::default()),
        ];
        if let Some((rule, _)) = only_named.iter().find(|(_, there)| *there) {
            return Err(refusal(*rule, "only the agent's file may say that"));
        }
        Self::compile(Host::current(), format!("{name}/narrower"), source, Whose::Client)
            .map_err(|mut wrong| wrong.swap_remove(0))
    }

    fn compile(
        host: Host,
        name: String,
        source: &Mandate,
        whose: Whose,
    ) -> Result<Self, Vec<Refusal>> {
        let mut wrong = Wrong::default();
        let bounds = Bounds::new(&source.bounds, whose, &mut wrong);
        let forced = Force::new(&source.forced, whose, &mut wrong);
        let empty = Vec::new();
        let images = whose.list(&source.images, &empty).map(|rules| {
            let become_of = Become { bounds: &bounds, forced: &forced };
            rules
                .iter()
                .enumerate()
                .filter_map(|(index, rule)| {
                    let made = Rule::new(rule, whose, &become_of);
                    wrong.take(&format!("images.{index}"), made)
                })
                .collect()
        });
        let named_ops = whose
            .list(&source.ops, &Vec::new())
            .and_then(|names| wrong.take("ops", ops::Named::new(names)));
        let environment = whose
            .list(&source.environment, &Vec::new())
            .and_then(|names| wrong.take("environment", NameRules::new(names)));
        let signals = whose
            .list(&source.signals, &Vec::new())
            .and_then(|names| wrong.take("signals", signal_set(names)));
        let peers = wrong.take("peers", peers(source)).unwrap_or_default();
        if !wrong.0.is_empty() {
            return Err(wrong.0);
        }
        Ok(Self {
            name,
            source: source.clone(),
            host,
            peers,
            images,
            ops: named_ops,
            bounds,
            environment,
            forced,
            signals,
        })
    }

    /// Whether this process may connect. Nobody may if the mandate has no `peers`.
    #[must_use]
    pub fn admits(&self, peer: &Peer) -> bool {
        self.peers.iter().any(|rule| rule.fits(peer))
    }
}

/// Which uids the children of a mandate may have: files of those are not trusted.
pub(super) struct Become<'a> {
    bounds: &'a Bounds,
    forced: &'a Force,
}

impl Become<'_> {
    /// The first of these uids that a child may have, root's left out.
    pub(super) fn one_of(&self, owners: &[u32]) -> Option<u32> {
        let forced = owners.iter().copied().find(|uid| *uid != 0 && Some(*uid) == self.forced.uid);
        let bounds = self.bounds.uids.as_ref().and_then(|uids| uids.common(owners));
        forced.or(bounds)
    }
}

impl PeerRule {
    fn fits(&self, peer: &Peer) -> bool {
        let uid = self.uids.as_ref().is_none_or(|uids| uids.has(peer.uid));
        let gid = self.gids.as_ref().is_none_or(|gids| {
            gids.has(peer.gid) || peer.groups.iter().any(|group| gids.has(*group))
        });
        let cgroup = self.cgroup.as_ref().is_none_or(|above| {
            peer.cgroup.as_ref().is_some_and(|cgroup| below_root(cgroup).starts_with(above))
        });
        uid && gid && cgroup
    }
}

fn peers(source: &Mandate) -> Result<Vec<PeerRule>, String> {
    let rules = source.peers.iter().flatten();
    rules
        .map(|peer| {
            let ids = |list: &Option<Vec<_>>, names| {
                list.as_ref().map(|list| IdSet::of(list, names)).transpose()
            };
            Ok(PeerRule {
                uids: ids(&peer.uids, Names::Users)?,
                gids: ids(&peer.gids, Names::Groups)?,
                cgroup: peer.cgroup.as_ref().map(|path| below_root(path)),
            })
        })
        .collect()
}

/// A path below the root of cgroup v2, however it is written.
fn below_root(path: &std::path::Path) -> PathBuf {
    let path = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path);
    path.components().filter(|name| matches!(name, std::path::Component::Normal(_))).collect()
}

/// Bit n stands for signal n + 1.
fn signal_set(names: &[SignalName]) -> Result<u64, String> {
    names.iter().try_fold(0, |set, name| {
        let number = match name {
            SignalName::Number(number) => Some(*number),
            SignalName::Text(text) => signal_number(text),
        };
        match number {
            Some(number @ 1..=limits::SIGNAL_MAX) => Ok(set | 1 << (number - 1)),
            _ => Err(format!("{name:?} is no signal")),
        }
    })
}

fn signal_number(text: &str) -> Option<u32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    text.parse().ok().or_else(|| (1..=limits::SIGNAL_MAX).find(|n| signal_name(*n) == Some(name)))
}
