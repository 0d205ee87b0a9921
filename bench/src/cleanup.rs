//! The directory that holds the child's executable, removed at the end or by SIGINT and SIGTERM.
//!
//! Children need no such care: each of them ends by itself within a millisecond.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;

use tempfile::TempDir;

/// What the signal handler removes.
static LEFTOVERS: OnceLock<Leftovers> = OnceLock::new();

struct Leftovers {
    file: CString,
    directory: CString,
}

/// A temporary directory for one file.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
    file: PathBuf,
}

impl Scratch {
    /// A directory under `$TMPDIR` that will hold `name`. Call it once: the handlers know one.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("embryo-bench-").tempdir()?;
        let file = directory.path().join(name);
        let leftovers = Leftovers { file: c_path(&file)?, directory: c_path(directory.path())? };
        if LEFTOVERS.set(leftovers).is_ok() {
            handle(libc::SIGINT)?;
            handle(libc::SIGTERM)?;
        }
        Ok(Self { directory, file })
    }

    /// The file's path.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Removes the directory now, so that a failure to do so is heard of.
    pub(crate) fn close(self) -> io::Result<()> {
        self.directory.close()
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
    if let Some(leftovers) = LEFTOVERS.get() {
        // SAFETY: unlink(2) may be called in a handler, and the path lives as long as the program.
        unsafe { libc::unlink(leftovers.file.as_ptr()) };
        // SAFETY: as for unlink.
        unsafe { libc::rmdir(leftovers.directory.as_ptr()) };
    }
    // SAFETY: _exit(2) may be called in a handler.
    unsafe { libc::_exit(128 + signal) }
}
