//! The auxiliary vector: what the kernel told the embryo about the machine, and what is different
//! of the program that is loaded.

use super::file::{Executable, HEADER_SIZE};
use super::stack::Aux;
use crate::error::Error;
use std::io;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_EUID: u64 = 12;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_HWCAP2: u64 = 26;
const AT_RSEQ_FEATURE_SIZE: u64 = 27;
const AT_RSEQ_ALIGN: u64 = 28;
const AT_HWCAP3: u64 = 29;
const AT_HWCAP4: u64 = 30;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
const AT_MINSIGSTKSZ: u64 = 51;

/// The embryo's, as /proc tells them.
#[derive(Debug)]
pub(super) struct Facts {
    vector: Vec<(u64, u64)>,
    /// uid, euid, gid, egid.
    ids: [u64; 4],
}

/// The program, moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) program: &'a Executable,
    pub(super) moved: u64,
    /// How far the interpreter was moved; 0 without one.
    pub(super) interpreter_moved: u64,
    /// Where the vdso is.
    pub(super) vdso: Option<u64>,
}

impl Facts {
    /// Reads them.
    pub(super) fn read(pid: u32) -> Result<Self, Error> {
        let bytes = std::fs::read(format!("/proc/{pid}/auxv"))
            .map_err(Error::io("reading the embryo's /proc/PID/auxv"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(Error::io("reading the embryo's /proc/PID/status"))?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "no user and group ids");
        let ids = ids(&status)
            .ok_or_else(bad)
            .map_err(Error::io("reading the embryo's /proc/PID/status"))?;
        let (words, _) = bytes.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let vector = pairs
            .iter()
            .map(|[kind, value]| (u64::from_ne_bytes(*kind), u64::from_ne_bytes(*value)))
            .take_while(|(kind, _)| *kind != AT_NULL)
            .collect();
        Ok(Self { vector, ids })
    }

    /// The same with other ids where there are any.
    pub(super) fn with_ids(mut self, ids: [Option<u32>; 4]) -> Self {
        for (own, id) in self.ids.iter_mut().zip(ids) {
            *own = id.map_or(*own, u64::from);
        }
        self
    }

    /// The vector for a program: in the kernel's order, without what is not known here, since an
    /// unknown value may be an address in the stack that goes.
    pub(super) fn for_program(&self, placed: Placed<'_>) -> Vec<(u64, Aux)> {
        let Placed { program, moved, interpreter_moved, vdso } = placed;
        let [uid, euid, gid, egid] = self.ids;
        let value = |kind, told| {
            Some(Aux::Number(match kind {
                AT_PAGESZ | AT_HWCAP | AT_CLKTCK | AT_HWCAP2 | AT_RSEQ_FEATURE_SIZE
                | AT_RSEQ_ALIGN | AT_HWCAP3 | AT_HWCAP4 | AT_MINSIGSTKSZ => told,
                AT_SYSINFO_EHDR => vdso?,
                AT_PHDR => program.table.wrapping_add(moved),
                AT_PHENT => HEADER_SIZE as u64,
                AT_PHNUM => program.table_len,
                AT_BASE => interpreter_moved,
                AT_FLAGS => 0,
                // As exec answers to a caller whose effective ids are not its real ones.
                AT_SECURE => u64::from(uid != euid || gid != egid),
                AT_ENTRY => program.entry.wrapping_add(moved),
                AT_UID => uid,
                AT_EUID => euid,
                AT_GID => gid,
                AT_EGID => egid,
                AT_RANDOM => return Some(Aux::Random),
                AT_EXECFN => return Some(Aux::Name),
                AT_PLATFORM => return Some(Aux::Platform),
                _ => return None,
            }))
        };
        let vector = self.vector.iter();
        vector.filter_map(|(kind, told)| Some((*kind, value(*kind, *told)?))).collect()
    }
}

/// uid, euid, gid and egid in /proc/PID/status.
fn ids(status: &str) -> Option<[u64; 4]> {
    let line = |name: &str| {
        let mut fields =
            status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        Some([fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
    };
    let [[uid, euid], [gid, egid]] = [line("Uid:")?, line("Gid:")?];
    Some([uid, euid, gid, egid])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_real_and_the_effective_ones() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n";
        assert_eq!(ids(status), Some([1, 2, 5, 6]));
        assert_eq!(ids("Name:\tx\n"), None);
    }
}
