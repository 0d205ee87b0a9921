//! For every op, samples that take effect and ways in which it fails, as data that several tests
//! go through.
//!
//! It must never leave an op out: `every_op.rs` compares it with the list of all ops. Those on
//! memory, and `start-registers`, are not here but in `live_embryo.rs`.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

mod cgroup;
mod confine;
mod credentials;
mod descriptors;
mod image;
pub(crate) mod mount;
mod namespace;
mod places;
mod privilege;
mod resources;
mod session;
mod signals;

use crate::launch::{Draft, Watched, Way};
use crate::refusal::Refusal;
use embryo::{OpCode, Step};
use rustix::thread::CapabilitySet;
use std::os::fd::OwnedFd;

/// What a caller must have, or must not have, for something to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// Nothing.
    Anyone,
    /// This capability.
    With(CapabilitySet),
    /// Not this capability.
    Without(CapabilitySet),
    /// Something that a kernel may lack, and whether this one has it.
    Where(&'static str, fn() -> bool),
    /// A kernel, or a machine, that has it.
    If(fn() -> bool),
}

impl Who {
    /// Whether the calling thread is one of those.
    #[must_use]
    pub(crate) fn is_me(self) -> bool {
        let held = rustix::thread::capabilities(None).expect("one's own sets are readable");
        match self {
            Who::Anyone => true,
            Who::With(wanted) => held.effective.contains(wanted),
            Who::Without(unwanted) => !held.effective.intersects(unwanted),
            Who::Where(_, found) => found(),
            Who::If(has) => has(),
        }
    }
}

/// Looks at a child whether the op took effect.
pub(crate) type Check = Box<dyn Fn(&Watched)>;

/// An op that takes effect.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// The op.
    pub(crate) code: OpCode,
    /// What it shows.
    pub(crate) name: &'static str,
    /// For whom it works.
    pub(crate) who: Who,
    /// Adds it, and what it needs, to a draft of [`Draft::watched`].
    pub(crate) add: fn(&mut Draft) -> Check,
}

impl Sample {
    const fn new(code: OpCode, name: &'static str, add: fn(&mut Draft) -> Check) -> Self {
        Self { code, name, who: Who::Anyone, add }
    }

    const fn with(self, wanted: CapabilitySet) -> Self {
        Self { who: Who::With(wanted), ..self }
    }

    const fn only_where(self, what: &'static str, holds: fn() -> bool) -> Self {
        Self { who: Who::Where(what, holds), ..self }
    }

    const fn when(self, has: fn() -> bool) -> Self {
        Self { who: Who::If(has), ..self }
    }
}

/// An op that fails.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    /// The op.
    pub(crate) code: OpCode,
    /// Why it fails.
    pub(crate) name: &'static str,
    /// For whom.
    pub(crate) who: Who,
    /// Adds it, and what it needs, to a draft.
    pub(crate) add: fn(&mut Draft),
    /// What the kernel answers.
    pub(crate) errno: i32,
    /// A part of the object that the error names.
    pub(crate) object: Option<&'static str>,
    /// The step that is reported, if it is not the op itself.
    pub(crate) step: Option<Step>,
    /// The only way on which it fails so.
    pub(crate) only: Option<Way>,
    /// The call that is to be refused, where it does not fail by itself.
    pub(crate) refusal: Option<Refusal>,
}

impl Failure {
    const fn new(code: OpCode, name: &'static str, errno: i32, add: fn(&mut Draft)) -> Self {
        Self {
            code,
            name,
            who: Who::Anyone,
            add,
            errno,
            object: None,
            step: None,
            only: None,
            refusal: None,
        }
    }

    const fn with(self, wanted: CapabilitySet) -> Self {
        Self { who: Who::With(wanted), ..self }
    }

    const fn only_where(self, what: &'static str, holds: fn() -> bool) -> Self {
        Self { who: Who::Where(what, holds), ..self }
    }

    const fn when(self, has: fn() -> bool) -> Self {
        Self { who: Who::If(has), ..self }
    }

    const fn without(self, unwanted: CapabilitySet) -> Self {
        Self { who: Who::Without(unwanted), ..self }
    }

    const fn names(self, object: &'static str) -> Self {
        Self { object: Some(object), ..self }
    }

    const fn refused(self, refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..self }
    }

    const fn as_step(self, step: Step) -> Self {
        Self { step: Some(step), ..self }
    }

    const fn only(self, way: Way) -> Self {
        Self { only: Some(way), ..self }
    }

    /// The ways on which a draft of it fails so.
    #[must_use]
    pub(crate) fn ways(&self, draft: &Draft) -> Vec<Way> {
        let ways = draft.ways().iter().copied();
        ways.filter(|way| self.only.is_none_or(|only| only == *way)).collect()
    }
}

/// Every sample of `code`.
#[must_use]
pub(crate) fn samples(code: OpCode) -> Vec<Sample> {
    let all: [&[Sample]; 12] = [
        session::SAMPLES,
        descriptors::SAMPLES,
        resources::SAMPLES,
        places::SAMPLES,
        credentials::SAMPLES,
        confine::SAMPLES,
        privilege::SAMPLES,
        cgroup::SAMPLES,
        namespace::SAMPLES,
        signals::SAMPLES,
        image::SAMPLES,
        mount::SAMPLES,
    ];
    let all = all.concat().into_iter().filter(|sample| sample.code == code);
    all.map(|sample| Sample { who: mount::who(code, sample.who), ..sample }).collect()
}

/// Every failure of `code`; those that need a refused call come last, since that stays refused.
#[must_use]
pub(crate) fn failures(code: OpCode) -> Vec<Failure> {
    let all: [&[Failure]; 12] = [
        session::FAILURES,
        descriptors::FAILURES,
        resources::FAILURES,
        places::FAILURES,
        credentials::FAILURES,
        confine::FAILURES,
        privilege::FAILURES,
        cgroup::FAILURES,
        namespace::FAILURES,
        signals::FAILURES,
        image::FAILURES,
        mount::FAILURES,
    ];
    let all = all.concat().into_iter().filter(|failure| failure.code == code);
    let all = all.map(|failure| Failure { who: mount::who(code, failure.who), ..failure });
    let (refused, natural): (Vec<_>, Vec<_>) = all.partition(|failure| failure.refusal.is_some());
    natural.into_iter().chain(refused).collect()
}

/// A new terminal: the controlling side and the terminal itself.
#[must_use]
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags).expect("a terminal can be made");
    grantpt(&controller).expect("its owner can be set");
    unlockpt(&controller).expect("it can be unlocked");
    let path = ptsname(&controller, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(path, flags, Mode::empty()).expect("it can be opened");
    (controller, terminal)
}

/// Device and inode of an open file.
#[must_use]
pub(crate) fn identity(fd: impl std::os::fd::AsFd) -> (u64, u64) {
    let stat = rustix::fs::fstat(fd).expect("an open file has a status");
    (stat.st_dev, stat.st_ino)
}
