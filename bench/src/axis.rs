//! The axes along which the parent grows, and their points. It never measures.

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::Settings;

/// What there is much of in the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Axis {
    /// Dirty memory in bytes, in pages of 4 KiB.
    Memory,
    /// Mappings beside those that every program has.
    Mappings,
    /// Open descriptors beside those that the benchmark needs.
    Descriptors,
    /// Threads, all but one of them parked.
    Threads,
}

const MIB: usize = 1024 * 1024;
const GIB: usize = 1024 * MIB;

impl Axis {
    /// Every axis. Threads come last: what libc keeps of them when they are gone slows a fork.
    pub(crate) const ALL: &[Self] =
        &[Self::Memory, Self::Mappings, Self::Descriptors, Self::Threads];

    /// The axis's points. The first is a parent that has nothing much, the same for every axis.
    pub(crate) fn values(self, settings: &Settings) -> &'static [usize] {
        match (self, settings.quick) {
            (Self::Memory, true) => &[0, 256 * MIB],
            (Self::Memory, false) => &[0, 256 * MIB, GIB, 4 * GIB],
            (Self::Threads, _) => &[1, 64],
            (Self::Mappings, _) => &[0, 10_000],
            (Self::Descriptors, true) => &[0, 1000, 10_000],
            (Self::Descriptors, false) => &[0, 1000, 10_000, 100_000],
        }
    }

    /// The axis in words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Memory => "dirty memory",
            Self::Threads => "threads",
            Self::Mappings => "mappings",
            Self::Descriptors => "open descriptors",
        }
    }

    /// One of the axis's values in words.
    pub(crate) fn label(self, value: usize) -> String {
        match (self, value) {
            (Self::Memory, 0) => "0".to_owned(),
            (Self::Memory, value) if value >= GIB => format!("{} GiB", value / GIB),
            (Self::Memory, value) => format!("{} MiB", value / MIB),
            (_, value) if value >= 1000 && value % 1000 == 0 => format!("{}k", value / 1000),
            (_, value) => value.to_string(),
        }
    }
}

/// The most descriptors that are opened, along the chosen axes and in an agent's clients.
pub(crate) fn descriptors_max(settings: &Settings) -> usize {
    let chosen = settings.axes.contains(&Axis::Descriptors);
    let axis = if chosen { Axis::Descriptors.values(settings) } else { &[] };
    let clients = settings.agent.iter().flat_map(|agent| &agent.loads);
    axis.iter().copied().chain(clients.map(|load| load.descriptors)).max().unwrap_or(0)
}
