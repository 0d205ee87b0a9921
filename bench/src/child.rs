//! The one child that all contenders are told to start, and what it answers.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// `child/child.rs`, compiled.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bench-child"));

const NAME: &CStr = c"bench-child";
/// The only variable that the child is given.
const VARIABLE: &CStr = c"LANG=C";

/// What to run. Beside this, every contender is told: stdin as it is, stdout and stderr as they
/// are or as two pipes, no signal blocked, every signal at its default, no other descriptor.
#[derive(Debug, Clone)]
pub(crate) struct ChildSpec {
    /// An absolute path.
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    /// `NAME=value` strings.
    pub(crate) envp: Vec<CString>,
}

impl ChildSpec {
    /// A child that writes the time and exits.
    pub(crate) fn timed(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        Ok(Self { path, argv: vec![NAME.to_owned()], envp: vec![VARIABLE.to_owned()] })
    }

    /// The same child, which writes also in what state it was started.
    pub(crate) fn reporting(path: &Path) -> io::Result<Self> {
        let mut spec = Self::timed(path)?;
        spec.argv.push(c"report".to_owned());
        Ok(spec)
    }
}

/// Writes the child's executable to `path`.
pub(crate) fn install(path: &Path) -> io::Result<()> {
    // The descriptor is closed before anything is launched, so nobody meets ETXTBSY.
    let mut file = File::options().write(true).create_new(true).mode(0o755).open(path)?;
    file.write_all(IMAGE)
}

/// When the child read the clock, from what it wrote to the pipe whose reading end this is.
pub(crate) fn read_first_ns(pipe: BorrowedFd<'_>) -> io::Result<u64> {
    read_words::<1>(pipe).map(|[first]| first)
}

/// Takes one child's answer out of a pipe that may hold those of several, whichever is the first.
pub(crate) fn take_any_answer(pipe: BorrowedFd<'_>) -> io::Result<u64> {
    // A child writes its eight bytes at once, and nobody reads fewer.
    let mut bytes = [0; size_of::<u64>()];
    match rustix::io::read(pipe, &mut bytes)? {
        size if size == bytes.len() => Ok(u64::from_ne_bytes(bytes)),
        size => Err(io::Error::other(format!("the child wrote {size} bytes instead of 8"))),
    }
}

/// In what state a child was started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) blocked_signals: u64,
    pub(crate) ignored_signals: u64,
    pub(crate) env_count: u64,
    pub(crate) open_descriptors: u64,
}

impl State {
    /// The state that a [`ChildSpec`] asks for.
    pub(crate) const ASKED_FOR: Self =
        Self { blocked_signals: 0, ignored_signals: 0, env_count: 1, open_descriptors: 3 };

    /// Signals 32 and 33, which glibc keeps to itself. Its posix_spawn leaves them ignored in every
    /// child, and a caller cannot say otherwise, so here they do not count.
    const LIBC_SIGNALS: u64 = 1 << 31 | 1 << 32;

    /// What a reporting child wrote.
    pub(crate) fn read(pipe: BorrowedFd<'_>) -> io::Result<Self> {
        let [_, blocked_signals, ignored_signals, env_count, open_descriptors] =
            read_words::<5>(pipe)?;
        let ignored_signals = ignored_signals & !Self::LIBC_SIGNALS;
        Ok(Self { blocked_signals, ignored_signals, env_count, open_descriptors })
    }
}

/// Reads what is in the pipe. It never blocks, since the child has been reaped.
fn read_words<const N: usize>(pipe: BorrowedFd<'_>) -> io::Result<[u64; N]> {
    let mut bytes = [0; 128];
    let size = match rustix::io::read(pipe, &mut bytes) {
        Ok(size) => size,
        Err(rustix::io::Errno::AGAIN) => 0,
        Err(error) => return Err(error.into()),
    };
    if size != N * size_of::<u64>() {
        return Err(io::Error::other(format!(
            "the child wrote {size} bytes instead of {}",
            N * size_of::<u64>()
        )));
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    Ok(words)
}
