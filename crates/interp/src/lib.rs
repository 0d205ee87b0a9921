//! The interpreter: it performs the ops of a checked plan on the task that calls it.
//!
//! It runs in a child that may share every byte of memory with a threaded parent, so it cannot
//! name an allocator, a lock, libc, thread-local storage or a panic: the crates it may use have
//! none, and `cargo xtask tidy` looks for their symbols in what the compiler made of it.
//! It must never decide anything; whatever can be known before the clone was decided before.
#![no_std]

mod cgroup;
mod child;
mod confine;
mod fault;
mod fds;
#[cfg(feature = "launcher")]
mod launcher;
mod memory;
mod mount;
mod namespace;
mod ops;
mod privilege;
mod registers;
mod seccomp;
mod signals;
mod start;
mod trace;
mod vdso;
mod world;

pub use child::{Brief, ChildState, STDIO_END, Shared, enter};
pub use fault::{Fault, Step};
#[cfg(feature = "launcher")]
pub use launcher::{Arena, End, Launch, Launched, clone3_refused, launch};
pub use memory::Own;
pub use ops::{Context, apply};
pub use signals::{Dispositions, ignore_signals, reset_dispositions};
pub use start::{Image, News, Tell, start};
pub use trace::{Trace, now_ns};
pub use world::{Executor, Move, World};

use embryo_plan::Plan;

/// Applies every op of a plan and starts its image. It returns only to say what failed.
///
/// # Safety
/// As [`start`]: `image` must hold the pointer arrays of this plan's argv and envp. The calling
/// task must be a child made for this plan, since whatever it was is lost.
#[must_use]
pub unsafe fn run(
    plan: &Plan<'_>,
    context: &mut Context<'_>,
    image: &Image,
    tell: Tell<'_>,
) -> Fault {
    if let Err(fault) = apply(plan, context) {
        return fault;
    }
    // SAFETY: the caller vouches for the image and for the task.
    unsafe { start(plan, context, image, tell) }
}
