//! A daemon that builds children under its own authority: its client, and what both sides know.
//!
//! The client decides nothing: what is allowed is judged by the agent alone.

pub mod mandate;
pub mod wire;
