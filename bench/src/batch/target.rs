//! The embryo that a burst is done to, and what must be true of it afterwards.

use std::{fs, io};

use ::embryo::{Embryo, MapFlags, Op};

use super::{BURST, Job};
use crate::mapping::PAGE;

/// Bytes of one write.
pub(crate) const WRITE: usize = 64;
/// What the kernel calls readable and writable.
pub(crate) const READ_WRITE: u32 = 1 | 2;
/// The signal that a burst ignores, again and again.
pub(crate) const SIGNAL: u32 = libc::SIGUSR1 as u32;
/// Bytes of the kernel's set of signals.
pub(crate) const SIGSET_SIZE: usize = 8;
/// Far from everything that the kernel finds an address for: a long message is mapped while its ops
/// are done, and must not come to lie in the room.
const START: u64 = 1 << 36;

/// An embryo with room for a burst.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) embryo: Embryo,
    pub(crate) job: Job,
    /// Where the room begins: free for maps, mapped otherwise.
    pub(crate) start: u64,
    /// What a burst of writes leaves there.
    pub(crate) contents: Vec<u8>,
}

impl Target {
    /// A fresh embryo.
    pub(crate) fn new(job: Job) -> io::Result<Self> {
        let mut embryo = Embryo::create()?;
        let room =
            Op::Map { addr: START, len: room(job), prot: READ_WRITE, flags: MapFlags::FIXED };
        embryo.apply(&room, &[])?;
        // Unlike in adjoining places, and nowhere zero.
        let contents = (0..BURST * WRITE).map(|at| (at / WRITE + at % WRITE) as u8 | 1).collect();
        let mut target = Self { embryo, job, start: START, contents };
        target.reset()?;
        Ok(target)
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        self.embryo.id() as i32
    }

    /// The address of the burst's op `index`.
    pub(crate) fn addr(&self, index: usize) -> u64 {
        let step = match self.job {
            Job::Map => PAGE,
            Job::Write => WRITE,
            Job::Signal => 0,
        };
        self.start + (index * step) as u64
    }

    /// The bytes that the burst's op `index` writes.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        &self.contents[index * WRITE..][..WRITE]
    }

    /// Bytes of the room.
    pub(crate) fn room(&self) -> u64 {
        room(self.job)
    }

    /// Makes room for the next burst, by an op.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        if self.job == Job::Map {
            self.embryo.apply(&Op::Unmap { addr: self.start, len: self.room() }, &[])?;
        }
        Ok(())
    }

    /// Fails unless a burst has been done.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        let done = match self.job {
            Job::Write => self.embryo.read(self.start, self.contents.len())? == self.contents,
            Job::Map => self.is_mapped()?,
            Job::Signal => self.ignores()?,
        };
        if done { Ok(()) } else { Err(io::Error::other("a burst left something undone")) }
    }

    /// Whether the kernel says that the signal is ignored.
    fn ignores(&self) -> io::Result<bool> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.embryo.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let set = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        let set = set.ok_or_else(|| io::Error::other("/proc/PID/status has no SigIgn"))?;
        Ok(set & 1 << (SIGNAL - 1) != 0)
    }

    /// Whether the kernel says that all of the room is mapped.
    fn is_mapped(&self) -> io::Result<bool> {
        let (mut at, end) = (self.start, self.start + self.room());
        for entry in self.embryo.maps()? {
            if entry.range.contains(&at) && entry.prot == READ_WRITE {
                at = entry.range.end;
            }
        }
        Ok(at >= end)
    }
}

fn room(job: Job) -> u64 {
    let size = match job {
        Job::Map => BURST * PAGE,
        Job::Signal => PAGE,
        Job::Write => (BURST * WRITE).next_multiple_of(PAGE),
    };
    size as u64
}
