//! The messages between an owner and its seed.
//!
//! One `SOCK_SEQPACKET` message is one request or one reply: a fixed head, then bytes. Grants travel
//! as `SCM_RIGHTS` in slot order; a request with more of them than one message carries is
//! followed by messages that carry the rest. Both sides are of one build, so the version only
//! guards against a stale image.

use embryo_interp::Fault;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The name (`comm`) of a process that is still a seed; an image that starts takes another.
pub const SEED_NAME: &core::ffi::CStr = c"embryo:seed";
/// Bytes of a plan that travel in the message itself; a longer one travels as a sealed memfd.
pub const INLINE_PLAN_MAX: usize = 48 << 10;
/// Grants in one message.
pub const GRANTS_PER_MESSAGE: usize = embryo_syscall::SCM_MAX_FDS - 1;
/// Bytes of a request's head.
pub const REQUEST_LEN: usize = size_of::<Request>();
/// Bytes of a reply's head.
pub const REPLY_LEN: usize = size_of::<Reply>();

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RequestKind {
    /// Apply the plan's ops and start its image.
    Launch = 1,
    /// More grants for the request before.
    Grants = 2,
    /// Apply the ops of a batch and wait for the next request.
    Apply = 3,
    /// Make embryos: copies of this seed, each with a socket of its own.
    Hatch = 4,
    /// The answer to [`ReplyKind::MapsWanted`]: [`Request::count`] is the errno, or 0.
    Go = 5,
    /// Guard something until the owner ends or lets go of it; see [`Order`]. The directory of a
    /// cgroup may come with it, in which one is to be made then. Its name, and pairs of a file and what
    /// to write to it, stand where a plan would: strings, each with its NUL.
    Guard = 16,
}

/// What is said to a guardian, one byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// By a process that it is to kill in the end, with its pidfd; the same byte is the answer.
    Tie = 1,
    /// It is the end.
    End = 2,
    /// Kill nobody: only remove the cgroup when it is empty.
    Release = 3,
}

/// The name (`comm`) of a guardian.
pub const GUARD_NAME: &core::ffi::CStr = c"embryo:guard";

/// Bits of [`Request::flags`].
#[derive(Clone, Copy, Debug)]
pub struct RequestFlags;

impl RequestFlags {
    /// The plan is not in the message but in a memfd, which is the first descriptor of it.
    pub const PLAN_IN_FD: u32 = 1;
    /// Answer with a record for each op.
    pub const TRACE: u32 = 2;
    /// The first request of an embryo that will live: a descriptor comes before the others, the
    /// owner's pidfd, whose end is the embryo's.
    pub const LIVE: u32 = 4;
    /// Another descriptor comes before the plan's grants: the working directory to begin with.
    pub const CWD: u32 = 8;
    /// [`Request::umask`] is to be set first.
    pub const UMASK: u32 = 16;
    /// Embryos that were asked for before and are not made yet are not to be.
    pub const AFRESH: u32 = 32;
}

/// The head of a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Request {
    /// [`Request::MAGIC`].
    pub magic: u32,
    /// [`RequestKind`].
    pub kind: u32,
    /// [`RequestFlags`].
    pub flags: u32,
    /// Bytes of the plan.
    pub plan_len: u32,
    /// Grants of the request in all.
    pub grants: u32,
    /// The owner's pid, for ops that look whether it still lives.
    pub owner: i32,
    /// The signal mask of the thread that spawned.
    pub caller_mask: u64,
    /// Signals to ignore before the plan says what it wants of them.
    pub ignored: u64,
    /// How long this may take, in nanoseconds: the kernel kills the seed then. 0 is for ever.
    ///
    /// Between two embryos that are to be made it is the time to wait instead.
    pub timeout_ns: u64,
    /// The owner's process group, or 0 if that is from outside the pid namespace.
    pub group: i32,
    /// The umask to begin with.
    pub umask: u32,
    /// How many embryos to make.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

