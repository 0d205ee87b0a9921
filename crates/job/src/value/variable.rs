//! One thing said of the environment.
//!
//! It must never read the environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A variable to set, or one or more to pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// It has this value.
    Set(OsString, OsString),
    /// It has the caller's.
    Pass(OsString),
    /// All that begin so have the caller's.
    PassPrefix(OsString),
}

impl Variable {
    /// Parses `NAME=VALUE`, `NAME` and `PREFIX*`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        variable(text)
    }
}

fn variable(text: &OsStr) -> Result<Variable, String> {
    let bytes = text.as_bytes();
    let owned = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    match (bytes.iter().position(|byte| *byte == b'='), bytes) {
        (Some(0), _) | (_, []) => Err("a variable needs a name".into()),
        (Some(at), _) => Ok(Variable::Set(owned(&bytes[..at]), owned(&bytes[at + 1..]))),
        (None, [prefix @ .., b'*']) => Ok(Variable::PassPrefix(owned(prefix))),
        (None, _) => Ok(Variable::Pass(owned(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_set_or_passed_on() {
        let check = |text: &str, expect| assert_eq!(variable(OsStr::new(text)), Ok(expect));
        check("A=b=c", Variable::Set("A".into(), "b=c".into()));
        check("A=", Variable::Set("A".into(), "".into()));
        check("A=*", Variable::Set("A".into(), "*".into()));
        check("A", Variable::Pass("A".into()));
        check("LC_*", Variable::PassPrefix("LC_".into()));
        assert!(variable(OsStr::new("")).is_err());
        assert!(variable(OsStr::new("=x")).is_err());
    }
}
