//! Directories for the child's executable and whatever else a part needs, removed at the end or by SIGINT and
//! SIGTERM.
//!
//! Children need no such care: each of them ends by itself within a millisecond.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use tempfile::TempDir;

/// What the signal handler removes: a place for each directory that there ever is in a run. One that has gone
/// already is no harm.
static LEFTOVERS: [OnceLock<Leftovers>; 4] = [const { OnceLock::new() }; 4];

struct Leftovers {
    files: Vec<CString>,
    directory: CString,
}

/// A temporary directory for a few files.
#[derive(Debug)]
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// A directory under `$TMPDIR` that will hold `name`.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        Self::below(&std::env::temp_dir(), [name])
    }

    /// A directory in `parent` that will hold these files and no others.
    pub(crate) fn below<'a>(
        parent: &Path,
        names: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("embryo-bench-").tempdir_in(parent)?;
        let path = directory.path();
        let files = names.into_iter().map(|name| c_path(&path.join(name)));
        let mut leftovers =
            Leftovers { files: files.collect::<Result<_, _>>()?, directory: c_path(path)? };
        for place in &LEFTOVERS {
            match place.set(leftovers) {
                Ok(()) => {
                    handle(libc::SIGINT)?;
                    handle(libc::SIGTERM)?;
                    return Ok(Self(directory));
                }
                Err(back) => leftovers = back,
            }
        }
        Err(io::Error::other("the signal handler has no place for another directory"))
    }

    /// The directory's path.
    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Removes the directory now, so that a failure to do so is heard of.
    pub(crate) fn close(self) -> io::Result<()> {
        self.0.close()
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn handle(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: all zeroes is a sigaction: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = remove_and_exit as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler makes only async-signal-safe calls and never returns.
    let result = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn remove_and_exit(signal: libc::c_int) {
    for leftovers in LEFTOVERS.iter().filter_map(OnceLock::get) {
        for file in &leftovers.files {
            // SAFETY: unlink(2) may be called in a handler, and the path lives as long as the program.
            unsafe { libc::unlink(file.as_ptr()) };
        }
        // SAFETY: as for unlink.
        unsafe { libc::rmdir(leftovers.directory.as_ptr()) };
    }
    // SAFETY: _exit(2) may be called in a handler.
    unsafe { libc::_exit(128 + signal) }
}
