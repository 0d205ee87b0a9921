//! The register set that a thread starts with, as it stands in a plan.
//!
//! 20 little-endian u64s for x86_64 and 35 for aarch64, told apart by their length. Floating-point
//! and vector state may follow; without it that starts as exec would leave it.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Registers of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Regset {
    /// x86_64.
    X86(X86Regs),
    /// aarch64.
    Arm(ArmRegs),
}

/// x86_64: 20 words.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct X86Regs {
    pub rax: U64,
    pub rbx: U64,
    pub rcx: U64,
    pub rdx: U64,
    pub rsi: U64,
    pub rdi: U64,
    pub rbp: U64,
    pub rsp: U64,
    pub r8: U64,
    pub r9: U64,
    pub r10: U64,
    pub r11: U64,
    pub r12: U64,
    pub r13: U64,
    pub r14: U64,
    pub r15: U64,
    pub rip: U64,
    pub rflags: U64,
    pub fs_base: U64,
    pub gs_base: U64,
}

/// aarch64: 35 words.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[allow(missing_docs, reason = "the names are the registers'")]
pub struct ArmRegs {
    pub x: [U64; 31],
    pub sp: U64,
    pub pc: U64,
    pub pstate: U64,
    pub tpidr: U64,
}

/// Addresses end here: 47 bits of x86_64 and 48 of aarch64, less a page that the kernel keeps free.
pub(crate) const X86_TASK_SIZE: u64 = (1 << 47) - 4096;
pub(crate) const ARM_TASK_SIZE: u64 = 1 << 48;

/// What rt_sigreturn(2) takes of rflags, with the two bits that are always set.
const X86_FLAGS: u64 = 0x0005_0cd5 | 0x202;
/// N, Z, C, V.
const ARM_FLAGS: u64 = 0xf000_0000;

impl X86Regs {
    /// All zero but where it starts and its stack.
    #[must_use]
    pub fn at(instruction: u64, stack: u64) -> Self {
        Self { rip: instruction.into(), rsp: stack.into(), rflags: 0x202.into(), ..Self::default() }
    }
}

impl ArmRegs {
    /// All zero but where it starts and its stack.
    #[must_use]
    pub fn at(instruction: u64, stack: u64) -> Self {
        let zero = U64::ZERO;
        let (pc, sp) = (instruction.into(), stack.into());
        Self { x: [zero; 31], sp, pc, pstate: zero, tpidr: zero }
    }
}

impl Regset {
    /// Reads the general registers from bytes of the right length.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            X86_BYTES => X86Regs::read_from_bytes(bytes).ok().map(Self::X86),
            ARM_BYTES | ARM_BYTES_WITH_STATE => {
                ArmRegs::read_from_prefix(bytes).ok().map(|(regs, _)| Self::Arm(regs))
            }
            len if is_x86_state(len.checked_sub(X86_BYTES)?) => {
                X86Regs::read_from_prefix(bytes).ok().map(|(regs, _)| Self::X86(regs))
            }
            _ => None,
        }
    }

    /// The floating-point and vector state that follows the general registers, if there is any.
    ///
    /// On x86_64 an image as XSAVE writes it in its standard form, or the 512 bytes of FXSAVE; on
    /// aarch64 v0 to v31, then FPSR and FPCR as u64s.
    #[must_use]
    pub fn state(bytes: &[u8]) -> Option<&[u8]> {
        let general = match Self::read(bytes)? {
            Self::X86(_) => X86_BYTES,
            Self::Arm(_) => ARM_BYTES,
        };
        bytes.get(general..).filter(|state| !state.is_empty())
    }

    /// The bytes that stand in a plan, with this state behind them.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn with_state(&self, state: &[u8]) -> alloc::vec::Vec<u8> {
        [self.as_bytes(), state].concat()
    }

    /// The bytes that stand in a plan.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Regset::X86(regs) => regs.as_bytes(),
            Regset::Arm(regs) => regs.as_bytes(),
        }
    }

    /// Where it starts.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        match self {
            Regset::X86(regs) => regs.rip.get(),
            Regset::Arm(regs) => regs.pc.get(),
        }
    }

    /// Its stack pointer.
    #[must_use]
    pub fn stack(&self) -> u64 {
        match self {
            Regset::X86(regs) => regs.rsp.get(),
            Regset::Arm(regs) => regs.sp.get(),
        }
    }

    /// The name of the first register whose value no thread can have.
    pub(crate) fn unsound(&self) -> Option<&'static str> {
        match self {
            Regset::X86(regs) => [
                ("the instruction pointer", regs.rip.get() < X86_TASK_SIZE),
                ("the stack pointer", regs.rsp.get() < X86_TASK_SIZE),
                ("fs_base", regs.fs_base.get() < X86_TASK_SIZE),
                ("gs_base", regs.gs_base.get() < X86_TASK_SIZE),
                ("rflags", regs.rflags.get() & !X86_FLAGS == 0),
            ]
            .into_iter()
            .find(|(_, sound)| !sound)
            .map(|(name, _)| name),
            Regset::Arm(regs) => [
                ("the program counter", regs.pc.get() < ARM_TASK_SIZE && regs.pc.get() % 4 == 0),
                ("the stack pointer", regs.sp.get() < ARM_TASK_SIZE),
                ("pstate", regs.pstate.get() & !ARM_FLAGS == 0),
            ]
            .into_iter()
            .find(|(_, sound)| !sound)
            .map(|(name, _)| name),
        }
    }
}

