//! What the agent does with files that a client named or sent, without ever waiting for one.
//!
//! `docs/agent-files.md` says for each part what it relies on. Nothing here may make a call in the serving
//! thread that a file system in a client's hands can hold up.

pub mod cgroup;
pub mod close;
pub mod digest;
pub mod facts;
pub mod filesystem;
pub mod low;
pub mod trusted;
pub mod verity;
