//! Everything that is printed for people and for programs.
//!
//! It must never put a byte of a plan or a path on a terminal raw, nor a colour into a pipe.

mod doctor;
mod explain;
mod json;
mod trace;

use crate::failure::Failure;
use serde::Serialize;
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

/// Prints an object on one line of standard output.
pub(crate) fn json(object: &impl Serialize) -> Result<(), Failure> {
    json::print(object)
}

/// Text that came from outside, without what would move a terminal's cursor or change its colours.
pub(crate) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

/// Prints a line on standard output.
pub(crate) fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}
