//! Floating-point and vector state of x86_64: what a thread finds, and what is refused. And the
//! second base, which no other machine has.
//!
//! It must never be told what a processor has: it asks.

use super::*;
use embryo::{Reason, Regset, X86Regs};

const LEGACY: usize = 512;
const XMM_AT: usize = 160;
const AVX_AT: usize = 576;
const MXCSR: u32 = 0x7f80;
const CONTROL: u16 = 0x0e7f;
const THREE: u128 = 0x3333_4444_5555_6666_7777_8888_9999_aaaa;
const FOUR: [u128; 2] = [0x4444, 0x1234_5678_9abc_def0_0fed_cba9_8765_4321];

/// An image of FXSAVE.
fn legacy() -> Vec<u8> {
    let mut state = vec![0; LEGACY];
    state[..2].copy_from_slice(&CONTROL.to_le_bytes());
    state[24..28].copy_from_slice(&MXCSR.to_le_bytes());
    state[XMM_AT + 48..XMM_AT + 64].copy_from_slice(&THREE.to_le_bytes());
    state[XMM_AT + 64..XMM_AT + 80].copy_from_slice(&FOUR[0].to_le_bytes());
    state
}

/// An image of XSAVE with these components, in so many bytes.
fn extended(components: u64, len: usize) -> Vec<u8> {
    let mut state = legacy();
    state.resize(len, 0);
    state[LEGACY..LEGACY + 8].copy_from_slice(&components.to_le_bytes());
    if len >= AVX_AT + 256 && components & 4 != 0 {
        state[AVX_AT + 64..AVX_AT + 80].copy_from_slice(&FOUR[1].to_le_bytes());
    }
    state
}

fn found(code: &[u8], state: &[u8]) -> Vec<u64> {
    let file = shared();
    let registers = Registers::at(CODE, STACK).arguments([DATA, 0, 0]).state(state);
    let mut process = spawn(&image(code, &registers, &[]), &[file.as_fd()]);
    assert_eq!(end(&mut process).code(), Some(0));
    words(&file, 0, 10)
}

fn halves(vector: u128) -> [u64; 2] {
    [vector as u64, (vector >> 64) as u64]
}

#[test]
fn state_arrives() {
    alone!();
    let words = found(code::legacy_vectors(), &legacy());
    assert_eq!(words[..2], halves(THREE));
    assert_eq!(words[4..6], halves(FOUR[0]));
    assert_eq!((words[8] as u32, words[9] as u16), (MXCSR, CONTROL));
    // Without any, it is as exec leaves it.
    let words = found(code::legacy_vectors(), &[]);
    assert_eq!((words[0], words[4]), (0, 0));
    assert_eq!((words[8] as u32, words[9] as u16), (0x1f80, 0x37f));
    if !std::arch::is_x86_feature_detected!("avx") {
        skip!("this processor has no AVX");
    }
    let words = found(code::vectors(), &extended(7, AVX_AT + 256));
    assert_eq!(words[..2], halves(THREE));
    assert_eq!(words[4..8], FOUR.map(halves).concat());
    assert_eq!((words[8] as u32, words[9] as u16), (MXCSR, CONTROL));
    // A component that is not in the image is cleared, though its bytes are there.
    let words = found(code::vectors(), &extended(3, AVX_AT + 256));
    assert_eq!(words[4..8], [FOUR[0] as u64, 0, 0, 0]);
}

/// The state of a thread is its own.
#[test]
fn each_thread_has_its_own() {
    alone!();
    let file = shared();
    let mut other = legacy();
    other[XMM_AT + 48] ^= 0xff;
    let first = Registers::at(CODE, STACK).arguments([DATA, 0, 0]).state(&legacy());
    // The second one stays, the first reports; then the other way round.
    let stay = code::legacy_vectors().len() as u64;
    let text = [code::legacy_vectors(), code::stay()].concat();
    let second = Registers::at(CODE + stay, STACK).state(&other).bytes();
    let thread = Op::Thread { mask: 0, clear_tid: 0, regset: &second };
    let mut process = spawn(&image(&text, &first, &[thread]), &[file.as_fd()]);
    end(&mut process);
    assert_eq!(words(&file, 0, 2), halves(THREE));
    let waiting = Registers::at(CODE + stay, STACK).state(&legacy());
    let second = Registers::at(CODE, STACK).arguments([DATA, 0, 0]).state(&other).bytes();
    let thread = Op::Thread { mask: 0, clear_tid: 0, regset: &second };
    let mut process = spawn(&image(&text, &waiting, &[thread]), &[file.as_fd()]);
    end(&mut process);
    assert_eq!(words(&file, 0, 2), halves(THREE ^ 0xff));
}

