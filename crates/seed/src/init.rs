//! Going on in another process: in namespaces that only a new one enters, and below the init of a pid
//! namespace, which is here too.
//!
//! The init reaps whatever is orphaned in its namespace, forwards signals to the image, and ends
//! with it, after it has told how that ended: nobody else could, since the kernel lets an init neither
//! die of a signal that it sends itself nor name another's end. It must never hold a grant.

use crate::wire::{Reply, Request, RequestKind};
use core::cell::Cell;
use embryo_interp::{Executor, Move};
use embryo_syscall::{self as sys, Deadline, Disposition, Errno, Reaped};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::process::{DumpableBehavior, Signal};
use zerocopy::{Immutable, IntoBytes};

/// The name (`comm`) of an init.
const INIT_NAME: &core::ffi::CStr = c"embryo:init";

const CLONE_PARENT: u32 = 0x8000;
const CLONE_NEWPID: u32 = 0x2000_0000;
const CAP_KILL: u64 = 1 << 5;
const SIGCHLD: u32 = 17;
/// Descriptors that an init keeps, from 0 on.
const KEPT: usize = 4;

/// What a seed lends to a plan that needs its owner.
pub(crate) struct Mover<'a> {
    pub(crate) deadline: &'a Cell<Option<Deadline>>,
    pub(crate) timeout_ns: u64,
    /// Whether the parent's death signal is the seed's own.
    pub(crate) watches: bool,
}

impl Executor for Mover<'_> {
    fn go_on(&mut self, control: i32, owner: i32, how: Move) -> Result<i32, Errno> {
        let [told, tells] = sys::socketpair()?;
        let moved = match how {
            Move::Plain => self.go_on_plain(control, told, tells),
            Move::BelowInit(pid) => self.go_on_below(control, owner, pid, told, tells),
        };
        let _ = sys::close(told);
        let _ = sys::close(tells);
        moved
    }

    fn ask_for_maps(&mut self, control: i32) -> Result<(), Errno> {
        sys::send_with_fds(control, Reply::maps_wanted().as_bytes(), &[], &[])?;
        let mut answer = Request::default();
        let (len, _) = sys::recv_with_fds(control, answer.as_mut_bytes(), &mut [], true)?;
        if len == 0 {
            return Err(Errno::PIPE);
        }
        if answer.kind != RequestKind::Go as u32 {
            return Err(Errno::BADMSG);
        }
        match answer.count {
            0 => Ok(()),
            errno => Err(Errno::new(errno as u16)),
        }
    }
}

impl Mover<'_> {
    /// In a child of the owner's.
    fn go_on_plain(&self, control: i32, told: i32, tells: i32) -> Result<i32, Errno> {
        // SAFETY: a seed has one thread, and whoever runs it vouches for copies.
        let made = unsafe { sys::fork(CLONE_PARENT) }?;
        if made != 0 {
            return Err(hear(control, made, told, tells));
        }
        let pidfd = sys::pidfd_open(sys::getpid());
        let said = pidfd.and_then(|pidfd| {
            let said = sys::send_with_fds(control, Reply::moving().as_bytes(), &[], &[pidfd]);
            let _ = sys::close(pidfd);
            said?;
            sys::send_with_fds(control, Reply::moved().as_bytes(), &[], &[])
        });
        tell(tells, said);
        self.settle();
        if self.watches {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
        }
        Ok(-1)
    }

    /// In a child of an init, which is a child of the owner's.
    fn go_on_below(
        &self,
        control: i32,
        owner: i32,
        pid: u32,
        told: i32,
        tells: i32,
    ) -> Result<i32, Errno> {
        let [status, statuses] = sys::socketpair()?;
        let [main_link, init_link] = sys::socketpair()?;
        let opened = match owner {
            0.. => owner,
            // A launch does not outlive its owner either, as far as a start.
            _ => sys::getppid().and_then(sys::pidfd_open).unwrap_or(-1),
        };
        // SAFETY: a seed has one thread, and whoever runs it vouches for copies.
        let made = unsafe { sys::fork(CLONE_PARENT | CLONE_NEWPID) };
        let close_all = |fds: &[i32]| {
            for fd in fds {
                let _ = sys::close(*fd);
            }
        };
        let unneeded = if owner < 0 { opened } else { -1 };
        if made != Ok(0) {
            close_all(&[status, statuses, main_link, init_link, unneeded]);
            return Err(hear(control, made?, told, tells));
        }
        let main = match announce(control, status).and_then(|()| {
            match pid {
                // SAFETY: as above.
                0 => unsafe { sys::fork(0) },
                // SAFETY: as above.
                _ => unsafe { sys::fork_as(pid) },
            }
        }) {
            Ok(0) => {
                close_all(&[status, statuses, init_link, unneeded]);
                // Until its init has told of it.
                let mut word = [0];
                if !matches!(sys::recv_with_fds(main_link, &mut word, &mut [], true), Ok((1, _))) {
                    sys::exit(127);
                }
                self.settle();
                return Ok(main_link);
            }
            Ok(main) => main,
            Err(errno) => tell_and_exit(tells, errno),
        };
        let said = sys::pidfd_open(main).and_then(|pidfd| {
            sys::send_with_fds(control, Reply::moved().as_bytes(), &[], &[pidfd])
        });
        tell(tells, said);
        let _ = sys::send_with_fds(init_link, &[0], &[], &[]);
        match Init::new(main, statuses, init_link, opened) {
            Ok(init) => init.keep(),
            Err(_) => sys::exit(127),
        }
    }

    /// What a copy does not have of the process that it is a copy of.
    fn settle(&self) {
        if self.deadline.get().is_some() {
            // A timer is not copied.
            self.deadline.set(Deadline::create().ok());
            if let Some(deadline) = self.deadline.get() {
                let _ = deadline.set(self.timeout_ns);
            }
        }
    }
}

