//! The executor for plans that would reach the caller through shared memory: the same interpreter
//! in a process that has exec'd the seed and has an address space of its own.
//!
//! The caller makes that process directly, from a plan of two grants (a socket and the seed's
//! image), and then waits on the socket with a deadline, never in the kernel for the child. The
//! plan and its grants lie in the socket before the child exists.

use crate::direct::{self, Direct, Entered};
use crate::error::Fault;
use crate::guarded::{AsRaw, Guarded};
use crate::mailbox::Mailbox;
use crate::moving::{Below, Moves};
use crate::process::{kill, reaped_status, wait_dead};
use embryo_interp::{End, Step, Trace};
use embryo_plan::{ExecFlags, Keep, Op, OwnedPlan, PlanBuilder, Slot, limits};
use embryo_seed::{
    CONTROL_FD, GRANTS_PER_MESSAGE, INLINE_PLAN_MAX, REPLY_LEN, Reply, ReplyKind, Request,
    RequestFlags, RequestKind, SEED_NAME,
};
use embryo_syscall::{self as sys, Errno};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// The seed's executable.
pub(crate) static SEED: &[u8] = include_bytes!(env!("EMBRYO_SEED_IMAGE"));

/// How long the end of the control socket is waited for before /proc is asked, at first: somebody
/// who forked in this very moment may hold a copy of it.
const SOCKET_PATIENCE: Duration = Duration::from_millis(20);

/// Launches a plan through a fresh seed.
pub(crate) fn launch(
    plan: &OwnedPlan,
    grants: &[i32],
    timeout: Duration,
    trace: bool,
) -> Result<Direct, Fault> {
    let deadline = deadline_after(timeout);
    let (mut direct, socket) = begin(plan, grants, timeout, trace)?;
    if direct.launched.end == End::Entered {
        let answering = Answering::new(direct.launched.pid, deadline, plan, Below::default());
        let pidfd = direct.launched.pidfd.as_fd();
        let (end, answering) = answering.finish(socket.as_fd(), pidfd);
        direct.take(end, answering);
    }
    Ok(direct)
}

/// Sends a plan to a fresh seed, whose answers come through the socket. If it has not entered its
/// image, there is no seed.
pub(crate) fn begin(
    plan: &OwnedPlan,
    grants: &[i32],
    timeout: Duration,
    trace: bool,
) -> Result<(Direct, OwnedFd), Fault> {
    let flags = if trace { RequestFlags::TRACE } else { 0 };
    let kept = &Kept::NOTHING;
    let kind = RequestKind::Launch;
    let message = Message { kind, flags, plan, owner: None, grants, kept, timeout };
    make(timeout, |socket| send(socket, &message))
}

/// Makes a seed whose first request, which `send` puts into its socket, lies there before it does.
pub(crate) fn make(
    timeout: Duration,
    send: impl FnOnce(BorrowedFd<'_>) -> Result<(), Fault>,
) -> Result<(Direct, OwnedFd), Fault> {
    let seed = |errno: Errno| Fault::step(Step::Seed, errno);
    Mailbox::reserve();
    let image = image().map_err(seed)?;
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| seed(errno.into()))?;
    send(ours.as_fd())?;
    let fds = [theirs.as_fd().as_raw(), image.as_fd().as_raw()];
    let mut direct = direct::launch(seed_plan(), &fds, timeout, false)?;
    drop(theirs);
    // A fault of the seed's own launch is not one of the plan's ops.
    if let End::Fault(fault) = direct.launched.end {
        direct.launched.end = End::Fault(seed(Errno::new(fault.errno)));
    }
    Ok((direct, ours))
}

impl Direct {
    /// Takes in what came of a launch through the seed.
    pub(crate) fn take(&mut self, end: End, answering: Answering) {
        let Answering { records, listener, moves, detail, .. } = answering;
        self.below = moves.settle(&mut self.launched.pidfd, &mut self.launched.pid);
        (self.launched.end, self.launched.trace) = (end, records);
        (self.listener, self.detail) = (listener, detail);
    }
}

