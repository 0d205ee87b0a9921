//! What embryo set out to reach, held against what was measured.

use serde::Serialize;

use crate::agent::{self, Load, Report};
use crate::axis::Axis;
use crate::batch::{self, Batch, Job, Way};
use crate::contender::Kind;
use crate::results::{Results, Row, blocked_ratio, find, first_ratio, ratio};
use crate::sandbox::{self, Sandbox};
use crate::stdio::Stdio;

/// One aim: a ratio of two medians, and its bound.
#[derive(Debug, Serialize)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) bound: Bound,
    pub(crate) limit: f64,
    /// Rounded to two decimals; `None` if one of the two was not measured.
    pub(crate) measured: Option<f64>,
    pub(crate) met: Option<bool>,
}

/// On which side of its limit a ratio is to be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost,
    AtLeast,
}

impl Bound {
    /// As it is written between the two.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
        }
    }
}

impl Aim {
    fn new(what: String, bound: Bound, limit: f64, measured: Option<f64>) -> Self {
        let measured = measured.map(|ratio| (ratio * 100.0).round() / 100.0);
        let met = measured.map(|ratio| match bound {
            Bound::AtMost => ratio <= limit,
            Bound::AtLeast => ratio >= limit,
        });
        Self { what, bound, limit, measured, met }
    }

    fn at_most(what: String, limit: f64, measured: Option<f64>) -> Self {
        Self::new(what, Bound::AtMost, limit, measured)
    }
}

/// A plan against glibc's posix_spawn.
const PLAN_TO_POSIX_SPAWN_MAX: f64 = 0.6;
/// A plan against the least that sharing memory costs.
const PLAN_TO_VFORK_MAX: f64 = 1.0;
/// The last point of an axis against its first.
const FLAT_MAX: f64 = 1.25;
/// The seed, which is a whole program more, against glibc's posix_spawn.
const SEED_TO_POSIX_SPAWN_MAX: f64 = 1.5;

/// An op with a hundred in a message against one that travels alone: how many times cheaper.
const BATCHED_MIN: f64 = 20.0;
const BATCHED_SIZE: usize = 100;

/// A hatchery's call, which does not wait for the child, against glibc's posix_spawn.
const HATCHERY_TO_POSIX_SPAWN_MAX: f64 = 0.25;
/// From the call to its child's first instruction, against the same.
const HATCHERY_FIRST_MAX: f64 = 1.0;

/// A sandbox from start to exit, against bubblewrap's.
const SANDBOX_TO_BUBBLEWRAP_MAX: f64 = 0.35;

/// An agent's child against posix_spawn's, from a client that has nothing much.
const AGENT_TO_POSIX_SPAWN_MAX: f64 = 1.5;
/// The same, from the client that has much of everything.
const AGENT_TO_POSIX_SPAWN_LOADED_MAX: f64 = 1.0;

/// Judges every aim of the parts that were measured.
pub(crate) fn judge(results: &Results) -> Vec<Aim> {
    let mut aims = Vec::new();
    if !results.points.is_empty() {
        aims.extend(of_launches(results));
    }
    if !results.batching.is_empty() {
        aims.extend(of_batches(&results.batching));
    }
    if !results.sandboxes.is_empty() {
        aims.extend(of_sandboxes(&results.sandboxes));
    }
    if let Some(report) = &results.agent {
        aims.extend(of_agents(report));
    }
    aims
}

/// The library's way and the command's, against bubblewrap.
fn of_sandboxes(rows: &[Sandbox]) -> Vec<Aim> {
    use sandbox::Way;
    let aim = |of: Way| {
        let what = format!("sandbox, {} / {}", of.label(), Way::Bubblewrap.label());
        let measured = sandbox::ratio(rows, of, Way::Bubblewrap);
        Aim::at_most(what, SANDBOX_TO_BUBBLEWRAP_MAX, measured)
    };
    [Way::EmbryoCommand, Way::EmbryoPlan, Way::EmbryoRun].map(aim).into()
}

/// An agent whose mandate forces what a mandate should, with a rule for a path: until its client has heard of
/// the start, and of the end.
fn of_agents(report: &Report) -> Vec<Aim> {
    use agent::Way;
    let (of, to) = (Way::Forced, Way::PosixSpawn);
    let mut aims = Vec::new();
    for point in &report.points {
        let limit = match point.load {
            Load::NOTHING => AGENT_TO_POSIX_SPAWN_MAX,
            Load { memory, descriptors } if memory > 0 && descriptors > 0 => {
                AGENT_TO_POSIX_SPAWN_LOADED_MAX
            }
            _ => continue,
        };
        let what = |time| {
            let load = point.load.label();
            format!("{} / {}, {time}, {load}", of.label(), to.label())
        };
        let started = point.ratio(|row| row.started, of, to);
        aims.push(Aim::at_most(what("started"), limit, started));
        let ended = point.ratio(|row| row.ended, of, to);
        aims.push(Aim::at_most(what("ended"), limit, ended));
    }
    aims
}

