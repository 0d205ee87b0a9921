//! Where a descriptor comes from: one that the caller has open, or a file and how it is opened.
//!
//! A number is always a descriptor; a file of that name is `./3`. It must never open anything.

use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
    Append,
    ReadWrite,
    Exclusive,
    Path,
}

/// A descriptor of the caller, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Fd(u32),
    File(PathBuf, Mode),
}

/// A standard stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StdioSource {
    Inherit,
    Null,
    Closed,
    From(Source),
}

/// A descriptor number with what is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FdGrant {
    pub(crate) fd: u32,
    pub(crate) source: Source,
}

/// A slot of a plan with what fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotGrant {
    pub(crate) slot: u32,
    pub(crate) source: Source,
}

/// A program that is executed by descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageSource(pub(crate) Source);

/// A number at which `/dev/null` is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NullFd {
    pub(crate) fd: u32,
    pub(crate) mode: Mode,
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

/// Parses `N`, `N=FD`, `N=PATH` and `N=PATH:MODE`.
pub(crate) fn fd_grant_parser() -> impl TypedValueParser<Value = FdGrant> {
    OsStringValueParser::new().try_map(|text: OsString| fd_grant(&text))
}

fn fd_grant(text: &OsStr) -> Result<FdGrant, String> {
    let (fd, rest) = split_at_equals(text);
    let fd = number(fd).ok_or("a descriptor number is needed: N, N=FD or N=PATH:MODE")?;
    let source = rest.map_or(Ok(Source::Fd(fd)), |rest| source(rest, Mode::Read))?;
    Ok(FdGrant { fd, source })
}

/// Parses `SLOT=FD`, `SLOT=PATH` and `SLOT=PATH:MODE`.
pub(crate) fn slot_grant_parser() -> impl TypedValueParser<Value = SlotGrant> {
    OsStringValueParser::new().try_map(|text: OsString| slot_grant(&text))
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

/// Parses what a standard stream can be; bare paths are written to if `output`.
pub(crate) fn stdio_parser(output: bool) -> impl TypedValueParser<Value = StdioSource> {
    let default = if output { Mode::Write } else { Mode::Read };
    OsStringValueParser::new().try_map(move |text: OsString| stdio(&text, default))
}

fn stdio(text: &OsStr, default: Mode) -> Result<StdioSource, String> {
    Ok(match text.as_bytes() {
        b"inherit" => StdioSource::Inherit,
        b"null" => StdioSource::Null,
        b"closed" => StdioSource::Closed,
        other => StdioSource::From(source(other, default)?),
    })
}

/// Parses a descriptor, or the path of a program.
pub(crate) fn image_parser() -> impl TypedValueParser<Value = ImageSource> {
    OsStringValueParser::new().try_map(|text: OsString| image(&text))
}

fn image(text: &OsStr) -> Result<ImageSource, String> {
    match number(text.as_bytes()) {
        Some(fd) => Ok(ImageSource(Source::Fd(fd))),
        // Execute permission is enough that way; reading is not asked for.
        None if !text.is_empty() => Ok(ImageSource(Source::File(PathBuf::from(text), Mode::Path))),
        None => Err("a descriptor or a path is needed".into()),
    }
}

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