const X86_BYTES: usize = size_of::<X86Regs>();
const ARM_BYTES: usize = size_of::<ArmRegs>();
const ARM_BYTES_WITH_STATE: usize = ARM_BYTES + ARM_STATE_BYTES;
/// Bytes of the state of aarch64: 32 vectors of 16, FPSR, FPCR.
pub const ARM_STATE_BYTES: usize = 32 * 16 + 2 * 8;
/// Bytes of what FXSAVE writes, which is how an XSAVE image begins.
pub const X86_LEGACY_BYTES: usize = 512;
/// Bytes of that with the header of an XSAVE image.
pub const X86_EXTENDED_BYTES: usize = X86_LEGACY_BYTES + 64;
/// The components that an image may hold: x87, SSE, AVX, the three of AVX-512, and PKRU.
pub const X86_COMPONENTS: u64 = 0x2e7;

/// Whether an x86_64 state may be so long: FXSAVE's, or XSAVE's in whole lines of 64 bytes.
fn is_x86_state(len: usize) -> bool {
    len == X86_LEGACY_BYTES
        || (X86_EXTENDED_BYTES..=crate::limits::STATE_BYTES_MAX).contains(&len)
            && len.is_multiple_of(64)
}

/// What of a thread's floating-point and vector state no thread can have.
pub(crate) fn unsound_state(regset: &Regset, bytes: &[u8]) -> Option<&'static str> {
    let state = Regset::state(bytes)?;
    let number = |at: usize| {
        let bytes = state.get(at..).and_then(|rest| rest.first_chunk());
        u64::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    let zero = |from: usize, to: usize| {
        state.get(from..to).is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0))
    };
    let checks = match regset {
        Regset::X86(_) => [
            ("a reserved bit of mxcsr", number(24) as u32 >> 16 == 0),
            // 48 of the 512 bytes are free for software, and here they have no meaning.
            ("what stands at 464 of the state", zero(464, X86_LEGACY_BYTES)),
            ("a component of the state", number(512) & !X86_COMPONENTS == 0),
            ("the header of the state", zero(520, X86_EXTENDED_BYTES)),
        ],
        Regset::Arm(_) => [
            ("fpsr", number(512) >> 32 == 0),
            ("fpcr", number(520) >> 32 == 0),
            ("", true),
            ("", true),
        ],
    };
    checks.into_iter().find(|(_, sound)| !sound).map(|(name, _)| name)
}

/// The pairs of address and length in a list of ranges.
pub fn ranges(bytes: &[u8]) -> impl Iterator<Item = [u64; 2]> + '_ {
    bytes.as_chunks::<16>().0.iter().map(|pair| {
        let word = |from: usize| {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(pair.iter().skip(from)) {
                *to = *from;
            }
            u64::from_le_bytes(word)
        };
        [word(0), word(8)]
    })
}