/// What batching is worth, for each way that embryo has.
fn of_batches(batches: &[Batch]) -> Vec<Aim> {
    let mut aims = Vec::new();
    for job in Job::ALL {
        for way in [Way::Messages, Way::MessagesPrebuilt, Way::MessagesWithFile] {
            if let Some(worth) = batch::worth(batches, job, way, BATCHED_SIZE) {
                let (job, way) = (job.label(), way.label());
                let what = format!("{way}: {job}, 1 op / {BATCHED_SIZE} ops");
                aims.push(Aim::new(what, Bound::AtLeast, BATCHED_MIN, Some(worth)));
            }
        }
    }
    aims
}

fn of_launches(results: &Results) -> Vec<Aim> {
    let mut aims = Vec::new();
    let pairs = [
        (Kind::EmbryoPlan, Kind::PosixSpawn, PLAN_TO_POSIX_SPAWN_MAX),
        (Kind::EmbryoPlan, Kind::VforkExec, PLAN_TO_VFORK_MAX),
        (Kind::EmbryoSeed, Kind::PosixSpawn, SEED_TO_POSIX_SPAWN_MAX),
    ];
    for (of, to, limit) in pairs {
        for stdio in Stdio::ALL {
            let what = format!("{} / {}, {}", of.label(), to.label(), stdio.label());
            aims.push(Aim::at_most(what, limit, base_ratio(results, stdio, of, to)));
        }
    }
    let flat_kinds: &[Kind] = match results.pinned {
        // On its creator's CPU a child that is woken runs at once, and the call seems to take as long
        // as the child: then nothing can be said of a hatchery's caller.
        true => &[Kind::EmbryoPlan],
        false => &[Kind::EmbryoPlan, Kind::EmbryoHatchery],
    };
    let hatcheries: &[Kind] = match results.pinned {
        true => &[],
        false => &[Kind::EmbryoHatchery, Kind::EmbryoHatcheryFixed],
    };
    for &of in hatcheries {
        for stdio in Stdio::ALL {
            let what = |time| {
                let to = Kind::PosixSpawn.label();
                format!("{} / {to}, {time}, {}", of.label(), stdio.label())
            };
            let blocked = base_ratio(results, stdio, of, Kind::PosixSpawn);
            aims.push(Aim::at_most(what("blocked"), HATCHERY_TO_POSIX_SPAWN_MAX, blocked));
            let first =
                base_ratio_of(results, |rows| first_ratio(rows, stdio, of, Kind::PosixSpawn));
            aims.push(Aim::at_most(what("first instruction"), HATCHERY_FIRST_MAX, first));
        }
    }
    for &of in flat_kinds {
        for &axis in Axis::ALL {
            for stdio in Stdio::ALL {
                aims.push(flat(results, of, axis, stdio));
            }
        }
    }
    aims
}

/// The ratio of two contenders in a parent that has nothing much. Each axis's first point is such a
/// parent; of their ratios this is the median.
fn base_ratio(results: &Results, stdio: Stdio, of: Kind, to: Kind) -> Option<f64> {
    base_ratio_of(results, |rows| blocked_ratio(rows, stdio, of, to))
}

fn base_ratio_of(results: &Results, ratio: impl Fn(&[Row]) -> Option<f64>) -> Option<f64> {
    let first = |&axis| results.measured(axis).next();
    let rows = Axis::ALL.iter().filter_map(first).map(|point| &point.rows);
    let mut ratios: Vec<f64> = rows.filter_map(|rows| ratio(rows)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (upper, lower) = (ratios.len() / 2, ratios.len().checked_sub(1)? / 2);
    Some(f64::midpoint(ratios[lower], ratios[upper]))
}

/// A contender at the axis's last point that could be measured, against its first.
fn flat(results: &Results, of: Kind, axis: Axis, stdio: Stdio) -> Aim {
    let row = |point| find(point, of, stdio);
    let points: Vec<_> = results.measured(axis).collect();
    let ends = points.first().zip(points.last()).filter(|_| points.len() > 1);
    let measured = ends.and_then(|(first, last)| Some(ratio(row(&last.rows)?, row(&first.rows)?)));
    let span = ends.map_or(String::new(), |(first, last)| {
        format!(" {} to {}", axis.label(first.value), axis.label(last.value))
    });
    let label = of.label();
    Aim::at_most(format!("{label}, {}{span}, {}", axis.title(), stdio.label()), FLAT_MAX, measured)
}
