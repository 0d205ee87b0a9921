//! A digest rule runs a copy that nobody can change: memory that is sealed first and hashed then.
//!
//! The file is read by a process of its own, which has two descriptors of the agent's and none of its memory,
//! and is killed at its deadline; a file that does not answer holds up nobody else. What is hashed is the
//! sealed copy, in a thread of its own: reading sealed memory depends on nothing that a client has. The
//! serving thread only looks whether it is done.
//!
//! It must never hash what somebody can still write.

mod copier;

use crate::files::close::Closer;
use crate::files::facts::{Facts, SEALED};
use embryo::{ExecFlags, Op, Plan, Process, SpawnOptions};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use copier::{copier_main, is_copier};

/// Copies at once.
pub const COPIES_MAX: usize = 16;
/// Copies at once of files of one uid. One whose file does not answer may be unkillable, and counts until it
/// has ended.
pub const COPIES_OF_UID_MAX: usize = 4;
/// Bytes that are hashed between two looks at the deadline.
const SLICE: usize = 1 << 20;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There are as many copies as there may be; it can be tried again.
    #[error("too many files are being copied")]
    Busy,
    /// It is longer than that.
    #[error("the file is longer than {0} bytes")]
    TooLong(u64),
    /// It cannot be read from its beginning.
    #[error("it is a pipe, a socket or a terminal, and no file")]
    NotFile,
    /// It was not all read in time.
    #[error("the file was not read in time")]
    TimedOut,
    /// It cannot be read.
    #[error("reading the file: {0}")]
    Read(Errno),
    /// There is no memory for it.
    #[error("writing the copy: {0}")]
    Write(Errno),
    /// The copy cannot be sealed.
    #[error("sealing the copy: {0}")]
    Seal(Errno),
    /// The process that copies was not started, or was killed by somebody.
    #[error("copying: {0}")]
    Process(String),
}

/// Memory that nobody can change any more.
#[derive(Debug)]
pub struct Sealed {
    /// The memory.
    pub fd: OwnedFd,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
}

/// Makes copies. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Copier {
    program: Arc<OwnedFd>,
    closer: Closer,
    running: Arc<Mutex<HashMap<u32, usize>>>,
}

/// A copy that is being made. Dropping it kills whoever makes it.
#[derive(Debug)]
pub struct Copying {
    done: Arc<OwnedFd>,
    given_up: Arc<OwnedFd>,
    outcome: Arc<Mutex<Option<Result<Sealed, CopyError>>>>,
}

/// What the thread has to do.
struct Job {
    copier: Copier,
    source: Source,
    uid: u32,
    bytes_max: u64,
    deadline: Instant,
    done: Arc<OwnedFd>,
    given_up: Arc<OwnedFd>,
    outcome: Arc<Mutex<Option<Result<Sealed, CopyError>>>>,
}

enum Source {
    /// Memory that is sealed already.
    Sealed(OwnedFd),
    /// A file, and whether closing it may block.
    File(OwnedFd, bool),
}

