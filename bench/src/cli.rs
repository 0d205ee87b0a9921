//! The command line, and the settings that follow from it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::agent::Load;
use crate::axis::Axis;
use crate::contender::Kind;

/// Measures what a launch costs its caller: embryo beside fork, vfork, posix_spawn and std.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Smaller points and a smaller budget: done in less than 45 seconds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// At most this many rounds a point; fewer where a point's time runs out first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rounds: Option<u32>,
    /// Where results.json and the plots go.
    #[arg(long, value_name = "DIR", default_value = "bench/out")]
    pub(crate) out: PathBuf,
    /// Only these axes; may be given more than once.
    #[arg(long, value_enum)]
    pub(crate) axis: Vec<Axis>,
    /// Only these contenders; may be given more than once.
    #[arg(long, value_enum)]
    pub(crate) contender: Vec<Kind>,
    /// Let the scheduler choose the CPU of each child, instead of keeping to one.
    #[arg(long)]
    pub(crate) unpinned: bool,
    /// Only these parts of the benchmark; may be given more than once.
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) only: Vec<Part>,
    /// Leave out the stalls that another thread sees.
    #[arg(long)]
    pub(crate) no_stall: bool,
}

/// A part of the benchmark that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Launches, along the axes.
    Launches,
    /// The stalls of a thread that writes to much memory.
    Stalls,
    /// Making an embryo, and abandoning it.
    Create,
    /// Many ops in a message against one, ptrace and process_vm_writev.
    Batching,
    /// Launches a second from several threads, and the stalls of a thread that only reads the clock.
    Throughput,
    /// A whole sandbox from its start to its exit, beside bubblewrap and util-linux.
    Sandbox,
    /// A child that an agent starts, beside direct ones and other daemons, and such children a second.
    Agent,
}

impl Part {
    /// Every part, in the order in which they are measured.
    pub(crate) const ALL: &[Self] = &[
        Self::Launches,
        Self::Create,
        Self::Batching,
        Self::Sandbox,
        Self::Agent,
        Self::Throughput,
        Self::Stalls,
    ];
}

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) quick: bool,
    pub(crate) axes: Vec<Axis>,
    pub(crate) kinds: Vec<Kind>,
    /// Rounds that are launched and dropped before a point's first recorded one.
    pub(crate) warm_up_rounds: u32,
    /// A point records at least this many rounds, whatever its budget.
    pub(crate) rounds_min: u32,
    /// A point records at most this many rounds.
    pub(crate) rounds_max: u32,
    /// Whether parent and children keep to one CPU. The stalls always have two.
    pub(crate) pinned: bool,
    /// A point starts no further round after this time.
    pub(crate) point_budget: Duration,
    pub(crate) stall: Option<StallSettings>,
    pub(crate) create: Option<CreateSettings>,
    pub(crate) batching: Option<BatchSettings>,
    pub(crate) throughput: Option<ThroughputSettings>,
    pub(crate) sandbox: Option<SandboxSettings>,
    pub(crate) agent: Option<AgentSettings>,
}

/// How sandboxes are measured.
#[derive(Debug)]
pub(crate) struct SandboxSettings {
    pub(crate) rounds_max: u32,
    pub(crate) budget: Duration,
}

/// How an agent's children are measured.
#[derive(Debug)]
pub(crate) struct AgentSettings {
    /// What the client has much of; the first has nothing, the last has most of all.
    pub(crate) loads: Vec<Load>,
    pub(crate) rounds_max: u32,
    /// A client starts no further round after this time.
    pub(crate) point_budget: Duration,
    /// Slices for each caller and each number of clients.
    pub(crate) slices: u32,
    pub(crate) slice: Duration,
}

/// How the making of embryos is measured.
#[derive(Debug)]
pub(crate) struct CreateSettings {
    pub(crate) rounds_max: u32,
    pub(crate) budget: Duration,
}

