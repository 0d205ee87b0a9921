//! Embryos made ahead of time, by a small process of their own.
//!
//! That process is a seed which copies itself: it has nothing of the caller in its memory and a
//! handful of descriptors, so a copy is quick, and the caller is not there. A launch is then one
//! message. The caller's memory, threads, mappings and descriptors are touched by none of it.
//!
//! An embryo has the authority of the moment it was made. So each spawn compares what the calling
//! thread is entitled to with what it was then (`standing.rs`), and if anything differs all of them are
//! abandoned and made anew: a child never has more than its creator has.

use crate::error::{Cause, Error};
use crate::guarded::AsRaw;
use crate::hint;
use crate::launching::{Launching, launch_with};
use crate::live::Embryo;
use crate::process::{kill, wait_dead};
use crate::seeded::{self, Kept, Message, Ready, Sent};
use crate::spawn::{SpawnOptions, bury};
use crate::standing::{Standing, Status, Unknown};
use embryo_plan::{Keep, OwnedPlan};
use embryo_seed::{RequestFlags, RequestKind};
use embryo_syscall::{self as sys, Errno, Identity};
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an embryo may take to tell of itself before others are asked for.
const UNTOLD_PATIENCE: Duration = Duration::from_millis(250);

/// What a spawn does when no embryo is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenEmpty {
    /// Waits for one, as long as [`SpawnOptions::timeout`] allows.
    #[default]
    Wait,
    /// Makes the child itself, as [`crate::spawn_with`] does.
    SpawnDirectly,
    /// Fails with EAGAIN.
    Fail,
}

/// How a [`Hatchery`] is to be made.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct HatcheryBuilder {
    size: u32,
    pause: Duration,
    when_empty: WhenEmpty,
    fixed: bool,
    options: SpawnOptions,
}

impl HatcheryBuilder {
    /// How many embryos are kept ready: 1 to [`Hatchery::SIZE_MAX`], 16 unless said otherwise.
    pub fn size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// How many may be made in a second, at most; as fast as it goes unless said otherwise.
    pub fn per_second(self, rate: u32) -> Self {
        let pause = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        Self { pause, ..self }
    }

    /// What a spawn does when none is ready.
    pub fn when_empty(self, when_empty: WhenEmpty) -> Self {
        Self { when_empty, ..self }
    }

    /// The caller promises that no thread which spawns from it is ever entitled to less, or to
    /// anything else, than the one that makes it was. Nothing is compared then, which is most of what a
    /// spawn costs; if the promise is broken, children have more authority than their creator.
    pub fn authority_is_fixed(self, fixed: bool) -> Self {
        Self { fixed, ..self }
    }

    /// The options of its launches.
    pub fn options(self, options: SpawnOptions) -> Self {
        Self { options, ..self }
    }

    /// Makes it, and waits for the first embryo.
    ///
    /// # Errors
    /// [`Error::Hatchery`] for a size that is none, where children come to another pid namespace than
    /// the caller is in, or where it cannot be known what the caller is entitled to (no /proc);
    /// [`Error::Spawn`] if its process cannot be made.
    pub fn build(self) -> Result<Hatchery, Error> {
        if !(1..=Hatchery::SIZE_MAX).contains(&self.size) {
            return Err(Error::Hatchery {
                what: "its size is to be between 1 and 128".into(),
                source: os(Errno::INVAL),
            });
        }
        let shared = Shared { settings: self, pool: Mutex::new(None), lost: Mutex::default() };
        let pool = Arc::new(Pool::new(&self, Standing::now(own_pidfd()?.as_fd(), false)?.0)?);
        // If there is something that makes it impossible, it is said here.
        let first = shared.wait_for_one(&pool, deadline(&self))?;
        pool.spare().push(first);
        *shared.pool() = Some(pool);
        Ok(Hatchery { shared: Arc::new(shared) })
    }
}

