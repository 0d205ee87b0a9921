//! What a connection may ask for, enforced: a plan is judged by each mandate in turn, from the narrowest to
//! the widest, and what each forces is put into it before the next one sees it.
//!
//! So a narrower mandate is a proxy that asks the wider one on its holder's behalf, and whatever comes out at
//! the end the holder of the wider one could have asked for itself. That is why no sequence of requests
//! widens anything.

mod args;
mod bounds;
mod cgroups;
mod compile;
mod credentials;
mod environment;
mod force;
mod host;
mod ids;
mod images;
mod narrow;
mod ops;
mod paths;
mod pattern;
mod work;

use crate::account::AccountId;
use crate::files::facts::Known;
use crate::peer::Peer;
use embryo::agent::mandate::Lifetime;
use embryo::{Plan, PlanView};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use work::Work;

pub use compile::Compiled;
pub use host::Host;
pub use narrow::{LEVELS_MAX, MANDATE_BYTES_MAX, narrow};

/// Why a request was refused. It is told to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule: where it stands in the mandate, such as `ops`, `images`, `bounds.uids`, `numbers.children`.
    pub rule: String,
    /// What it is that was asked for, in words.
    pub why: String,
}

/// What a connection holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its mandates, the narrowest first.
    pub levels: Vec<Arc<Compiled>>,
    /// What is charged for it: an account for each level, in the same order, and that of the uid.
    pub accounts: Vec<AccountId>,
    /// Who connected in the first place.
    pub peer: Arc<Peer>,
}

/// A descriptor that the child's plan is granted.
#[derive(Clone, Debug)]
pub enum Grant {
    /// The client's, by its index.
    Client(u32),
    /// One of the agent's.
    Ours(Arc<OwnedFd>),
    /// The image, once it has been copied.
    Image,
    /// The directory of the child's own cgroup, once it has been made.
    Cgroup,
}

/// What has to be done about the image before the launch.
#[derive(Clone, Debug)]
pub enum Image {
    /// Nothing: the plan executes a handle that was checked.
    Ready,
    /// The client's grant with this index is copied, and the copy must have one of these SHA-256s.
    Copy {
        /// Index among the client's grants.
        grant: u32,
        /// The digests that will do.
        digests: Vec<[u8; 32]>,
    },
}

/// A plan that may run.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What is executed.
    pub plan: Plan,
    /// Its slots in order.
    pub grants: Vec<Grant>,
    /// For each op of `plan` its index in the client's; `u32::MAX` for what was forced.
    pub origin: Vec<u32>,
    /// What is to be done first.
    pub image: Image,
    /// What runs, for logs.
    pub program: String,
    /// How long it may live: the shortest of all levels.
    pub time: Option<Duration>,
    /// The strictest of all levels.
    pub lifetime: Lifetime,
    /// The cgroup that is made for it: that of the widest level which forces one.
    pub cgroup: Option<Arc<embryo::agent::mandate::ForcedCgroup>>,
}

/// Bytes of what is told of a client's own words, at most.
const TOLD_MAX: usize = 512;

fn refusal(rule: impl Into<String>, why: impl Into<String>) -> Refusal {
    Refusal { rule: rule.into(), why: shortened(why.into()) }
}

fn shortened(mut text: String) -> String {
    if text.len() > TOLD_MAX {
        text.truncate(text.floor_char_boundary(TOLD_MAX));
        text.push('…');
    }
    text
}

