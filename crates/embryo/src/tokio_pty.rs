//! A [`Pty`] in tokio.

use crate::error::Error;
use crate::pty::Pty;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A [`Pty`] that is read and written in an event loop. Made by [`Pty::into_async`].
#[derive(Debug)]
pub struct AsyncPty {
    pty: Pty,
    ready: AsyncFd<OwnedFd>,
}

impl Pty {
    /// Hands it to tokio, and makes it non-blocking. Must be called in a runtime with I/O enabled.
    ///
    /// # Errors
    /// What registering it answers.
    pub fn into_async(self) -> Result<AsyncPty, Error> {
        self.set_nonblocking(true)?;
        let copy = self.as_fd().try_clone_to_owned();
        let ready = copy.and_then(watch).map_err(Error::io("registering a terminal with tokio"))?;
        Ok(AsyncPty { pty: self, ready })
    }
}

#[expect(
    deprecated,
    reason = "deprecated because some type's AsRawFd may name a closed descriptor; OwnedFd's cannot, \
              and the replacement would be this crate's only unsafe code"
)]
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

impl AsyncPty {
    /// The terminal, to give it to a command or to resize it.
    #[must_use]
    pub fn pty(&self) -> &Pty {
        &self.pty
    }
}

impl AsFd for AsyncPty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pty.as_fd()
    }
}

impl AsyncRead for AsyncPty {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.ready.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            if let Ok(read) = guard.try_io(|_| (&self.pty).read(unfilled)) {
                return Poll::Ready(read.map(|count| buffer.advance(count)));
            }
        }
    }
}

impl AsyncWrite for AsyncPty {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.ready.poll_write_ready(context))?;
            if let Ok(written) = guard.try_io(|_| (&self.pty).write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