impl Copier {
    /// By this program, whose `main` calls [`copier_main`] if [`is_copier`] says so. Sources are closed by
    /// `closer`.
    ///
    /// # Errors
    /// procfs is not there.
    pub fn of_this_program(closer: Closer) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let program = rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())?;
        Ok(Self::of_program(program, closer))
    }

    /// By another program that does so.
    #[must_use]
    pub fn of_program(program: OwnedFd, closer: Closer) -> Self {
        Self { program: Arc::new(program), closer, running: Arc::default() }
    }

    /// Copies a file that a client of this uid sent, of at most so many bytes; memory that is sealed is
    /// taken as it is.
    ///
    /// # Errors
    /// [`CopyError::Busy`]; [`CopyError::Process`] if there can be no thread.
    pub fn start(
        &self,
        fd: OwnedFd,
        facts: &Facts,
        uid: u32,
        bytes_max: u64,
        deadline: Instant,
    ) -> Result<Copying, CopyError> {
        let source = match facts.is_sealed() {
            true => Source::Sealed(fd),
            false => Source::File(fd, facts.close_may_block()),
        };
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Arc::new);
        let made = self.enter(uid).and_then(|()| {
            let (done, given_up) =
                event().and_then(|done| Ok((done, event()?))).map_err(|errno| {
                    self.leave(uid);
                    CopyError::Process(errno.to_string())
                })?;
            Ok(Copying { done, given_up, outcome: Arc::default() })
        });
        let copying = match made {
            Ok(copying) => copying,
            Err(error) => {
                source.close(&self.closer, uid);
                return Err(error);
            }
        };
        let Copying { done, given_up, outcome } = &copying;
        let (done, given_up) = (Arc::clone(done), Arc::clone(given_up));
        let (copier, outcome) = (self.clone(), Arc::clone(outcome));
        let job = Job { copier, source, uid, bytes_max, deadline, done, given_up, outcome };
        // A thread that cannot be started drops its job, and the source with it; so it is handed over once
        // there is one.
        let (send, receive) = std::sync::mpsc::sync_channel::<Job>(1);
        let run = move || {
            if let Ok(job) = receive.recv() {
                job.run();
            }
        };
        let (job, error) = match crate::files::close::start("embryo-copying", run) {
            Ok(()) => match send.send(job) {
                Ok(()) => return Ok(copying),
                Err(unsent) => (unsent.0, "its thread has ended".to_owned()),
            },
            Err(error) => (job, error.to_string()),
        };
        job.source.close(&self.closer, uid);
        self.leave(uid);
        Err(CopyError::Process(error))
    }

    /// How many copies are being made, with those that were given up and have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        lock(&self.running).values().sum()
    }

    fn enter(&self, uid: u32) -> Result<(), CopyError> {
        let mut running = lock(&self.running);
        let own = running.get(&uid).copied().unwrap_or(0);
        if own >= COPIES_OF_UID_MAX || running.values().sum::<usize>() >= COPIES_MAX {
            return Err(CopyError::Busy);
        }
        running.insert(uid, own + 1);
        Ok(())
    }

    fn leave(&self, uid: u32) {
        let mut running = lock(&self.running);
        match running.get_mut(&uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(running.remove(&uid)),
        }
    }
}

impl Copying {
    /// The copy, once [`Copying::as_fd`] is readable. It is given out once.
    pub fn take(&mut self) -> Option<Result<Sealed, CopyError>> {
        lock(&self.outcome).take()
    }
}

impl AsFd for Copying {
    /// Readable when the outcome is there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        ring(&self.given_up);
    }
}

impl Source {
    fn close(self, closer: &Closer, uid: u32) {
        match self {
            Self::File(fd, true) => closer.close_elsewhere(fd, uid),
            Self::File(fd, false) | Self::Sealed(fd) => drop(fd),
        }
    }
}

impl Job {
    fn run(self) {
        let Self { copier, source, uid, bytes_max, deadline, done, given_up, outcome } = self;
        let limits = Limits { bytes_max, deadline, given_up };
        let (result, unfinished) = match source {
            Source::Sealed(fd) => (limits.hash(fd), None),
            Source::File(fd, blocks) => {
                let (copied, process) = limits.copy(&copier.program, fd.as_fd());
                Source::File(fd, blocks).close(&copier.closer, uid);
                (copied.and_then(|memory| limits.seal(memory)), process)
            }
        };
        *lock(&outcome) = Some(result);
        ring(&done);
        // It was killed, and ends when the file lets it.
        if let Some(mut process) = unfinished {
            let _ = process.wait();
        }
        copier.leave(uid);
    }
}

/// How far a copy may go.
struct Limits {
    bytes_max: u64,
    deadline: Instant,
    given_up: Arc<OwnedFd>,
}

impl Limits {
    /// Has the file copied. A process that has not ended comes back, too.
    fn copy(
        &self,
        program: &OwnedFd,
        file: BorrowedFd<'_>,
    ) -> (Result<OwnedFd, CopyError>, Option<Process>) {
        let started = memory().map_err(CopyError::Write).and_then(|memory| {
            let process = self.spawn(program, file, memory.as_fd())?;
            Ok((memory, process))
        });
        let (memory, mut process) = match started {
            Ok(started) => started,
            Err(error) => return (Err(error), None),
        };
        if !self.ends(process.pidfd()) {
            let _ = process.kill();
            return (Err(CopyError::TimedOut), Some(process));
        }
        let status = match process.wait() {
            Ok(status) => status,
            Err(error) => return (Err(CopyError::Process(error.to_string())), None),
        };
        let copied = match status.code() {
            Some(copier::DONE) => Ok(memory),
            Some(copier::TOO_LONG) => Err(CopyError::TooLong(self.bytes_max)),
            Some(code) => Err(copier::error_of(code)),
            None => {
                let signal = status.signal().unwrap_or_default();
                Err(CopyError::Process(format!("the process was killed by signal {signal}")))
            }
        };
        (copied, None)
    }