/// A launch whose outcome is not known yet.
#[derive(Debug)]
pub(crate) struct Answering {
    pid: i32,
    plan: OwnedPlan,
    moves: Moves,
    /// What went wrong in this process, if something did.
    detail: Option<String>,
    deadline: Instant,
    patience: Duration,
    /// Until the seed has said so it is no image, whatever its name is: it may not have got so far as
    /// to take one. What ends without a word has failed.
    entering: bool,
    /// Whether the plan's filter has a listener that has not been handed over yet.
    listens: bool,
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) records: Vec<Trace>,
}

impl Answering {
    /// Of a seed that has this below it, and was sent this plan.
    pub(crate) fn new(pid: i32, deadline: Instant, plan: &OwnedPlan, below: Below) -> Self {
        Self {
            pid,
            listens: plan.as_plan().has_listener(),
            listener: None,
            plan: plan.clone(),
            moves: Moves::from(below),
            detail: None,
            deadline,
            patience: SOCKET_PATIENCE,
            entering: false,
            records: Vec::new(),
        }
    }

    /// Waits for what the seed says, or for the end of its socket, and finds out what that means.
    pub(crate) fn finish(mut self, socket: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> (End, Self) {
        loop {
            self.rest(socket);
            if let Some(end) = self.look(socket, pidfd) {
                return (end, self);
            }
        }
    }

    /// Gives the launch up: what is to be ended is the handle now.
    pub(crate) fn leave(mut self, ready: &mut Ready) {
        // What has been said and not been heard is of processes that are to end, too.
        let _ = self.look(ready.socket.as_fd(), ready.pidfd.as_fd());
        self.moves.settle(&mut ready.pidfd, &mut ready.pid);
    }

    /// Whether a listener is still to come.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// When it is to be looked at again though the socket is silent.
    pub(crate) fn next_look(&self) -> Instant {
        self.deadline.min(Instant::now() + self.patience)
    }

    /// Waits until there is something to see, or for a while.
    fn rest(&self, socket: BorrowedFd<'_>) {
        readable(socket, self.next_look());
    }

    /// What it came to, if that is known now.
    pub(crate) fn look(&mut self, socket: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> Option<End> {
        let mut heard = false;
        // One that answers without end has no more time than another.
        while readable(socket, Instant::now()) && Instant::now() < self.deadline {
            heard = true;
            match receive(socket) {
                Some((ReplyKind::Entering, _, traced, [None, None])) if !self.entering => {
                    self.entering = true;
                    self.records = traced;
                }
                Some((ReplyKind::Listening, _, _, [Some(listener), None]))
                    if self.entering && self.listens =>
                {
                    self.listens = false;
                    self.listener = Some(listener);
                    // Whoever waits for it is to get it, whatever else has been said.
                    return None;
                }
                Some((ReplyKind::Fault, fault, traced, [None, None])) => {
                    self.records.extend(traced);
                    return Some(End::Fault(fault));
                }
                Some((kind @ (ReplyKind::Moving | ReplyKind::Moved), said, _, fds)) => {
                    if !self.moves.hear(kind, said.index, fds) {
                        kill(self.moves.handle(pidfd));
                        return Some(End::Killed);
                    }
                }
                Some((ReplyKind::MapsWanted, _, _, [None, None])) => {
                    let (_, pid) = self.moves.image(pidfd, self.pid);
                    self.detail = write_maps(socket, pid, &self.plan.as_plan());
                }
                // No answer to a launch: whoever gave it is no seed of ours.
                Some(_) => {
                    kill(self.moves.handle(pidfd));
                    return Some(End::Killed);
                }
                // The socket's other end is closed: by exec, or by death.
                None => return Some(self.ended(pidfd)),
            }
        }
        let over = Instant::now() >= self.deadline;
        if heard && !over {
            // Whoever has just spoken is there, and its socket's end is most often about to come.
            return None;
        }
        self.patience *= 2;
        if over {
            let handle = self.moves.handle(pidfd);
            kill(handle);
            wait_dead(handle, GRACE + Duration::from_secs(1));
            return Some(End::TimedOut);
        }
        // Asked first: what a dead one had to say, and one that is the image now, lies in the socket.
        let (image, pid) = self.moves.image(pidfd, self.pid);
        let dead = wait_dead(image, Duration::ZERO);
        let gone = dead || self.entering && still_seed(pid) == Some(false);
        let silent = !readable(socket, Instant::now());
        (silent && gone).then(|| self.ended(pidfd))
    }

    fn ended(&self, pidfd: BorrowedFd<'_>) -> End {
        if !self.entering {
            return End::Killed;
        }
        if self.listens {
            // It said that it enters its image, and never got so far as to do so.
            kill(self.moves.handle(pidfd));
            return End::Killed;
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let (image, pid) = self.moves.image(pidfd, self.pid);
        let entered = entered(image, pid, left);
        self.moves.release();
        match entered {
            Entered::Started => End::Entered,
            Entered::DiedBefore => End::Killed,
        }
    }
}

/// Whether a seed that called exec, and has closed its socket, is the image now.
fn entered(pidfd: BorrowedFd<'_>, pid: i32, timeout: Duration) -> Entered {
    match sys::process_mrelease(pidfd.as_raw()) {
        // It has an address space and means to keep it; in death that goes before the socket.
        Err(Errno::INVAL) => return Entered::Started,
        // Dying or dead: once it is dead, what /proc says of it is final.
        Ok(()) | Err(Errno::SRCH) => {
            wait_dead(pidfd, timeout);
        }
        // Before Linux 5.15, or filtered: /proc has to tell in any case.
        Err(_) => {}
    }
    // exec closes the socket a moment before it changes what /proc shows, so one that looks like a
    // seed and lives is looked at again.
    let begun = Instant::now();
    loop {
        // Asked first: what /proc says after a death is final.
        let dead = wait_dead(pidfd, Duration::ZERO);
        match still_seed(pid) {
            Some(true) if dead => return Entered::DiedBefore,
            Some(true) if begun.elapsed() < timeout => {
                std::thread::sleep(Duration::from_micros(20));
            }
            Some(_) => return Entered::Started,
            None => return reaped_already(pidfd),
        }
    }
}

/// Somebody reaped it before it could be looked at (an ignored SIGCHLD does). A seed says so before
/// it exits, so what has exited was the image; what a signal has ended need not have been.
fn reaped_already(pidfd: BorrowedFd<'_>) -> Entered {
    match reaped_status(pidfd) {
        Some(status) if status.signal().is_some() => Entered::DiedBefore,
        _ => Entered::Started,
    }
}

/// When a launch that begins now has to have come to an end. Longer than a year is a year.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + timeout.min(YEAR)
}

fn still_seed(pid: i32) -> Option<bool> {
    crate::procfs::name(pid).map(|name| name == SEED_NAME.to_bytes())
}

pub(crate) fn readable(socket: BorrowedFd<'_>, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Writes maps for a seed that waits for them, and tells it what came of that; tells here what went
/// wrong.
fn write_maps(socket: BorrowedFd<'_>, pid: i32, plan: &embryo_plan::Plan<'_>) -> Option<String> {
    let refused = crate::id_maps::write(pid, plan).err();
    let errno = refused.as_ref().map_or(0, |refused| refused.errno);
    let request = Request {
        magic: Request::MAGIC,
        kind: RequestKind::Go as u32,
        count: errno.into(),
        ..Request::default()
    };
    // If it cannot be told, it has ended, which will be seen.
    let _ = sys::send_with_fds(socket.as_raw(), request.as_bytes(), &[], &[]);
    refused.map(|refused| refused.why)
}

/// Descriptors that come with a reply.
type Fds = [Option<OwnedFd>; 2];

/// One reply; `None` at the end of the socket, or if it is not one.
fn receive(socket: BorrowedFd<'_>) -> Option<(ReplyKind, Fault, Vec<Trace>, Fds)> {
    let (message, fds) = message(socket)?;
    let (reply, rest) = Reply::read_from_prefix(message.as_slice()).ok()?;
    let (kind, fault) = reply.meaning()?;
    let record = |bytes: &[u8; 16]| Trace {
        index: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        errno: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        ns: u64::from_le_bytes(std::array::from_fn(|at| bytes[8 + at])),
    };
    let records = rest.as_chunks::<16>().0.iter().take(reply.traced as usize).map(record).collect();
    Some((kind, fault, records, fds))
}

/// One message with the descriptors that came with it; `None` at the end of the socket.
fn message(socket: BorrowedFd<'_>) -> Option<(Vec<u8>, Fds)> {
    // A seed keeps at most 1024 records, and tells a u64 for each entry of a batch. The end of the
    // socket, which is what mostly comes, needs no room.
    let mut message = match rustix::io::ioctl_fionread(socket) {
        Ok(0) => Vec::new(),
        _ => vec![0u8; REPLY_LEN + limits::ENTRIES_MAX as usize * 8],
    };
    // A seed that exits with requests unread leaves an error, which comes before what it said.
    let mut receive = || sys::recv_owned::<2>(socket, &mut message);
    let (len, fds) = match receive() {
        (Err(Errno::CONNRESET), _) => receive(),
        other => other,
    };
    message.truncate(len.ok()?);
    Some((message, fds))
}

/// What an embryo answers to a batch.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What each op has to tell.
    Done(Vec<u64>),
    /// An op failed.
    Fault(Fault),
    /// Nothing, in the time it had.
    Silence,
    /// Something that is no answer to a batch.
    Nonsense,
    /// The embryo is no more.
    End,
}

/// What an embryo may do before it answers: go on elsewhere, and ask for maps.
pub(crate) struct Meanwhile<'a> {
    pub(crate) pidfd: BorrowedFd<'a>,
    pub(crate) pid: i32,
    pub(crate) plan: &'a OwnedPlan,
    pub(crate) moves: Moves,
    /// What went wrong in this process, if something did.
    pub(crate) detail: Option<String>,
}

/// Waits for the answer to a batch.
pub(crate) fn results(
    socket: BorrowedFd<'_>,
    deadline: Instant,
    meanwhile: &mut Meanwhile<'_>,
) -> Answer {
    let mut heard = false;
    loop {
        // One that says something else without end has no more time than another.
        if !readable(socket, deadline) || heard && Instant::now() >= deadline {
            return Answer::Silence;
        }
        heard = true;
        let Some((message, fds)) = message(socket).filter(|(message, _)| !message.is_empty())
        else {
            return Answer::End;
        };
        let Ok((reply, rest)) = Reply::read_from_prefix(message.as_slice()) else {
            return Answer::Nonsense;
        };
        let (words, odd) = rest.as_chunks::<8>();
        let bare = rest.is_empty() && matches!(fds, [None, None]);
        match reply.meaning() {
            Some((ReplyKind::Fault, fault)) if bare => return Answer::Fault(fault),
            Some((ReplyKind::Done, _))
                if odd.is_empty()
                    && words.len() == reply.traced as usize
                    && matches!(fds, [None, None]) =>
            {
                return Answer::Done(words.iter().map(|word| u64::from_le_bytes(*word)).collect());
            }
            Some((kind @ (ReplyKind::Moving | ReplyKind::Moved), said)) => {
                if !meanwhile.moves.hear(kind, said.index, fds) {
                    return Answer::Nonsense;
                }
            }
            Some((ReplyKind::MapsWanted, _)) if bare => {
                let (_, pid) = meanwhile.moves.image(meanwhile.pidfd, meanwhile.pid);
                meanwhile.detail = write_maps(socket, pid, &meanwhile.plan.as_plan());
            }
            _ => return Answer::Nonsense,
        }
    }
}

/// A request as its owner says it.
pub(crate) struct Message<'a> {
    pub(crate) kind: RequestKind,
    pub(crate) flags: u32,
    pub(crate) plan: &'a OwnedPlan,
    /// The owner's pidfd, for the first request of an embryo that is to live.
    pub(crate) owner: Option<BorrowedFd<'a>>,
    pub(crate) grants: &'a [i32],
    pub(crate) kept: &'a Kept,
    /// How long the seed may take.
    pub(crate) timeout: Duration,
}

