//! The creator's half of a direct launch: one clone, one wait with a deadline.
//!
//! The clone shares memory but, unlike vfork(2), does not suspend the caller in the kernel. The
//! caller sleeps on a futex that the kernel clears when the child leaves the address space, by
//! exec or by death (`CLONE_CHILD_CLEARTID`), and stops sleeping at a deadline: a child that
//! somebody stopped, or that hangs in a path on a dead file server, is killed and is a fault.
//! Whatever the child reads or runs on is given back only after that word was cleared.

extern crate alloc;

use crate::child::{Brief, ChildState, Shared, enter};
use crate::fault::{Fault, Step};
use crate::signals::Dispositions;
use crate::start::Image;
use crate::trace::{Trace, now_ns};
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_void};
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use embryo_plan::{OwnedPlan, Plan};
use embryo_syscall::{self as sys, CloneArgs, CloneFlags, Errno, StackSpan};
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::futex;

/// The largest page that the machine's kernels use: a guard has to be at least one.
const PAGE: usize = if cfg!(target_arch = "aarch64") { 64 << 10 } else { 4096 };
const STACK: usize = 64 << 10;
/// What a child sends at its end: nothing, until exec sets SIGCHLD, once it can no longer fail. So a
/// child that never became its image is nobody's ordinary child, which tells the two apart, and
/// neither a wait for any child nor an ignored SIGCHLD can reap it.
const NO_SIGNAL: u32 = 0;
const SIGKILL: u32 = 9;

/// How long a killed child may take to leave the address space before its memory is given up.
const GRACE: Duration = Duration::from_secs(1);

/// A child's stack with a guard page below it, and room for what the child is told. It is kept
/// and used for one launch after another.
#[derive(Debug)]
pub struct Arena {
    base: *mut c_void,
    len: usize,
}

// SAFETY: the mapping belongs to whoever owns the Arena; nothing about it is tied to a thread.
unsafe impl Send for Arena {}

impl Arena {
    /// Maps one with room for the pointers and records of this plan.
    ///
    /// # Errors
    /// What mmap(2) and mprotect(2) answer.
    pub fn new(plan: &Plan<'_>, trace: bool) -> Result<Self, Errno> {
        // Most plans fit into the least, so an arena made for one serves the next.
        let room = Room::of(plan, trace).total.max(48 << 10).next_multiple_of(PAGE);
        let len = PAGE + STACK + room;
        // SAFETY: a fresh private mapping at an address of the kernel's choice touches nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let arena = Self { base, len };
        // SAFETY: the first page of the mapping just made, which nobody uses yet.
        unsafe { rustix::mm::mprotect(base, PAGE, MprotectFlags::empty()) }?;
        Ok(arena)
    }

    /// Whether a plan fits.
    #[must_use]
    pub fn fits(&self, plan: &Plan<'_>, trace: bool) -> bool {
        Room::of(plan, trace).total <= self.len - PAGE - STACK
    }

    fn stack(&self) -> StackSpan {
        StackSpan { base: self.base.wrapping_byte_add(PAGE), len: STACK }
    }

