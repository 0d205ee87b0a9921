//! Signal dispositions and the mask, at the kernel's own width of 64 signals.
//!
//! libc hides signals 32 and 33 and keeps its own idea of the mask; a child that is being built
//! has to see what the kernel sees.

use crate::Result;
use crate::raw::syscall;
use linux_raw_sys::general::{__NR_rt_sigaction, __NR_rt_sigprocmask};

/// Every signal, 1 to 64; bit n-1 stands for signal n.
pub const ALL_SIGNALS: u64 = u64::MAX;

const SIG_SETMASK: usize = 2;

/// What happens when a signal arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The default action.
    Default,
    /// It is dropped.
    Ignore,
    /// A handler is called. It can be seen here, not set.
    Handled,
}

/// `struct kernel_sigaction`, large enough for both machines' layouts.
#[repr(C)]
#[derive(Default)]
struct KernelSigaction {
    handler: usize,
    flags: usize,
    // On x86_64 a restorer stands between the flags and the mask; on aarch64 these eight bytes
    // are the mask. Zero is right for both, and the size is never below the kernel's.
    third: usize,
    fourth: usize,
}

/// `rt_sigaction(2)`: sets the disposition of one signal. A handler cannot be set; EINVAL.
pub fn set_disposition(signal: u32, to: Disposition) -> Result<()> {
    let handler = match to {
        Disposition::Default => 0,
        Disposition::Ignore => 1,
        Disposition::Handled => return Err(crate::Errno::INVAL),
    };
    let action = KernelSigaction { handler, ..KernelSigaction::default() };
    // SAFETY: `action` is a live kernel_sigaction; the old action is not asked for; no handler
    // is installed, so nothing will be called.
    unsafe { syscall!(__NR_rt_sigaction, signal, &raw const action, 0usize, 8usize) }.map(drop)
}

/// An action with a handler, for an image that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// 0 default, 1 ignore, else an address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u32,
    /// The address of the code that returns from a handler.
    pub restorer: u64,
    /// Signals blocked meanwhile.
    pub mask: u64,
}

/// `rt_sigaction(2)`: sets any action.
///
/// # Safety
/// The signal must stay blocked until the code behind the addresses is there.
pub unsafe fn set_action(signal: u32, action: &Action) -> Result<()> {
    const SA_RESTORER: usize = 0x0400_0000;
    let Action { handler, flags, restorer, mask } = *action;
    let mut words = [handler as usize, flags as usize, mask as usize, 0];
    if cfg!(target_arch = "x86_64") {
        // The restorer stands between flags and mask, and only counts with its flag.
        let with = if restorer == 0 { 0 } else { SA_RESTORER };
        words = [handler as usize, flags as usize | with, restorer as usize, mask as usize];
    }
    // SAFETY: `words` is laid out as the machine's kernel_sigaction; the caller sees to the rest.
    unsafe { syscall!(__NR_rt_sigaction, signal, &raw const words, 0usize, 8usize) }.map(drop)
}

/// `rt_sigaction(2)`: the disposition of one signal.
pub fn get_disposition(signal: u32) -> Result<Disposition> {
    let mut action = KernelSigaction::default();
    // SAFETY: the kernel writes one kernel_sigaction to `action`, which is at least that large.
    unsafe { syscall!(__NR_rt_sigaction, signal, 0usize, &raw mut action, 8usize) }?;
    Ok(match action.handler {
        0 => Disposition::Default,
        1 => Disposition::Ignore,
        _ => Disposition::Handled,
    })
}

/// `rt_sigprocmask(2)` with `SIG_SETMASK`: sets the calling thread's mask, returns the old one.
pub fn set_mask(mask: u64) -> Result<u64> {
    let mut old = 0u64;
    // SAFETY: both pointers are to live u64s, the kernel's sigset_t of eight bytes.
    unsafe { syscall!(__NR_rt_sigprocmask, SIG_SETMASK, &raw const mask, &raw mut old, 8usize) }?;
    Ok(old)
}
