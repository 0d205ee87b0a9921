//! A timer that ends the calling process: whatever it hangs in, and though it was stopped.

use crate::Result;
use crate::raw::syscall;
use linux_raw_sys::general::{__NR_timer_create, __NR_timer_delete, __NR_timer_settime};

/// A POSIX timer whose signal is SIGKILL. exec deletes it, and so does [`Deadline::delete`].
#[derive(Clone, Copy, Debug)]
pub struct Deadline(i32);

impl Deadline {
    /// `timer_create(2)`, not armed. ENOSYS on kernels without POSIX timers.
    pub fn create() -> Result<Self> {
        const MONOTONIC: usize = 1;
        const SIGKILL: u64 = 9;
        // struct sigevent, 64 bytes: a value, then signal and way (0: the signal), then padding.
        let event = [0, SIGKILL, 0, 0, 0, 0, 0, 0u64];
        let mut id = 0i32;
        // SAFETY: the kernel reads a sigevent and writes an int.
        unsafe { syscall!(__NR_timer_create, MONOTONIC, &raw const event, &raw mut id) }?;
        Ok(Self(id))
    }

    /// `timer_settime(2)`: so many nanoseconds from now, once; 0 disarms it.
    pub fn set(self, ns: u64) -> Result<()> {
        const SECOND: u64 = 1_000_000_000;
        // struct itimerspec: interval, then value, each seconds and nanoseconds.
        let spec = [0, 0, ns / SECOND, ns % SECOND];
        // SAFETY: the kernel reads an itimerspec; the old value is not asked for.
        unsafe { syscall!(__NR_timer_settime, self.0, 0usize, &raw const spec, 0usize) }.map(drop)
    }

    /// `timer_delete(2)`.
    pub fn delete(self) {
        // SAFETY: no pointer is passed.
        let _ = unsafe { syscall!(__NR_timer_delete, self.0) };
    }
}
