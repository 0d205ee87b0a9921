//! The bodies of answers.

use crate::mandate::Refusal;
use embryo::agent::wire::{self, MESSAGE_BYTES_MAX, flags};
use embryo::{Cause, SpawnError};
use zerocopy::IntoBytes;

/// Bytes of words in an answer, at most.
const WORDS_MAX: usize = MESSAGE_BYTES_MAX / 16;

/// Body of [`wire::kind::REFUSED`].
pub(super) fn refused(refusal: &Refusal) -> Vec<u8> {
    [refusal.rule.as_bytes(), b"\0", words(&refusal.why).as_bytes()].concat()
}

/// Body of [`wire::kind::FAULT`] and its flags, for a launch that failed. `origin` says which of the
/// client's ops each op is.
pub(super) fn fault(error: &SpawnError, origin: &[u32]) -> (u32, Vec<u8>) {
    let said = error.fault;
    let index = match error.index() {
        // A step is what it is, whoever does it.
        None => said.index,
        Some(index) => origin.get(index as usize).copied().unwrap_or(u32::MAX),
    };
    let head =
        wire::Fault { index: index.into(), code: said.code.into(), errno: said.errno.into() };
    let how = match error.cause {
        Cause::Killed(_) => flags::KILLED,
        Cause::TimedOut => flags::TIMED_OUT,
        _ => 0,
    };
    // The client knows the object by its own plan; here it may be a handle that took its place.
    let known = [&error.detail, &error.hint];
    let texts: Vec<_> = known.into_iter().flatten().map(String::as_str).collect();
    (how, [head.as_bytes(), words(&texts.join(": ")).as_bytes()].concat())
}

/// Body of [`wire::kind::FAULT`] for what the agent itself could not do.
pub(super) fn own_fault(errno: i32, what: &str) -> Vec<u8> {
    let errno = u16::try_from(errno).unwrap_or(0);
    let head = wire::Fault { index: u32::MAX.into(), code: 0.into(), errno: errno.into() };
    [head.as_bytes(), words(what).as_bytes()].concat()
}

/// As much of it as a message has room for.
fn words(text: &str) -> &str {
    let mut end = text.len().min(WORDS_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