/// How the worth of batches is measured.
#[derive(Debug)]
pub(crate) struct BatchSettings {
    /// Bursts of each way at most.
    pub(crate) rounds_max: u32,
    pub(crate) budget: Duration,
}

/// How the launches of several threads are measured.
#[derive(Debug)]
pub(crate) struct ThroughputSettings {
    /// Slices of each kind for each contender and each number of threads.
    pub(crate) slices: u32,
    pub(crate) slice: Duration,
}

/// How the stalls are measured.
#[derive(Debug)]
pub(crate) struct StallSettings {
    /// The dirty memory that the other thread walks over.
    pub(crate) memory_bytes: usize,
    /// Slices for each contender; the contenders take turns.
    pub(crate) slices: u32,
    pub(crate) slice: Duration,
    /// Time from one launch to the next, the same for every contender.
    pub(crate) launch_interval: Duration,
}

const MIB: usize = 1024 * 1024;

impl Args {
    /// The settings for these arguments.
    pub(crate) fn settings(&self) -> Settings {
        let quick = self.quick;
        let rounds_max = self.rounds.unwrap_or(if quick { 300 } else { 3000 });
        let stall = StallSettings {
            memory_bytes: if quick { 256 * MIB } else { 1024 * MIB },
            slices: if quick { 2 } else { 6 },
            slice: Duration::from_millis(if quick { 300 } else { 500 }),
            launch_interval: Duration::from_millis(20),
        };
        let create = CreateSettings {
            rounds_max,
            budget: Duration::from_millis(if quick { 500 } else { 10_000 }),
        };
        let batching = BatchSettings {
            rounds_max,
            budget: Duration::from_millis(if quick { 1500 } else { 20_000 }),
        };
        let throughput = ThroughputSettings {
            slices: if quick { 2 } else { 6 },
            slice: Duration::from_millis(if quick { 60 } else { 500 }),
        };
        let sandbox = SandboxSettings {
            rounds_max,
            budget: Duration::from_millis(if quick { 3000 } else { 30_000 }),
        };
        let (memory, descriptors) = (if quick { 256 * MIB } else { 4096 * MIB }, 10_000);
        let loaded = |memory, descriptors| Load { memory, descriptors };
        let agent = AgentSettings {
            loads: match quick {
                true => vec![Load::NOTHING, loaded(memory, descriptors)],
                false => vec![
                    Load::NOTHING,
                    loaded(memory, 0),
                    loaded(0, descriptors),
                    loaded(memory, descriptors),
                ],
            },
            rounds_max,
            point_budget: Duration::from_millis(if quick { 1200 } else { 20_000 }),
            slices: if quick { 1 } else { 6 },
            slice: Duration::from_millis(if quick { 60 } else { 500 }),
        };
        let parts = chosen(&self.only, Part::ALL);
        let launches = parts.contains(&Part::Launches);
        Settings {
            quick,
            axes: if launches { chosen(&self.axis, Axis::ALL) } else { Vec::new() },
            kinds: chosen(&self.contender, Kind::ALL),
            warm_up_rounds: if quick { 2 } else { 5 },
            rounds_min: rounds_max.min(5),
            rounds_max,
            pinned: !self.unpinned,
            point_budget: Duration::from_millis(if quick { 1500 } else { 20_000 }),
            stall: (!self.no_stall && parts.contains(&Part::Stalls)).then_some(stall),
            create: parts.contains(&Part::Create).then_some(create),
            batching: parts.contains(&Part::Batching).then_some(batching),
            throughput: parts.contains(&Part::Throughput).then_some(throughput),
            sandbox: parts.contains(&Part::Sandbox).then_some(sandbox),
            agent: parts.contains(&Part::Agent).then_some(agent),
        }
    }
}

/// What was named, in the order of `all`; everything if nothing was.
fn chosen<T: Copy + PartialEq>(named: &[T], all: &[T]) -> Vec<T> {
    all.iter().copied().filter(|item| named.is_empty() || named.contains(item)).collect()
}
