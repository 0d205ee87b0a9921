//! The leap on aarch64.

use super::{Control, LEAP_FAILED};
use crate::{Errno, Result};
use core::sync::atomic::AtomicU32;
use linux_raw_sys::general::__NR_clone;

/// The vector state has its place in the frame.
pub(super) const STATE_ROOM: usize = 0;

/// What a thread starts with.
#[derive(Clone, Copy, Debug)]
pub struct LeapRegs {
    /// x0 to x30, sp, pc, pstate.
    pub general: [u64; 34],
    /// TPIDR_EL0.
    pub tpidr: u64,
    /// The signal mask.
    pub mask: u64,
    /// The word that is cleared when the thread ends, or 0. Of a further thread alone.
    pub clear_tid: u64,
}

core::arch::global_asm!(
    ".pushsection .text.embryo_leap, \"ax\", @progbits",
    ".globl embryo_leap_code",
    ".globl embryo_leap_thread",
    ".globl embryo_leap_code_end",
    // x19: the control, x22: the frame, x24: the thread pointer. Here x20: ranges as pairs, x21:
    // how many.
    "embryo_leap_code:",
    "2: cbz x21, 3f",
    "ldp x0, x1, [x20], #16",
    "mov x8, #215", // munmap
    "svc #0",
    "sub x21, x21, #1",
    "b 2b",
    "3: ldr x9, [x19, #8]",
    "cbz x9, 6f",
    // The further threads go, and nobody writes to the data any more.
    "mov w9, #1",
    "stlr w9, [x19]",
    "mov x0, x19",
    "mov x1, #129", // FUTEX_WAKE | FUTEX_PRIVATE_FLAG
    "mov w2, #0x7fffffff",
    "mov x8, #98", // futex
    "svc #0",
    "ldp x0, x1, [x19, #16]",
    "mov x2, #1",
    "mov x8, #226", // mprotect
    "svc #0",
    "b 6f",
    // A further thread begins here. x23: the word to clear.
    "embryo_leap_thread:",
    "add x10, x19, #4",
    "7: ldaxr w9, [x10]",
    "add w9, w9, #1",
    "stlxr w11, w9, [x10]",
    "cbnz w11, 7b",
    "mov x0, x10",
    "mov x1, #129",
    "mov x2, #1",
    "mov x8, #98",
    "svc #0",
    "4: ldar w9, [x19]",
    "cbnz w9, 5f",
    "mov x0, x19",
    "mov x1, #128", // FUTEX_WAIT | FUTEX_PRIVATE_FLAG
    "mov x2, #0",
    "mov x3, #0",
    "mov x8, #98",
    "svc #0",
    "b 4b",
    "5: cmp w9, #1",
    "b.ne 8f",
    "mov x0, x23",
    "mov x8, #96", // set_tid_address
    "svc #0",
    "mov x0, #15", // PR_SET_NAME
    "add x1, x19, #80",
    "mov x8, #167", // prctl
    "svc #0",
    // Every thread comes here.
    "6: msr tpidr_el0, x24",
    "ldr x9, [x19, #32]",
    "cbz x9, 9f",
    "ldp x0, x1, [x19, #40]",
    "ldr x2, [x19, #56]",
    "mov x8, #277", // seccomp
    "svc #0",
    "cbnz x0, 10f",
    "9: mov sp, x22",
    "mov x8, #139", // rt_sigreturn
    "svc #0",
    // Back from there, or without its filter: the process ends, one way or the other.
    "10: mov x0, #{failed}",
    "mov x8, #94", // exit_group
    "svc #0",
    "brk #1",
    "8: mov x0, #0",
    "mov x8, #93", // exit
    "svc #0",
    "brk #1",
    "embryo_leap_code_end:",
    ".popsection",
    failed = const LEAP_FAILED,
);

unsafe extern "C" {
    pub(super) static embryo_leap_code: u8;
    pub(super) static embryo_leap_thread: u8;
    pub(super) static embryo_leap_code_end: u8;
}

/// Where things lie.
pub(super) struct At {
    pub(super) code: *const u8,
    pub(super) control: *const Control,
    pub(super) frame: *const Frame,
}

/// Lets the processor see code that was written as data.
pub(super) fn flush(code: *const u8, len: usize) {
    // The smallest line that there can be.
    const LINE: usize = 16;
    for at in (0..len).step_by(LINE).map(|offset| code.wrapping_add(offset)) {
        // SAFETY: cleans a line of our own memory, which user space may.
        unsafe { core::arch::asm!("dc cvau, {at}", at = in(reg) at, options(nostack)) };
    }
    // SAFETY: waits.
    unsafe { core::arch::asm!("dsb ish", options(nostack)) };
    for at in (0..len).step_by(LINE).map(|offset| code.wrapping_add(offset)) {
        // SAFETY: drops what was fetched of a line, which user space may.
        unsafe { core::arch::asm!("ic ivau, {at}", at = in(reg) at, options(nostack)) };
    }
    // SAFETY: waits.
    unsafe { core::arch::asm!("dsb ish", "isb", options(nostack)) };
}

