//! What a cgroup has used, read from its files.

use std::time::Duration;

/// What everybody in a cgroup has used together. `None` where its controller is not enabled or the kernel
/// does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CgroupFigures {
    /// Time on CPUs: `cpu.stat`, `usage_usec`.
    pub cpu: Option<Duration>,
    /// The part of it in user mode.
    pub cpu_user: Option<Duration>,
    /// The part of it in the kernel.
    pub cpu_system: Option<Duration>,
    /// Periods in which the quota was used up: `nr_throttled`. With the controller cpu.
    pub throttled: Option<u64>,
    /// How long it stood still for that.
    pub throttled_for: Option<Duration>,
    /// Most memory at once, in bytes: `memory.peak`, Linux 5.19.
    pub memory_peak: Option<u64>,
    /// Most swap at once, in bytes: `memory.swap.peak`, Linux 6.5.
    pub swap_peak: Option<u64>,
    /// How many were killed for want of memory: `memory.events`, `oom_kill`.
    pub oom_kills: Option<u64>,
    /// Most processes and threads at once: `pids.peak`, Linux 6.1.
    pub pids_peak: Option<u64>,
    /// How often one more was refused: `pids.events`, `max`.
    pub pids_refused: Option<u64>,
    /// Bytes read from devices: `io.stat`.
    pub read_bytes: Option<u64>,
    /// Bytes written to devices.
    pub written_bytes: Option<u64>,
}

impl CgroupFigures {
    pub(super) fn of(read: impl Fn(&str) -> Option<String>) -> Self {
        let cpu = read("cpu.stat").unwrap_or_default();
        let time = |key| value(&cpu, key).map(Duration::from_micros);
        let number = |file: &str| read(file)?.trim().parse().ok();
        let event = |file: &str, key| value(&read(file)?, key);
        let io = read("io.stat");
        let sum = |key: &str| io.as_deref().map(|io| total(io, key));
        Self {
            cpu: time("usage_usec"),
            cpu_user: time("user_usec"),
            cpu_system: time("system_usec"),
            throttled: value(&cpu, "nr_throttled"),
            throttled_for: time("throttled_usec"),
            memory_peak: number("memory.peak"),
            swap_peak: number("memory.swap.peak"),
            oom_kills: event("memory.events", "oom_kill"),
            pids_peak: number("pids.peak"),
            pids_refused: event("pids.events", "max"),
            read_bytes: sum("rbytes"),
            written_bytes: sum("wbytes"),
        }
    }
}

/// The value of a line of keys and values.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// The sum over devices of what is called `key`.
fn total(text: &str, key: &str) -> u64 {
    let values = text
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok());
    values.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let figures = CgroupFigures::of(|file| {
            let text = match file {
                "cpu.stat" => "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_throttled 2\n",
                "memory.peak" => "4096\n",
                "memory.events" => "low 0\noom 1\noom_kill 3\n",
                "io.stat" => "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=5 wbytes=1\n",
                _ => return None,
            };
            Some(text.to_owned())
        });
        assert_eq!(figures.cpu, Some(Duration::from_micros(1500)));
        assert_eq!(figures.throttled, Some(2));
        assert_eq!(figures.throttled_for, None);
        assert_eq!(figures.memory_peak, Some(4096));
        assert_eq!(figures.oom_kills, Some(3));
        assert_eq!((figures.read_bytes, figures.written_bytes), (Some(15), Some(21)));
        assert_eq!(figures.pids_peak, None);
    }
}
