//! Filters of system calls as a plan holds them: bytes.
//!
//! It must never make one that the kernel does not take; where that is wanted a test breaks one
//! itself.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

/// Stops the process.
pub(crate) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
/// Lets the call through.
pub(crate) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// The answer to a call: this errno.
pub(crate) const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// One instruction.
#[must_use]
pub(crate) fn instruction(code: u16, if_true: u8, if_false: u8, k: u32) -> [u8; 8] {
    let ([a, b], [c, d, e, f]) = (code.to_le_bytes(), k.to_le_bytes());
    [a, b, if_true, if_false, c, d, e, f]
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Answers these calls with `special` and all others with `general`.
#[must_use]
pub(crate) fn filter(calls: &[libc::c_long], special: u32, general: u32) -> Vec<u8> {
    let mut program = vec![instruction(LOAD, 0, 0, 0)];
    for call in calls {
        program.push(instruction(IF_EQUAL, 0, 1, *call as u32));
        program.push(instruction(RETURN, 0, 0, special));
    }
    program.push(instruction(RETURN, 0, 0, general));
    program.concat()
}

/// Lets these calls through alone; any other ends the process.
#[must_use]
pub(crate) fn only(calls: &[libc::c_long]) -> Vec<u8> {
    filter(calls, ALLOW, KILL)
}

/// Lets everything through, in so many instructions.
#[must_use]
pub(crate) fn long(instructions: usize) -> Vec<u8> {
    let mut program = vec![instruction(LOAD, 0, 0, 0); instructions - 1];
    program.push(instruction(RETURN, 0, 0, ALLOW));
    program.concat()
}

/// The same program, but that it lets every call through whose last argument begins with a number that
/// nobody passes: nobody can tell beforehand what becomes of a call.
#[must_use]
pub(crate) fn uncertain(program: &[u8]) -> Vec<u8> {
    const LAST: u32 = 60;
    let may = [
        instruction(LOAD, 0, 0, LAST),
        instruction(IF_EQUAL, 0, 1, 0x7ead_beef),
        instruction(RETURN, 0, 0, ALLOW),
    ];
    [&may.concat(), program].concat()
}