/// Tells the owner of an init, with the way by which it will say how the image ended.
fn announce(control: i32, status: i32) -> Result<(), Errno> {
    // One that is stopped sees nothing; see `Seed::watch_owner`.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
    let pidfd = sys::pidfd_open(sys::getpid())?;
    let said = sys::send_with_fds(control, Reply::moving().as_bytes(), &[], &[pidfd, status]);
    let _ = sys::close(pidfd);
    said
}

/// In the process that was left: ends, or says why it goes on.
fn hear(control: i32, made: i32, told: i32, tells: i32) -> Errno {
    // If the other one dies, the socket is to end.
    let _ = sys::close(tells);
    let mut word = [0u8; 2];
    match sys::recv_with_fds(told, &mut word, &mut [], true) {
        Ok((2, _)) if word == [0; 2] => sys::exit(0),
        other => {
            // The owner may not have been told of it, and has to reap it.
            let reply = Reply { index: made as u32, ..Reply::moving() };
            let _ = sys::send_with_fds(control, reply.as_bytes(), &[], &[]);
            let errno = u16::from_le_bytes(word);
            if other.is_ok() && errno != 0 { Errno::new(errno) } else { Errno::CHILD }
        }
    }
}

/// In the copy: lets the process that was left go, or ends if the owner could not be told.
fn tell(tells: i32, said: Result<(), Errno>) {
    match said {
        Ok(()) => drop(sys::send_with_fds(tells, &[0; 2], &[], &[])),
        Err(errno) => tell_and_exit(tells, errno),
    }
}

fn tell_and_exit(tells: i32, errno: Errno) -> ! {
    let _ = sys::send_with_fds(tells, &errno.number().to_le_bytes(), &[], &[]);
    sys::exit(127)
}

/// How an image ended: what an init says of it.
#[repr(C)]
#[derive(Clone, Copy, IntoBytes, Immutable)]
struct Ending {
    status: i32,
    pad: i32,
    usage: [i64; 18],
}

/// The init of a pid namespace.
struct Init {
    main: i32,
    status: i32,
    /// The way to the image until it is one: exec closes it.
    link: i32,
    /// The owner's pidfd until then.
    owner: i32,
    signals: i32,
    /// Whether the owner's death is to be heard of as a signal.
    death_signal: bool,
    /// Whether the owner knows if the image was entered. Until then nothing is reaped: what /proc
    /// shows of an image that ended at once tells it.
    judged: bool,
}

