//! Which ops have their tests in `live_embryo.rs`: those that build an address space, and the start
//! that enters it, with what it alone can do. A child with an image of its own could not show what they did.
//!
//! It must never name an op that `live_embryo.rs` does not compare itself with.

use embryo::{Layout, OpCode};

/// Whether it is one of those.
#[must_use]
pub(crate) fn is_on_memory(code: OpCode) -> bool {
    let start = [OpCode::SeccompStrict, OpCode::StartRegs, OpCode::Thread];
    (0x0701..=0x0710).contains(&(code as u16)) || start.contains(&code)
}

/// All of those.
#[allow(dead_code, reason = "only one test goes through them")]
pub(crate) fn ops_on_memory() -> impl Iterator<Item = OpCode> {
    OpCode::ALL.iter().copied().filter(|code| is_on_memory(*code))
}

/// A layout of a program whose code lies in this page and whose stack in that one, or nothing where
/// the kernel has no `mm-layout` (CONFIG_CHECKPOINT_RESTORE).
#[allow(dead_code, reason = "not every test has plans with it")]
pub(crate) fn layout(code: u64, stack: u64) -> Option<Layout> {
    const PR_SET_MM: i32 = 35;
    const PR_SET_MM_MAP_SIZE: libc::c_ulong = 15;
    const PAGE: u64 = 4096;
    let mut size = 0u32;
    // SAFETY: the kernel writes one 32-bit number.
    let known = unsafe { libc::prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &raw mut size, 0, 0) } == 0;
    let [start, end, top] = [code, code + PAGE, stack + PAGE].map(Into::into);
    known.then(|| Layout {
        start_code: start,
        end_code: end,
        start_data: start,
        end_data: end,
        start_brk: top,
        brk: top,
        start_stack: top,
        arg_start: stack.into(),
        arg_end: (stack + 8).into(),
        env_start: (stack + 8).into(),
        env_end: (stack + 16).into(),
    })
}
