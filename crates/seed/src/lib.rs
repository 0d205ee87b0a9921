//! What an embryo runs before it has an image of its own.
//!
//! The executable (`main.rs`) holds an entry point and nothing else; what it does is here, so that
//! it can be read, tested and fuzzed like any library. It is the same [`embryo_interp`] that a
//! directly made child runs, fed from a socket.
//!
//! The seed trusts its owner, who made it, and checks lengths because memory safety depends on
//! them. It must never outlive a start: it becomes the image or it exits.
#![no_std]

mod guard;
mod init;
mod serve;
mod wire;

pub use serve::{CONTROL_FD, Memory, serve};
pub use wire::{
    GRANTS_PER_MESSAGE, GUARD_NAME, INLINE_PLAN_MAX, Order, REPLY_LEN, REQUEST_LEN, Reply,
    ReplyKind, Request, RequestFlags, RequestKind, SEED_NAME,
};
