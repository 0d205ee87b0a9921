//! An embryo: a process that has not started, built piece by piece by its owner.
//!
//! Only the owner holds the control socket, and the embryo dies with it. Whatever a plan can hold
//! can be applied, in any number of messages; memory is written by the embryo itself, from files
//! that were granted to it, so nobody needs ptrace(2) or another process's memory.

use crate::direct::Direct;
use crate::error::{Cause, Error, Fault};
use crate::guarded::AsRaw;
use crate::hint;
use crate::maps::{MapsEntry, read_maps};
use crate::moving::{Below, Moves};
use crate::process::{Process, kill, wait_dead};
use crate::regions::{Region, Regions};
use crate::seeded::{self, Kept};
use crate::spawn::{SpawnOptions, answerable, bury, settle};
use embryo_interp::{End, Step};
use embryo_plan::{Op, OwnedPlan, PlanBuilder, Reason, Route};
use embryo_seed::{RequestFlags, RequestKind};
use embryo_syscall::Errno;
use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Contents up to this travel in the message; longer ones as a file in memory.
const INLINE_CONTENTS_MAX: usize = 16 << 10;

/// A real process, with a pid and a pidfd, that has not started.
///
/// Its address space holds the seed and what was mapped by [`Embryo::apply`], its table the
/// control socket and what was put there. Dropping it abandons it: the process dies, and nothing is
/// left. It also dies when its owner dies, by whatever means.
///
/// # Restrictions
/// What is done at the start, a filter or further threads, is no part of a batch. A start that fails
/// after its filter was installed, which only a start by exec can, gives the embryo back with the
/// filter: it may be good for nothing more.
///
/// # Kernel
/// Linux 5.10; `name-region` 5.17; `mm-layout` with `CONFIG_CHECKPOINT_RESTORE`.
pub struct Embryo {
    // `None` once it has started or was abandoned.
    process: Option<OwnedFd>,
    pid: u32,
    /// Of an embryo below an init, which is the handle then.
    below: Below,
    socket: OwnedFd,
    regions: Regions,
    options: SpawnOptions,
    direct: Option<(u32, bool, bool)>,
}

impl Embryo {
    /// Makes one.
    ///
    /// # Errors
    /// [`Error::Spawn`] with the step that failed.
    pub fn create() -> Result<Self, Error> {
        Self::create_with(SpawnOptions::default())
    }

    /// Makes one; the options' timeout holds for this and for each later message.
    ///
    /// # Errors
    /// As [`Embryo::create`].
    pub fn create_with(options: SpawnOptions) -> Result<Self, Error> {
        let hello = PlanBuilder::batch().build()?;
        let context = hint::Context { plan: hello.as_plan(), grants: &[] };
        let refused = |fault| context.error(fault, Cause::Refused, Vec::new());
        let owner = rustix::process::pidfd_open(
            rustix::process::getpid(),
            rustix::process::PidfdFlags::empty(),
        )
        .map_err(|errno| Error::io("opening a pidfd of the owner")(errno.into()))?;
        let made = seeded::make(options.timeout, |socket| {
            let message = seeded::Message {
                kind: RequestKind::Apply,
                flags: RequestFlags::LIVE,
                plan: &hello,
                owner: Some(owner.as_fd()),
                grants: &[],
                kept: &Kept::NOTHING,
                timeout: options.timeout,
            };
            seeded::send(socket, &message)
        });
        let (direct, socket) = made.map_err(refused)?;
        if direct.launched.end != End::Entered {
            return match settle(direct, Route::Seed, &context) {
                Err(error) => Err(error),
                Ok(_) => Err(refused(Fault::step(Step::Seed, Errno::BADMSG))),
            };
        }
        let Direct { launched, cut, cut_raised, .. } = direct;
        let mut embryo = Self {
            process: Some(launched.pidfd),
            pid: launched.pid as u32,
            below: Below::default(),
            socket,
            regions: Regions::default(),
            options,
            direct: Some((cut, cut_raised, launched.legacy_clone)),
        };
        embryo.finish(&context, &hello)?;
        Ok(embryo)
    }

