//! The descriptors over which a child answers.
//!
//! Both ways are the same for the child: it writes to descriptor 1, and 1 is a pipe. Inherited,
//! that is the benchmark's own descriptor 1; made, it is a pipe made for this launch.

use std::io::{self, Stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;

/// Where a child's stdout and stderr come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stdio {
    /// They are the parent's.
    Inherited,
    /// They are two pipes, made after the parent was loaded: at its highest descriptors.
    Pipes,
}

impl Stdio {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Inherited, Self::Pipes];

    /// The word for it in a table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Inherited => "inherited stdio",
            Self::Pipes => "pipes",
        }
    }
}

/// The ends that a child is given.
#[derive(Debug)]
pub(crate) struct WriteEnds {
    pub(crate) out: OwnedFd,
    pub(crate) err: OwnedFd,
}

/// The ends that the parent keeps.
#[derive(Debug)]
pub(crate) struct ReadEnds {
    pub(crate) out: OwnedFd,
    /// Held only so that the pipe has a reader.
    _err: OwnedFd,
}

/// Two fresh pipes, all four ends close-on-exec.
pub(crate) fn make_pipes() -> io::Result<(ReadEnds, WriteEnds)> {
    let (out_read, out_write) = answer_pipe()?;
    let (err_read, err_write) = answer_pipe()?;
    let read = ReadEnds { out: out_read, _err: err_read };
    Ok((read, WriteEnds { out: out_write, err: err_write }))
}

/// Marks whatever the benchmark itself inherited close-on-exec: no child is to have it.
pub(crate) fn keep_own_descriptors() {
    let (first, last) = (3_u32, u32::MAX);
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC closes nothing and takes no pointer.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 {
        // Before Linux 5.11. If a child then has too much, the check of its state says so.
        eprintln!("close_range: {}", io::Error::last_os_error());
    }
}

/// A pipe whose reading end never blocks.
fn answer_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// While it lives, the process's stdout is a pipe that only the benchmark reads.
#[derive(Debug)]
pub(crate) struct OwnStdout {
    saved: OwnedFd,
    read: OwnedFd,
}

impl OwnStdout {
    /// Takes stdout over. Nothing may be printed to it until this is dropped.
    pub(crate) fn take_over() -> io::Result<Self> {
        let stdout: Stdout = io::stdout();
        let saved = rustix::io::fcntl_dupfd_cloexec(&stdout, 3)?;
        let (read, write) = answer_pipe()?;
        rustix::stdio::dup2_stdout(&write)?;
        Ok(Self { saved, read })
    }

    /// Where what children wrote to stdout can be read.
    pub(crate) fn answers(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl Drop for OwnStdout {
    fn drop(&mut self) {
        if let Err(error) = rustix::stdio::dup2_stdout(&self.saved) {
            eprintln!("stdout could not be given back: {error}");
        }
    }
}
