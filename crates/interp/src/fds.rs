//! Grants: from the numbers they arrived at to the numbers the plan gives them.
//!
//! The table of the calling task is its own by now. Slots are tracked by where they lie at the
//! moment, so ops may use them in any order, and a number that one grant occupies and another
//! is to have is vacated first. That makes swaps and cycles of any length ordinary.

use crate::fault::{Fault, Step};
use crate::world::World;
use embryo_plan::{Op, Plan, Slot};
use embryo_syscall::{CloseRange, Errno, Result};

/// Where each slot's descriptor lies now, and one more that the executor itself needs.
pub(crate) struct Descriptors<'a> {
    pub(crate) slots: &'a mut [i32],
    /// The control socket of a seed, or -1. It is closed on exec.
    pub(crate) control: i32,
    /// The pidfd of a seed's owner, or -1. It is closed on exec.
    pub(crate) owner: i32,
    /// Others of a seed's own, closed on exec.
    pub(crate) world: World,
}

impl Descriptors<'_> {
    /// The descriptor behind a slot now.
    pub(crate) fn get(&self, slot: Slot) -> Result<i32> {
        match self.slots.get(slot.0 as usize) {
            Some(fd) if *fd >= 0 => Ok(*fd),
            _ => Err(Errno::BADF),
        }
    }

    /// Makes the slot's descriptor available at `to`, open across exec.
    pub(crate) fn put(&mut self, slot: Slot, to: i32) -> Result<()> {
        let from = self.get(slot)?;
        if from == to {
            return embryo_syscall::fcntl_setfd(to, false);
        }
        self.vacate(to)?;
        embryo_syscall::dup3(from, to)
    }

    /// Opens `/dev/null` at `to`.
    pub(crate) fn null(&mut self, to: i32, access: u32) -> Result<()> {
        self.vacate(to)?;
        let fd = embryo_syscall::open(c"/dev/null", access)?;
        if fd == to {
            return embryo_syscall::fcntl_setfd(to, false);
        }
        embryo_syscall::dup3(fd, to)?;
        embryo_syscall::close(fd)
    }

    /// Moves away whatever lies at `number` and is still needed.
    fn vacate(&mut self, number: i32) -> Result<()> {
        let [root, proc, init] = self.world.descriptors();
        for own in [&mut self.control, &mut self.owner, root, proc, init] {
            if *own == number {
                *own = embryo_syscall::dupfd_cloexec(number, 0)?;
            }
        }
        let mut moved = -1;
        for fd in self.slots.iter_mut() {
            if *fd == number {
                if moved < 0 {
                    moved = embryo_syscall::dupfd_cloexec(number, 0)?;
                }
                *fd = moved;
            }
        }
        Ok(())
    }

    /// Sees to it that exec leaves open what the plan put somewhere and nothing else. `image` is
    /// the descriptor of an image that stays open across exec, or -1; `table_end` is above every open
    /// number.
    pub(crate) fn close_others(
        &self,
        plan: &Plan<'_>,
        image: i32,
        table_end: u32,
    ) -> core::result::Result<(), Fault> {
        let mut from = 0u32;
        // The numbers ascend, which the checker saw to.
        for op in plan.ops().flatten() {
            if let Op::PutFd { fd, .. } | Op::OpenNull { fd, .. } = op {
                mark_gap(from, fd, image, table_end)?;
                from = fd.wrapping_add(1);
            }
        }
        mark_gap(from, u32::MAX, image, table_end)
    }
}

impl Descriptors<'_> {
    /// Closes what exec would close in a clean table: for a start without an exec.
    pub(crate) fn close_own(&self) {
        let World { root, proc, init, .. } = &self.world;
        for fd in self.slots.iter().chain([&self.control, &self.owner, root, proc, init]) {
            if embryo_syscall::fcntl_getfd(*fd) == Ok(true) {
                let _ = embryo_syscall::close(*fd);
            }
        }
    }
}

/// Marks `from..to` close-on-exec, sparing one number.
fn mark_gap(from: u32, to: u32, spare: i32, end: u32) -> core::result::Result<(), Fault> {
    let spare = spare as u32;
    let marked = if (from..to).contains(&spare) {
        mark(from, spare, end).and_then(|()| mark(spare.wrapping_add(1), to, end))
    } else {
        mark(from, to, end)
    };
    marked.map_err(|errno| Fault::step(Step::CloseOthers, errno))
}

/// Marks `from..to` close-on-exec. Marking rather than closing lets a slow close (of a file on
/// FUSE or NFS) happen in exec, after the caller has been let go.
fn mark(from: u32, to: u32, end: u32) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    match embryo_syscall::close_range(from, to.wrapping_sub(1), CloseRange::Cloexec) {
        Ok(()) => return Ok(()),
        // Before Linux 5.11 the flag is unknown; before 5.9, or under a filter, the call is.
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    for fd in from..to.min(end) {
        match embryo_syscall::fcntl_setfd(fd as i32, true) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