/// What a plan keeps of its creator, for a seed that was made at another moment. One that was made
/// for the plan has it already.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The working directory.
    pub(crate) cwd: Option<OwnedFd>,
    pub(crate) umask: Option<u32>,
    /// Ignored signals.
    pub(crate) ignored: u64,
}

impl Kept {
    /// Nothing but what the seed has.
    pub(crate) const NOTHING: Self = Self { cwd: None, umask: None, ignored: 0 };
}

/// How much later than its owner a seed gives itself up: the owner is to say that it took too long.
const GRACE: Duration = Duration::from_millis(200);

/// Puts a request and its grants into the socket.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &Message<'_>) -> Result<(), Fault> {
    let bytes = message.plan.as_bytes();
    let Kept { cwd, umask, ignored } = message.kept;
    // An embryo's first request, which brings its owner, has no other grants.
    let cwd = cwd.as_ref().map(AsFd::as_fd);
    let lent = message.owner.iter().chain(&cwd).map(AsRaw::as_raw);
    let mut request = Request {
        magic: Request::MAGIC,
        kind: message.kind as u32,
        flags: message.flags,
        plan_len: bytes.len() as u32,
        grants: (lent.clone().count() + message.grants.len()) as u32,
        owner: sys::getpid(),
        caller_mask: caller_mask(),
        ignored: *ignored,
        // Longer than can be said is for ever.
        timeout_ns: message.timeout.saturating_add(GRACE).as_nanos().try_into().unwrap_or(0),
        group: sys::getpgrp().unwrap_or(0),
        umask: umask.unwrap_or(0),
        ..Request::default()
    };
    if cwd.is_some() {
        request.flags |= RequestFlags::CWD;
    }
    if umask.is_some() {
        request.flags |= RequestFlags::UMASK;
    }
    let fail = |errno| Fault::step(Step::ReceiveGrants, errno);
    let mut body = bytes;
    let mut first = Vec::with_capacity(message.grants.len().min(GRANTS_PER_MESSAGE) + 3);
    let long;
    if bytes.len() > INLINE_PLAN_MAX {
        request.flags |= RequestFlags::PLAN_IN_FD;
        long = sealed(c"embryo:plan", bytes, MemfdFlags::empty()).map_err(fail)?;
        first.push(long.as_fd().as_raw());
        body = &[];
    }
    first.extend(lent);
    let room = sys::SCM_MAX_FDS - first.len();
    let (now, later) = message.grants.split_at(room.min(message.grants.len()));
    first.extend_from_slice(now);
    sys::send_with_fds(socket.as_raw(), request.as_bytes(), body, &first).map_err(fail)?;
    let more = Request { magic: Request::MAGIC, kind: RequestKind::Grants as u32, ..request };
    for chunk in later.chunks(GRANTS_PER_MESSAGE) {
        sys::send_with_fds(socket.as_raw(), more.as_bytes(), &[], chunk).map_err(fail)?;
    }
    Ok(())
}

