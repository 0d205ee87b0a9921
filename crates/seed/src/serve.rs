//! The receive loop: one request, its grants, then the interpreter.

use crate::guard::{Guard, guard};
use crate::init::Mover;
use crate::wire::{
    GRANTS_PER_MESSAGE, INLINE_PLAN_MAX, REQUEST_LEN, Reply, Request, RequestFlags, RequestKind,
    SEED_NAME,
};
use core::cell::Cell;
use core::ffi::{CStr, c_char, c_void};
use embryo_interp::{Context, Dispositions, Fault, Image, News, Own, Step, Trace, World};
use embryo_plan::{Op, OpCode, Plan, limits};
use embryo_syscall::{self as sys, Deadline, Errno, Sibling};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::BorrowedFd;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Pid, Signal};
use zerocopy::{FromBytes, IntoBytes};

/// Where the seed finds its end of the control socket. Above stdio, so that grants which arrive
/// for 0, 1 and 2 find those free.
pub const CONTROL_FD: i32 = 3;

const TRACE_MAX: usize = 1024;
/// Bytes of the send buffer of a seed that makes embryos; the kernel may allow less.
const HATCH_BUFFER: i32 = 4 << 20;

/// Serves its owner until it becomes an image, or until there is no owner any more.
///
/// `own` is the memory that the caller itself lives in: its image and its stack.
///
/// # Safety
/// The calling task must be a process of its own with one thread and nothing to lose: its
/// descriptors, credentials, memory and image are replaced. Nothing in its memory may be wrong to
/// have twice, for it may be told to make copies of itself.
pub unsafe fn serve(control: i32, own: [[u64; 2]; 2], memory: &mut Memory) {
    let _ = rustix::thread::set_name(SEED_NAME);
    // It came across an exec, and is to go no further.
    let _ = sys::fcntl_setfd(control, true);
    let mut seed = Seed {
        control,
        owner: -1,
        own,
        world: World::INHERITED,
        deadline: Cell::new(None),
        group: 0,
        watches: false,
        hatch: None,
    };
    loop {
        match seed.wait() {
            Event::Request => {}
            Event::Over | Event::Nothing => return,
            Event::Room => {
                // SAFETY: the caller vouches for copies.
                if unsafe { seed.hatch(memory) }.is_err() {
                    return;
                }
                continue;
            }
        }
        // SAFETY: the caller vouches for the task.
        let answered = match unsafe { seed.turn(memory) } {
            Ok(None) => Ok(()),
            Ok(Some(results)) => {
                let reply = Reply::done(results.len());
                sys::send_with_fds(seed.control, reply.as_bytes(), bytes_of(results), &[])
            }
            // Nobody will send anything any more.
            Err((fault, _)) if fault == Fault::step(Step::Seed, Errno::PIPE) => return,
            Err((fault, records)) => {
                let reply = Reply::fault(fault, records.len());
                sys::send_with_fds(seed.control, reply.as_bytes(), bytes_of(records), &[])
            }
        };
        if answered.is_err() || seed.owner < 0 {
            return;
        }
        // After the answer: a filter that is in by now may have it end here.
        seed.set_deadline(0);
        seed.watch_owner(true);
    }
}

/// What is left of one request to the next.
struct Seed {
    control: i32,
    /// The owner's pidfd, of an embryo that lives; -1 for a seed that was made for one launch.
    owner: i32,
    own: [[u64; 2]; 2],
    /// What of its surroundings is its own by now.
    world: World,
    /// Ends this process if a request takes too long, whatever it hangs in and though it was
    /// stopped. `None` until the first request that sets a time.
    deadline: Cell<Option<Deadline>>,
    /// The process group that its owner was in last; 0 if it cannot be named here.
    group: i32,
    /// Whether the parent's death signal is its own; see `watch_owner`.
    watches: bool,
    hatch: Option<Hatch>,
}

/// What a hatchery has still to do.
#[derive(Clone, Copy)]
struct Hatch {
    left: u32,
    pause_ns: u64,
    rested: bool,
}

/// What a seed waits for.
#[derive(Clone, Copy)]
enum Event {
    /// A request, or the end of the socket.
    Request,
    /// The owner has gone.
    Over,
    /// There is room in the socket, for an embryo that is due.
    Room,
    /// Only time has passed.
    Nothing,
}

