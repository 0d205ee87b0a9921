//! The start by registers: no exec, so everything that exec would do away with goes here.

use crate::fds::Descriptors;
use crate::memory::Own;
use crate::ops::Context;
use crate::signals::{Wanted, set_dispositions};
use embryo_plan::{Regset, ranges};
use embryo_syscall::{self as sys, Errno};

/// The name of a process that was started by registers, until it takes one.
const STARTED_NAME: &core::ffi::CStr = c"embryo";

/// Enters the address space that was built, with these registers. It returns only to say why it
/// could not.
///
/// # Safety
/// The calling task must be a process made for this plan, with one thread, whose memory outside
/// the plan's regions is in `leave`.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn enter(
    context: &mut Context<'_>,
    wanted: &Wanted,
    page: u64,
    regset: &[u8],
    leave: &[u8],
    entering: &mut dyn FnMut(&Context<'_>),
) -> Errno {
    let Some(own) = context.own else { return Errno::PERM };
    let Some(Regset::X86(regs)) = Regset::read(regset) else { return Errno::NOEXEC };
    let registers = sys::LeapRegs {
        general: [
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
        .map(|register| register.get()),
        bases: [regs.fs_base.get(), regs.gs_base.get()],
        mask: wanted.mask,
    };
    let mut gone = [[0u64; 2]; sys::LEAP_RANGES];
    let mut count = 0usize;
    let own_ranges = own.map(|[from, to]| [from, to.wrapping_sub(from)]);
    for range in own_ranges.into_iter().filter(|[_, len]| *len != 0).chain(ranges(leave)) {
        let Some(to) = gone.get_mut(count) else { return Errno::TOOBIG };
        *to = range;
        count = count.wrapping_add(1);
    }
    // The seed goes first, then what the plan names.
    let leap = map_page(page, &own).and_then(|page| {
        // SAFETY: the page was mapped for this just now.
        unsafe { sys::Leap::prepare(page, &registers, gone.get(..count).unwrap_or(&[])) }
    });
    let leap = match leap {
        Ok(leap) => leap,
        Err(errno) => return errno,
    };
    if let Err(errno) = set_dispositions(wanted, context.dispositions) {
        return errno;
    }
    entering(context);
    let _ = rustix::thread::set_name(STARTED_NAME);
    Descriptors { slots: context.slots, control: context.control, owner: context.owner }
        .close_own();
    // SAFETY: one thread, no thread-local storage, and what is unmapped is the seed's, as the
    // caller vouches.
    unsafe { leap.go() }
}

#[cfg(target_arch = "x86_64")]
fn map_page(page: u64, own: &Own) -> Result<*mut u8, Errno> {
    use embryo_plan::{MapFlags, Op};
    const RW: u32 = 3;
    let flags = if page == 0 { MapFlags::empty() } else { MapFlags::FIXED };
    let op = Op::Map { addr: page, len: sys::LEAP_PAGE as u64, prot: RW, flags };
    crate::memory::apply(&op, -1, own).map(|at| at as *mut u8)
}

/// Not written for this machine yet: nothing of it could be tried.
///
/// # Safety
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) unsafe fn enter(
    _: &mut Context<'_>,
    _: &Wanted,
    _: u64,
    _: &[u8],
    _: &[u8],
    _: &mut dyn FnMut(&Context<'_>),
) -> Errno {
    Errno::NOSYS
}