/// Asks a seed for so many embryos, with this much time between two; `afresh` forgets those that
/// were asked for before.
pub(crate) fn ask_for(
    socket: BorrowedFd<'_>,
    count: u32,
    afresh: bool,
    pause: Duration,
) -> Result<(), Errno> {
    let request = Request {
        magic: Request::MAGIC,
        kind: RequestKind::Hatch as u32,
        flags: if afresh { RequestFlags::AFRESH } else { 0 },
        count,
        timeout_ns: pause.as_nanos().try_into().unwrap_or(u64::MAX),
        ..Request::default()
    };
    sys::send_with_fds(socket.as_raw(), request.as_bytes(), &[], &[])
}

/// What a hatchery's process has sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// An embryo.
    Ready(Ready),
    /// An embryo whose descriptors did not make it: it ends by itself.
    Lost(i32),
    /// It cannot make any now.
    Fault(Fault),
    /// Nothing yet.
    Nothing,
    /// There is no such process any more.
    End,
}

/// An embryo that was made ahead of time.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) socket: OwnedFd,
}

/// Takes what a hatchery's process has sent, if it has.
pub(crate) fn take(socket: BorrowedFd<'_>) -> Sent {
    let mut reply = Reply::default();
    let (outcome, fds) = sys::recv_owned::<2>(socket, reply.as_mut_bytes());
    match outcome {
        Err(Errno::AGAIN) => return Sent::Nothing,
        Err(Errno::MFILE) | Ok(REPLY_LEN) => {}
        _ => return Sent::End,
    }
    match (reply.meaning(), fds) {
        (Some((ReplyKind::Hatched, said)), [Some(pidfd), Some(socket)]) => {
            Sent::Ready(Ready { pid: said.index.cast_signed(), pidfd, socket })
        }
        (Some((ReplyKind::Hatched, said)), _) => Sent::Lost(said.index.cast_signed()),
        (Some((ReplyKind::Fault, fault)), _) => Sent::Fault(fault),
        _ => Sent::End,
    }
}

