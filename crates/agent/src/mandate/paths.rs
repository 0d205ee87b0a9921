//! Rules on paths of the agent's own file system.
//!
//! In the agent's file such a rule is opened when it is read, and what is below it is found from that handle. In a
//! narrower mandate it is text: what the path leads to is found by the rule of the named mandate, which follows no
//! link, so the text says where it is. It must never look up a path that no rule of every level fits.

use crate::files::filesystem::{FileSystem, Mounts};
use crate::files::trusted::{Directory, Found, Reason, Status, Untrusted};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path, or one with all that is below it.
#[derive(Debug)]
pub(crate) struct PathRule {
    path: PathBuf,
    below: bool,
    opened: Option<Opened>,
}

/// Where the path leads.
#[derive(Debug)]
enum Opened {
    /// To a directory that is trusted.
    Directory(Directory),
    /// To something in one.
    Name(Directory, OsString),
    /// To a directory of anybody's.
    Place(OwnedFd),
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

    /// A directory of the agent's file that may be anybody's, since it only becomes where a child is.
    pub(crate) fn place(path: &Path) -> Result<Self, String> {
        let mut rule = Self::written(path, true)?;
        rule.opened = Some(Opened::Place(open_any_owner(path)?));
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
        let opened = self.opened.as_ref()?;
        let (directory, below) = match (opened, path.strip_prefix(&self.path)) {
            (Opened::Directory(directory), Ok(rest)) => (directory, rest),
            (Opened::Name(directory, name), Ok(rest)) if rest.as_os_str().is_empty() => {
                (directory, Path::new(name))
            }
            (Opened::Place(place), Ok(rest)) => return Some(find(place, rest, path)),
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
    if kind == Kind::File {
        return open_in_parent(path, owners, kind);
    }
    match Directory::open(path, owners) {
        Err(Untrusted { reason: Reason::NotDirectory, .. }) if kind == Kind::Any => {
            open_in_parent(path, owners, kind)
        }
        opened => opened.map(Opened::Directory),
    }
}

fn open_in_parent(path: &Path, owners: &[u32], kind: Kind) -> Result<Opened, Untrusted> {
    let (parent, name) = last(path)?;
    let directory = Directory::open(parent, owners)?;
    match kind {
        Kind::File => directory.file(Path::new(name))?,
        _ => directory.any(Path::new(name))?,
    };
    Ok(Opened::Name(directory, name.to_owned()))
}

fn last(path: &Path) -> Result<(&Path, &OsStr), Untrusted> {
    let wrong = || Untrusted { path: path.to_owned(), reason: Reason::NotFile };
    Ok((path.parent().ok_or_else(wrong)?, path.file_name().ok_or_else(wrong)?))
}

/// Opens a directory that may be anybody's, in one that is trusted.
pub(crate) fn open_any_owner(path: &Path) -> Result<OwnedFd, String> {
    let wrong = |reason| Untrusted { path: path.to_owned(), reason }.to_string();
    if path == Path::new("/") {
        return open_directory(CWD, path, ResolveFlags::empty()).map_err(wrong);
    }
    let (parent, name) = last(path).map_err(|error| error.to_string())?;
    let parent = Directory::open(parent, &[]).map_err(|error| error.to_string())?;
    let place = open_directory(parent.as_fd(), Path::new(name), ResolveFlags::empty());
    let place = place.map_err(wrong)?;
    let errno = |errno| wrong(Reason::Errno(errno));
    let status = Status::of(place.as_fd()).map_err(errno)?;
    let mounts = Mounts::read();
    let mounts =
        mounts.map_err(|error| errno(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    match mounts.of_id(status.mount) {
        FileSystem::Local(_) => Ok(place),
        other => Err(wrong(Reason::FileSystem(other))),
    }
}

/// A directory below a place: whoever can change what is there chooses among the directories below it, which are
/// all allowed, and no link and no mount leads elsewhere.
fn find(place: &OwnedFd, below: &Path, path: &Path) -> Result<Found, Untrusted> {
    let wrong = |reason| Untrusted { path: path.to_owned(), reason };
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let more = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
    let handle = open_directory(place.as_fd(), below, more).map_err(wrong)?;
    let status = Status::of(handle.as_fd()).map_err(|errno| wrong(Reason::Errno(errno)))?;
    Ok(Found { handle, status })
}

fn open_directory(at: BorrowedFd<'_>, name: &Path, more: ResolveFlags) -> Result<OwnedFd, Reason> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | more;
    openat2(at, name, flags, Mode::empty(), how).map_err(|errno| match errno {
        Errno::LOOP => Reason::Link,
        Errno::XDEV => Reason::Mount,
        Errno::NOTDIR => Reason::NotDirectory,
        errno => Reason::Errno(errno),
    })
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
