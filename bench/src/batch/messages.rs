//! embryo's own way: batches of ops in messages.
//!
//! A batch is built inside the clock, as its user has to build it, and so is a message of one,
//! unless they were built beforehand.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ::embryo::{MapFlags, Op, Plan, PlanBuilder, Slot};
use rustix::fs::{MemfdFlags, memfd_create};

use super::target::{READ_WRITE, SIGNAL, Target, WRITE};
use super::{BURST, Job, Runner};
use crate::mapping::PAGE;

/// Sends a burst in messages of `size` ops.
#[derive(Debug)]
pub(crate) struct Messages {
    size: usize,
    /// What is to be written, if it does not travel in the messages.
    file: Option<OwnedFd>,
    /// The burst's batches, if they were built beforehand.
    built: Vec<Plan>,
}

impl Messages {
    /// Contents travel in the messages.
    pub(crate) fn new(size: usize) -> Self {
        Self { size, file: None, built: Vec::new() }
    }

    /// The same, and the batches are built now.
    pub(crate) fn prebuilt(size: usize, target: &Target) -> io::Result<Self> {
        let mut messages = Self::new(size);
        let batches = (0..BURST).step_by(size).map(|first| messages.batch(target, first));
        messages.built = batches.collect::<io::Result<_>>()?;
        Ok(messages)
    }

    /// Contents lie in a file.
    pub(crate) fn with_file(size: usize, target: &Target) -> io::Result<Self> {
        let file = File::from(memfd_create(c"bench:contents", MemfdFlags::CLOEXEC)?);
        (&file).write_all(&target.contents)?;
        Ok(Self { size, file: Some(file.into()), built: Vec::new() })
    }

    /// The batch that begins with the burst's op `first`.
    fn batch(&self, target: &Target, first: usize) -> io::Result<Plan> {
        let mut batch = PlanBuilder::batch();
        let slot = self.file.as_ref().map(|_| batch.slot());
        for index in first..(first + self.size).min(BURST) {
            batch.op(&op(target, index, slot));
        }
        batch.build().map_err(io::Error::other)
    }
}

/// The burst's op `index`.
fn op(target: &Target, index: usize, slot: Option<Slot>) -> Op<'_> {
    let addr = target.addr(index);
    match (target.job, slot) {
        (Job::Signal, _) => {
            let handler = libc::SIG_IGN as u64;
            Op::SignalAction { signal: SIGNAL, flags: 0, handler, restorer: 0, mask: 0 }
        }
        (Job::Map, _) => {
            Op::Map { addr, len: PAGE as u64, prot: READ_WRITE, flags: MapFlags::FIXED }
        }
        (Job::Write, None) => Op::Write { addr, contents: target.bytes(index) },
        (Job::Write, Some(slot)) => {
            Op::WriteSlot { slot, addr, len: WRITE as u64, offset: (index * WRITE) as u64 }
        }
    }
}

impl Runner for Messages {
    fn run(&mut self, target: &mut Target) -> io::Result<()> {
        let grants: Vec<BorrowedFd<'_>> = self.file.iter().map(AsFd::as_fd).collect();
        for batch in &self.built {
            target.embryo.apply_all(batch, &grants)?;
        }
        if !self.built.is_empty() {
            return Ok(());
        }
        for first in (0..BURST).step_by(self.size) {
            let batch = self.batch(target, first)?;
            target.embryo.apply_all(&batch, &grants)?;
        }
        Ok(())
    }

    fn reset(&mut self, target: &mut Target) -> io::Result<()> {
        target.reset()
    }
}
