//! When each op ran and what it answered, for those who asked.

/// One op that was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Trace {
    /// Index of the op, or the number of a step.
    pub index: u32,
    /// The errno; 0 if it succeeded.
    pub errno: u32,
    /// Nanoseconds that it took.
    pub ns: u64,
}

/// The monotonic clock in nanoseconds. The system call, not the vDSO: the child may not look for
/// that one.
#[must_use]
pub fn now_ns() -> u64 {
    embryo_syscall::monotonic_ns()
}
