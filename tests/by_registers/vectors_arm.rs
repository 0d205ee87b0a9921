//! Floating-point and vector state of aarch64: what a thread finds, and what is refused.
//!
//! It must never look at more than every processor has.

use super::*;
use embryo::Reason;

/// Round towards zero.
const FPCR: u64 = 3 << 22;
/// Inexact.
const FPSR: u64 = 1 << 4;

/// v3 and v31, and the two control registers.
fn state(three: u128, last: u128) -> Vec<u8> {
    let mut state = vec![0; 528];
    state[48..64].copy_from_slice(&three.to_le_bytes());
    state[496..512].copy_from_slice(&last.to_le_bytes());
    state[512..520].copy_from_slice(&FPSR.to_le_bytes());
    state[520..528].copy_from_slice(&FPCR.to_le_bytes());
    state
}

fn halves(vector: u128) -> [u64; 2] {
    [vector as u64, (vector >> 64) as u64]
}

const THREE: u128 = 0x3333_4444_5555_6666_7777_8888_9999_aaaa;
const LAST: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;

#[test]
fn state_arrives() {
    alone!();
    let found = |state: &[u8]| {
        let file = shared();
        let registers = Registers::at(CODE, STACK).arguments([DATA, 0, 0]).state(state);
        let mut process = spawn(&image(code::vectors(), &registers, &[]), &[file.as_fd()]);
        assert_eq!(end(&mut process).code(), Some(0));
        words(&file, 0, 10)
    };
    let words = found(&state(THREE, LAST));
    assert_eq!(words[..2], halves(THREE));
    assert_eq!(words[4..6], halves(LAST));
    assert_eq!(words[8..], [FPCR, FPSR]);
    // Without any, it is as exec leaves it.
    assert_eq!(found(&[]), [0; 10]);
}

/// The state of a thread is its own.
#[test]
fn each_thread_has_its_own() {
    alone!();
    let file = shared();
    let text = [code::vectors(), code::stay()].concat();
    let stay = CODE + code::vectors().len() as u64;
    let waiting = Registers::at(stay, STACK).state(&state(THREE, LAST));
    let second = Registers::at(CODE, STACK).arguments([DATA, 0, 0]).state(&state(LAST, THREE));
    let regset = second.bytes();
    let thread = Op::Thread { mask: 0, clear_tid: 0, regset: &regset };
    let mut process = spawn(&image(&text, &waiting, &[thread]), &[file.as_fd()]);
    end(&mut process);
    assert_eq!(words(&file, 0, 2), halves(LAST));
}

#[test]
fn what_is_no_state_is_refused() {
    let reason = |at: usize| {
        let mut state = state(THREE, LAST);
        state[at] = 1;
        let regset = Registers::at(CODE, STACK).state(&state).bytes();
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
        match plan.build() {
            Err(embryo::BuildError::Plan(error)) => error.reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason(516), Reason::OutOfRange("fpsr"));
    assert_eq!(reason(524), Reason::OutOfRange("fpcr"));
}
