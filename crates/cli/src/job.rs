//! Whether this process is a job of somebody who would continue it if it stopped.
//!
//! A process group is orphaned if no member has a parent in another group of the same session;
//! the kernel lets the terminal stop no such group, since no shell watches it (setpgid(2)). It must
//! never say so of a job of a shell.

use crate::watch::SIGTSTP;
use embryo_syscall::getpid;
use rustix::process::Pid;
use std::fs;

/// How far up the tree of processes it looks.
const ANCESTORS_MAX: usize = 64;

/// Whether this process's group is orphaned, as far as its own line of ancestors tells.
pub(crate) fn is_orphaned() -> bool {
    let mut pid = getpid();
    let Some(Relations { group: own, session, .. }) = relations(pid) else { return true };
    for _ in 0..ANCESTORS_MAX {
        let Some(parent) = relations(pid).map(|process| process.parent) else { return true };
        let Some(above) = relations(parent) else { return true };
        if above.session != session {
            return true;
        }
        if above.group != own {
            return false;
        }
        pid = parent;
    }
    true
}

/// Whether this process's session has a terminal, without which no shell controls jobs.
pub(crate) fn has_terminal() -> bool {
    relations(getpid()).is_some_and(|own| own.terminal != 0)
}

/// Whether SIGTSTP does to the leader of a process group what it does by default: it neither catches nor
/// ignores it. One that is blocked may be so for a moment only, as in fork(3).
pub(crate) fn stops_by_default(group: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", group.as_raw_nonzero()));
    status.is_ok_and(|status| leaves_alone(&status, SIGTSTP))
}

fn leaves_alone(status: &str, signal: i32) -> bool {
    let masks = ["SigIgn:", "SigCgt:"];
    let lines = status.lines().filter_map(|line| masks.iter().find_map(|m| line.strip_prefix(m)));
    let bits = lines.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap_or(u64::MAX));
    bits.fold(0, |all, mask| all | mask) & 1 << (signal - 1) == 0
}

#[derive(Debug, PartialEq, Eq)]
struct Relations {
    parent: i32,
    group: i32,
    session: i32,
    /// Its device number, or 0.
    terminal: i32,
}

fn relations(pid: i32) -> Option<Relations> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, which may hold anything, ends at the last parenthesis; then come state, parent, group,
/// session and terminal.
fn parse(stat: &[u8]) -> Option<Relations> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut numbers = rest.split_ascii_whitespace().skip(1).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Relations { parent: next()?, group: next()?, session: next()?, terminal: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_stand_behind_the_name() {
        let stat = b"17 (a) S 9) S 4 5 6 34816 5 4194304 0";
        assert_eq!(
            parse(stat),
            Some(Relations { parent: 4, group: 5, session: 6, terminal: 34816 })
        );
        assert_eq!(parse(b"17 (a"), None);
    }

    #[test]
    fn a_signal_is_left_alone_if_no_mask_has_it() {
        let status = |caught: &str| format!("SigIgn:\t0000000000001000\nSigCgt:\t{caught}\n");
        assert!(leaves_alone(&status("0000000000000002"), SIGTSTP));
        assert!(!leaves_alone(&status("0000000000080002"), SIGTSTP));
        assert!(!leaves_alone(&status("?"), SIGTSTP));
    }

    #[test]
    fn our_own_relations_are_those_the_kernel_tells() {
        let own = relations(getpid()).expect("/proc is mounted");
        assert_eq!(Ok(own.group), embryo_syscall::getpgrp());
        assert_eq!(Ok(own.session), embryo_syscall::getsid(0));
    }
}