    fn room(&self) -> *mut u8 {
        self.base.wrapping_byte_add(PAGE + STACK).cast()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`; no child runs on it, or `launch` would have kept it.
        let _ = unsafe { rustix::mm::munmap(self.base, self.len) };
    }
}

/// Where things lie in an arena's room: pointers first, for their alignment, then records, then
/// slots, then the shared words, then the brief.
struct Room {
    pointers: usize,
    trace_at: usize,
    traces: usize,
    slots_at: usize,
    shared_at: usize,
    brief_at: usize,
    total: usize,
}

impl Room {
    fn of(plan: &Plan<'_>, trace: bool) -> Self {
        // One spare in front of argv, and a NULL behind each array.
        let pointers = plan.argv().count() + plan.envp().count() + 3;
        let trace_at = pointers * size_of::<*const c_char>();
        let traces = if trace { plan.entries().len() + 8 } else { 0 };
        let slots_at = trace_at + traces * size_of::<Trace>();
        let shared_at = (slots_at + plan.slots() as usize * size_of::<i32>()).next_multiple_of(64);
        let brief_at = shared_at + 64;
        let total = brief_at + size_of::<Brief<'_>>();
        Self { pointers, trace_at, traces, slots_at, shared_at, brief_at, total }
    }
}

const _: () = assert!(size_of::<Shared>() <= 64);

/// One direct launch.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The plan, all of whose ops may run in a child that shares memory.
    pub plan: &'a OwnedPlan,
    /// Slot → descriptor in the caller.
    pub grants: &'a [i32],
    /// Descriptors below this number are copied into the child's table.
    pub cut: u32,
    /// Where the grants beyond stdio lie ready as messages; -1 if they do not have to.
    pub mailbox: i32,
    /// How long the child may take to enter its image.
    pub timeout: Duration,
    /// Whether each op is to be recorded.
    pub trace: bool,
}

/// How the build of a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// exec was called and the child has left the address space. Whether by the exec or by a
    /// death inside it, the caller has to find out from the process.
    Entered,
    /// An op failed; the child is exiting.
    Fault(Fault),
    /// The child died before it called exec.
    Killed,
    /// The deadline passed; the child was killed.
    TimedOut,
}

/// A child that was made.
#[derive(Debug)]
pub struct Launched {
    /// Its pid.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// How its build ended.
    pub end: End,
    /// Whether clone(2) had to serve instead of clone3(2).
    pub legacy_clone: bool,
    /// A record for each op, if they were asked for.
    pub trace: Vec<Trace>,
}

/// Set once clone3(2) was refused: it will be refused again.
static CLONE3_REFUSED: AtomicBool = AtomicBool::new(false);

/// Makes a child and lets it execute a plan. The arena comes back unless a child is stuck on it.
///
/// # Errors
/// The fault of the clone itself; then there is no child.
pub fn launch(launch: &Launch<'_>, arena: Arena) -> (Result<Launched, Fault>, Option<Arena>) {
    let plan = launch.plan.as_plan();
    let prepare = |errno| (Err(Fault::step(Step::Prepare, errno)), None);
    if !arena.fits(&plan, launch.trace) || launch.grants.len() != plan.slots() as usize {
        return prepare(Errno::INVAL);
    }
    let mut arena = ManuallyDrop::new(arena);
    let room = Room::of(&plan, launch.trace);
    let image = lay_out(&plan, &room, arena.room());
    let slots: *mut i32 = arena.room().wrapping_add(room.slots_at).cast();
    // SAFETY: the room holds that many slots behind the records, by the layout just computed.
    unsafe { ptr::copy_nonoverlapping(launch.grants.as_ptr(), slots, launch.grants.len()) };
    let shared: *mut Shared = arena.room().wrapping_add(room.shared_at).cast();
    // SAFETY: the room holds a Shared there, aligned to 64, by the layout just computed.
    unsafe { shared.write(Shared::new()) };
    // SAFETY: just written; it is only read and its atomics changed from here on.
    let shared = unsafe { &*shared };
    let trace: *mut Trace = arena.room().wrapping_add(room.trace_at).cast();

    // No signal may run a handler in the child, which would run it in this address space.
    let caller_mask = sys::set_mask(sys::ALL_SIGNALS).unwrap_or(0);
    let brief: *mut Brief<'_> = arena.room().wrapping_add(room.brief_at).cast();
    let told = Brief {
        plan,
        image,
        slots,
        slot_count: launch.grants.len(),
        cut: launch.cut,
        mailbox: launch.mailbox,
        parent: sys::getpid(),
        caller_mask,
        dispositions: if CLONE3_REFUSED.load(Ordering::Relaxed) {
            Dispositions::Any
        } else {
            Dispositions::SomeIgnored
        },
        trace: if room.traces == 0 { ptr::NonNull::dangling().as_ptr() } else { trace },
        trace_len: room.traces,
        shared,
    };
    // SAFETY: the room holds a Brief there, aligned to 64, by the layout just computed.
    unsafe { brief.write(told) };
    let mut pidfd = -1i32;
    // SAFETY: just written; shared from here on, and changed only before there is a child.
    let brief = unsafe { &mut *brief };
    let cloned = clone_child(brief, arena.stack(), &mut pidfd);
    // The child has a mask of its own by now, and the wait for it may be long.
    let _ = sys::set_mask(caller_mask);
    let gone = match cloned {
        Ok(child) => wait_gone(shared, pidfd, child.pid, launch.timeout),
        Err(_) => Gone::InTime,
    };

    let arena_back = |arena: &mut ManuallyDrop<Arena>| {
        // SAFETY: taken once, and only when no child uses the arena any more.
        Some(unsafe { ManuallyDrop::take(arena) })
    };
    let pid = match cloned {
        Ok(child) => child.pid,
        Err(errno) => {
            return (Err(Fault::step(Step::Clone, errno)), arena_back(&mut arena));
        }
    };
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let legacy_clone = brief.dispositions == Dispositions::Any;
    if gone == Gone::Never {
        // Killed, but it cannot die yet. It still owns the arena and reads the plan, so neither
        // is ever given back.
        core::mem::forget(launch.plan.clone());
        let launched = Launched { pid, pidfd, end: End::TimedOut, legacy_clone, trace: Vec::new() };
        return (Ok(launched), None);
    }
    let end = match (gone, shared.read()) {
        (_, (ChildState::Fault, Some(fault))) => End::Fault(fault),
        (Gone::Killed, _) => End::TimedOut,
        (_, (ChildState::Entering, _)) => End::Entered,
        _ => End::Killed,
    };
    let written = shared.traced().min(room.traces);
    // SAFETY: the child, which has gone, wrote that many records to this place, which has room
    // for them; fresh memory is zero, a value of Trace.
    let records = unsafe { core::slice::from_raw_parts(brief.trace, written) };
    let trace = records.to_vec();
    (Ok(Launched { pid, pidfd, end, legacy_clone, trace }), arena_back(&mut arena))
}

fn clone_child(
    brief: &mut Brief<'_>,
    stack: StackSpan,
    pidfd: &mut i32,
) -> Result<sys::Cloned, Errno> {
    let tid = brief.shared.tid.as_ptr();
    let flags = CloneFlags::VM
        .or(CloneFlags::FILES)
        .or(CloneFlags::PIDFD)
        .or(CloneFlags::CHILD_CLEARTID)
        .or(CloneFlags::CLEAR_SIGHAND);
    if brief.dispositions == Dispositions::SomeIgnored {
        let args = CloneArgs::new(flags, NO_SIGNAL, stack, pidfd, tid);
        // SAFETY: the stack is the arena's, which the caller keeps until the child has gone; `enter`
        // is written for a child that shares memory; the brief, the words it points to and the
        // plan outlive the child's stay, or are leaked.
        let cloned = unsafe { sys::clone3_call(&args, enter, ptr::from_mut(brief).cast()) };
        match cloned {
            // A filter that does not know clone3, or a kernel that does not: clone(2) can say all
            // of it but the default handlers, which the child then sets itself.
            Err(Errno::NOSYS | Errno::PERM) => CLONE3_REFUSED.store(true, Ordering::Relaxed),
            other => return other,
        }
        brief.dispositions = Dispositions::Any;
    }
    let flags = flags.without(CloneFlags::CLEAR_SIGHAND);
    let args = CloneArgs::new(flags, NO_SIGNAL, stack, pidfd, tid);
    // SAFETY: as above.
    unsafe { sys::clone_call(&args, enter, ptr::from_mut(brief).cast()) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    InTime,
    Killed,
    Never,
}

/// Waits until the child has left the address space, and sees to it that it does.
fn wait_gone(shared: &Shared, pidfd: i32, pid: i32, timeout: Duration) -> Gone {
    if sleep_until_clear(shared, timeout) {
        return Gone::InTime;
    }
    if sys::pidfd_send_signal(pidfd, SIGKILL).is_err() {
        // A filter may not know the call. The number still names the child, since nobody else's
        // wait reaps one without an exit signal.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
    }
    if sleep_until_clear(shared, GRACE) { Gone::Killed } else { Gone::Never }
}

fn sleep_until_clear(shared: &Shared, timeout: Duration) -> bool {
    let allowed = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    // The clock is first read when the first sleep was interrupted, which hardly ever happens.
    let mut begun = None;
    let mut left = allowed;
    loop {
        // The kernel writes the word; a shared futex is what it wakes.
        let tid = shared.tid.load(Ordering::Acquire);
        if tid == 0 {
            return true;
        }
        if left == 0 {
            return false;
        }
        let sleep = futex::Timespec {
            tv_sec: (left / 1_000_000_000).min(1 << 40) as i64,
            tv_nsec: (left % 1_000_000_000) as _,
        };
        match futex::wait(&shared.tid, futex::Flags::empty(), tid, Some(&sleep)) {
            Err(rustix::io::Errno::TIMEDOUT) => left = 0,
            Ok(()) | Err(rustix::io::Errno::AGAIN) => {}
            Err(_) => {
                let now = now_ns();
                let since = now.wrapping_sub(*begun.get_or_insert(now));
                left = allowed.saturating_sub(since);
            }
        }
    }
}

/// Writes the pointer arrays of argv and envp to the start of the room.
fn lay_out(plan: &Plan<'_>, room: &Room, at: *mut u8) -> Image {
    let table: *mut *const c_char = at.cast();
    // SAFETY: the room begins with that many pointers; the arena is page-aligned and ours.
    let table = unsafe { core::slice::from_raw_parts_mut(table, room.pointers) };
    let (argv, envp) = table.split_at_mut(plan.argv().count() + 2);
    fill(argv.get_mut(1..).unwrap_or(&mut []), plan.argv());
    fill(envp, plan.envp());
    Image { argv: argv.as_mut_ptr().wrapping_add(1), envp: envp.as_ptr() }
}

fn fill<'a>(table: &mut [*const c_char], strings: impl Iterator<Item = &'a CStr>) {
    for (to, string) in table.iter_mut().zip(strings.map(CStr::as_ptr).chain([ptr::null()])) {
        *to = string;
    }
}

/// Whether clone3(2) has been refused to this process.
#[must_use]
pub fn clone3_refused() -> bool {
    CLONE3_REFUSED.load(Ordering::Relaxed)
}
