//! Clients that mean harm, one way a test: after each the agent serves another client, and has no descriptor and no
//! child more than before.
//!
//! It must never hang itself: whatever is waited for has a deadline.

#[path = "agent_hostile/children.rs"]
mod children;
#[path = "agent_hostile/clients.rs"]
mod clients;
#[path = "agent_hostile/descriptors.rs"]
mod descriptors;
#[path = "agent_hostile/malformed.rs"]
mod malformed;
#[path = "agent_hostile/numbers.rs"]
mod numbers;
#[path = "agent_hostile/paths.rs"]
mod paths;
#[path = "agent_hostile/slow_files.rs"]
mod slow_files;
#[path = "agent_hostile/stopped.rs"]
mod stopped;
#[path = "agent_hostile/victim.rs"]
mod victim;
