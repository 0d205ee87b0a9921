//! Plain numbers with a range.
//!
//! It must never take a file mode creation mask for a decimal number.

use std::fmt;
use std::str::FromStr;

macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident $range:expr, $expects:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub i32);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let number = text.parse().ok().filter(|number| $range.contains(number));
                number.map(Self).ok_or_else(|| concat!($expects, " is needed").to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        super::textual!($name: $expects, number);
    };
}

ranged! {
    /// A nice value.
    Nice -20..=19, "a number from -20 to 19"
}
ranged! {
    /// How readily the OOM killer takes a process.
    OomScoreAdj -1000..=1000, "a number from -1000 to 1000"
}

/// A file mode creation mask: octal, as everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask(pub u32);

/// Parses one.
///
/// # Errors
/// What is expected instead.
pub fn umask(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("an octal number from 0 to 777 is needed".into()),
    }
}

impl FromStr for Umask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        umask(text).map(Self)
    }
}

impl fmt::Display for Umask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

// A bare number would be decimal, and 22 is not what anybody means by 022.
super::textual!(Umask: "octal digits in quotes, such as \"022\"");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::check;

    #[test]
    fn a_umask_is_octal_and_has_no_special_bits() {
        check("022", Some(Umask(0o22)));
        check("777", Some(Umask(0o777)));
        for bad in ["1777", "8", "", "0o22", "-1"] {
            check::<Umask>(bad, None);
        }
    }

    #[test]
    fn numbers_have_a_range() {
        check("-20", Some(Nice(-20)));
        check::<Nice>("20", None);
        check("1000", Some(OomScoreAdj(1000)));
        check::<OomScoreAdj>("-1001", None);
    }
}