impl Init {
    /// Gives up what an init does not need.
    fn new(main: i32, status: i32, link: i32, owner: i32) -> Result<Self, Errno> {
        // Not before there is an image to be, which goes by the seed's name until it is one, and which
        // stays in the group: an init is out of the terminal's reach, and of signals to that group.
        let _ = rustix::thread::set_name(INIT_NAME);
        let _ = rustix::process::setpgid(None, None);
        let signals = sys::signalfd(!0)?;
        let mut own = [status, link, signals, owner];
        for fd in &mut own {
            if *fd >= 0 {
                *fd = sys::dupfd_cloexec(*fd, KEPT as i32)?;
            }
        }
        for (to, fd) in own.iter_mut().enumerate() {
            if *fd >= 0 {
                sys::dup3(*fd, to as i32)?;
                *fd = to as i32;
            }
        }
        let from = if owner >= 0 { KEPT as u32 } else { KEPT as u32 - 1 };
        if sys::close_range(from, u32::MAX, sys::CloseRange::Close).is_err() {
            for fd in from as i32..1024 {
                let _ = sys::close(fd);
            }
        }
        let _ = rustix::process::chdir(c"/");
        // Its memory holds the plan.
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        // The image may take another uid.
        let _ = sys::keep_capabilities(CAP_KILL);
        // Were it ignored, the kernel would reap, and nobody would know how anything ended.
        sys::set_disposition(SIGCHLD, Disposition::Default)?;
        let [status, link, signals, owner] = own;
        Ok(Self { main, status, link, owner, signals, death_signal: false, judged: false })
    }

    fn keep(mut self) -> ! {
        loop {
            while self.judged
                && let Ok(Some(reaped)) = sys::reap_any()
            {
                if reaped.pid == self.main {
                    self.end(&reaped);
                }
            }
            let [signals, link, owner, status] = self.poll();
            // It says so, or has let go of the image, or is no more.
            self.judged |= status;
            if owner && self.link >= 0 {
                // There will be no start. With this process everything in the namespace ends.
                sys::exit(127);
            }
            if link {
                self.hear_main();
            }
            while signals && let Ok(signal) = sys::take_signal(self.signals) {
                if signal != SIGCHLD {
                    let _ = sys::kill(self.main, signal);
                }
            }
        }
    }

    /// Says how the image ended, and ends likewise.
    fn end(&self, reaped: &Reaped) -> ! {
        let ending = Ending { status: reaped.status, pad: 0, usage: reaped.usage.words() };
        let _ = sys::send_with_fds(self.status, ending.as_bytes(), &[], &[]);
        let signal = reaped.status & 0x7f;
        sys::exit(if signal == 0 { reaped.status >> 8 & 0xff } else { signal.wrapping_add(128) })
    }

    /// Which of these has something: signals, the image to be, the owner's end, the owner.
    fn poll(&self) -> [bool; 4] {
        let borrow = |fd: i32| match fd {
            // SAFETY: this process's own, and it stays open.
            0.. => unsafe { BorrowedFd::borrow_raw(fd) },
            // SAFETY: as above. An init has this one always, and what it has is not looked at.
            _ => unsafe { BorrowedFd::borrow_raw(0) },
        };
        let wanted = |fd: i32| if fd >= 0 { PollFlags::IN } else { PollFlags::empty() };
        let status = if self.judged { -1 } else { self.status };
        let all = [self.signals, self.link, self.owner, status];
        let mut fds = all.map(|fd| PollFd::from_borrowed_fd(borrow(fd), wanted(fd)));
        let polled = rustix::event::poll(&mut fds, None).is_ok();
        let mut ready = all.map(|fd| fd >= 0 && polled);
        for (ready, fd) in ready.iter_mut().zip(&fds) {
            *ready &= !fd.revents().is_empty();
        }
        ready
    }

    /// The image to be wants to hear of its owner's death, or it is the image now.
    fn hear_main(&mut self) {
        let mut word = [0u8];
        match sys::recv_with_fds(self.link, &mut word, &mut [], false) {
            Ok((1, _)) => {
                let [signal] = word;
                // SAFETY: a death signal is only taken by number here, and was checked to be one.
                let signal = unsafe { Signal::from_raw_unchecked(signal.into()) };
                let set = rustix::process::set_parent_process_death_signal(Some(signal));
                self.death_signal = set.is_ok();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => {
                let _ = sys::close(self.link);
                let _ = sys::close(self.owner);
                (self.link, self.owner) = (-1, -1);
                if !self.death_signal {
                    let _ = rustix::process::set_parent_process_death_signal(None);
                }
            }
        }
    }
}
