//! Closing descriptors whose closing may take for ever, in threads that may be held up for ever.
//!
//! It must never close such a descriptor in the caller's thread, nor wait for one that is being closed.
//!
//! # Restrictions
//! close(2) of a FUSE file cannot be killed while its server does not answer, and then the process as a
//! whole does not end before the server answers or ends. A thread that ends with the process by itself
//! would do no harm: since Linux 6.3 FUSE does not wait for who is exiting.

use crate::files::facts::{Facts, Kind, Known};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Threads that close, at most.
pub const WORKERS_MAX: usize = 16;
/// Of these, those that may be held up for one uid.
pub const WORKERS_OF_UID_MAX: usize = 4;
/// How long descriptors wait before a further thread is started for them.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// Descriptors of one uid that wait or are being closed, after which it should be granted nothing more.
pub const OUTSTANDING_MAX: usize = 512;

const STACK_BYTES: usize = 64 << 10;
/// How long an idle thread stays.
const IDLE: Duration = Duration::from_secs(10);

/// Closes descriptors. Clones are the same one.
///
/// Dropping it waits for nothing; what is queued is closed as far as it can be.
#[derive(Clone, Debug, Default)]
pub struct Closer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to close.
    work: Condvar,
    /// There is something to watch.
    watch: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(OwnedFd, u32)>,
    by_uid: HashMap<u32, Count>,
    workers: usize,
    idle: usize,
    keeper: bool,
    /// When something was taken from the queue last, or put into an empty one.
    moved: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    outstanding: usize,
    closing: usize,
}

impl Closer {
    /// One without threads; they come when they are needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Closes what a client of this uid sent: here if that cannot block, else elsewhere.
    pub fn close(&self, fd: OwnedFd, facts: &Facts, uid: u32, known: &mut Known) {
        let changes = matches!(facts.kind, Kind::Memfd(_) | Kind::File(_));
        let now = changes.then(|| Facts::of(fd.as_fd(), known));
        match now.as_ref().unwrap_or(facts).close_may_block() {
            true => self.close_elsewhere(fd, uid),
            false => drop(fd),
        }
    }

    /// Has it closed by another thread.
    pub fn close_elsewhere(&self, fd: OwnedFd, uid: u32) {
        let mut state = self.shared.lock();
        state.by_uid.entry(uid).or_default().outstanding += 1;
        if state.queue.is_empty() {
            state.moved = Some(Instant::now());
        }
        state.queue.push_back((fd, uid));
        if state.workers == 0 {
            start_worker(&self.shared, &mut state);
        }
        if !state.keeper {
            let shared = Arc::clone(&self.shared);
            state.keeper = start("embryo-keeper", move || shared.keep()).is_ok();
        }
        drop(state);
        self.shared.work.notify_one();
        self.shared.watch.notify_one();
    }

    /// How many descriptors of this uid are not closed yet. More than [`OUTSTANDING_MAX`] is a reason to
    /// take no more from it.
    #[must_use]
    pub fn outstanding(&self, uid: u32) -> usize {
        self.shared.lock().by_uid.get(&uid).map_or(0, |count| count.outstanding)
    }

    /// How many of anybody are not closed yet.
    #[must_use]
    pub fn outstanding_of_all(&self) -> usize {
        self.shared.lock().by_uid.values().map(|count| count.outstanding).sum()
    }

    /// How many threads there are to close.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.shared.lock().workers
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker: closes one after the other.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            let Some((fd, uid)) = state.take() else {
                state.idle += 1;
                let waited = self.work.wait_timeout(state, IDLE);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.idle -= 1;
                if timeout.timed_out() && state.queue.is_empty() {
                    state.workers -= 1;
                    return;
                }
                continue;
            };
            drop(state);
            drop(fd);
            state = self.lock();
            state.closed(uid);
        }
    }

    /// The keeper closes nothing, so that nothing holds it up: it starts a further worker whenever
    /// descriptors wait for too long, and ends when there are no workers any more.
    fn keep(self: Arc<Self>) {
        let mut state = self.lock();
        loop {
            let waiting = state.can_go_on();
            let late = state.moved.is_some_and(|moved| moved.elapsed() >= PATIENCE);
            if waiting && late && state.idle == 0 {
                start_worker(&self, &mut state);
                state.moved = Some(Instant::now());
            }
            if state.workers == 0 && state.queue.is_empty() {
                state.keeper = false;
                return;
            }
            let pause = if state.queue.is_empty() { IDLE } else { PATIENCE };
            let waited = self.watch.wait_timeout(state, pause);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// The next one of a uid that does not hold up too many workers already.
    fn take(&mut self) -> Option<(OwnedFd, u32)> {
        let at = self.next()?;
        let taken = self.queue.remove(at)?;
        self.by_uid.entry(taken.1).or_default().closing += 1;
        self.moved = Some(Instant::now());
        Some(taken)
    }

    fn next(&self) -> Option<usize> {
        let closing = |uid: &u32| self.by_uid.get(uid).map_or(0, |count| count.closing);
        self.queue.iter().position(|(_, uid)| closing(uid) < WORKERS_OF_UID_MAX)
    }

    fn can_go_on(&self) -> bool {
        self.workers < WORKERS_MAX && self.next().is_some()
    }

    fn closed(&mut self, uid: u32) {
        let Some(count) = self.by_uid.get_mut(&uid) else { return };
        count.closing = count.closing.saturating_sub(1);
        count.outstanding = count.outstanding.saturating_sub(1);
        if count.outstanding == 0 {
            self.by_uid.remove(&uid);
        }
    }
}

/// If there can be none now, the keeper tries again.
fn start_worker(shared: &Arc<Shared>, state: &mut State) {
    let own = Arc::clone(shared);
    if start("embryo-closer", move || own.work()).is_ok() {
        state.workers += 1;
    }
}

/// A thread that no signal is handled in: those of the process are the serving thread's.
pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // Signals 32 and 33 are libc's own.
    const MASK: u64 = embryo_syscall::ALL_SIGNALS & !(0b11 << 31);
    let old = embryo_syscall::set_mask(MASK);
    let builder = std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES);
    let started = builder.spawn(run).map(drop);
    if let Ok(old) = old {
        let _ = embryo_syscall::set_mask(old);
    }
    started
}