    fn spawn(
        &self,
        program: &OwnedFd,
        file: BorrowedFd<'_>,
        memory: BorrowedFd<'_>,
    ) -> Result<Process, CopyError> {
        let failed = |error: &dyn std::fmt::Display| CopyError::Process(error.to_string());
        let mut plan = Plan::builder();
        let [image, from, to] = [plan.slot(), plan.slot(), plan.slot()];
        plan.op(&Op::PutFd { slot: from, fd: 0 })
            .op(&Op::PutFd { slot: to, fd: 1 })
            .op(&Op::ChdirPath { path: c"/" })
            .op(&Op::Umask { mode: 0o077 })
            .op(&Op::SetSid)
            .op(&Op::DeathSignal { signal: 9 })
            .op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() })
            .arg(copier::NAME)
            .arg(self.bytes_max.to_string());
        let plan = plan.build().map_err(|error| failed(&error))?;
        let options = SpawnOptions::new().timeout(self.left());
        let grants = [program.as_fd(), file, memory];
        embryo::spawn_with(&plan, &grants, options).map_err(|error| failed(&error))
    }

    /// Waits for the end of a process; false if that comes too late, or is waited for by nobody.
    fn ends(&self, pidfd: BorrowedFd<'_>) -> bool {
        loop {
            let left = self.left();
            let pause = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
                PollFd::from_borrowed_fd(self.given_up.as_fd(), PollFlags::IN),
            ];
            let ready = poll(&mut fds, Some(&pause));
            let [ended, given_up] = &fds;
            match ready {
                Err(Errno::INTR) => {}
                Ok(_) if !ended.revents().is_empty() => return true,
                Ok(_) if given_up.revents().is_empty() && !left.is_zero() => {}
                _ => return false,
            }
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Seals what was copied. EBUSY is a mapping through which somebody could still write: whoever copied has
    /// ended, so it is somebody else's who got hold of the copy.
    fn seal(&self, memory: OwnedFd) -> Result<Sealed, CopyError> {
        rustix::fs::fcntl_add_seals(&memory, SEALED | SealFlags::SEAL).map_err(CopyError::Seal)?;
        self.hash(memory)
    }

    fn hash(&self, memory: OwnedFd) -> Result<Sealed, CopyError> {
        let seals = rustix::fs::fcntl_get_seals(&memory).map_err(CopyError::Seal)?;
        if !seals.contains(SEALED) {
            return Err(CopyError::Seal(Errno::PERM));
        }
        let mut slice = vec![0u8; SLICE];
        let (mut hash, mut bytes) = (Sha256::new(), 0u64);
        loop {
            let len = match rustix::io::pread(&memory, &mut slice, bytes) {
                Err(Errno::INTR) => continue,
                other => other.map_err(CopyError::Read)?,
            };
            hash.update(slice.get(..len).unwrap_or_default());
            bytes = bytes.saturating_add(len as u64);
            if len == 0 {
                return Ok(Sealed { fd: memory, sha256: hash.finalize().into(), bytes });
            }
            if bytes > self.bytes_max {
                return Err(CopyError::TooLong(self.bytes_max));
            }
            if self.left().is_zero() || Arc::strong_count(&self.given_up) == 1 {
                return Err(CopyError::TimedOut);
            }
        }
    }
}

/// Memory that can be sealed and executed.
fn memory() -> Result<OwnedFd, Errno> {
    // Since Linux 6.3 a memfd says whether it may be executed; before, the flag is EINVAL.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(c"embryo-image", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"embryo-image", flags),
        other => other,
    }
}

/// A full counter is not reached, and then it would be readable all the same.
fn ring(event: &OwnedFd) {
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
