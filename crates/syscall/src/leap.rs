//! Leaving for good: all registers at once, while the code that does it goes away.
//!
//! The last instructions of a seed run in one page of their own, which is left behind: it unmaps
//! everything else of the seed and then calls rt_sigreturn(2) on a frame that lies in the same
//! page. Nothing can be unmapped by code that lies in it, hence the page.

use crate::raw::syscall;
use crate::{Errno, Result};
#[cfg(target_arch = "x86_64")]
use linux_raw_sys::general::__NR_arch_prctl;
use linux_raw_sys::general::__NR_mprotect;

/// Bytes of the page.
pub const LEAP_PAGE: usize = 4096;
/// Ranges that may go away: the page has room for them beside code and frame.
pub const LEAP_RANGES: usize = 64;

/// General registers in the order of `struct sigcontext`, and the thread pointers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct LeapRegs {
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags.
    pub general: [u64; 18],
    /// fs and gs base.
    pub bases: [u64; 2],
    /// The signal mask.
    pub mask: u64,
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .text.embryo_leap, \"ax\", @progbits",
    ".globl embryo_leap_code",
    ".globl embryo_leap_code_end",
    // r14: ranges as pairs, r12: how many, r13: the frame behind its first word.
    "embryo_leap_code:",
    "2: test r12, r12",
    "jz 3f",
    "mov rdi, [r14]",
    "mov rsi, [r14 + 8]",
    "mov eax, 11",
    "syscall",
    "add r14, 16",
    "dec r12",
    "jmp 2b",
    "3: mov rsp, r13",
    "mov eax, 15",
    "syscall",
    "ud2",
    "embryo_leap_code_end:",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    static embryo_leap_code: u8;
    static embryo_leap_code_end: u8;
}

/// A page that is ready to be leapt from.
#[cfg(target_arch = "x86_64")]
#[derive(Debug)]
pub struct Leap {
    page: *mut u8,
    ranges: usize,
    bases: [u64; 2],
}

#[cfg(target_arch = "x86_64")]
impl Leap {
    const RANGES_AT: usize = 128;
    const FRAME_AT: usize = Self::RANGES_AT + LEAP_RANGES * 16;

    /// Writes code, ranges and frame to the page and makes it executable and read-only.
    ///
    /// # Safety
    /// `page` must be a private, writable, page-aligned mapping of [`LEAP_PAGE`] bytes that holds
    /// nothing else.
    pub unsafe fn prepare(page: *mut u8, regs: &LeapRegs, ranges: &[[u64; 2]]) -> Result<Self> {
        let from = &raw const embryo_leap_code;
        let len = (&raw const embryo_leap_code_end as usize).wrapping_sub(from as usize);
        if ranges.len() > LEAP_RANGES || len > Self::RANGES_AT {
            return Err(Errno::INVAL);
        }
        // SAFETY: the code's own bytes, and a page that the caller vouches for.
        unsafe { core::ptr::copy_nonoverlapping(from, page, len) };
        let table: *mut [u64; 2] = page.wrapping_add(Self::RANGES_AT).cast();
        // SAFETY: no more ranges than the page has room for.
        unsafe { core::ptr::copy_nonoverlapping(ranges.as_ptr(), table, ranges.len()) };
        let frame: *mut Frame = page.wrapping_add(Self::FRAME_AT).cast();
        // SAFETY: the frame fits behind the ranges (asserted below) and is aligned to 16.
        unsafe { frame.write(Frame::new(regs)) };
        // SAFETY: the page holds nothing else, and writing to it is over.
        unsafe { syscall!(__NR_mprotect, page, LEAP_PAGE, 5usize) }?;
        Ok(Self { page, ranges: ranges.len(), bases: regs.bases })
    }

    /// Leaps.
    ///
    /// # Safety
    /// Whatever the caller was is lost: the ranges are unmapped, the registers replaced. The
    /// caller must have no thread-local storage, nor another thread.
    pub unsafe fn go(self) -> ! {
        const ARCH_SET_GS: usize = 0x1001;
        const ARCH_SET_FS: usize = 0x1002;
        // The bases were checked to be addresses, for which these calls cannot fail.
        // SAFETY: nothing is behind the thread pointers.
        let _ = unsafe { syscall!(__NR_arch_prctl, ARCH_SET_FS, self.bases[0]) };
        // SAFETY: as above.
        let _ = unsafe { syscall!(__NR_arch_prctl, ARCH_SET_GS, self.bases[1]) };
        // SAFETY: control never comes back. The code reads the page only, and the caller vouches
        // for what it unmaps. rt_sigreturn expects the stack pointer behind the frame's first word.
        unsafe {
            core::arch::asm!(
                "jmp {code}",
                code = in(reg) self.page,
                in("r12") self.ranges,
                in("r13") self.page.wrapping_add(Self::FRAME_AT + 8),
                in("r14") self.page.wrapping_add(Self::RANGES_AT),
                options(noreturn),
            )
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[repr(C, align(16))]
struct Frame {
    /// Where a signal handler would return to; rt_sigreturn has it behind it already.
    return_to: u64,
    flags: u64,
    link: u64,
    alt_stack: [u64; 3],
    general: [u64; 18],
    segments: [u16; 4],
    error: u64,
    trap: u64,
    old_mask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
    mask: u64,
    siginfo: [u64; 16],
}

#[cfg(target_arch = "x86_64")]
impl Frame {
    fn new(regs: &LeapRegs) -> Self {
        // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS; no floating-point state, so it is cleared.
        const FLAGS: u64 = 6;
        const SS_DISABLE: u64 = 2;
        const USER_CS: u16 = 0x33;
        const USER_SS: u16 = 0x2b;
        Self {
            return_to: 0,
            flags: FLAGS,
            link: 0,
            alt_stack: [0, SS_DISABLE, 0],
            general: regs.general,
            segments: [USER_CS, 0, 0, USER_SS],
            error: 0,
            trap: 0,
            old_mask: 0,
            cr2: 0,
            fpstate: 0,
            reserved: [0; 8],
            mask: regs.mask,
            siginfo: [0; 16],
        }
    }
}

#[cfg(target_arch = "x86_64")]
const _: () = assert!(Leap::FRAME_AT + size_of::<Frame>() <= LEAP_PAGE);