/// Embryos made ahead of time: a child is one message away.
///
/// Clones share them. [`Hatchery::spawn`] returns at once, and the cost to the caller does not
/// depend on its memory, its threads, its mappings or its descriptors.
///
/// # What a child has of its creator
/// Authority, as it is at the moment of the spawn: ids and groups, capabilities, `no_new_privs`, seccomp,
/// Landlock, namespaces, cgroup, limits, root directory, CPU affinity, priorities, personality, session
/// keyring. If any of these is not what it was when the embryos were made, they are abandoned and
/// made anew, which that spawn waits for (or not: [`WhenEmpty`]). What a plan keeps of its creator (working
/// directory, umask, session, ignored signals) is that of the moment too. But what a plan does not
/// speak of and is no authority is that of the hatchery's making: OOM score, timer slack.
///
/// # What the kernel may do to it
/// The processes are children of the caller, one more than there are embryos, and known by the name
/// `embryo:seed`. Unlike those of a direct launch they have SIGCHLD as their exit signal from the first:
/// `CLONE_PARENT` gives a child the exit signal of the process that makes it, and exec has given that
/// SIGCHLD. So a caller that waits for any child may hear of an embryo that died. The OOM killer
/// takes them for small processes of the caller: it may end one, and the next is taken; if it ends
/// the process that makes them, the next spawn starts another. In the init of a pid namespace
/// a hatchery works, since it is the init's child that makes the embryos; where the *hatchery's*
/// process would be the init (after `unshare(CLONE_NEWPID)`) it is refused. A death signal
/// ([`embryo_plan::Op::DeathSignal`]) comes when the thread ends that made the hatchery.
///
/// # Kernel
/// Linux 5.10.
#[derive(Clone)]
pub struct Hatchery {
    shared: Arc<Shared>,
}

struct Shared {
    settings: HatcheryBuilder,
    pool: Mutex<Option<Arc<Pool>>>,
    /// Children that ended before they could be handed over, and are to be reaped.
    lost: Mutex<Vec<i32>>,
}

/// One generation of embryos, all of the same moment.
struct Pool {
    /// The process that makes them.
    maker: Option<Embryo>,
    owner: i32,
    own_pidfd: OwnedFd,
    standing: Standing,
    /// Whether the maker may be looked into, as at its making.
    open: Result<(), Errno>,
    cwd: Result<Identity, Errno>,
    /// Asked for and not yet taken.
    outstanding: AtomicU32,
    /// Taken and not used.
    spare: Mutex<Vec<Ready>>,
}

impl Hatchery {
    /// The most embryos that one keeps ready.
    pub const SIZE_MAX: u32 = 128;

    /// One with the defaults: 16 embryos, made as fast as it goes, a spawn waits if none is ready.
    ///
    /// # Errors
    /// As [`HatcheryBuilder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// One that is yet to be described.
    pub fn builder() -> HatcheryBuilder {
        HatcheryBuilder {
            size: 16,
            pause: Duration::ZERO,
            when_empty: WhenEmpty::default(),
            fixed: false,
            options: SpawnOptions::default(),
        }
    }

