//! A process in tokio: its end and its pipes as futures, without a SIGCHLD handler.

use crate::error::Error;
use crate::launching::Launching;
use crate::process::Process;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::{Receiver, Sender};

/// A [`Process`] whose end can be awaited.
///
/// Made by [`Process::into_async`]. What was said of [`Process`] and of dropping it holds.
#[derive(Debug)]
pub struct AsyncProcess {
    process: Process,
    ready: AsyncFd<OwnedFd>,
    /// The connection to the agent whose child it is.
    elsewhere: Option<AsyncFd<OwnedFd>>,
}

/// The piped streams of a process, for tokio.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct AsyncStdio {
    /// The write end of its stdin.
    pub stdin: Option<Sender>,
    /// The read end of its stdout.
    pub stdout: Option<Receiver>,
    /// The read end of its stderr.
    pub stderr: Option<Receiver>,
}

impl Process {
    /// Hands the process to tokio. Must be called in a runtime with I/O enabled.
    ///
    /// # Errors
    /// What registering the pidfd answers.
    pub fn into_async(self) -> Result<AsyncProcess, Error> {
        let pidfd = self.pidfd().try_clone_to_owned();
        let ready = pidfd
            .and_then(|fd| watch(fd, Interest::READABLE))
            .map_err(Error::io("registering a pidfd with tokio"))?;
        let elsewhere = self
            .watched_elsewhere()
            .map(|socket| socket.try_clone_to_owned().and_then(|fd| watch(fd, Interest::READABLE)));
        let elsewhere =
            elsewhere.transpose().map_err(Error::io("registering a connection with tokio"))?;
        Ok(AsyncProcess { process: self, ready, elsewhere })
    }
}

/// Registers a descriptor with the runtime.
#[expect(
    deprecated,
    reason = "deprecated because some type's AsRawFd may name a closed descriptor; OwnedFd's cannot, \
              and the replacement would be this crate's only unsafe code"
)]
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

impl Launching {
    /// Waits, without holding up the runtime, until the image was entered or it is known why not;
    /// awaiting it is the same. Must be called in a runtime with I/O and time enabled. Cancelling
    /// it kills the child.
    ///
    /// # Errors
    /// As [`Launching::wait`], and what registering descriptors with tokio answers.
    pub async fn started_async(mut self) -> Result<AsyncProcess, Error> {
        let watched =
            self.watched().and_then(|fd| fd.map(|fd| watch(fd, Interest::READABLE)).transpose());
        let watched = watched.map_err(Error::io("registering a launch with tokio"))?;
        loop {
            if let Some(process) = self.try_wait()? {
                return process.into_async();
            }
            self.answerable()?;
            let until = self.next_look().into();
            if let Some(watched) = &watched
                && let Ok(ready) = tokio::time::timeout_at(until, watched.readable()).await
            {
                ready.map_err(Error::io("waiting for a launch"))?.clear_ready();
            }
        }
    }
}

impl IntoFuture for Launching {
    type Output = Result<AsyncProcess, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.started_async())
    }
}

impl AsyncProcess {
    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to signal or kill it.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its pid.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Takes its piped streams as tokio's.
    ///
    /// # Errors
    /// What registering them with tokio answers.
    pub fn take_stdio(&mut self) -> Result<AsyncStdio, Error> {
        let reader = |pipe: Option<OwnedFd>| pipe.map(Receiver::from_owned_fd).transpose();
        let take = || -> io::Result<AsyncStdio> {
            Ok(AsyncStdio {
                stdin: self
                    .process
                    .stdin
                    .take()
                    .map(|pipe| Sender::from_owned_fd(pipe.into()))
                    .transpose()?,
                stdout: reader(self.process.stdout.take().map(Into::into))?,
                stderr: reader(self.process.stderr.take().map(Into::into))?,
            })
        };
        let mut take = take;
        take().map_err(Error::io("registering a pipe with tokio"))
    }

    /// Waits for its end; closes its stdin first, if that was not taken. Cancel safe.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub async fn wait(&mut self) -> Result<ExitStatus, Error> {
        drop(self.process.stdin.take());
        if self.elsewhere.is_some() {
            return std::future::poll_fn(|cx| self.poll_elsewhere(cx)).await;
        }
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            let mut guard =
                self.ready.readable().await.map_err(Error::io("waiting for a pidfd"))?;
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            guard.clear_ready();
        }
    }
}

impl AsyncProcess {
    fn poll_elsewhere(&mut self, cx: &mut Context<'_>) -> Poll<Result<ExitStatus, Error>> {
        loop {
            if let Some(status) = self.process.poll_wait(cx.waker())? {
                return Poll::Ready(Ok(status));
            }
            let mut again = false;
            for watched in self.elsewhere.iter().chain([&self.ready]) {
                match watched.poll_read_ready(cx) {
                    Poll::Ready(Ok(mut guard)) => {
                        guard.clear_ready();
                        again = true;
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(Error::io("waiting for a child's end")(error)));
                    }
                    Poll::Pending => {}
                }
            }
            if !again {
                return Poll::Pending;
            }
        }
    }
}

impl AsFd for AsyncProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.pidfd()
    }
}