/// Makes a thread that begins at `at`.
///
/// # Safety
/// The code there must use nothing but its registers and what they point to, which must stay.
pub(super) unsafe fn clone_into(at: &At, tid: &AtomicU32, regs: &LeapRegs) -> Result<()> {
    // VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, CHILD_CLEARTID.
    const FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x20_0000;
    let out: isize;
    // SAFETY: in the caller the instructions only clobber what is listed. The new thread has its
    // stack pointer, which it does not use, and jumps. x19 cannot be named as an operand.
    unsafe {
        core::arch::asm!(
            "mov x25, x19",
            "mov x19, x9",
            "svc 0",
            "cbnz x0, 2f",
            "br x10",
            "2:",
            "mov x19, x25",
            in("x8") __NR_clone as usize,
            inlateout("x0") FLAGS as isize => out,
            in("x1") 0usize,
            in("x2") 0usize,
            in("x3") 0usize,
            in("x4") tid.as_ptr(),
            in("x9") at.control,
            in("x10") at.code,
            in("x22") at.frame,
            in("x23") regs.clear_tid,
            in("x24") regs.tpidr,
            out("x25") _,
        );
    }
    crate::raw::ret(out).map(drop)
}

/// Leaps.
///
/// # Safety
/// As [`super::Leap::go`].
pub(super) unsafe fn go(at: &At, ranges: *const [u64; 2], count: usize, regs: &LeapRegs) -> ! {
    // SAFETY: control never comes back. The code uses the area alone, and the caller vouches for
    // what it unmaps.
    unsafe {
        core::arch::asm!(
            "mov x19, x9",
            "br x10",
            in("x9") at.control,
            in("x10") at.code,
            in("x20") ranges,
            in("x21") count,
            in("x22") at.frame,
            in("x24") regs.tpidr,
            options(noreturn),
        )
    }
}

/// As much of `struct rt_sigframe` as the kernel reads; its end is the empty record.
#[repr(C, align(16))]
pub(super) struct Frame {
    siginfo: [u64; 16],
    flags: u64,
    link: u64,
    alt_stack: [u64; 3],
    mask: u64,
    unused: [u64; 15],
    padding: u64,
    fault_address: u64,
    general: [u64; 34],
    padding_too: u64,
    state_magic: u32,
    state_size: u32,
    fpsr: u32,
    fpcr: u32,
    vectors: [u8; 512],
    end: [u64; 2],
}

const _: () = assert!(core::mem::offset_of!(Frame, fault_address) == 128 + 176);
const _: () = assert!(core::mem::offset_of!(Frame, state_magic) == 128 + 176 + 288);

impl Frame {
    pub(super) fn new(regs: &LeapRegs) -> Self {
        const SS_DISABLE: u64 = 2;
        const FPSIMD_MAGIC: u32 = 0x4650_8001;
        const FPSIMD_BYTES: u32 = 528;
        Self {
            siginfo: [0; 16],
            flags: 0,
            link: 0,
            alt_stack: [0, SS_DISABLE, 0],
            mask: regs.mask,
            unused: [0; 15],
            padding: 0,
            fault_address: 0,
            general: regs.general,
            padding_too: 0,
            state_magic: FPSIMD_MAGIC,
            state_size: FPSIMD_BYTES,
            fpsr: 0,
            fpcr: 0,
            vectors: [0; 512],
            end: [0; 2],
        }
    }

    /// Takes v0 to v31, FPSR and FPCR.
    ///
    /// # Safety
    /// None is needed here; another machine needs the room.
    pub(super) unsafe fn set_state(&mut self, _: *mut u8, state: &[u8]) -> Result<()> {
        let (vectors, rest) = state.split_first_chunk::<512>().ok_or(Errno::INVAL)?;
        let (fpsr, rest) = rest.split_first_chunk::<8>().ok_or(Errno::INVAL)?;
        let fpcr = rest.first_chunk::<8>().ok_or(Errno::INVAL)?;
        self.vectors = *vectors;
        self.fpsr = u64::from_le_bytes(*fpsr) as u32;
        self.fpcr = u64::from_le_bytes(*fpcr) as u32;
        Ok(())
    }
}
