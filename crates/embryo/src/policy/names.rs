//! System calls by name and number, of each architecture that there are programs for.
//!
//! It must never guess a number: a name that no table has is an error, with the nearest that one has.

use super::Architecture;
use syscalls::{aarch64, x86_64};

/// Names that the kernel's own table has, for what the table here calls otherwise.
const KERNEL_NAMES: [(Architecture, &str, &str); 1] =
    [(Architecture::Aarch64, "newfstatat", "fstatat")];

/// What the generated table of aarch64 has that only 32-bit kernels have.
fn is_32_bit(name: &str) -> bool {
    name.ends_with("time64")
        || matches!(
            name,
            "clock_gettime64"
                | "clock_settime64"
                | "clock_adjtime64"
                | "timer_gettime64"
                | "timer_settime64"
                | "timerfd_gettime64"
                | "timerfd_settime64"
        )
}

/// Numbers of calls are below this.
const NUMBERS_END: u32 = 1024;

fn all(architecture: Architecture) -> Vec<(&'static str, u32)> {
    // Asked number by number: the table's own iterator leaves its last call out.
    let known = |number: u32| match architecture {
        Architecture::X86_64 => x86_64::Sysno::new(number as usize).map(|call| call.name()),
        Architecture::Aarch64 => aarch64::Sysno::new(number as usize).map(|call| call.name()),
    };
    let table = (0..NUMBERS_END).filter_map(|number| Some((known(number)?, number)));
    let kernels = |(name, number): (&'static str, u32)| {
        let other = KERNEL_NAMES.iter().find(|(of, _, ours)| (*of, *ours) == (architecture, name));
        (other.map_or(name, |(_, kernels, _)| *kernels), number)
    };
    table.filter(|(name, _)| !is_32_bit(name)).map(kernels).collect()
}

pub(super) fn number(architecture: Architecture, name: &str) -> Option<u32> {
    all(architecture).into_iter().find_map(|(known, number)| (known == name).then_some(number))
}

pub(super) fn name(architecture: Architecture, number: u32) -> Option<&'static str> {
    all(architecture).into_iter().find_map(|(name, known)| (known == number).then_some(name))
}

/// A table to look up many names in.
pub(super) fn table(architecture: Architecture) -> std::collections::HashMap<&'static str, u32> {
    all(architecture).into_iter().collect()
}

/// The name that this one is most likely meant to be, if one is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let known = all(Architecture::X86_64).into_iter().chain(all(Architecture::Aarch64));
    let near = known.map(|(known, _)| (distance(name, known), known)).min()?;
    (near.0 <= 1 + name.len() / 4).then_some(near.1)
}

/// How many letters have to be put in, left out or changed, to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, from) in one.bytes().enumerate() {
        let mut before = index;
        row[0] = index + 1;
        for (at, to) in other.bytes().enumerate() {
            let change = before + usize::from(from != to);
            before = row[at + 1];
            row[at + 1] = change.min(before + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_this_kernel() {
        let here = Architecture::HERE;
        for (name, number) in [
            ("read", libc_number("read")),
            ("execve", libc_number("execve")),
            ("openat", libc_number("openat")),
            ("newfstatat", libc_number("newfstatat")),
            ("seccomp", libc_number("seccomp")),
        ] {
            assert_eq!(super::number(here, name), Some(number), "{name}");
            assert_eq!(super::name(here, number), Some(name));
        }
        assert_eq!(super::number(Architecture::Aarch64, "open"), None);
        assert_eq!(super::number(Architecture::Aarch64, "newfstatat"), Some(79));
        assert_eq!(super::number(Architecture::Aarch64, "futex_time64"), None);
    }

    fn libc_number(name: &str) -> u32 {
        let x86 = cfg!(target_arch = "x86_64");
        match name {
            "read" => {
                if x86 {
                    0
                } else {
                    63
                }
            }
            "execve" => {
                if x86 {
                    59
                } else {
                    221
                }
            }
            "openat" => {
                if x86 {
                    257
                } else {
                    56
                }
            }
            "newfstatat" => {
                if x86 {
                    262
                } else {
                    79
                }
            }
            _ => {
                if x86 {
                    317
                } else {
                    277
                }
            }
        }
    }

    #[test]
    fn the_nearest_is_near() {
        assert_eq!(nearest("opnat"), Some("openat"));
        assert_eq!(nearest("excve"), Some("execve"));
        assert_eq!(nearest("clone4"), Some("clone"));
        assert_eq!(nearest("nothing_like_that_at_all"), None);
    }
}
