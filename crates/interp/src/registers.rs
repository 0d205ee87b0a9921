//! The start by registers: no exec, so everything that exec would do away with goes here.
//!
//! Whatever can fail is done before anything is lost: the area that is leapt from is made, further
//! threads wait in it, and whether the filter would be taken is asked. It must never leave one of
//! those behind when something fails.

use crate::fault::Fault;
use crate::fds::Descriptors;
use crate::memory::{self, Own};
use crate::ops::{Context, start_op};
use crate::seccomp;
use crate::signals::{Wanted, set_dispositions};
use crate::start::{News, Tell};
use embryo_plan::{MapFlags, Op, OpCode, Plan, Regset, ranges};
use embryo_syscall::{self as sys, Errno, Leap, LeapRegs};

/// The name of a process that was started by registers, until it takes one.
const STARTED_NAME: [u8; 16] = *b"embryo\0\0\0\0\0\0\0\0\0\0";

type Result<T> = core::result::Result<T, Errno>;

/// What the start op says.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    /// Where the area is to be, or 0.
    pub(crate) page: u64,
    /// The first thread's registers.
    pub(crate) regset: &'a [u8],
    /// What goes away besides the executor.
    pub(crate) leave: &'a [u8],
}

/// Enters the address space that was built, with these registers. It returns only to say why it
/// could not.
///
/// # Safety
/// The calling task must be a process made for this plan, with one thread, whose memory outside
/// the plan's regions is in `start.leave`.
// Not inlined: its tables are stack that no exec should have to touch.
#[inline(never)]
pub(crate) unsafe fn enter(
    plan: &Plan<'_>,
    context: &mut Context<'_>,
    wanted: &Wanted,
    start: &Start<'_>,
    tell: Tell<'_>,
) -> Fault {
    let (index, code) =
        start_op(plan).map_or((0, OpCode::StartRegs), |(index, code, _)| (index, code));
    let fail = |errno| Fault::op(index, code, errno);
    let Some(own) = context.own else { return fail(Errno::PERM) };
    if let Err(fault) = seccomp::allowed(plan) {
        return fault;
    }
    let mut area = Area { at: 0, len: 0 };
    let first = Thread { index, code, mask: wanted.mask, clear_tid: 0, regset: start.regset };
    let leap = prepare(plan, &own, first, start, &mut area);
    let leap = match leap.and_then(|leap| clone_threads(plan, leap)) {
        Ok(leap) => leap,
        Err(fault) => {
            area.give_back();
            return fault;
        }
    };
    if let Err(errno) = set_dispositions(wanted, context.dispositions) {
        leap.abandon();
        area.give_back();
        return fail(errno);
    }
    let _ = tell(context, News::Entering);
    let name = core::ffi::CStr::from_bytes_until_nul(&STARTED_NAME).unwrap_or_default();
    let _ = rustix::thread::set_name(name);
    Descriptors {
        slots: context.slots,
        control: context.control,
        owner: context.owner,
        world: context.world,
    }
    .close_own();
    // SAFETY: no thread but those that wait in the area, no thread-local storage, and what is
    // unmapped is the seed's, as the caller vouches.
    unsafe { leap.go() }
}

/// The pages that are leapt from.
struct Area {
    at: u64,
    len: u64,
}

impl Area {
    fn map(page: u64, len: u64, own: &Own) -> Result<Self> {
        const RW: u32 = 3;
        let flags = if page == 0 { MapFlags::empty() } else { MapFlags::FIXED };
        let op = Op::Map { addr: page, len, prot: RW, flags };
        memory::apply(&op, -1, own).map(|at| Self { at, len })
    }

    fn meets(&self, [from, len]: &[u64; 2]) -> bool {
        *from < self.at.wrapping_add(self.len) && self.at < from.saturating_add(*len)
    }

    /// So that a start that failed can be tried again.
    fn give_back(&self) {
        if self.len != 0 {
            // SAFETY: mapped here, and nobody is in it.
            let _ = unsafe { sys::munmap(self.at, self.len) };
        }
    }
}

/// A thread, and the op that says it.
#[derive(Clone, Copy)]
struct Thread<'a> {
    index: u32,
    code: OpCode,
    mask: u64,
    clear_tid: u64,
    regset: &'a [u8],
}