impl Seed {
    /// Waits for the next event. The end of the socket does not tell that the owner has gone: if
    /// it forked, somebody else holds the other end.
    fn wait(&mut self) -> Event {
        if self.owner < 0 {
            // One launch, which lies in the socket already.
            return Event::Request;
        }
        loop {
            let (events, pause) = match self.hatch {
                None => (PollFlags::IN, None),
                Some(Hatch { rested: false, pause_ns, .. }) => (PollFlags::IN, Some(pause_ns)),
                Some(_) => (PollFlags::IN | PollFlags::OUT, None),
            };
            let event = self.poll(events, pause);
            match (event, &mut self.hatch) {
                (Event::Nothing, Some(hatch)) => hatch.rested = true,
                (Event::Nothing, None) => {}
                _ => return event,
            }
        }
    }

    fn poll(&self, events: PollFlags, pause_ns: Option<u64>) -> Event {
        let (owner, control) = (self.owner, self.control);
        if owner < 0 || control < 0 {
            return Event::Over;
        }
        let pause = pause_ns.map(|ns| Timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        });
        // SAFETY: this process's own, and it stays open.
        let control = unsafe { BorrowedFd::borrow_raw(control) };
        // SAFETY: as above.
        let owner = unsafe { BorrowedFd::borrow_raw(owner) };
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(control, events),
                PollFd::from_borrowed_fd(owner, PollFlags::IN),
            ];
            let ready = rustix::event::poll(&mut fds, pause.as_ref());
            let [control, owner] = &fds;
            return match ready {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => Event::Over,
                Ok(0) => Event::Nothing,
                Ok(_) if !owner.revents().is_empty() => Event::Over,
                Ok(_) if control.revents() == PollFlags::OUT => Event::Room,
                Ok(_) => Event::Request,
            };
        }
    }

    /// Makes one embryo. In the copy, which goes on as an embryo of its own, it returns too.
    ///
    /// # Safety
    /// As [`serve`].
    unsafe fn hatch(&mut self, memory: &mut Memory) -> Result<(), Errno> {
        let Some(hatch) = self.hatch else { return Ok(()) };
        let left = hatch.left.wrapping_sub(1);
        self.hatch = (left != 0).then_some(Hatch { left, rested: hatch.pause_ns == 0, ..hatch });
        let made = sys::socketpair().and_then(|[theirs, ours]| {
            // SAFETY: the caller vouches for copies.
            let sibling = unsafe { sys::fork_sibling() };
            if sibling == Ok(Sibling::Made) {
                self.hatched(theirs, ours, memory);
                return Ok(());
            }
            let _ = sys::close(ours);
            let _ = sys::close(theirs);
            sibling.map(drop)
        });
        let Err(errno) = made else { return Ok(()) };
        // No more until the owner asks again.
        self.hatch = None;
        let reply = Reply::fault(Fault::step(Step::Clone, errno), 0);
        sys::send_with_fds(self.control, reply.as_bytes(), &[], &[])
    }

    /// Goes on in the copy, which tells the owner of itself: the process that made it could be killed
    /// before it had done that, and nobody would know of a child.
    fn hatched(&mut self, theirs: i32, ours: i32, memory: &mut Memory) {
        // A timer is not copied.
        self.hatch = None;
        self.deadline.set(None);
        let told = self.announce(theirs);
        let _ = sys::close(theirs);
        let _ = sys::close(self.control);
        self.control = sys::dupfd_cloexec(ours, CONTROL_FD).unwrap_or(ours);
        if self.control != ours {
            let _ = sys::close(ours);
        }
        if told.is_err() {
            // The owner has no socket of it, so there will be no request.
            sys::exit(127);
        }
        self.watch_owner(true);
        if self.group != 0 {
            // The process that made it is alone in a group, where whoever has not got so far is
            // found.
            let _ = rustix::process::setpgid(None, Pid::from_raw(self.group));
        }
        memory.touch();
    }

    fn announce(&self, theirs: i32) -> Result<(), Errno> {
        let reply = Reply::hatched(sys::getpid());
        let pidfd = sys::pidfd_open(sys::getpid())?;
        let mut sent = self.send(&reply, &[pidfd, theirs]);
        if sent.is_err() {
            // Whatever the reason is: its parent has to reap it.
            sent = self.send(&reply, &[]).and(sent);
        }
        let _ = sys::close(pidfd);
        sent
    }

    /// Sends a head alone, and waits for room if there is none.
    fn send(&self, reply: &Reply, fds: &[i32]) -> Result<(), Errno> {
        loop {
            let sent = sys::send_with_fds(self.control, reply.as_bytes(), &[], fds);
            if sent != Err(Errno::AGAIN) || matches!(self.poll(PollFlags::OUT, None), Event::Over) {
                return sent;
            }
        }
    }

    /// A process that is stopped polls nothing: so it is continued when its parent ends, or only
    /// the thread that made it, and looks which it was. Setting ids takes that back, and an image
    /// is not to find it.
    fn watch_owner(&self, watch: bool) {
        if self.watches {
            let signal = watch.then_some(Signal::CONT);
            let _ = rustix::process::set_parent_process_death_signal(signal);
        }
    }

    fn set_deadline(&self, ns: u64) {
        if self.deadline.get().is_none() && ns != 0 {
            // Without POSIX timers the owner's own deadline has to do.
            self.deadline.set(Deadline::create().ok());
        }
        if let Some(deadline) = self.deadline.get() {
            let _ = deadline.set(ns);
        }
    }

    /// Receives one request and executes it. A launch does not return unless it failed; a fault
    /// comes with the records that have not been sent yet.
    ///
    /// # Safety
    /// As [`serve`].
    unsafe fn turn<'a>(
        &mut self,
        memory: &'a mut Memory,
    ) -> Result<Option<&'a [u64]>, (Fault, &'a [Trace])> {
        let seed = |errno| (Fault::step(Step::Seed, errno), &[][..]);
        let Memory { message, slots, trace, pointers: room, results } = memory;
        let Received { request, plan, slots } = self.receive(message, slots).map_err(seed)?;
        if request.kind == RequestKind::Hatch as u32 {
            if self.group != 0 {
                let _ = rustix::process::setpgid(None, None);
            }
            // As many as fit, of messages with two descriptors each.
            let _ = sys::set_send_buffer(self.control, HATCH_BUFFER);
            let before = match request.flags & RequestFlags::AFRESH {
                0 => self.hatch.map_or(0, |hatch| hatch.left),
                _ => 0,
            };
            let left = before.saturating_add(request.count);
            let pause_ns = request.timeout_ns;
            self.hatch = (left != 0).then_some(Hatch { left, pause_ns, rested: true });
            return Ok(None);
        }
        self.set_deadline(request.timeout_ns);
        let slots = self.begin(&request, slots).map_err(seed)?;
        if request.kind == RequestKind::Guard as u32 {
            let parent = slots.first().copied().unwrap_or(-1);
            let Self { control, owner, .. } = *self;
            // It outlives what it was asked within.
            let ready = || self.set_deadline(0);
            guard(Guard { control, owner, parent }, plan.bytes(), ready);
        }
        let bytes = plan.bytes();
        let view = Plan::split(bytes).ok_or(seed(Errno::BADMSG))?;
        if view.slots() as usize != slots.len() {
            return Err(seed(Errno::BADMSG));
        }
        let launch = request.kind == RequestKind::Launch as u32;
        if launch {
            self.watch_owner(false);
        } else if view.entries().iter().any(|entry| entry.code.get() == OpCode::DeathSignal as u16)
        {
            // From here on it is the plan's.
            self.watches = false;
        }
        let trace: &mut [Trace] = match request.flags & RequestFlags::TRACE {
            0 => &mut [],
            _ => trace,
        };
        let count = view.entries().len();
        let mut mover = Mover {
            deadline: &self.deadline,
            timeout_ns: request.timeout_ns,
            watches: self.watches,
        };
        let [image, stack] = self.own;
        let own: Own = [image, stack, plan.mapping()];
        let mut context = Context {
            slots,
            control: self.control,
            owner: self.owner,
            clean_table: true,
            table_end: 0,
            parent: request.owner,
            caller_mask: request.caller_mask,
            dispositions: if self.owner < 0 {
                Dispositions::SomeIgnored
            } else {
                Dispositions::Settled
            },
            own: Some(own),
            world: self.world,
            executor: Some(&mut mover),
            results: &mut *results,
            trace: &mut *trace,
            traced: 0,
        };
        let mut sent = 0;
        let outcome = if launch {
            // SAFETY: the arrays are made for this plan just now and belong to this process
            // alone, which exists for it.
            unsafe { self.launch(&view, &mut context, room, &mut sent) }
        } else {
            embryo_interp::apply(&view, &mut context)
        };
        (self.control, self.owner) = (context.control, context.owner);
        self.world = context.world;
        for fd in context.slots.iter() {
            // What was put somewhere is no longer close-on-exec; what was only lent is.
            if sys::fcntl_getfd(*fd) == Ok(true) {
                let _ = sys::close(*fd);
            }
        }
        let traced = context.traced;
        drop(plan);
        if let Err(fault) = outcome {
            let trace: &[Trace] = trace;
            return Err((fault, trace.get(sent..traced).unwrap_or(&[])));
        }
        let results: &[u64] = results;
        Ok(Some(results.get(..count).unwrap_or(&[])))
    }

    /// Receives a request with its grants, in however many messages.
    fn receive<'a>(
        &self,
        message: &'a mut [u8],
        slots: &'a mut [i32],
    ) -> Result<Received<'a>, Errno> {
        let control = self.control;
        let mut arrived = [-1i32; sys::SCM_MAX_FDS];
        let (len, mut count) = sys::recv_with_fds(control, message, &mut arrived, true)?;
        if len == 0 {
            return Err(Errno::PIPE);
        }
        let message = message.get(..len).ok_or(Errno::BADMSG)?;
        let (request, rest) = Request::read_from_prefix(message).map_err(|_| Errno::BADMSG)?;
        let known =
            [RequestKind::Launch, RequestKind::Apply, RequestKind::Hatch, RequestKind::Guard]
                .iter()
                .any(|kind| *kind as u32 == request.kind);
        if request.magic != Request::MAGIC || !known {
            return Err(Errno::BADMSG);
        }
        let mut grants: &[i32] = arrived.get(..count).unwrap_or(&[]);
        let plan = if request.flags & RequestFlags::PLAN_IN_FD == 0 {
            PlanBytes::Inline(rest.get(..request.plan_len as usize).ok_or(Errno::BADMSG)?)
        } else {
            let (fd, others) = grants.split_first().ok_or(Errno::BADMSG)?;
            grants = others;
            PlanBytes::map(*fd, request.plan_len as usize)?
        };
        let slots = slots.get_mut(..request.grants as usize).ok_or(Errno::BADMSG)?;
        let mut filled = 0usize;
        loop {
            for fd in grants {
                *slots.get_mut(filled).ok_or(Errno::BADMSG)? = *fd;
                filled = filled.wrapping_add(1);
            }
            if filled == slots.len() {
                return Ok(Received { request, plan, slots });
            }
            // The owner may be gone before its request is whole.
            if self.owner >= 0 && !matches!(self.poll(PollFlags::IN, None), Event::Request) {
                return Err(Errno::PIPE);
            }
            let mut more = Request::default();
            (_, count) = sys::recv_with_fds(control, more.as_mut_bytes(), &mut arrived, true)?;
            if more.kind != RequestKind::Grants as u32 || count == 0 || count > GRANTS_PER_MESSAGE {
                return Err(Errno::BADMSG);
            }
            grants = arrived.get(..count).unwrap_or(&[]);
        }
    }

    /// Takes what a request lends besides the plan's grants, which it returns.
    fn begin<'a>(
        &mut self,
        request: &Request,
        mut slots: &'a mut [i32],
    ) -> Result<&'a mut [i32], Errno> {
        if request.flags & RequestFlags::LIVE != 0 {
            let (owner, rest) = slots.split_first_mut().ok_or(Errno::BADMSG)?;
            // Out of the way of grants for stdio.
            self.owner = sys::dupfd_cloexec(*owner, CONTROL_FD)?;
            let _ = sys::close(*owner);
            slots = rest;
            embryo_interp::reset_dispositions()?;
            (self.group, self.watches) = (request.group, true);
        }
        if self.owner >= 0 && request.group != 0 && request.group != self.group {
            // If that is in another session by now, the plan cannot keep it.
            let _ = rustix::process::setpgid(None, Pid::from_raw(request.group));
            self.group = request.group;
        }
        if request.flags & RequestFlags::CWD != 0 {
            let (cwd, rest) = slots.split_first_mut().ok_or(Errno::BADMSG)?;
            slots = rest;
            if *cwd < 0 {
                return Err(Errno::BADF);
            }
            // SAFETY: it arrived with the message and nothing has closed it.
            let moved = rustix::process::fchdir(unsafe { BorrowedFd::borrow_raw(*cwd) });
            let _ = sys::close(*cwd);
            moved?;
        }
        if request.flags & RequestFlags::UMASK != 0 {
            sys::umask(request.umask)?;
        }
        embryo_interp::ignore_signals(request.ignored)?;
        Ok(slots)
    }

    /// # Safety
    /// As [`serve`].
    unsafe fn launch(
        &self,
        plan: &Plan<'_>,
        context: &mut Context<'_>,
        room: &mut [*const c_char],
        sent: &mut usize,
    ) -> Result<(), Fault> {
        let seed = |errno| Fault::step(Step::Seed, errno);
        let (image, _mapped) = pointers(plan, room).map_err(seed)?;
        let start = plan.ops().last().flatten();
        // An owner that hears nothing of this knows that a socket which ends is that of a seed
        // that died.
        let mut tell = |context: &Context<'_>, news| {
            if let News::Listening(index, fd) = news {
                let reply = Reply::listening(index);
                return sys::send_with_fds(context.control, reply.as_bytes(), &[], &[fd]);
            }
            let records = context.trace.get(..context.traced).unwrap_or(&[]);
            if let (Some(deadline), Some(Op::StartRegs { .. })) = (self.deadline.get(), start) {
                // Nothing can block any more, and no exec will delete it.
                deadline.delete();
            }
            let reply = Reply::entering(records.len());
            let _ = sys::send_with_fds(context.control, reply.as_bytes(), bytes_of(records), &[]);
            *sent = records.len();
            Ok(())
        };
        // SAFETY: the caller vouches for the image and the task.
        Err(unsafe { embryo_interp::run(plan, context, &image, &mut tell) })
    }
}

