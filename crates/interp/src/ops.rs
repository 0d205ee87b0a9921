//! The dispatch: one match, one line per op.

use crate::cgroup;
use crate::confine;
use crate::fault::{Fault, Step};
use crate::fds::Descriptors;
use crate::memory::{self, Own};
use crate::mount;
use crate::namespace;
use crate::privilege;
use crate::signals::Dispositions;
use crate::trace::{Trace, now_ns};
use crate::world::{Executor, World};
use core::num::NonZeroU64;
use embryo_plan::{Op, OpCode, Plan};
use embryo_syscall::{self as sys, Errno, Result, SchedAttr};
use rustix::fd::BorrowedFd;
use rustix::process::{Pid, Signal};

/// What an execution needs besides the plan, prepared by the executor before the clone.
pub struct Context<'a> {
    /// Slot → descriptor number in this task.
    pub slots: &'a mut [i32],
    /// The executor's own descriptor, closed on exec; -1 if it has none.
    pub control: i32,
    /// Another one of the executor's, likewise.
    pub owner: i32,
    /// Whether every open descriptor is close-on-exec but those that were put somewhere. So it is
    /// in a seed, where a number put by an earlier message counts too. In a directly made child
    /// the creator's are there, as they are.
    pub clean_table: bool,
    /// Above every number that is open in the task's table, for kernels that cannot mark a range.
    pub table_end: u32,
    /// The pid that the parent must have when a death signal is set; 0 if nobody asked.
    pub parent: i32,
    /// The mask of the thread that spawned, for a plan that keeps it.
    pub caller_mask: u64,
    /// What dispositions the task may have to begin with.
    pub dispositions: Dispositions,
    /// The executor's own memory, if it has an address space of its own; in another's, the ops on
    /// memory are refused.
    pub own: Option<Own>,
    /// What of its surroundings is the task's own by now.
    pub world: World,
    /// What can do what needs the task's maker; `None` in a child that shares its maker's memory.
    pub executor: Option<&'a mut dyn Executor>,
    /// Room for what each op has to tell, by index, or nothing.
    pub results: &'a mut [u64],
    /// Room for one record per op, or nothing.
    pub trace: &'a mut [Trace],
    /// How many records were written.
    pub traced: usize,
}

impl Context<'_> {
    pub(crate) fn record(&mut self, index: u32, outcome: Result<()>, since: u64) {
        if let Some(record) = self.trace.get_mut(self.traced) {
            let errno = outcome.err().map_or(0, |errno| u32::from(errno.number()));
            *record = Trace { index, errno, ns: now_ns().wrapping_sub(since) };
            self.traced = self.traced.wrapping_add(1);
        }
    }

    pub(crate) fn clock(&self) -> u64 {
        if self.trace.is_empty() { 0 } else { now_ns() }
    }
}

/// Applies the ops of a plan in order, up to the one that starts the image. The first that fails
/// ends it.
///
/// # Errors
/// The fault: which op, and what the kernel answered.
pub fn apply(plan: &Plan<'_>, context: &mut Context<'_>) -> core::result::Result<(), Fault> {
    for (index, op) in plan.ops().enumerate() {
        let index = index as u32;
        let Some(op) = op else {
            return Err(Fault::step(Step::Decode, Errno::INVAL));
        };
        if op.code().place().first > OpCode::PidNamespace.place().last
            && let Err(errno) = namespace::enter_own(context)
        {
            return Err(Fault::step(Step::Clone, errno));
        }
        if op.is_start() {
            break;
        }
        let since = context.clock();
        let outcome = apply_one(&op, context);
        context.record(index, outcome.map(drop), since);
        let told = outcome.map_err(|errno| Fault::op(index, op.code(), errno))?;
        if let Some(result) = context.results.get_mut(index as usize) {
            *result = told;
        }
    }
    Ok(())
}

