//! What options take: the values of a job, and how clap reads those that need not be UTF-8.
//!
//! The build script compiles this too. It must never look at the system: whether a user exists or
//! a file opens is found out later, elsewhere.

use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsString;

mod confine;

pub(crate) use confine::{LandlockScope, Ports, landlock_abi, rights_parser};
pub(crate) use embryo_job::value::{
    Cpus, Deadline, FdGrant, Groups, Ids, ImageSource, IoPriority, MemoryPolicy, NullFd, Persona,
    Pgid, Policy, Rlimit, Signal, SignalSet, SlotGrant, Source, StdioSource, Variable, nanoseconds,
    seconds, umask,
};

/// Parses `N`, `N=FD`, `N=PATH` and `N=PATH:MODE`.
pub(crate) fn fd_grant_parser() -> impl TypedValueParser<Value = FdGrant> {
    OsStringValueParser::new().try_map(|text: OsString| FdGrant::parse(&text))
}

/// Parses `SLOT=FD`, `SLOT=PATH` and `SLOT=PATH:MODE`.
pub(crate) fn slot_grant_parser() -> impl TypedValueParser<Value = SlotGrant> {
    OsStringValueParser::new().try_map(|text: OsString| SlotGrant::parse(&text))
}

/// Parses what a standard stream can be; bare paths are written to if `output`.
pub(crate) fn stdio_parser(output: bool) -> impl TypedValueParser<Value = StdioSource> {
    OsStringValueParser::new().try_map(move |text: OsString| StdioSource::parse(&text, output))
}

/// Parses a descriptor, or the path of a program.
pub(crate) fn image_parser() -> impl TypedValueParser<Value = ImageSource> {
    OsStringValueParser::new().try_map(|text: OsString| ImageSource::parse(&text))
}

/// Parses `NAME=VALUE`, `NAME` and `PREFIX*`.
pub(crate) fn variable_parser() -> impl TypedValueParser<Value = Variable> {
    OsStringValueParser::new().try_map(|text: OsString| Variable::parse(&text))
}
