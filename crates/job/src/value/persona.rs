//! An execution domain as setarch(8) names it.
//!
//! It must never add a flag that was not named.

use std::fmt;
use std::str::FromStr;

/// The number that personality(2) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persona(pub u32);

impl Persona {
    /// `ADDR_NO_RANDOMIZE`.
    pub const NO_ASLR: u32 = 0x004_0000;
}

/// From the kernel's `include/uapi/linux/personality.h`.
const NAMES: [(&str, u32); 13] = [
    ("linux", 0),
    ("linux32", 0x8),
    ("uname-2.6", 0x002_0000),
    ("addr-no-randomize", Persona::NO_ASLR),
    ("fdpic-funcptrs", 0x008_0000),
    ("mmap-page-zero", 0x010_0000),
    ("addr-compat-layout", 0x020_0000),
    ("read-implies-exec", 0x040_0000),
    ("32bit", 0x080_0000),
    ("short-inode", 0x100_0000),
    ("whole-seconds", 0x200_0000),
    ("sticky-timeouts", 0x400_0000),
    ("3gb", 0x800_0000),
];

impl FromStr for Persona {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(part).try_fold(0, |all, one| Ok(all | one?)).map(Self)
    }
}

impl fmt::Display for Persona {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

super::textual!(Persona: "a number, or names of setarch(8)", number, list);

fn part(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let named = || NAMES.iter().find(|(name, _)| *name == text).map(|(_, bits)| *bits);
    number.ok().or_else(named).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is neither a number nor one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::Persona;
    use crate::value::check;

    #[test]
    fn names_add_up() {
        check("0x40000", Some(Persona(0x4_0000)));
        check("linux32,addr-no-randomize", Some(Persona(0x4_0008)));
        check("8", Some(Persona(8)));
        check::<Persona>("solaris", None);
        check::<Persona>("", None);
    }
}
