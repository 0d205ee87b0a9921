//! The system call instruction, and turning what it leaves into a `Result`.

use crate::{Errno, Result};
use core::ffi::c_long;

/// Turns the register that a system call leaves into a value or an errno.
#[inline(always)]
pub(crate) fn ret(value: isize) -> Result<usize> {
    // The kernel reserves -4095..=-1 for errors; no other result lies there.
    if (-4095..0).contains(&value) {
        Err(Errno::new((value as i32).wrapping_neg() as u16))
    } else {
        Ok(value as usize)
    }
}

/// One system call with six arguments; unused ones are zero.
///
/// # Safety
/// The call `nr` with these arguments must be sound: every pointer among them valid for what the
/// kernel does with it, and its effect on the process one that the caller may cause.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn syscall6(
    nr: u32,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let out: isize;
    // SAFETY: the caller vouches for the call; the instruction itself clobbers rcx and r11 only.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") nr as isize => out,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    out
}

/// One system call with six arguments; unused ones are zero.
///
/// # Safety
/// As on x86_64.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) unsafe fn syscall6(
    nr: u32,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let out: isize;
    // SAFETY: the caller vouches for the call; svc clobbers only the result register.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") nr as usize,
            inlateout("x0") a as isize => out,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    out
}

/// The width in which a C `long` travels; equal to `usize` on every supported machine.
const _: () = assert!(size_of::<c_long>() == size_of::<usize>());

/// Writes a system call without its trailing zeros.
macro_rules! syscall {
    ($nr:expr) => { syscall!($nr, 0usize) };
    ($nr:expr, $a:expr) => { syscall!($nr, $a, 0usize) };
    ($nr:expr, $a:expr, $b:expr) => { syscall!($nr, $a, $b, 0usize) };
    ($nr:expr, $a:expr, $b:expr, $c:expr) => { syscall!($nr, $a, $b, $c, 0usize) };
    ($nr:expr, $a:expr, $b:expr, $c:expr, $d:expr) => { syscall!($nr, $a, $b, $c, $d, 0usize) };
    ($nr:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        $crate::raw::ret($crate::raw::syscall6(
            $nr, $a as usize, $b as usize, $c as usize, $d as usize, $e as usize, 0,
        ))
    };
}
pub(crate) use syscall;
