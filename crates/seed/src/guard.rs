//! A guardian: it makes a cgroup, and whatever becomes of its owner, nothing is left in the end:
//! not the cgroup, nobody in it, and none of the processes that were tied to it.
//!
//! It must never end before that, nor touch what it has not made. It was there before what it
//! guards, so there is no moment in which its owner could be killed and something stay behind. Its
//! session is its own and every signal but SIGKILL and SIGSTOP is blocked; whoever may send those to
//! it could kill what it guards as well.

use crate::wire::{GUARD_NAME, Order, Reply};
use core::ffi::CStr;
use embryo_interp::Fault;
use embryo_syscall::{self as sys, Errno};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::BorrowedFd;
use rustix::process::{Pid, Signal};
use zerocopy::IntoBytes;

/// Processes that can be tied to one guardian and live at once.
const TIED_MAX: usize = 64;
const SIGKILL: u32 = 9;
/// How long a cgroup that is not empty yet is left alone, in nanoseconds.
const PAUSE_NS: i64 = 10_000_000;
/// How deep cgroups are followed where each process is to be killed on its own.
const DEPTH: u32 = 16;

/// What a guardian starts with.
#[derive(Clone, Copy)]
pub(crate) struct Guard {
    /// The other end is the owner's handle.
    pub(crate) control: i32,
    /// The owner's pidfd.
    pub(crate) owner: i32,
    /// The directory to make a cgroup in, or -1.
    pub(crate) parent: i32,
}

/// A cgroup that was made here.
struct Made<'a> {
    parent: i32,
    name: &'a CStr,
    dir: i32,
}

/// Guards. `ready` is called when what was asked for has been made.
pub(crate) fn guard(start: Guard, orders: &[u8], ready: impl FnOnce()) -> ! {
    let Guard { control, owner, parent } = start;
    // First of all: if somebody stops it, it is continued when its owner ends. Until here the time that
    // it has to make something ends it.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
    let _ = rustix::thread::set_name(GUARD_NAME);
    let _ = rustix::process::setsid();
    // It is to hold no file system.
    let _ = rustix::process::chdir(c"/");
    let made = match make(parent, orders) {
        Ok(made) => made,
        Err((index, errno)) => {
            let fault = Fault { index, code: 0, errno: errno.number() };
            let _ = sys::send_with_fds(control, Reply::fault(fault, 0).as_bytes(), &[], &[]);
            sys::exit(1)
        }
    };
    ready();
    let dir = made.as_ref().map(|made| made.dir);
    let mut tied = [-1i32; TIED_MAX];
    // Whether the owner hears it or not: it is asked next.
    let _ = sys::send_with_fds(control, Reply::done(0).as_bytes(), &[], dir.as_slice());
    let end = serve(control, owner, &mut tied);
    if end == Order::End {
        for pidfd in tied.iter().filter(|pidfd| **pidfd >= 0) {
            let _ = sys::pidfd_send_signal(*pidfd, SIGKILL);
        }
    }
    let removed = made.is_none_or(|made| made.dismantle(end == Order::End).is_ok());
    sys::exit(if removed { 0 } else { 1 })
}

/// Takes orders until one is the last, or there is nobody to give any.
fn serve(control: i32, owner: i32, tied: &mut [i32]) -> Order {
    loop {
        if !wait(control, owner) {
            return Order::End;
        }
        let (mut order, mut fds) = ([0u8; 1], [-1i32; 1]);
        let [pidfd] = match sys::recv_with_fds(control, &mut order, &mut fds, false) {
            Ok((1, _)) => fds,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            // The handle was dropped, with all copies of it.
            _ => return Order::End,
        };
        let [order] = order;
        if order == Order::Release as u8 {
            return Order::Release;
        }
        if order != Order::Tie as u8 || pidfd < 0 {
            return Order::End;
        }
        let free = tied
            .iter_mut()
            .find(|old| **old < 0 || sys::pidfd_send_signal(**old, 0) == Err(Errno::SRCH));
        match free {
            Some(place) => {
                let _ = sys::close(*place);
                *place = pidfd;
                let _ = sys::send_with_fds(control, &[Order::Tie as u8], &[], &[]);
            }
            // It is not told that it is tied, and is none of ours.
            None => {
                let _ = sys::close(pidfd);
                let _ = sys::send_with_fds(control, &[0], &[], &[]);
            }
        }
    }
}

/// Waits for an order; false if the owner has ended.
fn wait(control: i32, owner: i32) -> bool {
    if control < 0 || owner < 0 {
        return false;
    }
    // SAFETY: this process's own, and it stays open.
    let control = unsafe { BorrowedFd::borrow_raw(control) };
    // SAFETY: as above.
    let owner = unsafe { BorrowedFd::borrow_raw(owner) };
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(control, PollFlags::IN),
            PollFd::from_borrowed_fd(owner, PollFlags::IN),
        ];
        let ready = rustix::event::poll(&mut fds, None);
        let [_, owner] = &fds;
        match ready {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return owner.revents().is_empty(),
        }
    }
}

/// Makes the cgroup, if one is wanted, and writes what is to be written. What fails is told by its
/// number: 0 is the directory, and from 1 on the files.
fn make(parent: i32, orders: &[u8]) -> Result<Option<Made<'_>>, (u32, Errno)> {
    let mut orders = strings(orders);
    let Some(name) = orders.next() else { return Ok(None) };
    sys::mkdir_at(parent, name).map_err(|errno| (0, errno))?;
    let made = sys::open_at(parent, name, 0).map(|dir| Made { parent, name, dir });
    let made = made.map_err(|errno| {
        let _ = sys::rmdir_at(parent, name);
        (0, errno)
    })?;
    let mut index = 0u32;
    while let (Some(file), Some(value)) = (orders.next(), orders.next()) {
        index = index.wrapping_add(1);
        if let Err(errno) = write(made.dir, file, value.to_bytes()) {
            let _ = sys::rmdir_at(parent, name);
            return Err((index, errno));
        }
    }
    Ok(Some(made))
}

