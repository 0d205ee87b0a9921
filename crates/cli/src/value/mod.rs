//! What options take, from text to value. An error says what was expected, in one line.
//!
//! The build script compiles this too. It must never look at the system: whether a user exists or
//! a file opens is found out later, elsewhere.

mod confine;
mod cpus;
mod duration;
mod ids;
mod io_priority;
mod limit;
mod memory_policy;
mod persona;
mod schedule;
mod signals;
mod source;
mod variable;

pub(crate) use confine::{LandlockScope, Ports, landlock_abi, rights_parser};
pub(crate) use cpus::Cpus;
pub(crate) use duration::{nanoseconds, seconds};
pub(crate) use ids::{Groups, Id, Ids, Pgid};
pub(crate) use io_priority::IoPriority;
pub(crate) use limit::Rlimit;
pub(crate) use memory_policy::MemoryPolicy;
pub(crate) use persona::Persona;
pub(crate) use schedule::{Deadline, Policy};
pub(crate) use signals::{Signal, SignalSet};
pub(crate) use source::{
    FdGrant, ImageSource, Mode, NullFd, SlotGrant, Source, StdioSource, fd_grant_parser,
    image_parser, slot_grant_parser, stdio_parser,
};
pub(crate) use variable::{Variable, variable_parser};

/// A file mode creation mask: octal, as everywhere.
pub(crate) fn umask(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("an octal number from 0 to 777 is needed".into()),
    }
}

/// Checks a parser: what it makes of a text, or that it refuses it.
#[cfg(test)]
pub(crate) fn check<T: std::str::FromStr<Err = String> + std::fmt::Debug + PartialEq>(
    text: &str,
    expect: Option<T>,
) {
    assert_eq!(text.parse::<T>().ok(), expect, "{text:?}");
}

#[cfg(test)]
mod tests {
    use super::umask;

    #[test]
    fn a_umask_is_octal_and_has_no_special_bits() {
        assert_eq!(umask("022"), Ok(0o22));
        assert_eq!(umask("777"), Ok(0o777));
        for bad in ["1777", "8", "", "0o22", "-1"] {
            assert!(umask(bad).is_err(), "{bad:?}");
        }
    }
}
