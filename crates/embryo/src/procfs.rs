//! The few things that only /proc tells of another process.

/// Fields of /proc/PID/stat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The name.
    pub(crate) comm: Vec<u8>,
    /// One letter.
    pub(crate) state: u8,
    /// `PF_*`.
    pub(crate) flags: u32,
}

/// `PF_FORKNOEXEC`: forked, but has not called exec.
pub(crate) const PF_FORKNOEXEC: u32 = 0x40;

/// Reads /proc/PID/stat.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name is in parentheses and may hold any byte, so what follows is found from the right.
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let comm = text.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // ppid, pgrp, session, tty_nr, tpgid, flags.
    let flags = fields.nth(5)?.parse().ok()?;
    Some(Stat { comm, state, flags })
}

#[cfg(test)]
mod tests {
    use super::parse_stat;

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let stat = parse_stat(b"17 (a) b) Z 1 17 17 0 -1 4228172 0 0").expect("it parses");
        assert_eq!((stat.comm.as_slice(), stat.state, stat.flags), (&b"a) b"[..], b'Z', 4_228_172));
    }
}