    /// One that a hatchery has made.
    pub(crate) fn hatched(ready: seeded::Ready, options: SpawnOptions) -> Self {
        Self {
            process: Some(ready.pidfd),
            pid: ready.pid.cast_unsigned(),
            below: Below::default(),
            socket: ready.socket,
            regions: Regions::default(),
            options,
            direct: None,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Its pid.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Its pidfd.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.as_ref().map(AsFd::as_fd).expect("the pidfd is there until the start")
    }

    /// Applies one op. Slots in it count the grants given with it. Returns what the op tells: the
    /// address of a mapping, the bytes moved, or 0.
    ///
    /// # Errors
    /// [`Error::Plan`] if the op is not sound, and nothing has happened. [`Error::Spawn`] with the
    /// fault: the embryo can be used on, unless [`Embryo::is_alive`] says otherwise.
    pub fn apply(&mut self, op: &Op<'_>, grants: &[BorrowedFd<'_>]) -> Result<u64, Error> {
        let mut batch = PlanBuilder::batch();
        for _ in grants {
            batch.slot();
        }
        batch.op(op);
        let results = self.apply_all(&batch.build()?, grants)?;
        Ok(results.first().copied().unwrap_or_default())
    }

    /// Applies a batch ([`PlanBuilder::batch`]) in one message. Returns what each op tells. The
    /// first op that fails ends it; those before it were applied.
    ///
    /// # Errors
    /// As [`Embryo::apply`], and [`Error::Grants`].
    pub fn apply_all(
        &mut self,
        batch: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
    ) -> Result<Vec<u64>, Error> {
        let view = batch.as_plan();
        if !view.is_batch() {
            return Err(plan_error(Reason::BatchWithImage));
        }
        let fds = self.check_grants(batch, grants)?;
        let context = hint::Context { plan: view, grants: &fds };
        let message = seeded::Message {
            kind: RequestKind::Apply,
            flags: 0,
            plan: batch,
            owner: None,
            grants: &fds,
            kept: &Kept::NOTHING,
            timeout: self.options.timeout,
        };
        self.send(&message, &context)?;
        match self.finish(&context, batch) {
            Ok(results) => {
                self.regions.apply(&view, &results);
                Ok(results)
            }
            Err(error) => {
                if let Some(index) = error.as_spawn().and_then(|fault| fault.index()) {
                    // What was applied before the fault is there. Where the kernel chose an
                    // address its answer is lost, and /proc/PID/maps knows it alone.
                    self.regions.apply_until(&view, index);
                }
                Err(error)
            }
        }
    }

    /// Writes bytes to its memory.
    ///
    /// # Errors
    /// As [`Embryo::apply`]; EFAULT where nothing writable is mapped, EBUSY over the seed.
    pub fn write(&mut self, addr: u64, contents: &[u8]) -> Result<(), Error> {
        if contents.len() <= INLINE_CONTENTS_MAX {
            return self.apply(&Op::Write { addr, contents }, &[]).map(drop);
        }
        let file = seeded::sealed(c"embryo:contents", contents, rustix::fs::MemfdFlags::empty());
        let file = file.map_err(|errno| io(errno, "making a file of contents"))?;
        let op = Op::WriteSlot {
            slot: embryo_plan::Slot(0),
            addr,
            len: contents.len() as u64,
            offset: 0,
        };
        self.apply(&op, &[file.as_fd()]).map(drop)
    }

