//! The agent: a daemon that builds children under its own authority, for callers that have none, within a
//! mandate.
//!
//! A client sends a plan (`embryo::agent::wire`); [`mandate::judge`] decides what becomes of it, and rewrites it
//! to what the mandates force; an embryo that was made ahead of time executes it. One thread serves everybody
//! ([`serve`]), and it never waits: not for a child, not for a client, not for a file that a client chose.
//!
//! What the agent must never do is anything that a mandate does not name. Whoever reads it for that begins
//! at [`mandate`].
#![forbid(unsafe_code)]

pub mod account;
pub mod config;
mod doubts;
pub mod files;
pub mod listen;
pub mod log;
pub mod mandate;
pub mod notify;
pub mod operator;
pub mod peer;
pub mod request;
pub mod serve;
