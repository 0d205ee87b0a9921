//! Whether a program is one that seccomp(2) takes.
//!
//! These are the kernel's own rules (bpf_check_classic, seccomp_check_filter), so that a program it
//! would refuse is refused before anything happens: where a filter is installed last of all, a
//! refusal could no longer be told. `tests/by_registers.rs` compares the two. It must never accept what
//! the kernel does not.
//!
//! And what such a program does with a call, as far as that can be told without its arguments.

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

impl Instruction {
    fn read([a, b, jt, jf, k @ ..]: &[u8; INSTRUCTION_BYTES]) -> Self {
        Self {
            code: u16::from_le_bytes([*a, *b]),
            if_true: usize::from(*jt),
            if_false: usize::from(*jf),
            k: u32::from_le_bytes(*k),
        }
    }
}

fn instructions(program: &[u8]) -> impl Iterator<Item = Instruction> + '_ {
    program.as_chunks::<INSTRUCTION_BYTES>().0.iter().map(Instruction::read)
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

/// What becomes of a system call under a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOutcome {
    /// It is made, whatever its arguments are (`SECCOMP_RET_ALLOW`, `SECCOMP_RET_LOG`).
    Allowed,
    /// A listener is asked (`SECCOMP_RET_USER_NOTIF`).
    Notified,
    /// It is not made, whatever its arguments are; what the filter returns, for one set of them.
    Refused(u32),
    /// That depends on what is not known: arguments, or the place that it is called from; or it
    /// takes too long to find out.
    Depends,
}

/// One way through a program.
#[derive(Clone, Copy)]
struct State {
    at: usize,
    accumulator: Option<u32>,
    index: Option<u32>,
    scratch: [Option<u32>; SCRATCH as usize],
}

/// Ways that are still to be followed.
const WAYS_MAX: usize = 32;
/// Instructions that are looked at, on all ways together.
const STEPS_MAX: u32 = 1 << 17;

/// What a checked program does with call `number` of the machine `arch` (`AUDIT_ARCH_*`), as far as
/// its arguments are known. Where it branches on what is not known, both ways are followed.
#[must_use]
pub fn filter_outcome(
    program: &[u8],
    arch: u32,
    number: u32,
    arguments: &[Option<u64>; 6],
) -> FilterOutcome {
    let start =
        State { at: 0, accumulator: Some(0), index: Some(0), scratch: [Some(0); SCRATCH as usize] };
    let data = |offset: u32| match offset {
        0 => Some(number),
        4 => Some(arch),
        8 | 12 => None,
        _ => {
            let argument = *arguments.get((offset as usize).wrapping_sub(16) / 8)?;
            argument.map(|value| if offset.is_multiple_of(8) { value } else { value >> 32 } as u32)
        }
    };
    let mut ways = [start; WAYS_MAX];
    let mut count = 1usize;
    let mut found = None;
    let mut steps = 0;
    while count > 0 {
        count -= 1;
        let mut state = ways[count];
        loop {
            steps += 1;
            let Some(step) = step(program, &mut state, &data) else {
                return FilterOutcome::Depends;
            };
            match step {
                Step::On => {}
                Step::Fork(other) if count < WAYS_MAX => {
                    ways[count] = State { at: other, ..state };
                    count += 1;
                }
                Step::End(answer) => {
                    let outcome = outcome_of(answer);
                    found = match (found, outcome) {
                        (None, outcome) => Some(outcome),
                        (Some(FilterOutcome::Refused(_)), FilterOutcome::Refused(_)) => found,
                        (Some(before), now) if before == now => found,
                        _ => return FilterOutcome::Depends,
                    };
                    break;
                }
                Step::Fork(_) => return FilterOutcome::Depends,
            }
            if steps >= STEPS_MAX {
                return FilterOutcome::Depends;
            }
        }
    }
    found.unwrap_or(FilterOutcome::Depends)
}

fn outcome_of(answer: u32) -> FilterOutcome {
    const ALLOW: u32 = 0x7fff_0000;
    const LOG: u32 = 0x7ffc_0000;
    const TRACE: u32 = 0x7ff0_0000;
    const NOTIFY: u32 = 0x7fc0_0000;
    match answer & 0xffff_0000 {
        ALLOW | LOG => FilterOutcome::Allowed,
        NOTIFY => FilterOutcome::Notified,
        // There may be a tracer.
        TRACE => FilterOutcome::Depends,
        _ => FilterOutcome::Refused(answer),
    }
}

enum Step {
    /// To the next instruction, wherever it is.
    On,
    /// And to that one as well.
    Fork(usize),
    /// The program returns this.
    End(u32),
}

/// One instruction; `None` if what it does is not known.
fn step(program: &[u8], state: &mut State, data: &dyn Fn(u32) -> Option<u32>) -> Option<Step> {
    let instruction = program.as_chunks::<INSTRUCTION_BYTES>().0.get(state.at)?;
    let Instruction { code, if_true, if_false, k } = Instruction::read(instruction);
    state.at += 1;
    let (a, x) = (state.accumulator, state.index);
    let operand = if code & 8 == 0 { Some(k) } else { x };
    let word = state.scratch.get_mut(k as usize);
    match code {
        0x00 => state.accumulator = Some(k),
        0x01 => state.index = Some(k),
        0x80 => state.accumulator = Some(DATA_BYTES),
        0x81 => state.index = Some(DATA_BYTES),
        0x07 => state.index = a,
        0x87 => state.accumulator = x,
        0x20 => state.accumulator = data(k),
        0x60 => state.accumulator = *word?,
        0x61 => state.index = *word?,
        0x02 => *word? = a,
        0x03 => *word? = x,
        0x84 => state.accumulator = a.map(u32::wrapping_neg),
        0x06 => return Some(Step::End(k)),
        0x16 => return a.map(Step::End),
        0x05 => state.at += k as usize,
        0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
            let holds = a.zip(operand).map(|(a, b)| match code & 0xf0 {
                0x10 => a == b,
                0x20 => a > b,
                0x30 => a >= b,
                _ => a & b != 0,
            });
            let (yes, no) = (state.at + if_true, state.at + if_false);
            match holds {
                Some(holds) => state.at = if holds { yes } else { no },
                None if yes == no => state.at = yes,
                None => {
                    state.at = no;
                    return Some(Step::Fork(yes));
                }
            }
        }
        _ => {
            state.accumulator = match a.zip(operand) {
                Some((a, b)) => arithmetic(code & 0xf0, a, b)?,
                None => None,
            };
        }
    }
    Some(Step::On)
}

/// A result, or that it is not known; `None` if there is none.
fn arithmetic(operation: u16, a: u32, b: u32) -> Option<Option<u32>> {
    Some(match operation {
        0x00 => Some(a.wrapping_add(b)),
        0x10 => Some(a.wrapping_sub(b)),
        0x20 => Some(a.wrapping_mul(b)),
        // By a register that is zero: the program ends there.
        0x30 => Some(a.checked_div(b)?),
        0x40 => Some(a | b),
        0x50 => Some(a & b),
        // What a shift by more does differs between the kernel's translators.
        0x60 => a.checked_shl(b),
        0x70 => a.checked_shr(b),
        0xa0 => Some(a ^ b),
        _ => return None,
    })
}
