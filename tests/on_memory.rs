//! Which ops have their tests in `live_embryo.rs`: those that build an address space, and the start
//! that enters it, with what it alone can do. A child with an image of its own could not show what they did.
//!
//! It must never name an op that `live_embryo.rs` does not compare itself with.

use embryo::OpCode;

/// Whether it is one of those.
#[must_use]
pub(crate) fn is_on_memory(code: OpCode) -> bool {
    let start = [OpCode::SeccompStrict, OpCode::StartRegs, OpCode::Thread];
    (0x0701..=0x070d).contains(&(code as u16)) || start.contains(&code)
}

/// All of those.
#[allow(dead_code, reason = "only one test goes through them")]
pub(crate) fn ops_on_memory() -> impl Iterator<Item = OpCode> {
    OpCode::ALL.iter().copied().filter(|code| is_on_memory(*code))
}
