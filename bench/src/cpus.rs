//! On which CPUs the benchmark's threads may run. Children inherit what their launcher has.

use rustix::io;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// While it lives, the calling thread keeps to some of its CPUs.
#[derive(Debug)]
pub(crate) struct Confined {
    before: CpuSet,
}

impl Confined {
    /// Keeps the calling thread to `cpus`.
    pub(crate) fn to(cpus: &CpuSet) -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        sched_setaffinity(None, cpus)?;
        Ok(Self { before })
    }

    /// Keeps the calling thread to the last CPU that it may use.
    pub(crate) fn to_last() -> io::Result<Self> {
        Self::to(&Parts::of(&sched_getaffinity(None)?).last)
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        if let Err(error) = sched_setaffinity(None, &self.before) {
            eprintln!("the CPU affinity could not be given back: {error}");
        }
    }
}

/// A set of CPUs in two: its last one, and the others.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) last: CpuSet,
    /// It may be empty.
    pub(crate) others: CpuSet,
}

impl Parts {
    /// One CPU and the others, of those that the calling thread may use; `None` if there is but one.
    pub(crate) fn here() -> Option<Self> {
        let parts = Self::of(&sched_getaffinity(None).ok()?);
        (parts.others.count() > 0).then_some(parts)
    }

    /// The parts of `all`.
    pub(crate) fn of(all: &CpuSet) -> Self {
        let (mut last, mut others) = (CpuSet::new(), *all);
        if let Some(cpu) = (0..CpuSet::MAX_CPU).rev().find(|&cpu| all.is_set(cpu)) {
            last.set(cpu);
            others.unset(cpu);
        }
        Self { last, others }
    }
}
