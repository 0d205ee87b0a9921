//! Where a descriptor comes from: one that the caller has open, or a file and how it is opened.
//!
//! A number is always a descriptor; a file of that name is `./3`. It must never open anything.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `r`
    Read,
    /// `w`: made or emptied
    Write,
    /// `a`: made or appended to
    Append,
    /// `rw`: made if missing
    ReadWrite,
    /// `x`: made, and must not be there
    Exclusive,
    /// `path`: a place only
    Path,
}

/// A descriptor of the caller, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A descriptor of the caller.
    Fd(u32),
    /// A file.
    File(PathBuf, Mode),
}

/// A standard stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StdioSource {
    /// The caller's.
    Inherit,
    /// `/dev/null`.
    Null,
    /// Nothing.
    Closed,
    /// This.
    From(Source),
}

/// A descriptor number with what is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdGrant {
    /// The number in the child.
    pub fd: u32,
    /// What is there.
    pub source: Source,
}

/// A slot of a plan with what fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotGrant {
    /// The slot.
    pub slot: u32,
    /// What is there.
    pub source: Source,
}

/// A program that is executed by descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource(pub Source);

/// A number at which `/dev/null` is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NullFd {
    /// The number in the child.
    pub fd: u32,
    /// How it is opened.
    pub mode: Mode,
}

impl Mode {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"r" => Mode::Read,
            b"w" => Mode::Write,
            b"a" => Mode::Append,
            b"rw" => Mode::ReadWrite,
            b"x" => Mode::Exclusive,
            b"path" => Mode::Path,
            _ => return None,
        })
    }
}

/// A whole number that a descriptor can have.
fn number(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|fd| *fd <= embryo_plan::limits::FD_MAX)
}

/// The part behind the last colon is a mode if it is the name of one.
fn source(text: &[u8], default: Mode) -> Result<Source, String> {
    if let Some(fd) = number(text) {
        return Ok(Source::Fd(fd));
    }
    let colon = text.iter().rposition(|byte| *byte == b':');
    let split = colon.and_then(|at| Some((&text[..at], Mode::parse(&text[at + 1..])?)));
    let (path, mode) = split.unwrap_or((text, default));
    if path.is_empty() {
        return Err("a descriptor or a path is needed".into());
    }
    Ok(Source::File(PathBuf::from(OsStr::from_bytes(path)), mode))
}

fn split_at_equals(text: &OsStr) -> (&[u8], Option<&[u8]>) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

fn fd_grant(text: &OsStr) -> Result<FdGrant, String> {
    let (fd, rest) = split_at_equals(text);
    let fd = number(fd).ok_or("a descriptor number is needed: N, N=FD or N=PATH:MODE")?;
    let source = rest.map_or(Ok(Source::Fd(fd)), |rest| source(rest, Mode::Read))?;
    Ok(FdGrant { fd, source })
}

fn slot_grant(text: &OsStr) -> Result<SlotGrant, String> {
    match split_at_equals(text) {
        (slot, Some(rest)) => {
            let slot = number(slot).ok_or("the number of a slot is needed before the =")?;
            Ok(SlotGrant { slot, source: source(rest, Mode::Read)? })
        }
        _ => Err("SLOT=FD or SLOT=PATH:MODE is needed".into()),
    }
}

fn stdio(text: &OsStr, default: Mode) -> Result<StdioSource, String> {
    Ok(match text.as_bytes() {
        b"inherit" => StdioSource::Inherit,
        b"null" => StdioSource::Null,
        b"closed" => StdioSource::Closed,
        other => StdioSource::From(source(other, default)?),
    })
}

fn image(text: &OsStr) -> Result<ImageSource, String> {
    match number(text.as_bytes()) {
        Some(fd) => Ok(ImageSource(Source::Fd(fd))),
        // Execute permission is enough that way; reading is not asked for.
        None if !text.is_empty() => Ok(ImageSource(Source::File(PathBuf::from(text), Mode::Path))),
        None => Err("a descriptor or a path is needed".into()),
    }
}

impl FdGrant {
    /// Parses `N`, `N=FD`, `N=PATH` and `N=PATH:MODE`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        fd_grant(text)
    }
}

