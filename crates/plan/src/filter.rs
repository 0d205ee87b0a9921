//! Whether a program is one that seccomp(2) takes.
//!
//! These are the kernel's own rules (bpf_check_classic, seccomp_check_filter), so that a program it
//! would refuse is refused before anything happens: where a filter is installed last of all, a
//! refusal could no longer be told. `tests/by_registers.rs` compares the two. It must never accept what
//! the kernel does not.

use crate::check::Reason;
use crate::limits::FILTER_INSTRUCTIONS_MAX;

/// Bytes of an instruction: `struct sock_filter`.
pub const INSTRUCTION_BYTES: usize = 8;

/// Words of scratch memory that a program has.
const SCRATCH: u32 = 16;
/// Bytes of what a program looks at: `struct seccomp_data`.
const DATA_BYTES: u32 = 64;

struct Instruction {
    code: u16,
    if_true: usize,
    if_false: usize,
    k: u32,
}

/// What an instruction does, as far as the rules tell.
enum Kind {
    /// Nothing that could be wrong.
    Plain,
    /// Divides by `k`.
    Divide,
    /// Shifts by `k`.
    Shift,
    /// Loads from the data at `k`.
    Look,
    /// Loads from scratch memory at `k`.
    Load,
    /// Stores to scratch memory at `k`.
    Store,
    /// Jumps by `k`.
    Jump,
    /// Jumps by one of the two distances.
    Branch,
    /// Ends.
    Return,
}

fn kind(code: u16) -> Option<Kind> {
    Some(match code {
        // Immediates, the data's length, and the registers to each other.
        0x00 | 0x01 | 0x80 | 0x81 | 0x07 | 0x87 => Kind::Plain,
        // add, sub, mul, or, and, xor, neg; and div, lsh, rsh by the other register.
        0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x44 | 0x4c | 0x54 | 0x5c | 0xa4 | 0xac
        | 0x84 | 0x3c | 0x6c | 0x7c => Kind::Plain,
        0x34 => Kind::Divide,
        0x64 | 0x74 => Kind::Shift,
        0x20 => Kind::Look,
        0x60 | 0x61 => Kind::Load,
        0x02 | 0x03 => Kind::Store,
        0x05 => Kind::Jump,
        // jeq, jgt, jge, jset.
        0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => Kind::Branch,
        0x06 | 0x16 => Kind::Return,
        _ => return None,
    })
}

fn instructions(program: &[u8]) -> impl Iterator<Item = Instruction> + '_ {
    program.as_chunks::<INSTRUCTION_BYTES>().0.iter().map(|[a, b, jt, jf, k @ ..]| Instruction {
        code: u16::from_le_bytes([*a, *b]),
        if_true: usize::from(*jt),
        if_false: usize::from(*jf),
        k: u32::from_le_bytes(*k),
    })
}

/// Checks a program: an array of `struct sock_filter`, little-endian.
///
/// # Errors
/// [`Reason::DataLength`], or [`Reason::Filter`] with the first instruction that breaks a rule.
pub fn check_filter(program: &[u8]) -> Result<(), Reason> {
    let count = program.len() / INSTRUCTION_BYTES;
    let whole = program.len().is_multiple_of(INSTRUCTION_BYTES);
    if !whole || count == 0 || count > FILTER_INSTRUCTIONS_MAX {
        return Err(Reason::DataLength);
    }
    // Which words of scratch memory have been stored to on every way to an instruction.
    let mut stored = [u16::MAX; FILTER_INSTRUCTIONS_MAX];
    let mut now = 0u16;
    let mut ends = false;
    for (at, instruction) in instructions(program).enumerate() {
        let Instruction { code, if_true, if_false, k } = instruction;
        let wrong = |what| Err(Reason::Filter(at as u32, what));
        let reaches = |distance: usize| at.saturating_add(distance).saturating_add(1) < count;
        now &= stored[at];
        ends = false;
        match kind(code) {
            None => return wrong("a filter has no such instruction"),
            Some(Kind::Divide) if k == 0 => return wrong("it divides by zero"),
            Some(Kind::Shift) if k >= 32 => return wrong("it shifts by 32 or more"),
            Some(Kind::Look) if k >= DATA_BYTES || k % 4 != 0 => {
                return wrong("it looks outside struct seccomp_data, or between its words");
            }
            Some(Kind::Load | Kind::Store) if k >= SCRATCH => {
                return wrong("scratch memory has 16 words");
            }
            Some(Kind::Load) if now >> k & 1 == 0 => {
                return wrong("it loads scratch memory that is not stored to on every way there");
            }
            Some(Kind::Store) => now |= 1 << k,
            Some(Kind::Jump) => {
                if !reaches(k as usize) {
                    return wrong("it jumps behind the end");
                }
                stored[at + 1 + k as usize] &= now;
                now = u16::MAX;
            }
            Some(Kind::Branch) => {
                if !reaches(if_true) || !reaches(if_false) {
                    return wrong("it jumps behind the end");
                }
                stored[at + 1 + if_true] &= now;
                stored[at + 1 + if_false] &= now;
                now = u16::MAX;
            }
            Some(Kind::Return) => ends = true,
            Some(_) => {}
        }
    }
    if ends {
        return Ok(());
    }
    Err(Reason::Filter(count as u32 - 1, "the last one does not return"))
}
