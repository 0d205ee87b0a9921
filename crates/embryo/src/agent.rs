//! A daemon that builds children under its own authority: its client, and what both sides know.
//!
//! The client decides nothing: what is allowed is judged by the agent alone.
//!
//! # Restrictions
//! - A child that an agent started is the agent's child, not the caller's: wait(2) does not know it, and it has
//!   the agent's credentials, limits, namespaces and working directory but for what its plan and the agent's
//!   mandate say.
//! - One connection belongs to one process. Whoever is to have one as well is given a narrower one
//!   ([`Agent::narrow`]), or connects.
//! - A listener of a filter ([`crate::Listener`]) and records of ops ([`crate::SpawnOptions::trace`]) do not come
//!   back from an agent.
//!
//! ```no_run
//! use embryo::agent::Agent;
//! use embryo::{Command, Stdio};
//! # fn main() -> Result<(), embryo::Error> {
//! let agent = Agent::connect("/run/embryo/agent.sock")?;
//! let mut child =
//!     Command::new("/usr/bin/cc").args(["-c", "main.c"]).stdin(Stdio::null()).agent(&agent).spawn()?;
//! assert!(child.wait()?.success());
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "tokio")]
mod asynchronous;
mod client;
mod connection;
mod demux;
mod launch;
pub mod mandate;
mod packet;
mod process;
mod socket;
pub mod wire;

pub use client::Agent;
pub(crate) use client::VARIABLE;
