//! What the options of Landlock take.

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

/// TCP ports; none at all is a set, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) Vec<u16>);

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let port = |port: &str| port.parse::<u16>();
        let ports: Result<Vec<u16>, _> = text.split(',').map(port).collect();
        ports.map(Self).map_err(|_| "ports from 0 to 65535 with commas, or none, are needed".into())
    }
}

/// What does not leave the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LandlockScope {
    /// Signals.
    Signal,
    /// Connections to abstract Unix sockets.
    AbstractUnixSocket,
}

/// A version of Landlock.
pub(crate) fn landlock_abi(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(abi) if (1..=10).contains(&abi) => Ok(abi),
        _ => Err("a number from 1 to 10 is needed".into()),
    }
}

/// Splits rights from a path.
pub(crate) fn rights_parser() -> ValueParser {
    ValueParser::new(OsStringValueParser::new().try_map(|text| split(&text)))
}

fn split(text: &OsStr) -> Result<(String, OsString), String> {
    let bytes = text.as_bytes();
    let parts = bytes.iter().position(|byte| *byte == b':').and_then(|at| {
        let rights = std::str::from_utf8(bytes.get(..at)?).ok()?;
        Some((rights.to_owned(), OsStr::from_bytes(bytes.get(at + 1..)?).to_owned()))
    });
    parts
        .filter(|(rights, path)| !rights.is_empty() && !path.is_empty())
        .ok_or_else(|| "rights with commas, a colon and a path are needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_or_none() {
        let check = |text: &str, expect| assert_eq!(text.parse::<Ports>().ok(), expect, "{text:?}");
        check("80", Some(Ports(vec![80])));
        check("80,443", Some(Ports(vec![80, 443])));
        check("none", Some(Ports(vec![])));
        for bad in ["", "65536", "-1", "80,", "http"] {
            check(bad, None);
        }
    }

    #[test]
    fn rights_come_before_the_first_colon() {
        let parts = split(OsStr::new("read-file:/a:b")).expect("two parts");
        assert_eq!(parts, ("read-file".to_owned(), OsString::from("/a:b")));
        for bad in ["", ":", "/a", "read-file:", ":/a"] {
            assert!(split(OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