impl Request {
    /// Marks a request of this build.
    pub const MAGIC: u32 = 0x5344_0002;
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ReplyKind {
    /// exec is about to be called.
    Entering = 1,
    /// Something failed. A seed that was made for one launch exits, an embryo lives on.
    Fault = 2,
    /// A batch was applied; what each op has to tell follows as u64s, as many as `traced` says.
    Done = 3,
    /// An embryo was made: its pid stands in `index`, and with the message come its pidfd and the
    /// owner's end of its socket.
    Hatched = 4,
    /// A filter was installed; with the message comes its listener. Between [`ReplyKind::Entering`] and
    /// the image.
    Listening = 5,
    /// A further child was made, in which the seed means to go on: with it come its pidfd and, of an
    /// init, the way by which it says how its image ended. Where these could not be sent, its
    /// pid stands in `index`.
    Moving = 6,
    /// The seed goes on there: the child before is the handle from now on. Below an init the pidfd of
    /// the image to be comes with it.
    Moved = 7,
    /// The maps of the plan's user namespace are to be written, and the request is to be answered.
    MapsWanted = 8,
}

/// The head of a reply; trace records or results follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reply {
    /// [`ReplyKind`].
    pub kind: u32,
    /// Index of the op, or the number of a step.
    pub index: u32,
    /// Code of the op.
    pub code: u16,
    /// The errno.
    pub errno: u16,
    /// Trace records, or results, that follow.
    pub traced: u32,
}

impl Reply {
    /// The image is about to be entered.
    #[must_use]
    pub fn entering(traced: usize) -> Self {
        Self { kind: ReplyKind::Entering as u32, traced: traced as u32, ..Self::default() }
    }

    /// A batch was applied.
    #[must_use]
    pub fn done(results: usize) -> Self {
        Self { kind: ReplyKind::Done as u32, traced: results as u32, ..Self::default() }
    }

    /// An embryo was made.
    #[must_use]
    pub fn hatched(pid: i32) -> Self {
        Self { kind: ReplyKind::Hatched as u32, index: pid as u32, ..Self::default() }
    }

    /// A further child was made.
    #[must_use]
    pub fn moving() -> Self {
        Self { kind: ReplyKind::Moving as u32, ..Self::default() }
    }

    /// The seed goes on in it.
    #[must_use]
    pub fn moved() -> Self {
        Self { kind: ReplyKind::Moved as u32, ..Self::default() }
    }

    /// Maps are to be written.
    #[must_use]
    pub fn maps_wanted() -> Self {
        Self { kind: ReplyKind::MapsWanted as u32, ..Self::default() }
    }

    /// The filter of op `index` has a listener.
    #[must_use]
    pub fn listening(index: u32) -> Self {
        Self { kind: ReplyKind::Listening as u32, index, ..Self::default() }
    }

    /// A fault.
    #[must_use]
    pub fn fault(fault: Fault, traced: usize) -> Self {
        Self {
            kind: ReplyKind::Fault as u32,
            index: fault.index,
            code: fault.code,
            errno: fault.errno,
            traced: traced as u32,
        }
    }

    /// What it says, if it says something known.
    #[must_use]
    pub fn meaning(&self) -> Option<(ReplyKind, Fault)> {
        let fault = Fault { index: self.index, code: self.code, errno: self.errno };
        match self.kind {
            1 => Some((ReplyKind::Entering, fault)),
            2 => Some((ReplyKind::Fault, fault)),
            3 => Some((ReplyKind::Done, fault)),
            4 => Some((ReplyKind::Hatched, fault)),
            5 => Some((ReplyKind::Listening, fault)),
            6 => Some((ReplyKind::Moving, fault)),
            7 => Some((ReplyKind::Moved, fault)),
            8 => Some((ReplyKind::MapsWanted, fault)),
            _ => None,
        }
    }
}