fn bytes_of<T: Plain>(records: &[T]) -> &[u8] {
    // SAFETY: a Plain type has no padding, so every byte of it is a value.
    unsafe { core::slice::from_raw_parts(records.as_ptr().cast(), size_of_val(records)) }
}

/// What the seed needs besides its stack: part of its image, and touched as far as it is used.
#[derive(Debug)]
pub struct Memory {
    message: [u8; MESSAGE],
    slots: [i32; limits::SLOTS_MAX as usize],
    trace: [Trace; TRACE_MAX],
    pointers: [*const c_char; POINTERS],
    results: [u64; limits::ENTRIES_MAX as usize],
}

/// Types without padding.
trait Plain {}
// Two u32s and a u64.
impl Plain for Trace {}
impl Plain for u64 {}

const POINTERS: usize = 1024;
const MESSAGE: usize = REQUEST_LEN + INLINE_PLAN_MAX;

impl Memory {
    /// Unused: all zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            message: [0; MESSAGE],
            slots: [0; limits::SLOTS_MAX as usize],
            trace: [Trace { index: 0, errno: 0, ns: 0 }; TRACE_MAX],
            pointers: [core::ptr::null(); POINTERS],
            results: [0; limits::ENTRIES_MAX as usize],
        }
    }

    /// Has the pages that a launch is sure to write before anybody waits for it.
    fn touch(&mut self) {
        touch(&mut self.message);
        touch(&mut self.slots);
        touch(&mut self.pointers);
    }
}

