//! The register set that a thread starts with, as it stands in a plan.
//!
//! 20 little-endian u64s for x86_64 and 35 for aarch64, told apart by their length. What is not
//! here (floating point and vector state) starts as exec would leave it.

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

impl Regset {
    /// Reads one from bytes of the right length.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if let Ok(x86) = X86Regs::read_from_bytes(bytes) {
            return Some(Self::X86(x86));
        }
        ArmRegs::read_from_bytes(bytes).ok().map(Self::Arm)
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
