//! Nothing but the examples: `cargo run -p embryo-examples --example NAME`.
//!
//! Its documentation tests are the README's example.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]

/// What the page on the agent's two stories shows.
#[cfg(doctest)]
#[doc = include_str!("../docs/agent-stories.md")]
mod stories {}