    /// Sends a plan to an embryo and returns. What came of it is asked of the [`Launching`].
    ///
    /// # Errors
    /// [`Error::Grants`] if the number of grants is wrong; [`Error::Hatchery`] if no embryo can be had;
    /// [`Error::Spawn`] if the plan cannot be sent, such as for a grant that is not open. Nothing
    /// has happened then.
    pub fn spawn(&self, plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Result<Launching, Error> {
        self.spawn_with(plan, grants, self.shared.settings.options)
    }

    /// [`Hatchery::spawn`] with options.
    ///
    /// # Errors
    /// As [`Hatchery::spawn`].
    pub fn spawn_with(
        &self,
        plan: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
        options: SpawnOptions,
    ) -> Result<Launching, Error> {
        crate::spawn::check(plan, grants)?;
        let deadline = seeded::deadline_after(options.timeout);
        let keep = plan.as_plan().keep();
        let told = keep.intersects(Keep::UMASK | Keep::IGNORED_SIGNALS);
        let (pool, status) = self.shared.current(told, deadline)?;
        let kept = pool.kept(keep, &status)?;
        let fds: Vec<i32> = grants.iter().map(AsRaw::as_raw).collect();
        let message = Message {
            kind: RequestKind::Launch,
            flags: if options.trace { RequestFlags::TRACE } else { 0 },
            plan,
            owner: None,
            grants: &fds,
            kept: &kept,
            timeout: options.timeout,
        };
        loop {
            let Some(ready) = self.shared.take(&pool, deadline)? else {
                return launch_with(plan, grants, options);
            };
            let sent = seeded::send(ready.socket.as_fd(), &message);
            match sent {
                Ok(()) => {
                    self.shared.refill(&pool);
                    return Ok(Launching::sent(ready, plan.clone(), deadline));
                }
                // Somebody ended it while it waited: another will do.
                Err(_) if wait_dead(ready.pidfd.as_fd(), Duration::ZERO) => abandon(ready),
                Err(fault) => {
                    abandon(ready);
                    let context = hint::Context { plan: plan.as_plan(), grants: &fds };
                    return Err(context.error(fault, Cause::Refused, Vec::new()));
                }
            }
        }
    }

    /// Takes an embryo, to be built piece by piece.
    ///
    /// # Errors
    /// [`Error::Hatchery`] if none can be had, also where a spawn would be made directly.
    pub fn embryo(&self) -> Result<Embryo, Error> {
        let options = self.shared.settings.options;
        let deadline = seeded::deadline_after(options.timeout);
        let (pool, _) = self.shared.current(false, deadline)?;
        loop {
            let ready = self.shared.take(&pool, deadline)?.ok_or_else(none_ready)?;
            if wait_dead(ready.pidfd.as_fd(), Duration::ZERO) {
                abandon(ready);
                continue;
            }
            self.shared.refill(&pool);
            return Ok(Embryo::hatched(ready, options));
        }
    }

    /// How many embryos are ready or being made.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.pool().as_ref().map_or(0, |pool| {
            pool.outstanding.load(Ordering::Relaxed) as usize + pool.spare().len()
        })
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A descriptor of the caller's own that is readable when an embryo has arrived: for who lets a spawn
    /// fail when none is ready ([`WhenEmpty::Fail`]) and waits for other things as well. `None` after the
    /// process that makes them was given up and before another was started; with another
    /// [`Hatchery::id`] it is another descriptor.
    ///
    /// # Errors
    /// What duplicating a descriptor answers.
    pub fn watched(&self) -> std::io::Result<Option<OwnedFd>> {
        let pool = self.shared.pool().clone();
        let socket = pool.as_ref().and_then(|pool| pool.maker.as_ref()).map(Embryo::socket);
        socket.map(|socket| socket.try_clone_to_owned()).transpose()
    }

    /// The pid of the process that makes them; `None` after it was given up and before another
    /// was started.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.shared.pool().as_ref()?.maker.as_ref().map(Embryo::id)
    }
}

impl Shared {
    fn pool(&self) -> MutexGuard<'_, Option<Arc<Pool>>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The embryos of this moment: those that are there, if what they may do is what the caller
    /// may do. With them comes the thread's status, if that is `told`.
    fn current(&self, told: bool, deadline: Instant) -> Result<(Arc<Pool>, Status), Error> {
        self.reap_lost();
        let pool = self.pool().clone().filter(|pool| pool.owner == sys::getpid());
        if self.settings.fixed
            && let Some(pool) = &pool
        {
            let status = if told { Status::of_thread()? } else { Status::default() };
            return Ok((Arc::clone(pool), status));
        }
        let (standing, status) = match &pool {
            Some(pool) => Standing::now(pool.own_pidfd.as_fd(), told)?,
            None => Standing::now(own_pidfd()?.as_fd(), told)?,
        };
        if let Some(pool) = pool
            && standing.difference(&pool.standing).is_none()
            && pool.still_open()
        {
            return Ok((pool, status));
        }
        // Whoever holds the old ones for a launch of its own keeps them until it is sent. Ending them
        // takes a while, and nobody is to wait for that.
        let pool = Arc::new(Pool::new(&self.settings, standing)?);
        let old = self.pool().replace(Arc::clone(&pool));
        drop(old);
        if self.settings.when_empty == WhenEmpty::Wait {
            let first = self.wait_for_one(&pool, deadline)?;
            pool.spare().push(first);
        }
        Ok((pool, status))
    }

