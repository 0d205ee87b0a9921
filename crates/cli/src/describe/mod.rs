//! From options to an [`embryo::Command`].
//!
//! It must never start anything, and never add what was not asked for: the defaults of `embryo
//! run` are stated here and in `environment.rs`, and nowhere else.

mod confine;
mod credentials;
mod descriptors;
mod environment;
mod mount;
mod namespace;
mod resources;

use crate::accounts::Account;
use crate::args::{ChildArgs, MountArg, RunArgs};
use crate::failure::Failure;
use crate::inherited::Inherited;
use crate::value::{Mode, SignalSet, Source};
use embryo::Command;
use rustix::fd::OwnedFd;
use std::path::Path;

pub(crate) use descriptors::{named, open};

/// The caller's descriptors that the options name.
pub(crate) fn wanted(run: &RunArgs) -> impl Iterator<Item = u32> {
    let args = &run.child;
    descriptors::sources(args)
        .filter_map(|source| match source {
            Source::Fd(fd) => Some(*fd),
            Source::File(..) => None,
        })
        .chain(args.chdir_fd)
        .chain(args.root_fd)
        .chain(run.confine.seccomp)
        .chain(args.mounts.0.iter().filter_map(MountArg::fd))
        .chain(args.namespaces.fds())
}

/// Describes the child that the options ask for.
pub(crate) fn describe(run: &RunArgs, inherited: &Inherited) -> Result<Command, Failure> {
    let args = &run.child;
    let account = args.user.as_deref().map(Account::of).transpose()?;
    let mut command = program(args, inherited)?;
    descriptors::apply(args, inherited, &mut command)?;
    environment::apply(args, account.as_ref(), &mut command);
    directories(args, inherited, &mut command)?;
    mount::apply(&args.mounts, namespace::has_own_pids(args), inherited, &mut command)?;
    namespace::apply(args, inherited, &mut command)?;
    session(args, &mut command)?;
    resources::apply(args, &mut command)?;
    credentials::apply(args, account.as_ref(), &mut command)?;
    confine::apply(&run.confine, inherited, &mut command)?;
    signals(args, &mut command);
    Ok(command)
}

fn program(args: &ChildArgs, inherited: &Inherited) -> Result<Command, Failure> {
    let (program, rest) = args.command.split_first().ok_or(Failure::new("no program is given"))?;
    let mut command = match &args.exec_fd {
        Some(image) => {
            let mut command = Command::from_fd(open(&image.0, inherited)?, program);
            command.image_stays_open(args.keep_image_open);
            command
        }
        None => Command::new(program),
    };
    command.args(rest).shell_fallback(args.shell_fallback).load(args.load);
    if let Some(argv0) = &args.argv0 {
        command.arg0(argv0);
    }
    if let Some(list) = &args.path {
        command.search_path(list);
    }
    Ok(command)
}

fn directories(
    args: &ChildArgs,
    inherited: &Inherited,
    command: &mut Command,
) -> Result<(), Failure> {
    if let Some(dir) = &args.root {
        command.chroot(dir);
    }
    if let Some(fd) = args.root_fd {
        command.chroot_fd(inherited.get(fd)?);
    }
    if let Some(dir) = &args.chdir {
        command.current_dir(dir);
    }
    if let Some(fd) = args.chdir_fd {
        command.current_dir_fd(inherited.get(fd)?);
    }
    if let Some(mode) = args.umask {
        command.umask(mode);
    }
    Ok(())
}

/// Session, process group and terminal.
fn session(args: &ChildArgs, command: &mut Command) -> Result<(), Failure> {
    let ctty = match &args.ctty {
        None => None,
        Some(None) => Some(crate::terminal::own("--ctty")?),
        Some(Some(path)) => Some(open_terminal(path)?),
    };
    if args.foreground {
        let terminal = match &ctty {
            Some(tty) => tty.try_clone(),
            None => Ok(crate::terminal::own("--foreground")?),
        };
        let terminal = terminal.map_err(|e| Failure::io("cannot duplicate", "the terminal", &e))?;
        command.foreground(terminal);
    }
    command.setsid(args.setsid);
    if let Some(tty) = ctty {
        command.controlling_tty(tty);
    } else if let Some(pgid) = args.pgid {
        command.process_group(pgid.0 as i32);
    } else if args.foreground && !args.setsid {
        command.process_group(0);
    }
    Ok(())
}

fn open_terminal(path: &Path) -> Result<OwnedFd, Failure> {
    open(&Source::File(path.to_owned(), Mode::ReadWrite), &Inherited::default())
}

fn signals(args: &ChildArgs, command: &mut Command) {
    if let Some(signal) = args.pdeathsig {
        command.death_signal(signal.0);
    }
    if let Some(set) = args.signal_mask {
        command.signal_mask(set.0);
    }
    if args.keep_signal_mask {
        command.keep_signal_mask();
    }
    let union = |sets: &[SignalSet]| sets.iter().fold(0, |all, set| all | set.0);
    if args.keep_ignored_signals {
        command.default_signals(union(&args.default_signal));
    } else if args.ignore_signal.is_empty() {
        command.default_all_signals();
    } else {
        command.ignore_signals(union(&args.ignore_signal));
    }
}
