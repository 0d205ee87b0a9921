//! The process that reads a client's file: standard input is the file, standard output the memory.
//!
//! It must never open anything, and says what became of it by its exit status alone.

use super::CopyError;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// What it is called: argv\[0\]. argv\[1\] is how many bytes it may copy.
pub(super) const NAME: &str = "embryo-agent-copier";
/// It was all copied.
pub(super) const DONE: i32 = 0;
/// There was more.
pub(super) const TOO_LONG: i32 = 201;
/// The memory took no more.
const NO_MEMORY: i32 = 202;
/// It was not called as it should be.
const MISUSED: i32 = 203;
/// Errors of reading are their numbers, none of which is above this.
const ERRNO_MAX: i32 = 200;

const BUFFER: usize = 1 << 20;

/// Whether this process was started to copy a file. To be asked first in `main`.
#[must_use]
pub fn is_copier() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// Copies, and exits.
pub fn copier_main() -> ! {
    let bytes_max = std::env::args().nth(1).and_then(|bytes| bytes.parse().ok());
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let status = bytes_max.map_or(MISUSED, |bytes| copy(input.as_fd(), output.as_fd(), bytes));
    std::process::exit(status)
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes_max: u64) -> i32 {
    let mut buffer = vec![0u8; BUFFER];
    let mut done = 0u64;
    loop {
        // From its beginning, wherever its owner has read to; what has no beginning is ESPIPE.
        let len = match rustix::io::pread(from, &mut buffer, done) {
            Ok(0) => return DONE,
            Ok(len) => len,
            Err(Errno::INTR) => continue,
            Err(errno) => return errno.raw_os_error().clamp(1, ERRNO_MAX),
        };
        if done.saturating_add(len as u64) > bytes_max {
            return TOO_LONG;
        }
        let mut rest = buffer.get(..len).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(_) => return NO_MEMORY,
            }
        }
        done = done.saturating_add(len as u64);
    }
}

/// What its exit status says.
pub(super) fn error_of(status: i32) -> CopyError {
    match status {
        NO_MEMORY => CopyError::Write(Errno::NOSPC),
        1..=ERRNO_MAX => match Errno::from_raw_os_error(status) {
            Errno::SPIPE => CopyError::NotFile,
            errno => CopyError::Read(errno),
        },
        _ => CopyError::Process(format!("the process that copies ended with {status}")),
    }
}
