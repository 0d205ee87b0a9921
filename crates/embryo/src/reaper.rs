//! Reaps processes that were let go, so that none of them stays a zombie.
//!
//! One thread, which is started when the first such process is let go and ends with the last: it polls
//! their pidfds. There is no SIGCHLD handler, and nobody else's child is ever waited for.

use crate::process::status_of;
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

struct Reaper {
    process: u32,
    wake: Arc<OwnedFd>,
    incoming: Vec<OwnedFd>,
}

/// The running reaper, if there is one.
static REAPER: Mutex<Option<Reaper>> = Mutex::new(None);

/// Takes a child over: it will be reaped when it ends.
pub(crate) fn adopt(pidfd: OwnedFd) {
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    // In a process that was forked off, the thread does not exist.
    if let Some(running) = reaper.as_mut().filter(|r| r.process == std::process::id()) {
        running.incoming.push(pidfd);
        let _ = rustix::io::write(&*running.wake, &1u64.to_ne_bytes());
        return;
    }
    // Without an eventfd or a thread the child is a zombie after its end, until we exit.
    let Ok(wake) = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) else {
        return;
    };
    let wake = Arc::new(wake);
    let theirs = Arc::clone(&wake);
    let thread = std::thread::Builder::new().name("embryo-reaper".into());
    let started = thread.stack_size(64 << 10).spawn(move || reap(&theirs));
    if started.is_ok() {
        *reaper = Some(Reaper { process: std::process::id(), wake, incoming: vec![pidfd] });
    }
}

fn reap(wake: &OwnedFd) {
    let mut children: Vec<OwnedFd> = Vec::new();
    loop {
        {
            let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(shared) = reaper.as_mut() else { return };
            children.append(&mut shared.incoming);
            if children.is_empty() {
                // Decided under the lock: whoever comes next starts another thread.
                *reaper = None;
                return;
            }
        }
        let mut polled: Vec<PollFd<'_>> = std::iter::once(wake.as_fd())
            .chain(children.iter().map(AsFd::as_fd))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let _ = rustix::event::poll(&mut polled, None);
        drop(polled);
        let _ = rustix::io::read(wake, &mut [0u8; 8]);
        children.retain(|child| matches!(status_of(child.as_fd(), false), Ok(None)));
    }
}
