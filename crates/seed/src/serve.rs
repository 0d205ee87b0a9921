//! The receive loop: one request, its grants, then the interpreter.

use crate::wire::{
    GRANTS_PER_MESSAGE, INLINE_PLAN_MAX, REQUEST_LEN, Reply, Request, RequestFlags, RequestKind,
    SEED_NAME,
};
use core::ffi::{CStr, c_char, c_void};
use embryo_interp::{Context, Dispositions, Fault, Image, Step, Trace};
use embryo_plan::{Plan, limits};
use embryo_syscall::{self as sys, Errno};
use rustix::fd::BorrowedFd;
use rustix::mm::{MapFlags, ProtFlags};
use zerocopy::{FromBytes, IntoBytes};

/// Where the seed finds its end of the control socket. Above stdio, so that grants which arrive
/// for 0, 1 and 2 find those free.
pub const CONTROL_FD: i32 = 3;

const TRACE_MAX: usize = 1024;

/// Receives one request on `control` and becomes its image; otherwise reports the fault.
///
/// # Safety
/// The calling task must be a process of its own with nothing to lose: its descriptors,
/// credentials and image are replaced.
pub unsafe fn serve(control: i32, memory: &'static mut Memory) {
    let _ = rustix::thread::set_name(SEED_NAME);
    // SAFETY: the caller vouches for the task.
    let Failed { control, fault, records } = match unsafe { launch(control, memory) } {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    let reply = Reply::fault(fault, records.len());
    let _ = sys::send_with_fds(control, reply.as_bytes(), bytes_of(records), &[]);
}

enum Never {}

/// A fault, where to report it, and the records that have not been sent yet.
struct Failed {
    control: i32,
    fault: Fault,
    records: &'static [Trace],
}

/// # Safety
/// As [`serve`].
unsafe fn launch(control: i32, memory: &'static mut Memory) -> Result<Never, Failed> {
    let seed = |errno| Failed { control, fault: Fault::step(Step::Seed, errno), records: &[] };
    let Memory { message, slots, trace, pointers: room } = memory;
    let (request, plan, slots) = receive(control, message, slots).map_err(seed)?;
    let plan = Plan::split(plan).ok_or(seed(Errno::BADMSG))?;
    if plan.slots() as usize != slots.len() {
        return Err(seed(Errno::BADMSG));
    }
    let image = pointers(&plan, room).map_err(seed)?;
    let trace: &mut [Trace] = match request.flags & RequestFlags::TRACE {
        0 => &mut [],
        _ => trace,
    };
    let mut context = Context {
        slots,
        control,
        parent: request.owner,
        caller_mask: request.caller_mask,
        dispositions: Dispositions::SomeIgnored,
        trace,
        traced: 0,
    };
    // An owner that hears nothing of this knows that a socket which ends is that of a seed that died.
    let mut sent = 0;
    let mut entering = |context: &Context<'_>| {
        let records = context.trace.get(..context.traced).unwrap_or(&[]);
        let reply = Reply::entering(records.len());
        let _ = sys::send_with_fds(context.control, reply.as_bytes(), bytes_of(records), &[]);
        sent = records.len();
    };
    // SAFETY: the arrays were made for this plan just now and belong to this process alone,
    // which exists for it.
    let fault = unsafe { embryo_interp::run(&plan, &mut context, &image, &mut entering) };
    let Context { control, trace, traced, .. } = context;
    let trace: &'static [Trace] = trace;
    Err(Failed { control, fault, records: trace.get(sent..traced).unwrap_or(&[]) })
}

fn bytes_of(records: &[Trace]) -> &[u8] {
    // SAFETY: a Trace is two u32s and a u64 without padding, so every byte of it is a value.
    unsafe { core::slice::from_raw_parts(records.as_ptr().cast(), size_of_val(records)) }
}

/// What the seed needs besides its stack: part of its image, and touched as far as it is used.
#[derive(Debug)]
pub struct Memory {
    message: [u8; MESSAGE],
    slots: [i32; limits::SLOTS_MAX as usize],
    trace: [Trace; TRACE_MAX],
    pointers: [*const c_char; POINTERS],
}

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
        }
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

