//! embryo's own way: batches of ops in messages.
//!
//! A batch is built inside the clock, as its user has to build it. So is a message of one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ::embryo::{MapFlags, Op, PlanBuilder};
use rustix::fs::{MemfdFlags, memfd_create};

use super::target::{READ, READ_WRITE, Target, WRITE};
use super::{BURST, Job, Runner};
use crate::mapping::PAGE;

/// Sends a burst in messages of `size` ops.
#[derive(Debug)]
pub(crate) struct Messages {
    size: usize,
    /// What is to be written, if it does not travel in the messages.
    file: Option<OwnedFd>,
}

impl Messages {
    /// Contents travel in the messages.
    pub(crate) fn new(size: usize) -> Self {
        Self { size, file: None }
    }

    /// Contents lie in a file.
    pub(crate) fn with_file(size: usize) -> io::Result<Self> {
        let fd = memfd_create(c"bench:contents", MemfdFlags::CLOEXEC)?;
        Ok(Self { size, file: Some(fd) })
    }

    /// Fills the file the first time.
    fn fill(&self, target: &Target) -> io::Result<()> {
        let Some(fd) = &self.file else { return Ok(()) };
        if rustix::fs::fstat(fd)?.st_size == 0 {
            File::from(fd.try_clone()?).write_all(&target.contents)?;
        }
        Ok(())
    }
}

impl Runner for Messages {
    fn run(&mut self, target: &mut Target) -> io::Result<()> {
        self.fill(target)?;
        let grants: Vec<BorrowedFd<'_>> = self.file.iter().map(AsFd::as_fd).collect();
        for first in (0..BURST).step_by(self.size) {
            let mut batch = PlanBuilder::batch();
            let slot = self.file.as_ref().map(|_| batch.slot());
            for index in first..(first + self.size).min(BURST) {
                let addr = target.addr(index);
                batch.op(&match (target.job, slot) {
                    (Job::Map, _) => {
                        Op::Map { addr, len: PAGE as u64, prot: READ_WRITE, flags: MapFlags::FIXED }
                    }
                    (Job::Protect, _) => Op::Protect { addr, len: target.room(), prot: READ },
                    (Job::Write, None) => Op::Write { addr, contents: target.bytes(index) },
                    (Job::Write, Some(slot)) => Op::WriteSlot {
                        slot,
                        addr,
                        len: WRITE as u64,
                        offset: (index * WRITE) as u64,
                    },
                });
            }
            let batch = batch.build().map_err(io::Error::other)?;
            target.embryo.apply_all(&batch, &grants)?;
        }
        Ok(())
    }

    fn reset(&mut self, target: &mut Target) -> io::Result<()> {
        target.reset()
    }
}
