//! Which descriptors the child has.
//!
//! It must never open a terminal so that it becomes this process's own (O_NOCTTY).

use crate::callers::Callers;
use crate::error::Error;
use crate::job::Job;
use crate::value::{Mode, Source, StdioSource};
use embryo::{Access, Command, Op, Stdio};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use std::path::Path;

impl Job {
    /// Every source that it names.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        let stdio = [&self.stdin, &self.stdout, &self.stderr].into_iter().filter_map(stream_source);
        let image = self.exec_fd.iter().map(|image| &image.0);
        let mounted = self.mount.iter().filter_map(|mounted| mounted.fd.as_ref());
        self.fd
            .values()
            .chain(stdio)
            .chain(image)
            .chain(&self.seccomp)
            .chain(mounted)
            .chain(self.namespaces.sources())
    }

    /// Says what is at which number.
    pub(super) fn add_descriptors(
        &self,
        callers: &Callers,
        command: &mut Command,
    ) -> Result<(), Error> {
        let stream = |stdio, key| stream(stdio, callers).map_err(|error: Error| error.at(key));
        // Left unsaid they are what the command makes of them: inherited, unless its output is read.
        if let Some(stdin) = &self.stdin {
            command.stdin(stream(stdin, "stdin")?);
        }
        if let Some(stdout) = &self.stdout {
            command.stdout(stream(stdout, "stdout")?);
        }
        if let Some(stderr) = &self.stderr {
            command.stderr(stream(stderr, "stderr")?);
        }
        for null in &self.null {
            let access = match null.mode {
                Mode::Read => Access::Read,
                Mode::Write => Access::Write,
                _ => Access::ReadWrite,
            };
            command.null_fd(null.fd, access);
        }
        for (fd, source) in &self.fd {
            command.fd(*fd, open(source, callers).map_err(|error| error.at("fd"))?);
        }
        Ok(())
    }

    /// The file that it names for what an op puts somewhere.
    #[must_use]
    pub fn file_of(&self, op: &Op<'_>) -> Option<&Path> {
        let source = match op {
            Op::ExecSlot { .. } => self.exec_fd.as_ref().map(|image| &image.0),
            Op::PutFd { fd, .. } => self.fd.get(fd).or(match fd {
                0 => stream_source(&self.stdin),
                1 => stream_source(&self.stdout),
                2 => stream_source(&self.stderr),
                _ => None,
            }),
            _ => None,
        };
        match source {
            Some(Source::File(path, _)) => Some(path),
            _ => None,
        }
    }
}

fn stream_source(stdio: &Option<StdioSource>) -> Option<&Source> {
    match stdio {
        Some(StdioSource::From(source)) => Some(source),
        _ => None,
    }
}

fn stream(stdio: &StdioSource, callers: &Callers) -> Result<Stdio, Error> {
    Ok(match stdio {
        StdioSource::Inherit => Stdio::inherit(),
        StdioSource::Null => Stdio::null(),
        StdioSource::Closed => Stdio::closed(),
        StdioSource::From(source) => open(source, callers)?.into(),
    })
}

/// A handle for a source.
///
/// # Errors
/// The file cannot be opened, or the descriptor is not open.
pub fn open(source: &Source, callers: &Callers) -> Result<OwnedFd, Error> {
    let (path, mode) = match source {
        Source::Fd(fd) => return callers.get(*fd),
        Source::File(path, mode) => (path, mode),
    };
    if callers.is_looking() && !matches!(mode, Mode::Read | Mode::Path) {
        // It stands for a file that there may never be.
        return place("/dev/null");
    }
    let flags = match mode {
        Mode::Read => OFlags::RDONLY,
        Mode::Write => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
        Mode::Append => OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
        Mode::ReadWrite => OFlags::RDWR | OFlags::CREATE,
        Mode::Exclusive => OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        Mode::Path => OFlags::PATH,
    };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, rustix::fs::Mode::from_raw_mode(0o666))
        .map_err(|errno| Error::io("cannot open", path.display(), &errno.into()))
}

/// A handle that can neither be read nor written.
pub(crate) fn place(path: &str) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| Error::io("cannot open", path, &errno.into()))
}
