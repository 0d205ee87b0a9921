//! What only /proc tells of another process. Whoever asks has to see to it that the pid means the process.

use crate::process::Usage;
use std::io;
use std::time::Duration;

/// The name of a process that has not been reaped (`comm`); its program's, once it has one.
pub(crate) fn name(pid: i32) -> Option<Vec<u8>> {
    let mut name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    // The name itself may hold any byte.
    name.pop_if(|last| *last == b'\n');
    Some(name)
}

/// What a process has used so far.
pub(crate) fn usage(pid: u32) -> io::Result<Usage> {
    let stat = std::fs::read(format!("/proc/{pid}/stat"))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    // The name, in parentheses, may hold any byte.
    let after_name = stat.iter().rposition(|byte| *byte == b')').map_or(0, |at| at + 1);
    let fields: Vec<&str> = stat
        .get(after_name..)
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .map_or_else(Vec::new, |rest| rest.split_ascii_whitespace().collect());
    // The first one here is the third there.
    let field = |number: usize| -> u64 {
        fields.get(number - 3).and_then(|field| field.parse().ok()).unwrap_or(0)
    };
    let line = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let ticks = |count: u64| Duration::from_millis(count.saturating_mul(1000 / TICKS_PER_SECOND));
    Ok(Usage {
        user: ticks(field(14)),
        system: ticks(field(15)),
        max_rss: line("VmHWM").saturating_mul(1024),
        minor_faults: field(10),
        major_faults: field(12),
        voluntary_switches: line("voluntary_ctxt_switches"),
        involuntary_switches: line("nonvoluntary_ctxt_switches"),
    })
}

/// `USER_HZ`, which is the same on all architectures that this runs on.
const TICKS_PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_uses_memory() {
        let usage = super::usage(std::process::id()).expect("it is there");
        assert!(usage.max_rss > 0 && usage.minor_faults > 0, "{usage:?}");
    }

    #[test]
    fn a_name_comes_without_its_newline() {
        let check = || {
            rustix::thread::set_name(c"a) b\nc\n").expect("it is short enough");
            super::name(rustix::thread::gettid().as_raw_pid())
        };
        let name = std::thread::spawn(check).join().expect("it does not panic");
        assert_eq!(name.as_deref(), Some(&b"a) b\nc\n"[..]));
    }
}