    /// Takes an embryo; `None` if there is none and the spawn is to be made directly.
    fn take(&self, pool: &Arc<Pool>, deadline: Instant) -> Result<Option<Ready>, Error> {
        if let Some(ready) = pool.spare().pop() {
            return Ok(Some(ready));
        }
        match self.look(pool)? {
            Some(ready) => Ok(Some(ready)),
            None => {
                self.refill(pool);
                match self.settings.when_empty {
                    WhenEmpty::Wait => self.wait_for_one(pool, deadline).map(Some),
                    WhenEmpty::SpawnDirectly => Ok(None),
                    WhenEmpty::Fail => Err(none_ready()),
                }
            }
        }
    }

    fn wait_for_one(&self, pool: &Pool, deadline: Instant) -> Result<Ready, Error> {
        loop {
            if let Some(ready) = self.look(pool)? {
                return Ok(ready);
            }
            if Instant::now() >= deadline {
                return Err(Error::Hatchery {
                    what: "no embryo came in time".into(),
                    source: os(Errno::TIMEDOUT),
                });
            }
            let patience = UNTOLD_PATIENCE.max(self.settings.pause * 2);
            if !seeded::readable(pool.maker().socket(), deadline.min(Instant::now() + patience)) {
                // What was asked for died before it had said a word.
                pool.reap_untold();
                pool.outstanding.store(0, Ordering::Relaxed);
                self.refill(pool);
            }
        }
    }

    /// An embryo that has arrived.
    fn look(&self, pool: &Pool) -> Result<Option<Ready>, Error> {
        loop {
            match seeded::take(pool.maker().socket()) {
                Sent::Ready(ready) => {
                    pool.count(-1);
                    return Ok(Some(ready));
                }
                Sent::Lost(pid) => {
                    pool.count(-1);
                    self.lost().push(pid);
                }
                Sent::Nothing => return Ok(None),
                Sent::Fault(fault) => {
                    pool.outstanding.store(0, Ordering::Relaxed);
                    return Err(Error::Hatchery {
                        what: "its process could not make an embryo".into(),
                        source: os(Errno::new(fault.errno)),
                    });
                }
                Sent::End => {
                    // The next spawn starts another.
                    let mut current = self.pool();
                    current.take_if(|now| std::ptr::eq(Arc::as_ptr(now), pool));
                    return Err(Error::Hatchery {
                        what: "its process has died".into(),
                        source: os(Errno::PIPE),
                    });
                }
            }
        }
    }

    /// Asks for more, if so many were taken that it is worth a message.
    fn refill(&self, pool: &Pool) {
        let size = self.settings.size;
        let asked = pool.outstanding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now <= size / 2).then_some(size)
        });
        let ask = |now| {
            let count = size - now;
            seeded::ask_for(pool.maker().socket(), count, now == 0, self.settings.pause)
        };
        if let Ok(now) = asked
            && ask(now).is_err()
        {
            // It is dead, or cannot take more: the next spawn sees which.
            pool.outstanding.store(now, Ordering::Relaxed);
        }
    }

    fn lost(&self) -> MutexGuard<'_, Vec<i32>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// They were sent without their descriptors, and end as soon as they see that.
    fn reap_lost(&self) {
        self.lost().retain(|pid| matches!(reap(*pid, WaitIdOptions::NOHANG), Ok(None)));
    }
}

/// Reaps a child of which only the pid is known: nobody else waits for it, so it is still that.
fn reap(
    pid: i32,
    options: WaitIdOptions,
) -> rustix::io::Result<Option<rustix::process::WaitIdStatus>> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    rustix::process::waitid(WaitId::Pid(pid), options | WaitIdOptions::EXITED)
}

impl Pool {
    fn new(settings: &HatcheryBuilder, standing: Standing) -> Result<Self, Error> {
        if Standing::children_go_elsewhere() {
            return Err(Error::Hatchery {
                what:
                    "children of this thread come to another pid namespace, whose init could make \
                       no embryos for it"
                        .into(),
                source: os(Errno::INVAL),
            });
        }
        let own_pidfd = own_pidfd()?;
        let maker = Embryo::create_with(settings.options)?;
        let pool = Self {
            owner: sys::getpid(),
            own_pidfd,
            standing,
            open: sys::may_look_into(maker.id().cast_signed()),
            cwd: sys::identity(c"."),
            outstanding: AtomicU32::new(settings.size),
            spare: Mutex::default(),
            maker: Some(maker),
        };
        seeded::ask_for(pool.maker().socket(), settings.size, true, settings.pause).map_err(
            |errno| Error::Hatchery { what: "asking for embryos".into(), source: os(errno) },
        )?;
        Ok(pool)
    }