fn apply_one(op: &Op<'_>, context: &mut Context<'_>) -> Result<u64> {
    if let Op::Namespace(op) = op {
        return namespace::apply(op, context).map(|()| 0);
    }
    let (parent, init) = (context.parent, context.world.init);
    let mut fds = Descriptors {
        slots: context.slots,
        control: context.control,
        owner: context.owner,
        world: context.world,
    };
    let outcome = match *op {
        Op::Fail { errno } => Err(Errno::new(errno as u16)),
        Op::SetSid => done(rustix::process::setsid()),
        Op::SetPgid { pgid } => done(rustix::process::setpgid(None, Pid::from_raw(pgid as i32))),
        Op::ControllingTty { slot } => fds.get(slot).and_then(controlling_tty),
        Op::Foreground { slot } => fds.get(slot).and_then(foreground),
        Op::PutFd { slot, fd } => fds.put(slot, fd as i32),
        Op::OpenNull { fd, access } => fds.null(fd as i32, access as u32),
        Op::OomScoreAdj { value } => oom_score_adj(value),
        Op::Rlimit { resource, soft, hard } => sys::setrlimit(resource, soft, hard),
        Op::Sched { .. } => sched(op),
        Op::Nice { value } => sys::setpriority_self(value),
        Op::Affinity { mask } => sys::sched_set_affinity(mask),
        Op::IoPriority { value } => sys::ioprio_set(value),
        Op::TimerSlack { ns } => done(rustix::thread::set_current_timer_slack(NonZeroU64::new(ns))),
        Op::CoreScheduling => sys::set(sys::Set::CoreCookie),
        Op::MemoryPolicy { mode, nodes } => sys::set_mempolicy(mode, nodes),
        Op::Privilege(op) => privilege::apply(&op),
        Op::Cgroup(op) => cgroup::apply(&op, &fds),
        Op::ChrootPath { path } => done(rustix::process::chroot(path)),
        Op::ChrootSlot { slot } => fds.get(slot).and_then(fchdir).and_then(|()| sys::chroot_here()),
        Op::ChdirPath { path } => done(rustix::process::chdir(path)),
        Op::ChdirSlot { slot } => fds.get(slot).and_then(fchdir),
        Op::Umask { mode } => sys::umask(mode).map(drop),
        Op::Groups { list } => sys::setgroups(list),
        Op::Gid { real, effective, saved } => sys::set_res_gid(real, effective, saved),
        Op::Uid { real, effective, saved } => sys::set_res_uid(real, effective, saved),
        Op::DeathSignal { signal } => death_signal(signal, parent, init),
        Op::Subreaper => done(rustix::process::set_child_subreaper(Some(Pid::INIT))),
        Op::Personality { persona } => sys::set_personality(persona).map(drop),
        Op::NoNewPrivs => done(rustix::thread::set_no_new_privs(true)),
        Op::Confine(op) => confine::apply(&op, &fds),
        // Dispositions and mask are set at the end of the build, when no signal may be lost.
        Op::SignalIgnore { .. } | Op::SignalMask { .. } | Op::SignalDefault { .. } => Ok(()),
        // So are filter and threads: what comes before has no use for them.
        Op::Seccomp { .. } | Op::SeccompStrict | Op::Thread { .. } => Ok(()),
        Op::Mount(ref op) => {
            let fd = op.slot().map_or(Ok(-1), |slot| fds.get(slot))?;
            mount::apply(op, fd, &mut fds.world)
        }
        // The start is not applied but entered; see `start`.
        Op::ExecPath { .. } | Op::ExecSlot { .. } | Op::ExecName { .. } | Op::StartRegs { .. } => {
            Err(Errno::INVAL)
        }
        _ => {
            let slot = match *op {
                Op::MapSlot { slot, .. }
                | Op::WriteSlot { slot, .. }
                | Op::ReadSlot { slot, .. } => fds.get(slot)?,
                _ => -1,
            };
            let own = context.own.as_ref().ok_or(Errno::PERM)?;
            return memory::apply(op, slot, own);
        }
    };
    let Descriptors { control, owner, world, .. } = fds;
    (context.control, context.owner, context.world) = (control, owner, world);
    outcome.map(|()| 0)
}

/// The outcome of a call of rustix's, whose value does not matter.
fn done<T>(outcome: rustix::io::Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Borrows a descriptor of this task's own table.
pub(crate) fn borrow<'a>(fd: i32) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not -1, and nothing but this interpreter closes a descriptor in this task's table;
    // were it closed all the same, the kernel answers EBADF.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn controlling_tty(fd: i32) -> Result<()> {
    done(rustix::process::ioctl_tiocsctty(borrow(fd)?))
}

/// Every signal is blocked during a build, so SIGTTOU cannot stop a child that is not yet in the
/// foreground: the kernel lets a task that blocks it set the group.
fn foreground(fd: i32) -> Result<()> {
    // A group from outside the pid namespace has no number that the call would know.
    let group = Pid::from_raw(sys::getpgrp()?).ok_or(Errno::SRCH)?;
    done(rustix::termios::tcsetpgrp(borrow(fd)?, group))
}

fn fchdir(fd: i32) -> Result<()> {
    done(rustix::process::fchdir(borrow(fd)?))
}