impl SlotGrant {
    /// Parses `SLOT=FD`, `SLOT=PATH` and `SLOT=PATH:MODE`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        slot_grant(text)
    }
}

impl Source {
    /// Parses `FD`, `PATH` and `PATH:MODE`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        source(text.as_bytes(), Mode::Read)
    }
}

impl StdioSource {
    /// Parses what a standard stream can be; bare paths are written to if `output`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &OsStr, output: bool) -> Result<Self, String> {
        stdio(text, if output { Mode::Write } else { Mode::Read })
    }
}

impl ImageSource {
    /// Parses a descriptor, or the path of a program.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &OsStr) -> Result<Self, String> {
        image(text)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Read => "r",
            Mode::Write => "w",
            Mode::Append => "a",
            Mode::ReadWrite => "rw",
            Mode::Exclusive => "x",
            Mode::Path => "path",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Fd(fd) => write!(f, "descriptor {fd}"),
            Source::File(path, _) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for NullFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::ReadWrite => write!(f, "{}", self.fd),
            mode => write!(f, "{}:{mode}", self.fd),
        }
    }
}

super::textual!(NullFd: "a descriptor number, with \":r\" or \":w\" if it is not for both", number);

impl FromStr for NullFd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (fd, mode) = text.split_once(':').unwrap_or((text, "rw"));
        let fd = number(fd.as_bytes()).ok_or("a descriptor number is needed")?;
        match Mode::parse(mode.as_bytes()) {
            Some(mode @ (Mode::Read | Mode::Write | Mode::ReadWrite)) => Ok(Self { fd, mode }),
            _ => Err("the mode is r, w or rw".into()),
        }
    }
}

/// The terminal that becomes the controlling one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ctty {
    /// The caller's standard stream that is one.
    Own,
    /// This one.
    Path(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::check;

    fn file(path: &str, mode: Mode) -> Source {
        Source::File(path.into(), mode)
    }

    #[test]
    fn a_source_is_a_number_or_a_path_with_a_mode() {
        let check = |text: &str, expect| assert_eq!(source(text.as_bytes(), Mode::Read), expect);
        check("3", Ok(Source::Fd(3)));
        check("./3", Ok(file("./3", Mode::Read)));
        check("/x:rw", Ok(file("/x", Mode::ReadWrite)));
        check("/x:a", Ok(file("/x", Mode::Append)));
        check("a:b", Ok(file("a:b", Mode::Read)));
        check("a:r:r", Ok(file("a:r", Mode::Read)));
        assert!(source(b"", Mode::Read).is_err());
        assert!(source(b":r", Mode::Read).is_err());
    }

    #[test]
    fn a_grant_names_where_and_what() {
        let check = |text: &str, fd, source| {
            assert_eq!(fd_grant(OsStr::new(text)), Ok(FdGrant { fd, source }));
        };
        check("5", 5, Source::Fd(5));
        check("5=7", 5, Source::Fd(7));
        check("5=/a=b:w", 5, file("/a=b", Mode::Write));
        for bad in ["", "x", "=3", "5=", "-1", "1048576", "+1"] {
            assert!(fd_grant(OsStr::new(bad)).is_err(), "{bad:?}");
        }
        assert!(slot_grant(OsStr::new("1")).is_err());
        let zero = SlotGrant { slot: 0, source: Source::Fd(3) };
        assert_eq!(slot_grant(OsStr::new("0=3")), Ok(zero));
    }

    #[test]
    fn a_stream_has_words_of_its_own() {
        let check = |text: &str, expect| {
            assert_eq!(stdio(OsStr::new(text), Mode::Write), Ok(expect), "{text:?}");
        };
        check("null", StdioSource::Null);
        check("./null", StdioSource::From(file("./null", Mode::Write)));
        check("2", StdioSource::From(Source::Fd(2)));
        check("log:a", StdioSource::From(file("log", Mode::Append)));
    }

    #[test]
    fn null_has_a_number_and_a_mode() {
        check("3", Some(NullFd { fd: 3, mode: Mode::ReadWrite }));
        check("3:r", Some(NullFd { fd: 3, mode: Mode::Read }));
        for bad in ["", "3:", "3:a", "x:r"] {
            check::<NullFd>(bad, None);
        }
    }
}
