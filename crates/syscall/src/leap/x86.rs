//! The leap on x86_64.

use super::{Control, LEAP_FAILED};
use crate::raw::syscall;
use crate::{Errno, Result};
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::AtomicU32;
use linux_raw_sys::general::{__NR_arch_prctl, __NR_clone};

/// Room for the vector state of a thread.
pub(super) const STATE_ROOM: usize = 4096 + 64;

/// General registers in the order of `struct sigcontext`, and what else a thread starts with.
#[derive(Clone, Copy, Debug)]
pub struct LeapRegs {
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags.
    pub general: [u64; 18],
    /// fs and gs base.
    pub bases: [u64; 2],
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
    // r12: the control, r13: the frame behind its first word. Here r14: ranges as pairs, r15: how
    // many.
    "embryo_leap_code:",
    "2: test r15, r15",
    "jz 3f",
    "mov rdi, [r14]",
    "mov rsi, [r14 + 8]",
    "mov eax, 11", // munmap
    "syscall",
    "add r14, 16",
    "dec r15",
    "jmp 2b",
    "3: cmp qword ptr [r12 + 8], 0",
    "je 6f",
    // The further threads go, and nobody writes to the data any more.
    "mov dword ptr [r12], 1",
    "mov rdi, r12",
    "mov esi, 129", // FUTEX_WAKE | FUTEX_PRIVATE_FLAG
    "mov edx, 0x7fffffff",
    "mov eax, 202", // futex
    "syscall",
    "mov rdi, [r12 + 16]",
    "mov rsi, [r12 + 24]",
    "mov edx, 1",
    "mov eax, 10", // mprotect
    "syscall",
    "jmp 6f",
    // A further thread begins here. r14: its gs base, r15: the word to clear.
    "embryo_leap_thread:",
    "lock inc dword ptr [r12 + 4]",
    "lea rdi, [r12 + 4]",
    "mov esi, 129",
    "mov edx, 1",
    "mov eax, 202",
    "syscall",
    "4: mov eax, [r12]",
    "test eax, eax",
    "jnz 5f",
    "mov rdi, r12",
    "mov esi, 128", // FUTEX_WAIT | FUTEX_PRIVATE_FLAG
    "xor edx, edx",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "jmp 4b",
    "5: cmp eax, 1",
    "jne 8f",
    "mov rdi, r15",
    "mov eax, 218", // set_tid_address
    "syscall",
    "mov edi, 15", // PR_SET_NAME
    "lea rsi, [r12 + 80]",
    "mov eax, 157", // prctl
    "syscall",
    "mov edi, 0x1001", // ARCH_SET_GS
    "mov rsi, r14",
    "mov eax, 158", // arch_prctl
    "syscall",
    // Every thread comes here.
    "6: cmp qword ptr [r12 + 32], 0",
    "je 7f",
    "mov rdi, [r12 + 40]",
    "mov rsi, [r12 + 48]",
    "mov rdx, [r12 + 56]",
    "mov eax, 317", // seccomp
    "syscall",
    "test rax, rax",
    "jnz 9f",
    "7: mov rsp, r13",
    "mov eax, 15", // rt_sigreturn
    "syscall",
    // Back from there, or without its filter: the process ends, one way or the other.
    "9: mov edi, {failed}",
    "mov eax, 231", // exit_group
    "syscall",
    "ud2",
    "8: xor edi, edi",
    "mov eax, 60", // exit
    "syscall",
    "ud2",
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

impl At {
    /// What the stack pointer is when rt_sigreturn(2) is called: behind the frame's first word.
    fn stack(&self) -> *const Frame {
        self.frame.wrapping_byte_add(8)
    }
}

/// Nothing has to be done for code that was written as data.
pub(super) fn flush(_: *const u8, _: usize) {}

/// Makes a thread that begins at `at`.
///
/// # Safety
/// The code there must use nothing but its registers and what they point to, which must stay.
pub(super) unsafe fn clone_into(at: &At, tid: &AtomicU32, regs: &LeapRegs) -> Result<()> {
    // VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, CHILD_CLEARTID.
    const FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x20_0000;
    let out: isize;
    // SAFETY: in the caller the instructions only clobber what is listed. The new thread has its
    // stack pointer, which it does not use, and jumps.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "jmp r9",
            "2:",
            inlateout("rax") __NR_clone as isize => out,
            in("rdi") FLAGS,
            in("rsi") 0usize,
            in("rdx") 0usize,
            in("r10") tid.as_ptr(),
            in("r8") regs.bases[0],
            in("r9") at.code,
            in("r12") at.control,
            in("r13") at.stack(),
            in("r14") regs.bases[1],
            in("r15") regs.clear_tid,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    crate::raw::ret(out).map(drop)
}

/// Leaps.
///
/// # Safety
/// As [`super::Leap::go`].
pub(super) unsafe fn go(at: &At, ranges: *const [u64; 2], count: usize, regs: &LeapRegs) -> ! {
    const ARCH_SET_GS: usize = 0x1001;
    const ARCH_SET_FS: usize = 0x1002;
    // The bases were checked to be addresses, for which these calls cannot fail.
    // SAFETY: nothing is behind the thread pointers.
    let _ = unsafe { syscall!(__NR_arch_prctl, ARCH_SET_FS, regs.bases[0]) };
    // SAFETY: as above.
    let _ = unsafe { syscall!(__NR_arch_prctl, ARCH_SET_GS, regs.bases[1]) };
    // SAFETY: control never comes back. The code uses the area alone, and the caller vouches for
    // what it unmaps.
    unsafe {
        core::arch::asm!(
            "jmp {code}",
            code = in(reg) at.code,
            in("r12") at.control,
            in("r13") at.stack(),
            in("r14") ranges,
            in("r15") count,
            options(noreturn),
        )
    }
}

#[repr(C, align(16))]
pub(super) struct Frame {
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

impl Frame {
    pub(super) fn new(regs: &LeapRegs) -> Self {
        // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS; without floating-point state it is cleared.
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

    /// Puts an XSAVE or FXSAVE image into `room`, as the kernel would have left it in a frame.
    ///
    /// # Safety
    /// `room` must be [`STATE_ROOM`] zeroed bytes, aligned to 64, that nobody else uses.
    pub(super) unsafe fn set_state(&mut self, room: *mut u8, state: &[u8]) -> Result<()> {
        const UC_FP_XSTATE: u64 = 1;
        const MAGIC1: u32 = 0x4650_5853;
        const MAGIC2: u32 = 0x4650_5845;
        const LEGACY: usize = 512;
        const MAGIC1_AT: usize = 464;
        if state.len() > STATE_ROOM - 64 {
            return Err(Errno::TOOBIG);
        }
        // SAFETY: the room is as large, as was just compared.
        unsafe { core::ptr::copy_nonoverlapping(state.as_ptr(), room, state.len()) };
        self.fpstate = room as u64;
        // An XSAVE image is one by its header; what is not in it is cleared. Without it the kernel
        // takes the first 512 bytes and clears the rest.
        let Some(components) = state.get(LEGACY..).and_then(|rest| rest.first_chunk()) else {
            return Ok(());
        };
        let components = u64::from_le_bytes(*components);
        let size = state_size(components)?;
        if size as usize > state.len() {
            return Err(Errno::INVAL);
        }
        self.flags |= UC_FP_XSTATE;
        // struct _fpx_sw_bytes: magic, size with the second magic, components, size.
        let software = [
            u64::from(MAGIC1) | u64::from(size.wrapping_add(4)) << 32,
            components,
            u64::from(size),
        ];
        let software_at: *mut [u64; 3] = room.wrapping_add(MAGIC1_AT).cast();
        // SAFETY: within the first 512 bytes of the room.
        unsafe { software_at.write_unaligned(software) };
        let magic2_at: *mut u32 = room.wrapping_add(size as usize).cast();
        // SAFETY: the room has 64 bytes more than the state, whose length the size is within.
        unsafe { magic2_at.write_unaligned(MAGIC2) };
        Ok(())
    }
}

/// Bytes of an XSAVE image of these components in its standard form.
///
/// # Errors
/// EOPNOTSUPP if processor or kernel does not have all of them.
fn state_size(components: u64) -> Result<u32> {
    const OSXSAVE: u32 = 1 << 27;
    const LEAF: u32 = 0xd;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let (low, high): (u32, u32);
    // SAFETY: the instruction is there, as was just asked, and only reads.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack));
    }
    let there = u64::from(low) | u64::from(high) << 32;
    if components & !there != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let mut size = 576u32;
    for component in (2..63u32).filter(|component| components >> component & 1 == 1) {
        let place = __cpuid_count(LEAF, component);
        size = size.max(place.ebx.wrapping_add(place.eax));
    }
    Ok(size)
}
