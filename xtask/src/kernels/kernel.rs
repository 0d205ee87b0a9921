//! Which kernel is wanted, and one that is at hand.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The first two numbers of a kernel's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series(u32, u32);

impl Series {
    /// What the project supports.
    pub(crate) const OLDEST: Self = Self(5, 10);

    /// The series that a kernel's release, such as `6.12.95+deb12-cloud-amd64`, belongs to.
    pub(crate) fn of(release: &str) -> Option<Self> {
        let mut numbers = release.split(|sign: char| !sign.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Which kernels to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    Series(Series),
    Newest,
    All,
    Image(PathBuf),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = |sign: char| sign.is_ascii_digit() || sign == '.';
        match text {
            "all" => Ok(Self::All),
            "newest" => Ok(Self::Newest),
            _ if text.contains('/') => Ok(Self::Image(text.into())),
            _ if text.chars().all(numbers) && text.matches('.').count() == 1 => {
                Series::of(text).map(Self::Series).ok_or_else(|| format!("{text}: no version"))
            }
            _ => {
                Err("a series such as 6.12, `newest`, `all`, or the path of a kernel image".into())
            }
        }
    }
}

/// A kernel that is at hand.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// What to call it in messages.
    pub(crate) name: String,
    pub(crate) image: PathBuf,
    /// The directory with its modules and the list of those built in.
    pub(crate) modules: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_a_series_a_word_or_a_path() {
        assert_eq!("6.12".parse(), Ok(Selector::Series(Series(6, 12))));
        assert_eq!("all".parse(), Ok(Selector::All));
        assert_eq!("./bzImage".parse(), Ok(Selector::Image("./bzImage".into())));
        for wrong in ["6", "6.", "6.12.3", "6.x", "latest", ""] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_release_belongs_to_a_series() {
        assert_eq!(Series::of("6.12.95+deb12-cloud-amd64"), Some(Series(6, 12)));
        assert_eq!(Series::of("7.3-cloud-amd64"), Some(Series(7, 3)));
        assert!(Series(5, 10) < Series(6, 1) && Series(6, 9) < Series(6, 12));
    }
}
