//! A request for a child on its way to being one.
//!
//! It goes from the mandate's judgement to an embryo, and ends as a child or as a fault. Whatever becomes of it,
//! what was charged is settled, and what was sent along is closed.

use super::child::Child;
use super::{Server, Token, answer};
use crate::account::Charge;
use crate::files::cgroup::Own;
use crate::files::digest::Copying;
use crate::files::facts::Facts;
use crate::mandate::{Grant, Image, Judged, Refusal};
use embryo::agent::wire::{self, kind};
use embryo::{Error, Launching, Process, SpawnOptions};
use rustix::event::epoll;
use rustix::fs::SealFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// A request under way.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) connection: u64,
    /// Who asks.
    uid: u32,
    request: u64,
    judged: Judged,
    /// What the client sent along.
    grants: Vec<OwnedFd>,
    /// The copy that is its image, if it is one.
    image: Option<OwnedFd>,
    cgroup: Option<Own>,
    charge: Charge,
    deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Its image is being copied.
    Copying(Copying),
    /// It waits for an embryo.
    Waiting,
    /// An embryo has the plan.
    Flying(Box<Launching>),
}

impl Launch {
    /// When it is to be looked at though nothing was heard of it.
    pub(super) fn next_look(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Flying(launching) => Some(launching.next_look()),
            Stage::Copying(_) | Stage::Waiting => Some(self.deadline),
        }
    }

    /// The descriptors of its slots; `None` if one is not there.
    fn slots(&self) -> Option<Vec<BorrowedFd<'_>>> {
        let slot = |grant| match grant {
            &Grant::Client(index) => self.grants.get(index as usize).map(AsFd::as_fd),
            Grant::Ours(fd) => Some(fd.as_fd()),
            Grant::Image => self.image.as_ref().map(AsFd::as_fd),
            Grant::Cgroup => self.cgroup.as_ref().map(AsFd::as_fd),
        };
        self.judged.grants.iter().map(slot).collect()
    }
}

