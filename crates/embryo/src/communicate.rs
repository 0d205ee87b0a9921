//! Feeding and reading a child at once, so that no full pipe holds another up.

use rustix::event::{PollFd, PollFlags};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};

const CHUNK: usize = 64 << 10;

/// Writes `input` to `stdin` and reads the other two to their ends.
pub(crate) fn exchange(
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    input: &[u8],
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut feed = stdin.filter(|_| !input.is_empty());
    let mut rest = input;
    let mut readers = [Reader::new(stdout.map(Into::into))?, Reader::new(stderr.map(Into::into))?];
    if let Some(feed) = &feed {
        nonblocking(feed)?;
    }
    while feed.is_some() || readers.iter().any(|reader| reader.pipe.is_some()) {
        let mut polled = Vec::with_capacity(3);
        if let Some(feed) = &feed {
            polled.push(PollFd::from_borrowed_fd(feed.as_fd(), PollFlags::OUT));
        }
        for pipe in readers.iter().filter_map(|reader| reader.pipe.as_ref()) {
            polled.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
        }
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        drop(polled);
        for reader in &mut readers {
            reader.read()?;
        }
        if let Some(pipe) = feed.as_mut() {
            match pipe.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or(&[]),
                Err(error) if retry(&error) => {}
                // It reads no more. That is its business.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => rest = &[],
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                feed = None;
            }
        }
    }
    let [stdout, stderr] = readers;
    Ok((stdout.bytes, stderr.bytes))
}

struct Reader {
    pipe: Option<std::fs::File>,
    bytes: Vec<u8>,
}

impl Reader {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            nonblocking(pipe)?;
        }
        Ok(Self { pipe: pipe.map(Into::into), bytes: Vec::new() })
    }

    /// Reads what is there.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = self.pipe.as_mut() else { return Ok(()) };
        let mut chunk = [0u8; CHUNK];
        loop {
            match pipe.read(&mut chunk) {
                Ok(0) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if retry(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The pipe's other end, which the child has, is another open file and stays blocking.
fn nonblocking(pipe: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&pipe)?;
    Ok(rustix::fs::fcntl_setfl(&pipe, flags | rustix::fs::OFlags::NONBLOCK)?)
}
