//! What arguments may be. argv[0] is never looked at: it is what the image is told of its own name.

use super::pattern::{Pattern, Steps, TooLong};
use embryo::agent::mandate::Args;
use std::ffi::CStr;

/// Rules of arguments with their patterns.
#[derive(Debug)]
pub(crate) struct ArgRules {
    first: Box<[Pattern]>,
    rest: Box<[Pattern]>,
    never: Box<[Pattern]>,
    max: Option<u32>,
}

/// Why arguments are not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// There are more than `max`.
    Max(u32),
    /// One that has to be there is not.
    Missing(usize),
    /// One does not fit its pattern in `first`.
    First(usize),
    /// One fits nothing in `rest`.
    Rest(usize),
    /// One fits something in `never`.
    Never(usize),
    /// It cannot be found out in time.
    TooLong,
}

impl Unfit {
    /// The key within a rule of images, and what is wrong.
    pub(crate) fn told(&self) -> (&'static str, String) {
        match self {
            Self::Max(max) => ("args.max", format!("there are more than {max} arguments")),
            Self::Missing(at) => ("args.first", format!("argument {at} is missing")),
            Self::First(at) => ("args.first", format!("argument {at} is not what it has to be")),
            Self::Rest(at) => ("args.rest", format!("argument {at} is none of those allowed")),
            Self::Never(at) => {
                ("args.never", format!("argument {at} is one of those that never are"))
            }
            Self::TooLong => ("args", "the patterns take too long to match".into()),
        }
    }
}

impl From<TooLong> for Unfit {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl ArgRules {
    pub(crate) fn new(args: &Args) -> Self {
        let patterns = |list: &[String]| list.iter().map(|text| Pattern::new(text)).collect();
        Self {
            first: patterns(&args.first),
            rest: patterns(&args.rest),
            never: patterns(&args.never),
            max: args.max,
        }
    }

    /// Whether these fit; `argv` begins with argv[0].
    pub(crate) fn check(&self, argv: &[&CStr], steps: &Steps) -> Result<(), Unfit> {
        let args = argv.get(1..).unwrap_or_default();
        if let Some(max) = self.max
            && args.len() > max as usize
        {
            return Err(Unfit::Max(max));
        }
        if args.len() < self.first.len() {
            return Err(Unfit::Missing(args.len() + 1));
        }
        for (index, arg) in args.iter().enumerate() {
            let arg = arg.to_bytes();
            if any(&self.never, arg, steps)? {
                return Err(Unfit::Never(index + 1));
            }
            match self.first.get(index) {
                Some(pattern) if pattern.fits(arg, steps)? => {}
                Some(_) => return Err(Unfit::First(index + 1)),
                None if any(&self.rest, arg, steps)? => {}
                None => return Err(Unfit::Rest(index + 1)),
            }
        }
        Ok(())
    }
}

fn any(patterns: &[Pattern], text: &[u8], steps: &Steps) -> Result<bool, TooLong> {
    for pattern in patterns {
        if pattern.fits(text, steps)? {
            return Ok(true);
        }
    }
    Ok(false)
}
