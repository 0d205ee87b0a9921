//! The signals that an agent is operated with. A handler does no more than note that one came and wake the
//! loop.

use super::Outcome;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::{SigId, flag, low_level};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(super) struct Signals {
    reader: UnixStream,
    noted: [(Arc<AtomicBool>, Outcome); 4],
    handlers: Vec<SigId>,
}

impl Signals {
    pub(super) fn take() -> std::io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let mut handlers = Vec::new();
        let mut noted = |signal, outcome| {
            let note = Arc::new(AtomicBool::new(false));
            // In this order: what wakes the loop comes last.
            handlers.push(flag::register(signal, Arc::clone(&note))?);
            handlers.push(low_level::pipe::register(signal, writer.try_clone()?)?);
            std::io::Result::Ok((note, outcome))
        };
        let noted = [
            noted(SIGTERM, Outcome::Stop)?,
            noted(SIGINT, Outcome::Stop)?,
            noted(SIGUSR2, Outcome::Restart)?,
            noted(SIGHUP, Outcome::Reload)?,
        ];
        Ok(Self { reader, noted, handlers })
    }

    /// Empties what woke the loop.
    pub(super) fn take_notice(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.reader.read(&mut bytes), Ok(1..)) {}
    }

    /// What one of them asks for.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let noted = self.noted.iter().find(|(note, _)| note.swap(false, Ordering::Relaxed));
        noted.map(|(_, outcome)| *outcome)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            low_level::unregister(handler);
        }
    }
}
