//! What failed: an op by its index, or a step that belongs to no op.

use embryo_plan::OpCode;
use embryo_syscall::Errno;

/// Something that every launch does and no op names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Step {
    /// `clone3(2)` or `clone(2)`.
    Clone = 0xffff_ff01,
    /// Leaving the creator's descriptor table.
    UnshareFds = 0xffff_ff02,
    /// Receiving the grants.
    ReceiveGrants = 0xffff_ff03,
    /// Closing what was not granted.
    CloseOthers = 0xffff_ff04,
    /// Setting dispositions and mask.
    Signals = 0xffff_ff05,
    /// The child ended, or was stopped for too long, before it had an image.
    Killed = 0xffff_ff06,
    /// Making, starting or talking to the seed.
    Seed = 0xffff_ff07,
    /// An entry that does not decode; a checked plan has none.
    Decode = 0xffff_ff08,
    /// Preparing the launch in the caller.
    Prepare = 0xffff_ff09,
}

impl Step {
    const ALL: [Step; 9] = [
        Step::Clone,
        Step::UnshareFds,
        Step::ReceiveGrants,
        Step::CloseOthers,
        Step::Signals,
        Step::Killed,
        Step::Seed,
        Step::Decode,
        Step::Prepare,
    ];

    /// The step that stands in the place of an op index.
    #[must_use]
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u32 == index)
    }

    /// What it does, in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Step::Clone => "clone",
            Step::UnshareFds => "unshare-descriptors",
            Step::ReceiveGrants => "receive-grants",
            Step::CloseOthers => "close-others",
            Step::Signals => "reset-signals",
            Step::Killed => "build",
            Step::Seed => "seed",
            Step::Decode => "decode",
            Step::Prepare => "prepare",
        }
    }
}

/// Exactly what failed in a child: the index of the op (or a [`Step`]), its code, the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Index of the op, or the number of a [`Step`].
    pub index: u32,
    /// Code of the op; 0 for a step.
    pub code: u16,
    /// What the kernel answered.
    pub errno: u16,
}

impl Fault {
    /// The fault of a step.
    #[must_use]
    pub fn step(step: Step, errno: Errno) -> Self {
        Self { index: step as u32, code: 0, errno: errno.number() }
    }

    /// The fault of an op.
    #[must_use]
    pub fn op(index: u32, code: OpCode, errno: Errno) -> Self {
        Self { index, code: code as u16, errno: errno.number() }
    }
}