    /// Reads bytes from its memory.
    ///
    /// # Errors
    /// As [`Embryo::apply`]; EFAULT where nothing is mapped.
    pub fn read(&mut self, addr: u64, len: usize) -> Result<Vec<u8>, Error> {
        use rustix::fs::MemfdFlags;
        let file = rustix::fs::memfd_create(c"embryo:read", MemfdFlags::CLOEXEC)
            .map_err(|errno| io(errno.into(), "making a file to read into"))?;
        let op = Op::ReadSlot { slot: embryo_plan::Slot(0), addr, len: len as u64, offset: 0 };
        self.apply(&op, &[file.as_fd()])?;
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            // The embryo says that it wrote them; if it lied they are not there.
            match rustix::io::pread(&file, &mut bytes[done..], done as u64) {
                Ok(0) => return Err(io(Errno::BADMSG, "reading what the embryo wrote")),
                Ok(count) => done += count,
                Err(errno) => return Err(io(errno.into(), "reading what the embryo wrote")),
            }
        }
        Ok(bytes)
    }

    /// What was mapped by ops, by address.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter()
    }

    /// What the kernel says is mapped, the seed included: /proc/PID/maps.
    ///
    /// # Errors
    /// What reading it answers.
    pub fn maps(&self) -> Result<Vec<MapsEntry>, Error> {
        // Below an init it is another process than the handle.
        let pid = self.below.image.as_ref().map_or(self.pid, |(_, pid)| pid.cast_unsigned());
        read_maps(pid).map_err(Error::io("reading /proc/PID/maps"))
    }

    /// Where the vdso's code is, if there is one: its beginning is what `AT_SYSINFO_EHDR` has to be.
    /// [`Op::MoveVdso`] moves it and [`Op::DropVdso`] does away with it.
    ///
    /// # Errors
    /// As [`Embryo::maps`].
    pub fn vdso(&self) -> Result<Option<Range<u64>>, Error> {
        let maps = self.maps()?;
        Ok(maps.into_iter().find(|entry| entry.name == "[vdso]").map(|entry| entry.range))
    }

    /// Whether it still lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let image = self.below.image.as_ref().map_or(self.pidfd(), |(pidfd, _)| pidfd.as_fd());
        !wait_dead(image, std::time::Duration::ZERO)
    }

    /// Starts it: applies the plan's ops and enters its image, an executable or registers in the
    /// memory that was built. What the plan keeps is the embryo's own.
    ///
    /// # Errors
    /// As [`crate::spawn`]. A fault gives the embryo back with the error, to try something else.
    pub fn start(
        mut self,
        plan: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
    ) -> Result<Process, (Error, Option<Self>)> {
        let fds = match self.check_grants(plan, grants) {
            Ok(fds) if plan.as_plan().is_batch() => {
                drop(fds);
                return Err((plan_error(Reason::NoStart), Some(self)));
            }
            Ok(fds) => fds,
            Err(error) => return Err((error, Some(self))),
        };
        if let Err(error) = answerable(&plan.as_plan()) {
            return Err((error, Some(self)));
        }
        let context = hint::Context { plan: plan.as_plan(), grants: &fds };
        let flags = if self.options.trace { RequestFlags::TRACE } else { 0 };
        let message = seeded::Message {
            kind: RequestKind::Launch,
            flags,
            plan,
            owner: None,
            grants: &fds,
            kept: &Kept::NOTHING,
            timeout: self.options.timeout,
        };
        if let Err(error) = self.send(&message, &context) {
            return Err((error, Some(self)));
        }
        let deadline = seeded::deadline_after(self.options.timeout);
        let below = std::mem::take(&mut self.below);
        let answering = seeded::Answering::new(self.pid as i32, deadline, plan, below);
        let (end, answering) = answering.finish(self.socket.as_fd(), self.pidfd());
        let (cut, cut_raised, legacy_clone) = self.direct.unwrap_or_default();
        let (pid, pidfd) = (self.pid as i32, self.process.take().expect("it has not started"));
        // How it ended is put in its place below.
        let (unknown, trace) = (End::Killed, Vec::new());
        let launched = embryo_interp::Launched { pid, pidfd, end: unknown, legacy_clone, trace };
        let mut direct = Direct::new(launched, cut, cut_raised);
        direct.take(end, answering);
        if let End::Fault(fault) = direct.launched.end {
            let trace = context.records(&direct.launched.trace);
            self.pid = direct.launched.pid.cast_unsigned();
            (self.process, self.below) = (Some(direct.launched.pidfd), direct.below);
            let error = context.detailed(fault, Cause::Refused, trace, direct.detail);
            return Err((error, Some(self)));
        }
        settle(direct, Route::Seed, &context).map_err(|error| (error, None))
    }

    /// For those who answer in the process's place.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn replace_socket(&mut self, socket: OwnedFd) -> OwnedFd {
        std::mem::replace(&mut self.socket, socket)
    }

    #[cfg(feature = "fuzzing")]
    pub(crate) fn set_timeout(&mut self, timeout: std::time::Duration) {
        self.options.timeout = timeout;
    }

    fn check_grants(&self, plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Result<Vec<i32>, Error> {
        let slots = plan.as_plan().slots();
        if slots as usize != grants.len() {
            return Err(Error::Grants { slots, given: grants.len() });
        }
        Ok(grants.iter().map(AsRaw::as_raw).collect())
    }

    fn send(
        &mut self,
        message: &seeded::Message<'_>,
        context: &hint::Context<'_>,
    ) -> Result<(), Error> {
        seeded::send(self.socket.as_fd(), message).map_err(|fault| {
            let cause = if self.is_alive() { Cause::Refused } else { Cause::Killed(None) };
            context.error(fault, cause, Vec::new())
        })
    }

    /// Waits for the answer to a batch. An embryo that does not answer is killed.
    fn finish(&mut self, context: &hint::Context<'_>, plan: &OwnedPlan) -> Result<Vec<u64>, Error> {
        let deadline = seeded::deadline_after(self.options.timeout);
        let mut pidfd = self.process.take().expect("it has not started");
        let mut pid = self.pid.cast_signed();
        let moves = Moves::from(std::mem::take(&mut self.below));
        let mut meanwhile =
            seeded::Meanwhile { pidfd: pidfd.as_fd(), pid, plan, moves, detail: None };
        let answer = seeded::results(self.socket.as_fd(), deadline, &mut meanwhile);
        let seeded::Meanwhile { moves, detail, .. } = meanwhile;
        self.below = moves.settle(&mut pidfd, &mut pid);
        (self.process, self.pid) = (Some(pidfd), pid.cast_unsigned());
        let refused = |fault, cause| context.detailed(fault, cause, Vec::new(), detail);
        match answer {
            seeded::Answer::Done(results) if results.len() == context.plan.entries().len() => {
                Ok(results)
            }
            seeded::Answer::Fault(fault) => Err(refused(fault, Cause::Refused)),
            seeded::Answer::Silence => {
                kill(self.pidfd());
                Err(refused(Fault::step(Step::Killed, Errno::TIMEDOUT), Cause::TimedOut))
            }
            // An answer that is none: whoever gave it is no embryo of ours any more.
            seeded::Answer::Nonsense | seeded::Answer::Done(_) => {
                kill(self.pidfd());
                Err(refused(Fault::step(Step::Seed, Errno::BADMSG), Cause::Refused))
            }
            seeded::Answer::End => {
                Err(refused(Fault::step(Step::Killed, Errno::PIPE), Cause::Killed(None)))
            }
        }
    }
}

impl Drop for Embryo {
    fn drop(&mut self) {
        if let Some(pidfd) = self.process.take() {
            kill(pidfd.as_fd());
            bury(pidfd);
        }
    }
}

impl fmt::Debug for Embryo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embryo")
            .field("pid", &self.pid)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

fn plan_error(reason: Reason) -> Error {
    embryo_plan::PlanError { entry: None, code: None, reason }.into()
}

fn io(errno: Errno, what: &'static str) -> Error {
    Error::io(what)(std::io::Error::from_raw_os_error(i32::from(errno.number())))
}
