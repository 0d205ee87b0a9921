//! A child process as a file.
//!
//! A [`Job`] says what a child is to be in the words of `embryo run`'s options, in TOML or JSON; it
//! fills an [`embryo::Command`]. An [`Exact`] is a plan op by op, and gives back the very bytes that it
//! was made from. [`Document`] is a file that holds one of the two, with errors that point into it.
//!
//! Nothing here starts anything.
#![forbid(unsafe_code)]

#[cfg(feature = "command")]
mod accounts;
#[cfg(feature = "command")]
mod bwrap;
#[cfg(feature = "command")]
mod callers;
#[cfg(feature = "command")]
mod document;
#[cfg(feature = "command")]
mod error;
#[cfg(feature = "command")]
mod exact;
#[cfg(feature = "command")]
mod fill;
#[cfg(feature = "command")]
mod job;
#[cfg(feature = "command")]
mod mount_options;
#[cfg(feature = "command")]
mod mounted;
#[cfg(feature = "command")]
mod namespaces;
#[cfg(feature = "command")]
mod schema;
#[cfg(feature = "command")]
mod surface;
#[cfg(feature = "command")]
mod toml_file;
pub mod value;

#[cfg(feature = "command")]
pub use accounts::{gid, uid};
#[cfg(feature = "command")]
pub use bwrap::Surroundings;
#[cfg(feature = "command")]
pub use callers::Callers;
#[cfg(feature = "command")]
pub use document::{Content, Document, DocumentError, Syntax};
#[cfg(feature = "command")]
pub use error::Error;
#[cfg(feature = "command")]
pub use exact::{Exact, fields_of};
#[cfg(feature = "command")]
pub use fill::open;
#[cfg(feature = "command")]
pub use job::{Env, FilterPolicy, Job};
#[cfg(feature = "command")]
pub use mount_options::MountOption;
#[cfg(feature = "command")]
pub use mounted::Mounted;
#[cfg(feature = "command")]
pub use namespaces::{ClockName, Join, Namespace, Namespaces, NestedUser, UserMap};
#[cfg(feature = "command")]
pub use schema::schema;
#[cfg(feature = "command")]
pub use surface::{Surface, surface};
#[cfg(feature = "command")]
pub use toml_file::TomlFile;
