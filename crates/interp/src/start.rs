//! The end of a build: descriptors, dispositions and mask as the image is to find them, then exec.

use crate::fault::{Fault, Step};
use crate::fds::Descriptors;
use crate::ops::{Context, start_op};
use crate::registers::{Start, enter};
use crate::seccomp;
use crate::signals::{Wanted, set_dispositions};
use core::ffi::{CStr, c_char};
use embryo_plan::{ExecFlags, Op, Plan};
use embryo_syscall::{self as sys, Errno};

/// The pointer arrays that execve(2) takes, prepared by the executor.
///
/// Both end with NULL. In front of `argv[0]` there is one spare element, which is written when a
/// file is handed to the shell, so an image whose plan has [`ExecFlags::SHELL`] must not be
/// shared between executions.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// Address of `argv[0]`.
    pub argv: *mut *const c_char,
    /// Address of `envp[0]`.
    pub envp: *const *const c_char,
}

/// What an executor tells its owner on the way into the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The image is about to be entered.
    Entering,
    /// A filter has been installed: the index of its op, and the descriptor of its listener. The calls
    /// that tell so have to pass the filter.
    Listening(u32, i32),
}

/// Whoever hands such news on. What [`News::Entering`] comes to does not matter.
pub type Tell<'a> = &'a mut dyn FnMut(&Context<'_>, News) -> Result<(), Errno>;

const SHELL: &CStr = c"/bin/sh";

/// Closes what was not granted, sets dispositions and mask, tells that the image is entered and
/// executes it. It returns only to say what failed.
///
/// # Safety
/// - `image` must hold the arrays of this plan's argv and envp, as [`Image`] says, alive and, if
///   the plan has [`ExecFlags::SHELL`], not in use by anybody else.
/// - The calling task must be a child made for this plan.
#[must_use]
pub unsafe fn start(
    plan: &Plan<'_>,
    context: &mut Context<'_>,
    image: &Image,
    tell: Tell<'_>,
) -> Fault {
    let Some((index, code, op)) = start_op(plan) else {
        return Fault::step(Step::Decode, Errno::INVAL);
    };
    let fail = |errno| Fault::op(index, code, errno);
    let fds = Descriptors {
        slots: context.slots,
        control: context.control,
        owner: context.owner,
        world: context.world,
    };
    let file = match op {
        Op::ExecSlot { slot, .. } => match fds.get(slot) {
            Ok(fd) => fd,
            Err(errno) => return fail(errno),
        },
        _ => -1,
    };
    let stays = matches!(op, Op::ExecSlot { flags, .. } if flags.contains(ExecFlags::KEEP_OPEN));
    let wanted = Wanted::by(plan, context.caller_mask);
    if let Op::StartRegs { page, regset, leave } = op {
        let start = Start { page, regset, leave };
        // SAFETY: the caller vouches for the task, and an address space of its own is asked for.
        return unsafe { enter(plan, context, &wanted, &start, tell) };
    }
    if !context.clean_table
        && let Err(fault) = fds.close_others(plan, if stays { file } else { -1 }, context.table_end)
    {
        return fault;
    }
    if stays && let Err(errno) = sys::fcntl_setfd(file, false) {
        return fail(errno);
    }
    if let Err(errno) = set_dispositions(&wanted, context.dispositions) {
        return Fault::step(Step::Signals, errno);
    }
    let _ = tell(context, News::Entering);
    if let Err(errno) = sys::set_mask(wanted.mask) {
        return Fault::step(Step::Signals, errno);
    }
    // Last of all: from here on every call has to pass it, the report of a failure too.
    let mut listening = |index, fd| tell(context, News::Listening(index, fd));
    if let Err(fault) = seccomp::install(plan, &mut listening) {
        let _ = sys::set_mask(sys::ALL_SIGNALS);
        return fault;
    }
    // SAFETY: the caller vouches for the image.
    let errno = unsafe { exec(&op, file, image) };
    // What follows is the report, during which no signal should end the child.
    let _ = sys::set_mask(sys::ALL_SIGNALS);
    fail(errno)
}

/// # Safety
/// As [`start`].
unsafe fn exec(op: &Op<'_>, file: i32, image: &Image) -> Errno {
    match *op {
        Op::ExecPath { path, flags } => {
            // SAFETY: the caller vouches for the image.
            unsafe { exec_file(path, flags, image) }
        }
        Op::ExecSlot { .. } => {
            // SAFETY: the caller vouches for the image.
            unsafe { sys::execveat_fd(file, image.argv, image.envp) }
        }
        Op::ExecName { name, search, flags } => {
            // SAFETY: the caller vouches for the image.
            unsafe { exec_search(name, search, flags, image) }
        }
        _ => Errno::INVAL,
    }
}

/// # Safety
/// As [`start`].
unsafe fn exec_file(path: &CStr, flags: ExecFlags, image: &Image) -> Errno {
    // SAFETY: the caller vouches for the image.
    let errno = unsafe { sys::execve(path, image.argv, image.envp) };
    if errno != Errno::NOEXEC || !flags.contains(ExecFlags::SHELL) {
        return errno;
    }
    // sh FILE ARG...: argv[0] gives way to the file's path, the shell's name goes in front of it.
    let argv = image.argv.wrapping_sub(1);
    // SAFETY: the spare element in front of argv[0], which this execution owns.
    unsafe { argv.write(SHELL.as_ptr()) };
    // SAFETY: argv[0], likewise.
    let name = unsafe { image.argv.read() };
    // SAFETY: argv[0], which exists since the checker refuses an empty argv.
    unsafe { image.argv.write(path.as_ptr()) };
    // SAFETY: the arrays are those of the caller with one element more in front.
    let _ = unsafe { sys::execve(SHELL, argv, image.envp) };
    // There is no shell. A search may go on with the next file, which is to find its own name.
    // SAFETY: as above.
    unsafe { image.argv.write(name) };
    Errno::NOEXEC
}

/// The rules of execvp(3): a name with a slash is a path; an unreadable candidate is remembered
/// and the search goes on; the first file that the kernel refuses for another reason ends it.
///
/// # Safety
/// As [`start`].
// Not inlined: its buffer is a page of stack that no other exec should have to touch.
#[inline(never)]
unsafe fn exec_search(name: &CStr, search: &CStr, flags: ExecFlags, image: &Image) -> Errno {
    if name.to_bytes().contains(&b'/') {
        // SAFETY: the caller vouches for the image.
        return unsafe { exec_file(name, flags, image) };
    }
    let mut denied = false;
    let mut last = Errno::NOENT;
    let mut buffer = [0u8; embryo_plan::limits::PATH_BYTES_MAX];
    for directory in search.to_bytes().split(|byte| *byte == b':') {
        let Some(path) = join(directory, name.to_bytes(), &mut buffer) else {
            last = Errno::NAMETOOLONG;
            continue;
        };
        // SAFETY: the caller vouches for the image.
        match unsafe { exec_file(path, flags, image) } {
            Errno::ACCES => denied = true,
            errno @ (Errno::NOENT
            | Errno::STALE
            | Errno::NOTDIR
            | Errno::NODEV
            | Errno::TIMEDOUT
            | Errno::NAMETOOLONG) => last = errno,
            errno => return errno,
        }
    }
    if denied { Errno::ACCES } else { last }
}

/// `directory/name` in `buffer`; an empty directory is the working directory. `None`: too long.
fn join<'a>(directory: &[u8], name: &[u8], buffer: &'a mut [u8]) -> Option<&'a CStr> {
    let slash: &[u8] = if directory.is_empty() { b"./" } else { b"/" };
    let mut at = 0usize;
    for part in [directory, slash, name, &[0]] {
        let end = at.checked_add(part.len())?;
        buffer.get_mut(at..end)?.copy_from_slice(part);
        at = end;
    }
    CStr::from_bytes_until_nul(buffer).ok()
}
