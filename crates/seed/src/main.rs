//! The entry point of the seed, and the four functions that the compiler takes for granted.
//!
//! There is no standard library, no libc and no allocator. A panic cannot happen, and the linker
//! is made to prove it: the handler calls a function that does not exist.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use embryo_seed::{CONTROL_FD, Memory, serve};

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym main,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {main}",
    "brk 1",
    main = sym main,
);

/// The memory of the only thread.
struct Once(UnsafeCell<Memory>);

// SAFETY: the process has one thread.
unsafe impl Sync for Once {}

static MEMORY: Once = Once(UnsafeCell::new(Memory::new()));

unsafe extern "C" {
    // The linker's: where this program begins and ends in memory.
    static __executable_start: u8;
    static _end: u8;
}

/// How far the stack may grow: more than the seed uses.
const STACK_BELOW: u64 = 256 << 10;

extern "C" fn main(stack: *const u64) -> ! {
    let page = embryo_plan::limits::PAGE;
    let own = [
        [&raw const __executable_start as u64, (&raw const _end as u64).next_multiple_of(page)],
        [(stack as u64).wrapping_sub(STACK_BELOW) & !(page - 1), stack_end(stack)],
    ];
    // SAFETY: `main` is entered once, so this is the only reference there ever is.
    let memory = unsafe { &mut *MEMORY.0.get() };
    // SAFETY: this process was made to be the image of whatever plan arrives.
    unsafe { serve(CONTROL_FD, own, memory) };
    embryo_syscall::exit(127)
}

/// Where the stack ends. The kernel puts the name of the executable at its very top, a word below
/// the end, and tells where in the auxiliary vector; see getauxval(3), AT_EXECFN.
fn stack_end(stack: *const u64) -> u64 {
    const AT_NULL: u64 = 0;
    const AT_EXECFN: u64 = 31;
    const WORD: u64 = 8;
    // SAFETY: the kernel starts a program with its argument count there.
    let argc = unsafe { stack.read() };
    // Behind it stand the arguments and a NULL, the environment and a NULL, the vector.
    let mut at = stack.wrapping_add(argc as usize + 2);
    // SAFETY: the environment ends with a NULL.
    while unsafe { at.read() } != 0 {
        at = at.wrapping_add(1);
    }
    at = at.wrapping_add(1);
    loop {
        // SAFETY: pairs of words, the last of which is AT_NULL.
        let kind = unsafe { at.read() };
        // SAFETY: as above.
        let value = unsafe { at.wrapping_add(1).read() };
        match kind {
            AT_EXECFN => {
                // SAFETY: a string that the kernel put there.
                let len = unsafe { core::ffi::CStr::from_ptr(value as *const _) }.count_bytes();
                let end = value + len as u64 + 1 + WORD;
                return end.next_multiple_of(embryo_plan::limits::PAGE);
            }
            AT_NULL => return stack as u64,
            _ => at = at.wrapping_add(2),
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        // Defined nowhere. If this appears in a link error, some code of the seed can panic.
        fn embryo_seed_code_can_panic() -> !;
    }
    // SAFETY: never linked, hence never called.
    unsafe { embryo_seed_code_can_panic() }
}

/// The memory functions that the compiler emits calls to.
mod memory {
    /// # Safety
    /// As memcpy(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction copies `len` bytes upwards, within both ranges, which the caller
        // vouches for; the direction flag is clear by the ABI.
        unsafe {
            core::arch::asm!(
                "rep movsb",
                inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags),
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        for at in 0..len {
            // SAFETY: within both ranges, which the caller vouches for. Volatile, so that the
            // compiler does not recognise the loop and call this very function.
            let byte = unsafe { from.wrapping_add(at).read_volatile() };
            // SAFETY: as above.
            unsafe { to.wrapping_add(at).write_volatile(byte) };
        }
        to
    }

    /// # Safety
    /// As memmove(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        if (to as usize) <= (from as usize) {
            // SAFETY: forwards is right when the target lies below the source.
            return unsafe { memcpy(to, from, len) };
        }
        for at in (0..len).rev() {
            // SAFETY: within both ranges, which the caller vouches for.
            let byte = unsafe { from.wrapping_add(at).read_volatile() };
            // SAFETY: as above.
            unsafe { to.wrapping_add(at).write_volatile(byte) };
        }
        to
    }

    /// # Safety
    /// As memset(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction fills `len` bytes upwards, within the range, which the caller
        // vouches for; the direction flag is clear by the ABI.
        unsafe {
            core::arch::asm!(
                "rep stosb",
                inout("rcx") len => _, inout("rdi") to => _, in("al") byte as u8,
                options(nostack, preserves_flags),
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        for at in 0..len {
            // SAFETY: within the range, which the caller vouches for.
            unsafe { to.wrapping_add(at).write_volatile(byte as u8) };
        }
        to
    }

    /// # Safety
    /// As memcmp(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
        for at in 0..len {
            // SAFETY: within both ranges, which the caller vouches for.
            let left = unsafe { a.wrapping_add(at).read_volatile() };
            // SAFETY: as above.
            let right = unsafe { b.wrapping_add(at).read_volatile() };
            if left != right {
                return i32::from(left) - i32::from(right);
            }
        }
        0
    }

    /// # Safety
    /// As memcmp(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
        // SAFETY: the caller vouches for both ranges.
        unsafe { memcmp(a, b, len) }
    }

    /// # Safety
    /// As strlen(3).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        let mut len = 0usize;
        // SAFETY: no further than the NUL, which the caller vouches for.
        while unsafe { text.wrapping_add(len).read_volatile() } != 0 {
            len = len.wrapping_add(1);
        }
        len
    }
}
