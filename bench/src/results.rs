//! Everything that a run found, as it is written to results.json.

use serde::Serialize;

use crate::agent;
use crate::aims::Aim;
use crate::axis::Axis;
use crate::batch::Batch;
use crate::contender::Kind;
use crate::create::Creation;
use crate::machine::Machine;
use crate::measure::Times;
use crate::sandbox::Sandbox;
use crate::stall::Stall;
use crate::stats::Spread;
use crate::stdio::Stdio;
use crate::throughput::Throughput;

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) quick: bool,
    /// Whether parent and children kept to one CPU.
    pub(crate) pinned: bool,
    pub(crate) rounds_max: u32,
    pub(crate) points: Vec<Point>,
    /// Making and abandoning embryos.
    pub(crate) creation: Option<Creation>,
    /// Ops in messages of several sizes, and by other ways.
    pub(crate) batching: Vec<Batch>,
    /// Sandboxes from start to exit.
    pub(crate) sandboxes: Vec<Sandbox>,
    /// Children that an agent started.
    pub(crate) agent: Option<agent::Report>,
    /// Launches a second from several threads.
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) aims: Vec<Aim>,
    /// Contenders that could not be had here.
    pub(crate) left_out: Vec<LeftOut>,
    /// Launches that failed. A run that has any has failed.
    pub(crate) failures: Vec<Failure>,
}

/// One point of an axis.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) axis: Axis,
    pub(crate) value: usize,
    pub(crate) rounds: u32,
    /// Why this machine could not be loaded so, if it could not.
    pub(crate) skipped: Option<String>,
    pub(crate) rows: Vec<Row>,
}

/// One contender with one kind of stdio at one point. All times count from just before the call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) contender: Kind,
    pub(crate) stdio: Stdio,
    pub(crate) launches: usize,
    /// Until the call came back.
    pub(crate) blocked: Spread,
    /// Until the child's first instruction.
    pub(crate) first_instruction: Spread,
    /// Until the child was reaped.
    pub(crate) reaped: Spread,
}

/// A contender that did not take part.
#[derive(Debug, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) contender: Kind,
    pub(crate) reason: String,
}

/// Launches of one contender that failed in one place.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) contender: Kind,
    pub(crate) place: String,
    pub(crate) count: u32,
    pub(crate) first_error: String,
}

impl Row {
    /// A row from its times; `None` if nothing was launched.
    pub(crate) fn new(contender: Kind, stdio: Stdio, times: Times) -> Option<Self> {
        let launches = times.blocked_ns.len();
        Some(Self {
            contender,
            stdio,
            launches,
            blocked: Spread::of(times.blocked_ns)?,
            first_instruction: Spread::of(times.first_ns)?,
            reaped: Spread::of(times.reaped_ns)?,
        })
    }
}

/// The row of `contender` with `stdio`.
pub(crate) fn find(rows: &[Row], contender: Kind, stdio: Stdio) -> Option<&Row> {
    rows.iter().find(|row| row.contender == contender && row.stdio == stdio)
}

/// How the caller's blocked time of one contender relates to another's, at the median.
pub(crate) fn blocked_ratio(rows: &[Row], stdio: Stdio, of: Kind, to: Kind) -> Option<f64> {
    Some(ratio(find(rows, of, stdio)?, find(rows, to, stdio)?))
}

/// How the time to the child's first instruction of one contender relates to another's, at the median.
pub(crate) fn first_ratio(rows: &[Row], stdio: Stdio, of: Kind, to: Kind) -> Option<f64> {
    let first_ns = |kind| Some(find(rows, kind, stdio)?.first_instruction.p50_ns as f64);
    Some(first_ns(of)? / first_ns(to)?)
}

/// The ratio of two rows' medians of blocked time.
pub(crate) fn ratio(of: &Row, to: &Row) -> f64 {
    of.blocked.p50_ns as f64 / to.blocked.p50_ns as f64
}

impl Results {
    /// In how many places launches failed.
    pub(crate) fn failing_places(&self) -> usize {
        let sandboxes = self.sandboxes.iter().filter(|row| row.failures.count > 0);
        let agents = self.agent.as_ref().map_or(0, agent::Report::failing_places);
        self.failures.len() + sandboxes.count() + agents
    }

    /// The points of `axis` that were measured.
    pub(crate) fn measured(&self, axis: Axis) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.axis == axis && point.skipped.is_none())
    }
}