fn touch<T: Copy>(array: &mut [T]) {
    if let Some(first) = array.first_mut() {
        let at: *mut T = first;
        // SAFETY: the element is borrowed.
        let value = unsafe { at.read_volatile() };
        // SAFETY: as above; volatile, or the compiler would see that nothing changes.
        unsafe { at.write_volatile(value) };
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Types for which all-zero bytes are a value.
trait Zeroed {}
impl Zeroed for *const c_char {}

/// Memory that goes away with this value.
struct Mapped(*mut c_void, usize);

impl Mapped {
    fn new(len: usize) -> Result<Self, Errno> {
        // SAFETY: a fresh private mapping at an address of the kernel's choice touches nothing.
        let at = unsafe {
            rustix::mm::mmap_anonymous(
                core::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        Ok(Self(at, len))
    }

    fn slice<T: Zeroed>(&mut self) -> &mut [T] {
        let count = self.1 / const { size_of::<T>() };
        // SAFETY: the mapping is page-aligned, that long, zero-filled (a value of T), borrowed from
        // its only owner.
        unsafe { core::slice::from_raw_parts_mut(self.0.cast(), count) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no reference to it outlives this value.
        let _ = unsafe { rustix::mm::munmap(self.0, self.1) };
    }
}

/// A plan where it was received.
enum PlanBytes<'a> {
    Inline(&'a [u8]),
    Mapped(*mut c_void, usize),
}

impl PlanBytes<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            PlanBytes::Inline(bytes) => bytes,
            // SAFETY: the mapping is that long and there until the drop; the owner sealed the memfd
            // against shrinking and writing before it sent it.
            PlanBytes::Mapped(at, len) => unsafe { core::slice::from_raw_parts(at.cast(), *len) },
        }
    }

    /// Where it was mapped, in whole pages: it is not to be left behind by a start without exec.
    fn mapping(&self) -> [u64; 2] {
        match self {
            PlanBytes::Inline(_) => [0, 0],
            PlanBytes::Mapped(at, len) => {
                let from = *at as u64;
                let page = limits::PAGE;
                [
                    from,
                    from.wrapping_add(*len as u64).wrapping_add(page.wrapping_sub(1))
                        & !page.wrapping_sub(1),
                ]
            }
        }
    }

    /// Maps the plan that a memfd holds.
    fn map(fd: i32, len: usize) -> Result<Self, Errno> {
        if len > limits::PLAN_BYTES_MAX || fd < 0 {
            return Err(Errno::MSGSIZE);
        }
        // SAFETY: the descriptor arrived with the message and nothing has closed it.
        let file = unsafe { BorrowedFd::borrow_raw(fd) };
        // SAFETY: a fresh private mapping at an address of the kernel's choice touches nothing.
        let at = unsafe {
            rustix::mm::mmap(
                core::ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                0,
            )
        }?;
        let _ = sys::close(fd);
        Ok(PlanBytes::Mapped(at, len))
    }
}

impl Drop for PlanBytes<'_> {
    fn drop(&mut self) {
        if let PlanBytes::Mapped(at, len) = self {
            // SAFETY: mapped by `map`, and no reference to it outlives this value.
            let _ = unsafe { rustix::mm::munmap(*at, *len) };
        }
    }
}

struct Received<'a> {
    request: Request,
    plan: PlanBytes<'a>,
    slots: &'a mut [i32],
}

