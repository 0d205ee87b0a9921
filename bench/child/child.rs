//! The child that every contender starts: it reads the clock, writes what it read, and exits.
//!
//! It has no libc and no start-up code, so that what is measured is the launch and not the child.
//! `build.rs` compiles it. It must never do anything before it has read the clock.
//!
//! With no argument it writes 8 bytes on descriptor 1: CLOCK_MONOTONIC in nanoseconds. With one,
//! it writes [`REPORT_WORDS`] words, which say also in what state it was started.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

use core::arch::{asm, global_asm};

/// Clock, blocked signals, ignored signals, environment strings, open descriptors.
const REPORT_WORDS: usize = 5;
/// Descriptors below this number are looked for.
const FD_LOOK_MAX: usize = 1024;

#[cfg(target_arch = "x86_64")]
mod nr {
    pub const WRITE: usize = 1;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const FCNTL: usize = 72;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod nr {
    pub const FCNTL: usize = 25;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const CLOCK_GETTIME: usize = 113;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
}

const CLOCK_MONOTONIC: usize = 1;
const F_GETFD: usize = 1;
const SIG_IGN: u64 = 1;
const SIGNAL_MAX: usize = 64;
/// The kernel's sigset is 8 bytes.
const SIGSET_SIZE: usize = 8;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    main = sym main,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "b {main}",
    main = sym main,
);

/// `stack` is the initial stack: argc, argv, a null, envp, a null.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    let mut report = [0_u64; REPORT_WORDS];
    report[0] = clock_ns();
    // SAFETY: the kernel put argc at the top of the initial stack.
    let argc = unsafe { stack.read() };
    let mut words = 1;
    if argc > 1 {
        report[1] = blocked_signals();
        report[2] = ignored_signals();
        // Above argc stand argv's pointers and a null; then comes envp.
        let envp = stack.wrapping_add(argc + 2);
        // SAFETY: the kernel ended envp with a null.
        report[3] = unsafe { env_count(envp) };
        report[4] = open_descriptors();
        words = REPORT_WORDS;
    }
    let size = words * size_of::<u64>();
    let written = call(nr::WRITE, [1, report.as_ptr() as usize, size, 0]);
    exit(if written == size as isize { 0 } else { 1 })
}

fn exit(status: usize) -> ! {
    loop {
        call(nr::EXIT_GROUP, [status, 0, 0, 0]);
    }
}

fn clock_ns() -> u64 {
    let mut time = [0_u64; 2];
    call(nr::CLOCK_GETTIME, [CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0, 0]);
    time[0] * 1_000_000_000 + time[1]
}

fn blocked_signals() -> u64 {
    let mut mask = 0_u64;
    call(nr::RT_SIGPROCMASK, [0, 0, &raw mut mask as usize, SIGSET_SIZE]);
    mask
}

fn ignored_signals() -> u64 {
    let mut ignored = 0;
    for signal in 1..=SIGNAL_MAX {
        // The kernel's sigaction: the handler stands first, and 32 bytes hold it on both machines.
        let mut action = [0_u64; 4];
        call(nr::RT_SIGACTION, [signal, 0, action.as_mut_ptr() as usize, SIGSET_SIZE]);
        if action[0] == SIG_IGN {
            ignored |= 1 << (signal - 1);
        }
    }
    ignored
}

/// # Safety
/// `envp` is an array of pointers that ends with a null.
unsafe fn env_count(envp: *const usize) -> u64 {
    let mut count = 0;
    // SAFETY: no null was met before `count`, so the array goes on at least to here.
    while unsafe { envp.wrapping_add(count).read() } != 0 {
        count += 1;
    }
    count as u64
}

fn open_descriptors() -> u64 {
    let mut open = 0;
    for fd in 0..FD_LOOK_MAX {
        if call(nr::FCNTL, [fd, F_GETFD, 0, 0]) >= 0 {
            open += 1;
        }
    }
    open
}

/// Every call made here writes only to what the caller's pointer names.
fn call(number: usize, args: [usize; 4]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel clobbers rcx and r11 and writes only through the pointers given above,
    // each of which names a live local of the needed size.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; svc clobbers nothing but x0.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3],
            options(nostack),
        );
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(2)
}