impl Server {
    /// A request for a child.
    pub(super) fn spawn(
        &mut self,
        id: u64,
        request: u64,
        timeout_ms: u32,
        plan: Option<&[u8]>,
        mut fds: Vec<OwnedFd>,
    ) {
        let judged = match plan {
            Some(bytes) => self.judge(id, bytes, &fds),
            // That it has one was looked at when it was read.
            None => {
                let file = fds.remove(0);
                let read = read_plan(&file);
                self.dispose(self.uid_of(id), vec![file]);
                read.and_then(|bytes| self.judge(id, &bytes, &fds))
            }
        };
        let charged = judged.and_then(|judged| Ok((self.charge(id)?, judged)));
        let (charge, judged) = match charged {
            Ok(charged) => charged,
            Err(refusal) => {
                self.dispose(self.uid_of(id), fds);
                return self.refuse(id, request, &refusal);
            }
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.in_flight += 1;
        let uid = connection.held.peer.uid;
        self.plans_bytes += judged.plan.as_bytes().len();
        let most = self.settings.launch_timeout_ms;
        let timeout = if timeout_ms == 0 { most } else { timeout_ms.min(most) };
        let deadline = Instant::now() + Duration::from_millis(timeout.into());
        let launch = Launch {
            connection: id,
            uid,
            request,
            judged,
            grants: fds,
            image: None,
            cgroup: None,
            charge,
            deadline,
            stage: Stage::Waiting,
        };
        let number = self.number();
        self.launches.insert(number, launch);
        self.prepare(number);
    }

    /// Does what is to be done before the launch: the image is copied, the cgroup made.
    fn prepare(&mut self, number: u64) {
        let Some(launch) = self.launches.get_mut(&number) else { return };
        if let Image::Copy { grant, .. } = &launch.judged.image
            && launch.image.is_none()
        {
            let source = launch.grants.get(*grant as usize).map(OwnedFd::try_clone);
            let Some(Ok(source)) = source else {
                return self.cannot(number, "no descriptor is free for the image");
            };
            let facts = Facts::of(source.as_fd(), &mut self.known);
            let most = self.settings.copy_bytes_max;
            let copying = self.copier.start(source, &facts, launch.uid, most, launch.deadline);
            match copying {
                Ok(copying) => {
                    let token = Token::Launch(number).encode();
                    let _ = epoll::add(&self.epoll, &copying, token, epoll::EventFlags::IN);
                    launch.stage = Stage::Copying(copying);
                    self.flying.insert(number);
                }
                Err(error) => self.cannot(number, &format!("the image: {error}")),
            }
            return;
        }
        if let Some(group) = &launch.judged.cgroup
            && launch.cgroup.is_none()
        {
            match self.groups.make(group) {
                Ok(own) => launch.cgroup = Some(own),
                Err(error) => return self.cannot(number, &error.to_string()),
            }
        }
        // Those that came first go first.
        if !self.waiting.is_empty() || !self.send_plan(number) {
            self.waiting.push_back(number);
            self.watch_hatchery();
        }
    }

    /// The copy of an image is there, or there is none.
    fn copied(&mut self, number: u64) {
        let Some(launch) = self.launches.get_mut(&number) else { return };
        let Stage::Copying(copying) = &mut launch.stage else { return };
        let outcome = match copying.take() {
            Some(outcome) => outcome,
            None if Instant::now() < launch.deadline => return,
            None => return self.cannot(number, "the image: it could not be copied in time"),
        };
        let _ = epoll::delete(&self.epoll, &*copying);
        self.flying.remove(&number);
        launch.stage = Stage::Waiting;
        let copy = match outcome {
            Ok(copy) => copy,
            Err(error) => return self.cannot(number, &format!("the image: {error}")),
        };
        let listed = matches!(&launch.judged.image,
            Image::Copy { digests, .. } if digests.contains(&copy.sha256));
        if listed {
            launch.image = Some(copy.fd);
            return self.prepare(number);
        }
        let digest: String = copy.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let why = format!("the image's SHA-256 is {digest}, which is not listed");
        if let Some(launch) = self.forget(number) {
            let (id, request) = (launch.connection, launch.request);
            self.bury(launch, false);
            self.refuse(id, request, &Refusal { rule: "images".into(), why });
        }
    }

    /// What has to be done before a launch cannot be done.
    fn cannot(&mut self, number: u64, what: &str) {
        const EIO: i32 = 5;
        self.faulted(number, what, |_| (0, answer::own_fault(EIO, what)));
    }

    /// Settles what a launch leaves that has not become a child. What may have entered its image counts as started.
    fn bury(&mut self, launch: Launch, perhaps_ran: bool) {
        self.accounts.give_back(launch.charge, perhaps_ran);
        self.dispose(launch.uid, launch.grants);
        // What flies is killed here.
        drop(launch.stage);
        if let Some(own) = launch.cgroup {
            self.groups.end(own);
        }
    }

    fn judge(&mut self, id: u64, bytes: &[u8], fds: &[OwnedFd]) -> Result<Judged, Refusal> {
        let bad = |why: String| Refusal { rule: "plan".into(), why };
        let connection = self.connections.get(&id).ok_or_else(|| bad("nobody asks".into()))?;
        let plan = embryo::RawPlan(bytes).check().map_err(|error| bad(error.to_string()))?;
        if plan.is_batch() {
            return Err(bad("it has no start".into()));
        }
        if plan.slots() as usize != fds.len() {
            let why = format!("the plan has {} slots, and {} came", plan.slots(), fds.len());
            return Err(Refusal { rule: "grants".into(), why });
        }
        let grants: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        crate::mandate::judge_for_launch(&connection.held, &plan, &grants, &mut self.known)
    }

    fn charge(&mut self, id: u64) -> Result<Charge, Refusal> {
        let all = self.children.len() + self.launches.len();
        if all >= self.settings.children {
            let why = format!("there are {all} children");
            return Err(Refusal { rule: "agent.children".into(), why });
        }
        let accounts = self.connections.get(&id).map(|connection| &connection.held.accounts);
        self.accounts.charge(accounts.map_or(&[], Vec::as_slice), Instant::now())
    }

    /// Gives the plan to an embryo; false if none is ready.
    fn send_plan(&mut self, number: u64) -> bool {
        let Some(launch) = self.launches.get_mut(&number) else { return true };
        let left = launch.deadline.saturating_duration_since(Instant::now());
        let sent = match launch.slots() {
            Some(slots) => {
                let options = SpawnOptions::new().timeout(left);
                self.hatchery.spawn_with(&launch.judged.plan, &slots, options)
            }
            None => Err(Error::Grants { slots: launch.judged.plan.as_plan().slots(), given: 0 }),
        };
        match sent {
            Ok(launching) => {
                if let Some(socket) = launching.as_fd() {
                    let token = Token::Launch(number).encode();
                    let _ = epoll::add(&self.epoll, socket, token, epoll::EventFlags::IN);
                }
                launch.stage = Stage::Flying(Box::new(launching));
                self.flying.insert(number);
                true
            }
            Err(error) if none_is_ready(&error) => left.is_zero() && self.fail(number, &error),
            Err(error) => self.fail(number, &error),
        }
    }

    /// Embryos have come, or should have.
    pub(super) fn embryos_ready(&mut self) {
        while let Some(number) = self.waiting.front().copied() {
            if !self.send_plan(number) {
                break;
            }
            self.waiting.pop_front();
        }
        self.watch_hatchery();
    }

    /// Has the loop woken by embryos as long as somebody waits for one.
    pub(super) fn watch_hatchery(&mut self) {
        let id = self.hatchery.id().filter(|_| !self.waiting.is_empty());
        if id == self.watched.as_ref().map(|(id, _)| *id) {
            return;
        }
        if let Some((_, socket)) = self.watched.take() {
            let _ = epoll::delete(&self.epoll, &socket);
        }
        if let Some(id) = id
            && let Ok(Some(socket)) = self.hatchery.watched()
            && self.watch(&socket, Token::Hatchery, epoll::EventFlags::IN).is_ok()
        {
            self.watched = Some((id, socket));
        }
    }

    /// Something was heard of a launch, or should have been.
    pub(super) fn look_at_launch(&mut self, number: u64) {
        let Some(launch) = self.launches.get_mut(&number) else { return };
        let launching = match &mut launch.stage {
            Stage::Flying(launching) => launching,
            Stage::Copying(_) => return self.copied(number),
            Stage::Waiting => return,
        };
        match launching.try_wait() {
            Ok(None) => {}
            Ok(Some(process)) => self.started(number, process),
            Err(error) => {
                self.fail(number, &error);
            }
        }
    }

    fn started(&mut self, number: u64, process: Process) {
        const ENOMEM: i32 = 12;
        let Some(launch) = self.forget(number) else { return };
        let Launch { connection: id, uid, request, judged, charge, cgroup, grants, .. } = launch;
        let pid = process.id();
        let body = wire::Started {
            child: number.into(),
            pid: pid.into(),
            image_pid: process.image_id().into(),
        };
        if let Err(error) = self.watch(process.pidfd(), Token::Child(number), epoll::EventFlags::IN)
        {
            // Nobody would learn of its end.
            drop(kill_now(process));
            cgroup.into_iter().for_each(|own| self.groups.end(own));
            self.accounts.give_back(charge, true);
            self.dispose(uid, grants);
            let text = answer::own_fault(ENOMEM, &error.to_string());
            return self.tell(id, kind::FAULT, request, 0, &text, &[]);
        }
        let program = &judged.program;
        tracing::info!(child = number, connection = id, request, pid, program, "started");
        // Without a connection there is no launch: it is given up with it.
        let Some(connection) = self.connections.get_mut(&id) else {
            drop(kill_now(process));
            cgroup.into_iter().for_each(|own| self.groups.end(own));
            self.accounts.give_back(charge, true);
            return self.dispose(uid, grants);
        };
        connection.children.insert(number);
        connection.started += 1;
        self.counts.started += 1;
        let child = Child::new(process, (id, &connection.held), request, &judged, charge, cgroup);
        if let Some(time) = child.deadline {
            self.deadlines.insert((time, number));
        }
        let pidfd = child.pidfd().try_clone_to_owned();
        self.children.insert(number, child);
        match pidfd {
            Ok(pidfd) => {
                self.tell(id, kind::STARTED, request, 0, body.as_bytes(), &[pidfd.as_fd()]);
            }
            Err(_) => self.disconnect(id),
        }
        // Nobody waits for this any more.
        self.dispose(uid, grants);
    }

    /// A launch has failed; always true: there is nothing left to wait for.
    fn fail(&mut self, number: u64, error: &Error) -> bool {
        self.faulted(number, &error.to_string(), |judged| match error.as_spawn() {
            Some(error) => answer::fault(error, &judged.origin),
            None => {
                let errno = error.raw_os_error().unwrap_or(0);
                (0, answer::own_fault(errno, &error.to_string()))
            }
        });
        true
    }

    /// Settles a launch that has failed, and tells of it.
    fn faulted(&mut self, number: u64, error: &str, body: impl FnOnce(&Judged) -> (u32, Vec<u8>)) {
        let Some(launch) = self.forget(number) else { return };
        let (id, request, program) = (launch.connection, launch.request, &launch.judged.program);
        self.counts.faults += 1;
        if self.throttle.admits(Instant::now()).is_some() {
            tracing::warn!(connection = id, request, program, error, "not started");
        }
        let (flags, body) = body(&launch.judged);
        self.bury(launch, false);
        self.tell(id, kind::FAULT, request, flags, &body, &[]);
    }

    /// The agent executes itself, and what is under way cannot come along.
    pub(super) fn fail_for_restart(&mut self, number: u64) {
        self.waiting.retain(|one| *one != number);
        self.cannot(number, "the agent begins anew");
    }

    /// Nobody waits for this launch any more.
    pub(super) fn give_up(&mut self, number: u64) {
        let Some(launch) = self.forget(number) else { return };
        self.waiting.retain(|one| *one != number);
        // Whoever asks and goes before it hears the answer has had it run, for all that is known.
        let flies = matches!(launch.stage, Stage::Flying(_));
        self.bury(launch, flies);
    }

    /// The agent stops, and this launch is not to be.
    pub(super) fn refuse_to_launch(&mut self, number: u64) {
        let Some(launch) = self.launches.get(&number) else { return };
        let (id, request) = (launch.connection, launch.request);
        self.give_up(number);
        let why = "the agent takes no more requests".to_owned();
        self.refuse(id, request, &Refusal { rule: "agent.stopping".into(), why });
    }

    /// Takes a launch out of everything but the queue.
    fn forget(&mut self, number: u64) -> Option<Launch> {
        let launch = self.launches.remove(&number)?;
        self.flying.remove(&number);
        self.plans_bytes -= launch.judged.plan.as_bytes().len();
        if let Some(connection) = self.connections.get_mut(&launch.connection) {
            connection.in_flight -= 1;
        }
        Some(launch)
    }
}

/// Whether it is worth waiting: for an embryo, or for another process that makes them if somebody has killed the
/// one there was.
fn none_is_ready(error: &Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, WouldBlock};
    matches!(error, Error::Hatchery { source, .. }
        if matches!(source.kind(), WouldBlock | BrokenPipe))
}

/// Ends what cannot be minded.
fn kill_now(mut process: Process) -> Process {
    process.kill_on_drop(true);
    process
}

/// The bytes of a plan that travels in a memfd. Reading from one does not block, and one that is sealed
/// stays what it is.
fn read_plan(file: &OwnedFd) -> Result<Vec<u8>, Refusal> {
    let bad = |why: &str| Refusal { rule: "plan".into(), why: why.to_owned() };
    let seals = rustix::fs::fcntl_get_seals(file)
        .map_err(|_| bad("a plan that is not in the message is in a memfd with seals"))?;
    if !seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK) {
        return Err(bad("its memfd has to be sealed against writing, growing and shrinking"));
    }
    let size = rustix::fs::fstat(file).map_err(|_| bad("its memfd cannot be looked at"))?.st_size;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > embryo::limits::PLAN_BYTES_MAX {
        return Err(bad("it is longer than a plan may be"));
    }
    let mut bytes = vec![0; size];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, done as u64) {
            Ok(0) => return Err(bad("its memfd ends too early")),
            Ok(read) => done += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(bad(&format!("its memfd cannot be read: {errno}"))),
        }
    }
    Ok(bytes)
}