/// Lays out argv and envp as execve(2) takes them, with the spare element in front.
///
/// The arrays are in what is returned beside them, if they are too many for the room.
fn pointers(plan: &Plan<'_>, room: &mut [*const c_char]) -> Result<(Image, Option<Mapped>), Errno> {
    let argv_at = 1usize;
    let envp_at = plan.argv().count().wrapping_add(2);
    let needed = envp_at.wrapping_add(plan.envp().count()).wrapping_add(1);
    let mut mapped = match needed <= room.len() {
        true => None,
        false => Some(Mapped::new(needed.wrapping_mul(size_of::<*const c_char>()))?),
    };
    let table = mapped.as_mut().map_or(room, Mapped::slice);
    table.fill(core::ptr::null());
    fill(table, argv_at, plan.argv())?;
    fill(table, envp_at, plan.envp())?;
    let table = table.as_mut_ptr();
    let image = Image { argv: table.wrapping_add(argv_at), envp: table.wrapping_add(envp_at) };
    Ok((image, mapped))
}

fn fill<'a>(
    table: &mut [*const c_char],
    mut at: usize,
    strings: impl Iterator<Item = &'a CStr>,
) -> Result<(), Errno> {
    for string in strings {
        *table.get_mut(at).ok_or(Errno::BADMSG)? = string.as_ptr();
        at = at.wrapping_add(1);
    }
    // The table was zeroed, so the NULL that ends the array stands there already.
    if at < table.len() { Ok(()) } else { Err(Errno::BADMSG) }
}