/// Judges a plan, with what is known of this machine's file systems.
///
/// # Errors
/// The first rule that forbids it.
pub fn judge(
    held: &Held,
    plan: &PlanView<'_>,
    grants: &[BorrowedFd<'_>],
    known: &mut Known,
) -> Result<Judged, Refusal> {
    decide(held, plan, grants, known, false)
}

/// The same for a launch by this process: a child that is not to live on ends with it as well, however it ends.
///
/// # Errors
/// As [`judge`].
pub fn judge_for_launch(
    held: &Held,
    plan: &PlanView<'_>,
    grants: &[BorrowedFd<'_>],
    known: &mut Known,
) -> Result<Judged, Refusal> {
    decide(held, plan, grants, known, true)
}

fn decide(
    held: &Held,
    plan: &PlanView<'_>,
    grants: &[BorrowedFd<'_>],
    known: &mut Known,
    launch: bool,
) -> Result<Judged, Refusal> {
    let named = held.levels.last().ok_or_else(|| refusal("mandate", "there is none"))?;
    check_size(held, plan, grants.len())?;
    let mut work = Work::new(held, named, plan, grants)?;
    ops::never(&work)?;
    for level in &held.levels {
        check_environment(level, &work)?;
        ops::check(level, &mut work)?;
        level.forced.apply(&mut work)?;
        credentials::check(level, &work)?;
    }
    work.finish();
    let resolved = images::resolve(&mut work, known)?;
    let lifetime = lifetime(held);
    if launch && lifetime != Lifetime::LiveOn {
        work.end_with_agent();
    }
    Ok(Judged {
        plan: work.build()?,
        origin: work.ops.iter().map(|item| item.origin).collect(),
        grants: work.slots,
        image: resolved.image,
        program: shortened(resolved.program),
        time: held
            .levels
            .iter()
            .filter_map(|level| level.source.numbers.seconds)
            .min()
            .map(Duration::from_secs),
        lifetime,
        cgroup: work.cgroup.map(|(source, _)| source),
    })
}

fn check_size(held: &Held, plan: &PlanView<'_>, grants: usize) -> Result<(), Refusal> {
    for level in &held.levels {
        let numbers = &level.source.numbers;
        let sizes = [
            ("numbers.plan-bytes", numbers.plan_bytes, plan.as_bytes().len()),
            ("numbers.grants", numbers.grants, grants),
        ];
        for (rule, most, size) in sizes {
            if let Some(most) = most
                && size as u64 > most
            {
                return Err(refusal(rule, format!("it is {size}, and at most {most}")));
            }
        }
    }
    Ok(())
}

fn check_environment(level: &Compiled, work: &Work<'_>) -> Result<(), Refusal> {
    let Some(rules) = &level.environment else { return Ok(()) };
    for variable in &work.envp {
        let shown = || String::from_utf8_lossy(variable.string).into_owned();
        let Some(name) = environment::name_of(variable.string) else {
            return Err(refusal("environment", format!("{:?} has no name", shown())));
        };
        match rules.allows(name, &work.steps) {
            Ok(true) => {}
            Ok(false) => {
                let name = String::from_utf8_lossy(name).into_owned();
                let hint = if environment::is_written_out(name.as_bytes()) {
                    " (a name that has to be written out)"
                } else {
                    ""
                };
                return Err(refusal("environment", format!("{name} is not listed{hint}")));
            }
            Err(_) => return Err(refusal("environment", "the patterns take too long to match")),
        }
    }
    Ok(())
}

/// The strictest of all levels; of a named mandate that says nothing, the strictest there is.
fn lifetime(held: &Held) -> Lifetime {
    let said = held.levels.iter().filter_map(|level| level.source.lifetime);
    let named = held.levels.last().and_then(|level| level.source.lifetime).unwrap_or_default();
    said.fold(named, Lifetime::min)
}

/// Whether this signal may be sent to a child of this connection.
///
/// # Errors
/// The rule that forbids it.
pub fn may_signal(held: &Held, signal: u32) -> Result<(), Refusal> {
    let bit = signal.checked_sub(1).and_then(|bit| 1u64.checked_shl(bit));
    let bit = bit.ok_or_else(|| refusal("signals", format!("{signal} is no signal")))?;
    for level in &held.levels {
        if level.signals.is_some_and(|set| set & bit == 0) {
            return Err(refusal("signals", format!("{} does not list {signal}", level.name)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
