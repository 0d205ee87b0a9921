//! Rules on paths of the agent's own file system.
//!
//! In the agent's file such a rule is opened when it is read, and what is below it is found from that handle. In a
//! narrower mandate it is text: what the path leads to is found by the rule of the named mandate, which follows no
//! link, so the text says where it is. It must never look up a path that no rule of every level fits.

use crate::files::trusted::{Directory, Found, Reason, Untrusted};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A path, or one with all that is below it.
#[derive(Debug)]
pub(crate) struct PathRule {
    path: PathBuf,
    below: bool,
    opened: Option<Opened>,
}

/// Where the path leads: a directory, or a name in one.
#[derive(Debug)]
struct Opened {
    directory: Directory,
    name: Option<OsString>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything.
    Any,
}

impl PathRule {
    /// One of the agent's file, which is opened. Something that is not there, or is not trusted, is an error.
    pub(crate) fn opened(
        path: &Path,
        below: bool,
        owners: &[u32],
        kind: Kind,
    ) -> Result<Self, String> {
        let mut rule = Self::written(path, below)?;
        rule.opened = Some(open(path, owners, kind).map_err(|error| error.to_string())?);
        Ok(rule)
    }

    /// One of a client, which stays text.
    pub(crate) fn written(path: &Path, below: bool) -> Result<Self, String> {
        match plain(path.as_os_str().as_bytes()) {
            Some(path) => Ok(Self { path: path.to_owned(), below, opened: None }),
            None => Err(format!("{} is not an absolute path without . and ..", path.display())),
        }
    }

    /// Whether it speaks of this path.
    pub(crate) fn fits(&self, path: &Path) -> bool {
        if self.below { path.starts_with(&self.path) } else { path == self.path }
    }

    /// Whether it speaks of this path alone.
    pub(crate) fn is_exact(&self) -> bool {
        !self.below
    }

    /// Opens what the rule speaks of at this path; `None` for a rule that is text.
    pub(crate) fn open(&self, path: &Path, kind: Kind) -> Option<Result<Found, Untrusted>> {
        let Opened { directory, name } = self.opened.as_ref()?;
        let below = match (name, path.strip_prefix(&self.path)) {
            (Some(name), Ok(rest)) if rest.as_os_str().is_empty() => Path::new(name),
            (None, Ok(rest)) => rest,
            _ => {
                let error = Untrusted { path: path.to_owned(), reason: Reason::NotBelow };
                return Some(Err(error));
            }
        };
        Some(match kind {
            Kind::File => directory.file(below),
            Kind::Directory => directory.directory(below),
            Kind::Any => directory.any(below),
        })
    }
}

/// A path that says where it leads by itself: absolute, without `.`, `..` and empty names.
pub(crate) fn plain(bytes: &[u8]) -> Option<&Path> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let rest = bytes.strip_prefix(b"/")?;
    let sound = rest.is_empty()
        || rest.split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b".."));
    sound.then_some(path)
}

fn open(path: &Path, owners: &[u32], kind: Kind) -> Result<Opened, Untrusted> {
    let in_parent = || {
        let (Some(parent), Some(Component::Normal(name))) =
            (path.parent(), path.components().next_back())
        else {
            return Err(Untrusted { path: path.to_owned(), reason: Reason::NotFile });
        };
        let directory = Directory::open(parent, owners)?;
        let found = if kind == Kind::File {
            directory.file(Path::new(name))
        } else {
            directory.any(Path::new(name))
        };
        found.map(|_| Opened { directory, name: Some(name.to_owned()) })
    };
    match Directory::open(path, owners) {
        Ok(directory) => Ok(Opened { directory, name: None }),
        Err(Untrusted { reason: Reason::NotDirectory, .. }) if kind != Kind::Directory => {
            in_parent()
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{PathRule, plain};
    use std::path::Path;

    #[test]
    fn a_path_says_where_it_leads() {
        for (path, sound) in [
            ("/", true),
            ("/usr/bin/cc", true),
            ("/usr/...", true),
            ("", false),
            ("usr", false),
            ("/usr/", false),
            ("//usr", false),
            ("/usr//bin", false),
            ("/usr/./bin", false),
            ("/usr/..", false),
        ] {
            assert_eq!(plain(path.as_bytes()).is_some(), sound, "{path}");
        }
    }

    #[test]
    fn below_is_by_whole_names() {
        let rule = PathRule::written(Path::new("/usr/bin"), true).unwrap();
        assert!(rule.fits(Path::new("/usr/bin")));
        assert!(rule.fits(Path::new("/usr/bin/cc")));
        assert!(!rule.fits(Path::new("/usr/bin2")));
        assert!(!rule.fits(Path::new("/usr")));
        let rule = PathRule::written(Path::new("/usr/bin/cc"), false).unwrap();
        assert!(!rule.fits(Path::new("/usr/bin/cc/x")));
    }
}