fn map_slice<T: Zeroed>(count: usize) -> Result<&'static mut [T], Errno> {
    let len = count.checked_mul(size_of::<T>()).ok_or(Errno::NOMEM)?;
    // SAFETY: a fresh private mapping at an address of the kernel's choice touches nothing.
    let at = unsafe {
        rustix::mm::mmap_anonymous(
            core::ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }?;
    // SAFETY: the mapping is page-aligned, `len` bytes long, zero-filled (a value of T), never
    // unmapped, and nobody else has its address.
    Ok(unsafe { core::slice::from_raw_parts_mut(at.cast(), count) })
}

/// Maps the plan that a memfd holds.
fn map_plan(fd: i32, len: usize) -> Result<&'static [u8], Errno> {
    if len > limits::PLAN_BYTES_MAX || fd < 0 {
        return Err(Errno::MSGSIZE);
    }
    // SAFETY: the descriptor arrived with the message and nothing has closed it.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    // SAFETY: a fresh private mapping at an address of the kernel's choice touches nothing.
    let at: *mut c_void = unsafe {
        rustix::mm::mmap(core::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0)
    }?;
    // SAFETY: the mapping is `len` bytes long and never unmapped; the owner sealed the memfd
    // against shrinking and writing before it sent it.
    Ok(unsafe { core::slice::from_raw_parts(at.cast(), len) })
}

type Received = (Request, &'static [u8], &'static mut [i32]);

fn receive(
    control: i32,
    message: &'static mut [u8],
    slots: &'static mut [i32],
) -> Result<Received, Errno> {
    let mut arrived = [-1i32; sys::SCM_MAX_FDS];
    let (len, mut count) = sys::recv_with_fds(control, message, &mut arrived, true)?;
    let message = message.get(..len).ok_or(Errno::BADMSG)?;
    let (request, rest) = Request::read_from_prefix(message).map_err(|_| Errno::BADMSG)?;
    if request.magic != Request::MAGIC || request.kind != RequestKind::Launch as u32 {
        return Err(Errno::BADMSG);
    }
    let mut grants: &[i32] = arrived.get(..count).unwrap_or(&[]);
    let plan = if request.flags & RequestFlags::PLAN_IN_FD == 0 {
        rest.get(..request.plan_len as usize).ok_or(Errno::BADMSG)?
    } else {
        let (fd, others) = grants.split_first().ok_or(Errno::BADMSG)?;
        grants = others;
        map_plan(*fd, request.plan_len as usize)?
    };
    let slots = slots.get_mut(..request.grants as usize).ok_or(Errno::BADMSG)?;
    let mut filled = 0usize;
    loop {
        for fd in grants {
            *slots.get_mut(filled).ok_or(Errno::BADMSG)? = *fd;
            filled = filled.wrapping_add(1);
        }
        if filled == slots.len() {
            return Ok((request, plan, slots));
        }
        let mut more = Request::default();
        (_, count) = sys::recv_with_fds(control, more.as_mut_bytes(), &mut arrived, true)?;
        if more.kind != RequestKind::Grants as u32 || count == 0 || count > GRANTS_PER_MESSAGE {
            return Err(Errno::BADMSG);
        }
        grants = arrived.get(..count).unwrap_or(&[]);
    }
}

/// Lays out argv and envp as execve(2) takes them, with the spare element in front.
fn pointers(plan: &Plan<'_>, room: &'static mut [*const c_char]) -> Result<Image, Errno> {
    let argv_at = 1usize;
    let envp_at = plan.argv().count().wrapping_add(2);
    let needed = envp_at.wrapping_add(plan.envp().count()).wrapping_add(1);
    let table = if needed <= room.len() { room } else { map_slice(needed)? };
    fill(table, argv_at, plan.argv())?;
    fill(table, envp_at, plan.envp())?;
    let argv = table.get_mut(argv_at).ok_or(Errno::NOMEM)?;
    let argv: *mut *const c_char = argv;
    let envp = argv.wrapping_add(envp_at.wrapping_sub(argv_at));
    Ok(Image { argv, envp })
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
