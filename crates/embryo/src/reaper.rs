//! Reaps processes that were let go, so that none of them stays a zombie.
//!
//! One thread, which is started when the first such process is let go and ends with the last: it polls
//! their pidfds. There is no SIGCHLD handler, and nobody else's child is ever waited for.

use crate::guarded::Guarded;
use crate::process::status_of;
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

struct Reaper {
    process: u32,
    wake: Arc<Guarded>,
    incoming: Vec<Guarded>,
}

/// The running reaper, if there is one.
static REAPER: Mutex<Option<Reaper>> = Mutex::new(None);

/// Takes a child over: it will be reaped when it ends.
pub(crate) fn adopt(pidfd: OwnedFd) {
    let Ok(pidfd) = Guarded::new(pidfd) else { return };
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    // In a process that was forked off, the thread does not exist.
    let running = reaper.as_mut().filter(|running| running.process == std::process::id());
    let mut incoming = Vec::new();
    if let Some(running) = running {
        running.incoming.push(pidfd);
        if running.wake.intact() {
            let _ = rustix::io::write(running.wake.as_fd(), &1u64.to_ne_bytes());
            return;
        }
        // Somebody has closed what it is woken with, so it minds what it has and no more.
        incoming.append(&mut running.incoming);
    } else {
        incoming.push(pidfd);
    }
    // Without an eventfd or a thread the child is a zombie after its end, until we exit.
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let Ok(wake) = rustix::event::eventfd(0, flags).and_then(Guarded::new) else {
        return;
    };
    let wake = Arc::new(wake);
    let theirs = Arc::clone(&wake);
    let thread = std::thread::Builder::new().name("embryo-reaper".into());
    let started = thread.stack_size(64 << 10).spawn(move || reap(&theirs));
    if started.is_ok() {
        *reaper = Some(Reaper { process: std::process::id(), wake, incoming });
    }
}

fn reap(wake: &Arc<Guarded>) {
    let mut children: Vec<Guarded> = Vec::new();
    loop {
        {
            let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
            let mine = reaper.as_mut().filter(|shared| Arc::ptr_eq(&shared.wake, wake));
            let running = mine.is_some();
            if let Some(shared) = mine {
                children.append(&mut shared.incoming);
            }
            if children.is_empty() {
                // Decided under the lock: whoever comes next starts another thread.
                if running {
                    *reaper = None;
                }
                return;
            }
        }
        // What the program has closed and maybe opened as something else is not ours to look at.
        let wake = wake.intact().then_some(wake);
        let mut polled: Vec<PollFd<'_>> = wake
            .into_iter()
            .map(|wake| wake.as_fd())
            .chain(children.iter().map(Guarded::as_fd))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let _ = rustix::event::poll(&mut polled, None);
        drop(polled);
        if let Some(wake) = wake.filter(|wake| wake.intact()) {
            let _ = rustix::io::read(wake.as_fd(), &mut [0u8; 8]);
        }
        children
            .retain(|child| child.intact() && matches!(status_of(child.as_fd(), false), Ok(None)));
    }
}
