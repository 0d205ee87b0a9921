//! Reaps processes that were let go, so that none of them stays a zombie.
//!
//! One thread, which is started when the first such process is let go and ends with the last: it polls
//! their pidfds. There is no SIGCHLD handler, and nobody else's child is ever waited for.

use crate::guarded::Guarded;
use crate::process::status_of;
use embryo_syscall::{self as sys, Errno};
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::PipeFlags;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

struct Reaper {
    process: u32,
    wake: Arc<Wake>,
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
            let _ = rustix::io::write(running.wake.writer.as_fd(), &[1]);
            return;
        }
        // Somebody has closed what it is woken with, so it minds what it has and no more.
        incoming.append(&mut running.incoming);
    } else {
        incoming.push(pidfd);
    }
    // Without a pipe or a thread the child is a zombie after its end, until we exit. A pipe, since an
    // eventfd shares its inode with every other and could not be told from the program's.
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let Ok((reader, writer)) = rustix::pipe::pipe_with(flags) else { return };
    let (Ok(reader), Ok(writer)) = (Guarded::new(reader), Guarded::new(writer)) else { return };
    let wake = Wake { reader, writer };
    let wake = Arc::new(wake);
    let theirs = Arc::clone(&wake);
    let thread = std::thread::Builder::new().name("embryo-reaper".into());
    // The program's signals are not for a thread that it does not know of. 32 and 33 are glibc's own.
    let caller_mask = sys::set_mask(!(1 << 31 | 1 << 32)).ok();
    let started = thread.stack_size(64 << 10).spawn(move || reap(&theirs));
    let _ = caller_mask.map(sys::set_mask);
    if started.is_ok() {
        *reaper = Some(Reaper { process: std::process::id(), wake, incoming });
    }
}

/// What the reaper is woken with.
struct Wake {
    reader: Guarded,
    writer: Guarded,
}

impl Wake {
    fn intact(&self) -> bool {
        self.reader.intact() && self.writer.intact()
    }
}

/// How often a child is asked for that has ended and cannot be reaped, since a tracer has not let it
/// go yet.
const TRACED_PATIENCE: Duration = Duration::from_millis(50);

fn reap(wake: &Arc<Wake>) {
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
            .map(|wake| wake.reader.as_fd())
            .chain(children.iter().map(Guarded::as_fd))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let _ = rustix::event::poll(&mut polled, None);
        let from_wake = usize::from(wake.is_some());
        let woken = polled.iter().take(from_wake).filter(|fd| !fd.revents().is_empty()).count();
        drop(polled);
        if let Some(wake) = wake.filter(|wake| wake.intact()) {
            let _ = rustix::io::read(wake.reader.as_fd(), &mut [0u8; 64]);
        }
        let before = children.len();
        children = children.into_iter().filter_map(still_there).collect();
        if woken == 0 && children.len() == before {
            std::thread::sleep(TRACED_PATIENCE);
        }
    }
}

/// The child, if it has yet to end.
fn still_there(child: Guarded) -> Option<Guarded> {
    if !child.intact() {
        return None;
    }
    match status_of(child.as_fd(), false) {
        Ok(None) => Some(child),
        // No pidfd any more: the number is the program's. Before Linux 6.9 its inode does not tell.
        Err(Errno::BADF | Errno::INVAL) => {
            child.forget();
            None
        }
        _ => None,
    }
}