impl Thread<'_> {
    fn fault(&self, errno: Errno) -> Fault {
        Fault::op(self.index, self.code, errno)
    }
}

/// The further threads of a plan.
fn threads<'a>(plan: &Plan<'a>) -> impl Iterator<Item = Thread<'a>> {
    plan.ops().enumerate().filter_map(|(index, op)| match op {
        Some(Op::Thread { mask, clear_tid, regset }) => {
            Some(Thread { index: index as u32, code: OpCode::Thread, mask, clear_tid, regset })
        }
        _ => None,
    })
}

fn prepare(
    plan: &Plan<'_>,
    own: &Own,
    first: Thread<'_>,
    start: &Start<'_>,
    area: &mut Area,
) -> core::result::Result<Leap, Fault> {
    let all = || core::iter::once(first).chain(threads(plan));
    let fail = |errno| first.fault(errno);
    let mut gone = [[0u64; 2]; sys::LEAP_RANGES];
    let mut count = 0usize;
    // The seed goes first, then what the plan names.
    let own_ranges = own.map(|[from, to]| [from, to.wrapping_sub(from)]);
    for range in own_ranges.into_iter().filter(|[_, len]| *len != 0).chain(ranges(start.leave)) {
        *gone.get_mut(count).ok_or(fail(Errno::TOOBIG))? = range;
        count = count.wrapping_add(1);
    }
    let gone = gone.get(..count).unwrap_or(&[]);
    let filter = seccomp::of(plan);
    let mut size = sys::LeapSize::new(gone.len(), filter);
    for thread in all() {
        size.add_thread(Regset::state(thread.regset).is_some());
    }
    *area = Area::map(start.page, size.bytes() as u64, own).map_err(fail)?;
    if gone.iter().any(|range| area.meets(range)) {
        // Code that unmaps itself.
        return Err(fail(Errno::BUSY));
    }
    let at = area.at as *mut u8;
    // SAFETY: the area was mapped for this just now.
    let leap = unsafe { Leap::prepare(at, size, gone, filter, STARTED_NAME) };
    let mut leap = leap.map_err(fail)?;
    for thread in all() {
        let regs = registers(&thread).ok_or(thread.fault(Errno::NOEXEC))?;
        let state = Regset::state(thread.regset).unwrap_or(&[]);
        leap.add_thread(&regs, state).map_err(|errno| thread.fault(errno))?;
    }
    leap.seal().map_err(fail)?;
    Ok(leap)
}

/// Makes the further threads, which then wait; if one cannot be made, none is left.
fn clone_threads(plan: &Plan<'_>, mut leap: Leap) -> core::result::Result<Leap, Fault> {
    for thread in threads(plan) {
        // SAFETY: the area is sealed, and every signal is blocked during a build.
        if let Err(errno) = unsafe { leap.clone_thread() } {
            leap.abandon();
            return Err(thread.fault(errno));
        }
    }
    leap.await_threads();
    Ok(leap)
}

#[cfg(target_arch = "x86_64")]
fn registers(thread: &Thread<'_>) -> Option<LeapRegs> {
    let Thread { mask, clear_tid, regset, .. } = *thread;
    let Some(Regset::X86(regs)) = Regset::read(regset) else { return None };
    let general = [
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15,
        regs.rdi,
        regs.rsi,
        regs.rbp,
        regs.rbx,
        regs.rdx,
        regs.rax,
        regs.rcx,
        regs.rsp,
        regs.rip,
        regs.rflags,
    ]
    .map(|register| register.get());
    Some(LeapRegs { general, bases: [regs.fs_base.get(), regs.gs_base.get()], mask, clear_tid })
}

#[cfg(target_arch = "aarch64")]
fn registers(thread: &Thread<'_>) -> Option<LeapRegs> {
    let Thread { mask, clear_tid, regset, .. } = *thread;
    let Some(Regset::Arm(regs)) = Regset::read(regset) else { return None };
    let mut general = [0u64; 34];
    let all = regs.x.iter().chain([&regs.sp, &regs.pc, &regs.pstate]);
    for (to, from) in general.iter_mut().zip(all) {
        *to = from.get();
    }
    Some(LeapRegs { general, tpidr: regs.tpidr.get(), mask, clear_tid })
}