fn sched(op: &Op<'_>) -> Result<()> {
    let Op::Sched { policy, priority, flags, runtime_ns, deadline_ns, period_ns } = *op else {
        return Err(Errno::INVAL);
    };
    // The nice value travels in the same struct and is to stay what it is.
    let nice = sys::sched_getattr(0)?.nice;
    let flags = flags.into();
    sys::sched_setattr(&SchedAttr {
        policy,
        flags,
        nice,
        priority,
        runtime_ns,
        deadline_ns,
        period_ns,
        ..SchedAttr::default()
    })
}

/// Sets the signal, then looks whether the parent died in between: the kernel looks only at the
/// moment of its death.
///
/// In a pid namespace with an init the parent is that init's, which passes the signal on.
fn death_signal(signal: u32, parent: i32, init: i32) -> Result<()> {
    if init >= 0 {
        return sys::send_with_fds(init, &[signal as u8], &[], &[]);
    }
    // SAFETY: a death signal is only sent, never handled here; the number was checked to be a
    // signal, and a real-time one has no name that rustix could check.
    let signal = unsafe { Signal::from_raw_unchecked(signal as i32) };
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    // 0: the parent is outside this pid namespace, and cannot be told from another that is.
    let now = sys::getppid()?;
    if parent != 0 && now != 0 && now != parent { Err(Errno::SRCH) } else { Ok(()) }
}

fn oom_score_adj(value: i32) -> Result<()> {
    let file = sys::open(c"/proc/self/oom_score_adj", 1)?;
    let mut digits = [0u8; 12];
    let text = decimal(value, &mut digits);
    let written = sys::write(file, text).map(drop);
    sys::close(file)?;
    written
}

/// Writes a number to the end of `buffer` and returns the part that was written.
pub(crate) fn decimal(value: i32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut from = buffer.len();
    for (at, byte) in buffer.iter_mut().enumerate().rev() {
        from = at;
        if rest == 0 && at < 11 {
            if value < 0 {
                *byte = b'-';
            } else {
                from = at.wrapping_add(1);
            }
            break;
        }
        *byte = b'0'.wrapping_add((rest % 10) as u8);
        rest /= 10;
    }
    buffer.get(from..).unwrap_or(&[])
}

/// The op that starts the image, with its index.
pub(crate) fn start_op<'a>(plan: &Plan<'a>) -> Option<(u32, OpCode, Op<'a>)> {
    let index = (plan.entries().len() as u32).wrapping_sub(1);
    let op = plan.op(index)?;
    op.is_start().then_some((index, op.code(), op))
}

#[cfg(test)]
mod tests {
    use super::{Context, Dispositions, World, apply_one, decimal};
    use embryo_plan::{MapFlags, Op, Slot};
    use embryo_syscall::Errno;

    /// In memory that is somebody else's, too, every op on it is refused, whatever it would do there.
    #[test]
    fn ops_on_memory_are_refused_without_memory_of_ones_own() {
        let (addr, len, slot, flags) = (1 << 40, 4096, Slot(0), MapFlags::empty());
        let ops = [
            Op::Map { addr, len, prot: 0, flags },
            Op::MapSlot { slot, addr, len, prot: 0, flags, offset: 0 },
            Op::Unmap { addr, len },
            Op::Protect { addr, len, prot: 0 },
            Op::Remap { addr, len, to: 0, to_len: len },
            Op::Advise { addr, len, advice: 0 },
            Op::Lock { addr, len },
            Op::NameRegion { addr, len, name: c"a" },
            Op::Write { addr, contents: b"a" },
            Op::WriteSlot { slot, addr, len, offset: 0 },
            Op::ReadSlot { slot, addr, len, offset: 0 },
            Op::Fill { addr, len, byte: 0 },
            Op::SignalAction { signal: 1, flags: 0, handler: 0, restorer: 0, mask: 0 },
            Op::MmLayout { layout: &[1; 88], auxv: &[] },
            Op::MoveVdso { to: 0 },
            Op::DropVdso,
        ];
        for op in ops {
            let mut context = Context {
                slots: &mut [0],
                control: -1,
                owner: -1,
                clean_table: false,
                table_end: 0,
                parent: 0,
                caller_mask: 0,
                dispositions: Dispositions::Any,
                own: None,
                world: World::INHERITED,
                executor: None,
                results: &mut [],
                trace: &mut [],
                traced: 0,
            };
            assert_eq!(apply_one(&op, &mut context), Err(Errno::PERM), "{op:?}");
        }
    }

    #[test]
    fn decimal_writes_what_format_would() {
        for value in [0, 1, -1, 9, 10, -1000, 1000, 999, i32::MAX, i32::MIN] {
            extern crate std;
            assert_eq!(decimal(value, &mut [0; 12]), std::format!("{value}").as_bytes());
        }
    }
}
