//! Which descriptors the child has.
//!
//! It must never open a terminal so that it becomes this process's own (O_NOCTTY).

use crate::args::ChildArgs;
use crate::failure::Failure;
use crate::inherited::Inherited;
use crate::value::{Mode, Source, StdioSource};
use embryo::{Access, Command, Op, Stdio};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use std::path::Path;

/// Every source that the options name.
pub(super) fn sources(args: &ChildArgs) -> impl Iterator<Item = &Source> {
    let stdio = [&args.stdin, &args.stdout, &args.stderr].into_iter().flatten();
    let stdio = stdio.filter_map(|stdio| match stdio {
        StdioSource::From(source) => Some(source),
        _ => None,
    });
    let image = args.exec_fd.iter().map(|image| &image.0);
    args.fd.iter().map(|grant| &grant.source).chain(stdio).chain(image)
}

/// Says what is at which number.
pub(super) fn apply(
    args: &ChildArgs,
    inherited: &Inherited,
    command: &mut Command,
) -> Result<(), Failure> {
    let streams = [&args.stdin, &args.stdout, &args.stderr];
    let set = [Command::stdin, Command::stdout, Command::stderr];
    for (stdio, set) in streams.into_iter().zip(set) {
        // With a terminal of its own, that is what is not said otherwise.
        if !args.pty || stdio.is_some() {
            set(command, stream(stdio.as_ref(), inherited)?);
        }
    }
    for null in &args.null {
        let access = match null.mode {
            Mode::Read => Access::Read,
            Mode::Write => Access::Write,
            _ => Access::ReadWrite,
        };
        command.null_fd(null.fd, access);
    }
    for grant in &args.fd {
        command.fd(grant.fd, open(&grant.source, inherited)?);
    }
    Ok(())
}

fn stream(stdio: Option<&StdioSource>, inherited: &Inherited) -> Result<Stdio, Failure> {
    Ok(match stdio {
        None | Some(StdioSource::Inherit) => Stdio::inherit(),
        Some(StdioSource::Null) => Stdio::null(),
        Some(StdioSource::Closed) => Stdio::closed(),
        Some(StdioSource::From(source)) => open(source, inherited)?.into(),
    })
}

/// A handle for a source.
pub(crate) fn open(source: &Source, inherited: &Inherited) -> Result<OwnedFd, Failure> {
    let (path, mode) = match source {
        Source::Fd(fd) => return inherited.get(*fd),
        Source::File(path, mode) => (path, mode),
    };
    if inherited.is_looking() && !matches!(mode, Mode::Read | Mode::Path) {
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
        .map_err(|errno| Failure::io("cannot open", path.display(), &errno.into()))
}

/// A handle that can neither be read nor written.
fn place(path: &str) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| Failure::io("cannot open", path, &errno.into()))
}

/// The file that the options name for what an op puts somewhere.
pub(crate) fn named<'a>(args: &'a ChildArgs, op: &Op<'_>) -> Option<&'a Path> {
    let stream = |stdio: &'a Option<StdioSource>| match stdio {
        Some(StdioSource::From(source)) => Some(source),
        _ => None,
    };
    let source = match op {
        Op::ExecSlot { .. } => args.exec_fd.as_ref().map(|image| &image.0),
        Op::PutFd { fd, .. } => {
            let grant = args.fd.iter().rfind(|grant| grant.fd == *fd).map(|grant| &grant.source);
            grant.or(match fd {
                0 => stream(&args.stdin),
                1 => stream(&args.stdout),
                2 => stream(&args.stderr),
                _ => None,
            })
        }
        _ => None,
    };
    match source {
        Some(Source::File(path, _)) => Some(path),
        _ => None,
    }
}