fn strings(bytes: &[u8]) -> impl Iterator<Item = &CStr> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let string = CStr::from_bytes_until_nul(rest).ok()?;
        rest = rest.get(string.to_bytes_with_nul().len()..)?;
        Some(string)
    })
}

fn write(dir: i32, file: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = sys::open_at(dir, file, 1)?;
    let written = sys::write(file, value).map(drop);
    let _ = sys::close(file);
    written
}

impl Made<'_> {
    /// Removes it as soon as nobody is in it, having killed whoever is if `kill`.
    fn dismantle(&self, kill: bool) -> Result<(), Errno> {
        let events = sys::open_at(self.dir, c"cgroup.events", 0).unwrap_or(-1);
        loop {
            if kill && write(self.dir, c"cgroup.kill", b"1") == Err(Errno::NOENT) {
                // Before Linux 5.14. Who is frozen neither makes others nor ends.
                let _ = write(self.dir, c"cgroup.freeze", b"1");
                kill_each(self.dir, DEPTH);
            }
            // What changes after this is noticed.
            let _ = sys::read(events, &mut [0; 64]);
            match self.remove() {
                Err(Errno::BUSY) => pause(events),
                done => return done,
            }
        }
    }

    fn remove(&self) -> Result<(), Errno> {
        loop {
            match sys::rmdir_at(self.parent, self.name) {
                // Somebody else has removed it.
                Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) if remove_below(self.dir)? => {}
                done => return done,
            }
        }
    }
}

/// Waits until a cgroup has changed, or for a while.
fn pause(events: i32) {
    if events < 0 {
        return;
    }
    let pause = Timespec { tv_sec: 0, tv_nsec: PAUSE_NS };
    // SAFETY: this process's own, and it stays open.
    let events = unsafe { BorrowedFd::borrow_raw(events) };
    let _ =
        rustix::event::poll(&mut [PollFd::from_borrowed_fd(events, PollFlags::PRI)], Some(&pause));
}

/// Removes one cgroup that was made below; false if none can be removed now.
fn remove_below(dir: i32) -> Result<bool, Errno> {
    let mut at = sys::open_at(dir, c".", 0)?;
    loop {
        let mut buffer = [0u8; 1024];
        let next = match Entries::of(at, &mut buffer).next() {
            None => Ok(Err(false)),
            Some(child) => match sys::rmdir_at(at, child) {
                Ok(()) => Ok(Err(true)),
                Err(Errno::BUSY) => sys::open_at(at, child, 0).map(Ok),
                Err(errno) => Err(errno),
            },
        };
        let _ = sys::close(at);
        match next? {
            Ok(deeper) => at = deeper,
            Err(done) => return Ok(done),
        }
    }
}

/// SIGKILL to each process of a cgroup and of those below it.
fn kill_each(dir: i32, deeper: u32) {
    if let Ok(file) = sys::open_at(dir, c"cgroup.procs", 0) {
        let (mut buffer, mut pid) = ([0u8; 256], 0i32);
        while let Ok(len) = sys::read(file, &mut buffer) {
            if len == 0 {
                break;
            }
            for byte in buffer.iter().take(len) {
                if byte.is_ascii_digit() {
                    pid = pid.wrapping_mul(10).wrapping_add(i32::from(byte.wrapping_sub(b'0')));
                    continue;
                }
                // 0 is somebody outside the pid namespace.
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
                pid = 0;
            }
        }
        let _ = sys::close(file);
    }
    let Some(deeper) = deeper.checked_sub(1) else { return };
    let Ok(list) = sys::open_at(dir, c".", 0) else { return };
    let mut buffer = [0u8; 1024];
    let mut entries = Entries::of(list, &mut buffer);
    while let Some(child) = entries.next() {
        if let Ok(child) = sys::open_at(list, child, 0) {
            kill_each(child, deeper);
            let _ = sys::close(child);
        }
    }
    let _ = sys::close(list);
}

/// The directories in a directory.
struct Entries<'a> {
    dir: i32,
    buffer: &'a mut [u8],
    at: usize,
    end: usize,
}

impl<'a> Entries<'a> {
    fn of(dir: i32, buffer: &'a mut [u8]) -> Self {
        Self { dir, buffer, at: 0, end: 0 }
    }

    fn next(&mut self) -> Option<&CStr> {
        // struct linux_dirent64: its length at 16, its kind at 18, its name at 19.
        const DT_DIR: u8 = 4;
        let (from, to) = loop {
            if self.at >= self.end {
                self.end = sys::getdents(self.dir, self.buffer).ok().filter(|len| *len > 0)?;
                self.at = 0;
            }
            let entry = self.buffer.get(self.at..self.end)?;
            let len = u16::from_le_bytes([*entry.get(16)?, *entry.get(17)?]).max(1);
            let (kind, name) = (*entry.get(18)?, entry.get(19..)?);
            let from = self.at.wrapping_add(19);
            self.at = self.at.wrapping_add(len.into());
            let hidden = name.first() == Some(&b'.');
            if kind == DT_DIR && !hidden {
                break (from, self.end);
            }
        };
        CStr::from_bytes_until_nul(self.buffer.get(from..to)?).ok()
    }
}