/// Setting the mask to what it is tells what it is.
fn caller_mask() -> u64 {
    let mask = sys::set_mask(sys::ALL_SIGNALS).unwrap_or(0);
    let _ = sys::set_mask(mask);
    mask
}

/// The plan that makes a seed: the control socket at its number, everything else closed, every
/// signal blocked, and what the later plan may keep kept.
fn seed_plan() -> &'static OwnedPlan {
    static PLAN: OnceLock<OwnedPlan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let mut plan = PlanBuilder::new();
        let (control, image): (Slot, Slot) = (plan.slot(), plan.slot());
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION | Keep::IGNORED_SIGNALS)
            .op(&Op::PutFd { slot: control, fd: CONTROL_FD as u32 })
            .op(&Op::SignalMask { set: !(1 << 8 | 1 << 18) })
            .op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() })
            .arg(SEED_NAME.to_bytes());
        plan.build().expect("the seed's plan is a constant, and a test builds it")
    })
}

/// The seed in a sealed memfd, made once and made again if somebody closed it.
fn image() -> Result<Arc<Guarded>, Errno> {
    static IMAGE: Mutex<Option<Arc<Guarded>>> = Mutex::new(None);
    let mut image = IMAGE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ready) = image.as_ref().filter(|image| image.intact()) {
        return Ok(Arc::clone(ready));
    }
    // Since Linux 6.3 a memfd says whether it may be executed; before, the flag is EINVAL.
    let made = match sealed(SEED_NAME, SEED, MemfdFlags::from_bits_retain(0x10)) {
        Err(Errno::INVAL) => sealed(SEED_NAME, SEED, MemfdFlags::empty()),
        other => other,
    }?;
    let made = Arc::new(Guarded::new(made)?);
    *image = Some(Arc::clone(&made));
    Ok(made)
}

/// A memfd with these bytes that nobody can change any more.
pub(crate) fn sealed(
    name: &std::ffi::CStr,
    bytes: &[u8],
    flags: MemfdFlags,
) -> Result<OwnedFd, Errno> {
    let fd =
        rustix::fs::memfd_create(name, flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&fd, rest)?;
        rest = rest.get(written..).unwrap_or(&[]);
    }
    rustix::fs::fcntl_add_seals(
        &fd,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_never_comes_is_one() {
        assert!(deadline_after(Duration::MAX) > Instant::now() + Duration::from_secs(3600));
    }

    #[test]
    fn the_seeds_own_plan_is_one_and_runs_directly() {
        assert_eq!(seed_plan().as_plan().route(), embryo_plan::Route::Direct);
        assert_eq!(seed_plan().as_plan().slots(), 2);
    }
}
