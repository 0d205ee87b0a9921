//! What a process has used that still runs, as /proc/PID tells: its own part, without that of its children.

use embryo::agent::wire::Used;

/// Of a child that has not been reaped, so that its pid is its own; nothing where /proc does not tell.
pub(super) fn so_far(pid: u32) -> Used {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let (stat, status) = (read("stat"), read("status"));
    // Its name is in brackets, and may have brackets and blanks in it.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // Counted from the field after the name, which is the third of proc_pid_stat(5).
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let line = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    Used {
        user_ns: field(14).saturating_mul(tick_ns).into(),
        system_ns: field(15).saturating_mul(tick_ns).into(),
        max_rss: (line("VmHWM:").unwrap_or(0) << 10).into(),
        minor_faults: field(10).into(),
        major_faults: field(12).into(),
        voluntary_switches: line("voluntary_ctxt_switches:").unwrap_or(0).into(),
        involuntary_switches: line("nonvoluntary_ctxt_switches:").unwrap_or(0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process_it_tells_something() {
        let used = so_far(std::process::id());
        assert!(used.max_rss.get() > 0);
        assert!(used.minor_faults.get() > 0);
        assert_eq!(so_far(0), Used::default());
    }
}
