//! Everything that is printed for people and for programs.
//!
//! It must never put a byte of a plan or a path on a terminal raw, nor a colour into a pipe.

mod doctor;
mod explain;
mod json;
mod trace;

use crate::failure::Failure;
use std::io::Write;

pub(crate) use doctor::doctor;
pub(crate) use explain::explain;
pub(crate) use json::{invalid, invalid_plan, json_failure, object, valid};
pub(crate) use trace::Trace;

/// Prints text on standard output; colours are dropped where there is no terminal for them.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::io("cannot write to", "standard output", &error))
}

/// Prints a line on standard output.
pub(crate) fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}