#[test]
fn what_this_processor_cannot_hold_is_a_fault() {
    alone!();
    let start = |state: &[u8]| {
        let regset = Registers::at(CODE, STACK).state(state).bytes();
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
        let embryo = embryo_with(code::leave());
        let before = embryo.maps().expect("it lives");
        let (error, embryo) =
            embryo.start(&plan.build().expect("a plan"), &[]).expect_err("it cannot");
        let embryo = embryo.expect("it is given back");
        assert_eq!(embryo.maps().expect("it lives"), before, "nothing is left of it");
        error
    };
    if std::arch::is_x86_feature_detected!("avx") {
        let error = start(&extended(7, AVX_AT));
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    }
    // SAFETY: every processor with the instruction says so in this leaf.
    let there = std::arch::is_x86_feature_detected!("xsave").then(|| unsafe { xcr0() });
    let Some(missing) = [5, 6, 7, 9]
        .into_iter()
        .find(|component| there.is_none_or(|there| there >> component & 1 == 0))
    else {
        skip!("this processor has every component");
    };
    let error = start(&extended(3 | 1 << missing, 4096));
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
    assert!(error.to_string().contains("processor"), "{error}");
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: register 0 is there wherever the instruction is.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

#[test]
fn what_is_no_state_is_refused() {
    let reason = |state: &[u8]| {
        let regset = Regset::X86(X86Regs::at(CODE, STACK)).with_state(state);
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
        match plan.build() {
            Err(embryo::BuildError::Plan(error)) => error.reason,
            other => panic!("{other:?}"),
        }
    };
    for len in [511, 513, 575, 577, 4097, 4160] {
        assert_eq!(reason(&vec![0; len]), Reason::DataLength, "{len}");
    }
    let with = |at: usize, byte: u8| {
        let mut state = extended(7, AVX_AT + 256);
        state[at] = byte;
        reason(&state)
    };
    assert_eq!(with(26, 1), Reason::OutOfRange("a reserved bit of mxcsr"));
    assert_eq!(with(464, 1), Reason::OutOfRange("what stands at 464 of the state"));
    assert_eq!(with(LEGACY + 2, 2), Reason::OutOfRange("a component of the state"));
    assert_eq!(with(LEGACY + 15, 0x80), Reason::OutOfRange("the header of the state"));
    assert_eq!(with(LEGACY + 63, 1), Reason::OutOfRange("the header of the state"));
}

#[test]
fn each_thread_has_its_own_gs_base() {
    alone!();
    let word = |value: u64| (DATA + value * 8, value.to_le_bytes());
    for first in [true, false] {
        let ((a, seven), (b, eight)) = (word(7), word(8));
        let stay = CODE + code::by_gs().len() as u64;
        let text = [code::by_gs(), code::stay()].concat();
        let at = |leaves: bool, base| {
            Registers::at(if leaves { CODE } else { stay }, STACK).gs_base(base).bytes()
        };
        let (main, other) = (at(first, a), at(!first, b));
        let mut plan = Plan::builder();
        built(&mut plan, &text)
            .op(&Op::Write { addr: a, contents: &seven })
            .op(&Op::Write { addr: b, contents: &eight })
            .op(&Op::Thread { mask: 0, clear_tid: 0, regset: &other })
            .op(&Op::StartRegs { page: 0, regset: &main, leave: &[] })
            .keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        let file = shared();
        let mut process = spawn(&plan.build().expect("a plan"), &[file.as_fd()]);
        assert_eq!(end(&mut process).code(), Some(if first { 7 } else { 8 }));
    }
}
