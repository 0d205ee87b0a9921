//! What a child's standard streams are: as in std, and what is granted for them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;

/// One of a child's standard streams.
#[derive(Clone, Debug)]
pub struct Stdio(pub(crate) Source);

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Inherit,
    Null,
    Piped,
    Closed,
    Fd(Arc<OwnedFd>),
}

impl Stdio {
    /// The caller's own stream is granted.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Source::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Source::Null)
    }

    /// A new pipe, whose other end is the process's `stdin`, `stdout` or `stderr`.
    #[must_use]
    pub fn piped() -> Self {
        Self(Source::Piped)
    }

    /// Nothing: the descriptor is closed in the child. Few programs expect that; the next file
    /// they open takes the number.
    #[must_use]
    pub fn closed() -> Self {
        Self(Source::Closed)
    }
}

impl<T: Into<OwnedFd>> From<T> for Stdio
where
    T: StdioSource,
{
    fn from(source: T) -> Self {
        Self(Source::Fd(Arc::new(source.into())))
    }
}

/// What std lets a [`Stdio`] be made from.
pub trait StdioSource {}
impl StdioSource for OwnedFd {}
impl StdioSource for File {}
impl StdioSource for ChildStdin {}
impl StdioSource for ChildStdout {}
impl StdioSource for ChildStderr {}
impl StdioSource for std::io::PipeReader {}
impl StdioSource for std::io::PipeWriter {}
impl StdioSource for std::os::unix::net::UnixStream {}
impl StdioSource for std::net::TcpStream {}

/// The caller's own standard stream, if it is open. One that is close-on-exec is not: exec would
/// have closed it, and it is something else that got the number.
pub(crate) fn own(number: u32) -> Option<BorrowedFd<'static>> {
    // The handles of std live for ever, and borrowing from them is safe whatever is open.
    static STREAMS: std::sync::LazyLock<(std::io::Stdin, std::io::Stdout, std::io::Stderr)> =
        std::sync::LazyLock::new(|| (std::io::stdin(), std::io::stdout(), std::io::stderr()));
    let fd = match number {
        0 => STREAMS.0.as_fd(),
        1 => STREAMS.1.as_fd(),
        _ => STREAMS.2.as_fd(),
    };
    let open = rustix::io::fcntl_getfd(fd);
    open.is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC)).then_some(fd)
}