    fn maker(&self) -> &Embryo {
        self.maker.as_ref().expect("it is there until drop")
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Ready>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps embryos that died before they had told of themselves: until then they are in the
    /// maker's process group, in which there is nobody else.
    fn reap_untold(&self) {
        let group = rustix::process::Pid::from_raw(self.maker().id().cast_signed());
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        for _ in 0..Hatchery::SIZE_MAX {
            let reaped = rustix::process::waitid(WaitId::Pgid(group), options);
            if !matches!(reaped, Ok(Some(_))) {
                break;
            }
        }
    }

    fn count(&self, change: i32) {
        let _ = self.outstanding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            Some(now.saturating_add_signed(change))
        });
    }

    /// Whether the kernel still lets the caller look into the maker, if it did at first: not so if
    /// the caller has entered a Landlock domain or a user namespace since.
    fn still_open(&self) -> bool {
        sys::may_look_into(self.maker().id().cast_signed()) == self.open
    }

    /// What a plan keeps of its creator, as far as the embryos may have it otherwise.
    fn kept(&self, keep: Keep, status: &Status) -> Result<Kept, Error> {
        let ignored = if keep.contains(Keep::IGNORED_SIGNALS) { status.ignored } else { 0 };
        let umask = keep.contains(Keep::UMASK).then_some(status.umask);
        let mut kept = Kept { cwd: None, umask, ignored };
        if keep.contains(Keep::CWD) && (self.cwd.is_err() || sys::identity(c".") != self.cwd) {
            use rustix::fs::{Mode, OFlags};
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let cwd = rustix::fs::open(".", flags, Mode::empty());
            let cwd =
                cwd.map_err(|errno| Error::io("opening the working directory")(errno.into()))?;
            kept.cwd = Some(cwd);
        }
        Ok(kept)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.owner != sys::getpid() {
            // A copy of the owner: the processes are not its children.
            std::mem::forget(self.maker.take());
            return;
        }
        self.reap_untold();
        let Some(maker) = self.maker.take() else { return };
        // It makes no more after this. The socket's end comes when it and whatever it has made have
        // closed theirs, and each of those has told of itself by then.
        let _ = rustix::net::shutdown(maker.socket(), rustix::net::Shutdown::Write);
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut ready = std::mem::take(&mut *self.spare());
        let mut lost = Vec::new();
        loop {
            match seeded::take(maker.socket()) {
                Sent::Ready(one) => ready.push(one),
                Sent::Lost(pid) => lost.push(pid),
                Sent::Fault(_) => {}
                Sent::Nothing if seeded::readable(maker.socket(), deadline) => {}
                Sent::Nothing | Sent::End => break,
            }
        }
        drop(maker);
        for one in &ready {
            kill(one.pidfd.as_fd());
        }
        ready.into_iter().for_each(abandon);
        for pid in lost {
            let _ = reap(pid, WaitIdOptions::empty());
        }
    }
}

impl fmt::Debug for Hatchery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hatchery")
            .field("id", &self.id())
            .field("len", &self.len())
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Self {
        Error::Hatchery {
            what: format!("it cannot be known what a child may be given: {}", unknown.what),
            source: std::io::Error::from_raw_os_error(unknown.errno),
        }
    }
}

/// Ends an embryo that will not be used.
pub(crate) fn abandon(ready: Ready) {
    kill(ready.pidfd.as_fd());
    bury(ready.pidfd);
}

fn none_ready() -> Error {
    Error::Hatchery { what: "no embryo is ready".into(), source: os(Errno::AGAIN) }
}

fn deadline(settings: &HatcheryBuilder) -> Instant {
    seeded::deadline_after(settings.options.timeout)
}

fn own_pidfd() -> Result<OwnedFd, Error> {
    rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .map_err(|errno| Error::io("opening a pidfd of the owner")(errno.into()))
}

fn os(errno: Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno.number().into())
}
