//! From a job to an [`embryo::Command`].
//!
//! It must never start anything, and never add what was not asked for: the defaults of `embryo
//! run` are stated here and in `environment.rs`, and nowhere else.

mod credentials;
mod descriptors;
mod environment;
mod resources;

use crate::accounts::Account;
use crate::callers::Callers;
use crate::error::Error;
use crate::job::Job;
use crate::mounted::Mounted;
use crate::value::{Ctty, Mode, SignalSet, Source};
use embryo::Command;
use rustix::fd::{AsFd, OwnedFd};
use rustix::termios::isatty;
use std::path::Path;

pub use descriptors::open;
pub(crate) use descriptors::place;

impl Job {
    /// The command that it describes. Files that it names are opened; descriptors that it names by
    /// number are this process's own.
    ///
    /// # Errors
    /// What is wrong, and under which key.
    pub fn command(&self) -> Result<Command, Error> {
        self.command_with(&Callers::take(self.descriptors())?)
    }

    /// The same, with descriptors that were taken before.
    ///
    /// # Errors
    /// What is wrong, and under which key.
    pub fn command_with(&self, callers: &Callers) -> Result<Command, Error> {
        self.check()?;
        let account = self.user.as_deref().map(Account::of).transpose();
        let account = account.map_err(|error| error.at("user"))?;
        let mut command = self.program(callers)?;
        if let Some(sandbox) = &self.sandbox {
            command.sandbox(sandbox);
        }
        self.add_descriptors(callers, &mut command)?;
        self.add_environment(account.as_ref(), &mut command)?;
        self.add_directories(callers, &mut command)?;
        self.namespaces.fill(callers, &mut command)?;
        self.add_mounts(callers, &mut command)?;
        self.add_session(&mut command)?;
        self.add_resources(&mut command)?;
        self.add_credentials(account.as_ref(), &mut command)?;
        self.add_privileges(callers, &mut command)?;
        self.add_filter(callers, &mut command)?;
        self.add_signals(&mut command);
        Ok(command)
    }

    /// The descriptors of this process that it names by number.
    pub fn descriptors(&self) -> impl Iterator<Item = u32> {
        let named = self.sources().filter_map(|source| match source {
            Source::Fd(fd) => Some(*fd),
            Source::File(..) => None,
        });
        named.chain(self.chdir_fd).chain(self.root_fd).chain(self.cgroup_fd)
    }

    /// What excludes each other, and what needs something else.
    fn check(&self) -> Result<(), Error> {
        let both = [
            ("path", self.path.is_some(), "exec-fd", self.exec_fd.is_some()),
            ("shell-fallback", self.shell_fallback, "exec-fd", self.exec_fd.is_some()),
            ("chdir-fd", self.chdir_fd.is_some(), "chdir", self.chdir.is_some()),
            ("root-fd", self.root_fd.is_some(), "root", self.root.is_some()),
            ("root", self.root.is_some(), "new-root", self.new_root.is_some()),
            ("root-fd", self.root_fd.is_some(), "new-root", self.new_root.is_some()),
            ("cgroup-fd", self.cgroup_fd.is_some(), "cgroup", self.cgroup.is_some()),
            (
                "cgroup",
                self.cgroup.is_some() || self.cgroup_fd.is_some(),
                "transient-cgroup",
                self.transient_cgroup.is_some(),
            ),
            ("pgid", self.pgid.is_some(), "setsid", self.setsid),
            ("pgid", self.pgid.is_some(), "ctty", self.ctty.is_some()),
            ("deadline", self.deadline.is_some(), "sched", self.sched.is_some()),
            ("uid", self.uid.is_some(), "user", self.user.is_some()),
            ("gid", self.gid.is_some(), "user", self.user.is_some()),
            ("keep-groups", self.keep_groups, "groups", self.groups.is_some()),
            ("keep-groups", self.keep_groups, "user", self.user.is_some()),
            ("keep-signal-mask", self.keep_signal_mask, "signal-mask", self.signal_mask.is_some()),
            (
                "keep-ignored-signals",
                self.keep_ignored_signals,
                "ignore-signal",
                self.ignore_signal.is_some(),
            ),
        ];
        for (key, given, other, given_too) in both {
            if given && given_too {
                return Err(Error::new(format!("{key} and {other} exclude each other")).at(key));
            }
        }
        if self.env.clear && self.env.inherit {
            return Err(Error::new("clear and inherit exclude each other").at("env"));
        }
        let needs = [
            ("keep-image-open", self.keep_image_open, "exec-fd", self.exec_fd.is_some()),
            (
                "default-signal",
                self.default_signal.is_some(),
                "keep-ignored-signals",
                self.keep_ignored_signals,
            ),
        ];
        for (key, given, other, there) in needs {
            if given && !there {
                return Err(Error::new(format!("{key} needs {other}")).at(key));
            }
        }
        Ok(())
    }

    fn program(&self, callers: &Callers) -> Result<Command, Error> {
        let Some(program) = &self.program else {
            return Err(Error::new("no program is given").at("program"));
        };
        let mut command = match &self.exec_fd {
            Some(image) => {
                let file = open(&image.0, callers).map_err(|error| error.at("exec-fd"))?;
                let mut command = Command::from_fd(file, program);
                command.image_stays_open(self.keep_image_open);
                command
            }
            None => Command::new(program),
        };
        command.args(&self.args).shell_fallback(self.shell_fallback).load(self.load);
        if let Some(argv0) = &self.argv0 {
            command.arg0(argv0);
        }
        if let Some(list) = &self.path {
            command.search_path(list);
        }
        Ok(command)
    }

    fn add_directories(&self, callers: &Callers, command: &mut Command) -> Result<(), Error> {
        if let Some(dir) = &self.root {
            command.chroot(dir);
        }
        if let Some(fd) = self.root_fd {
            command.chroot_fd(callers.get(fd).map_err(|error| error.at("root-fd"))?);
        }
        if let Some(dir) = &self.chdir {
            command.current_dir(dir);
        }
        if let Some(fd) = self.chdir_fd {
            command.current_dir_fd(callers.get(fd).map_err(|error| error.at("chdir-fd"))?);
        }
        if let Some(mode) = self.umask {
            command.umask(mode.0);
        }
        Ok(())
    }

    /// The root that it has, and what is mounted in it.
    fn add_mounts(&self, callers: &Callers, command: &mut Command) -> Result<(), Error> {
        if let Some(root) = self.new_root {
            command.new_root(root);
        }
        for Mounted { mount, fd } in &self.mount {
            match fd {
                None => command.mount(mount.clone()),
                Some(source) => {
                    let fd = open(source, callers).map_err(|error| error.at("mount"))?;
                    command.mount_fd(mount.clone(), fd)
                }
            };
        }
        Ok(())
    }

    /// Session, process group and terminal.
    fn add_session(&self, command: &mut Command) -> Result<(), Error> {
        let ctty = match &self.ctty {
            None => None,
            Some(Ctty::Own) => Some(own_terminal("ctty")?),
            Some(Ctty::Path(path)) => Some(open_terminal(path).map_err(|error| error.at("ctty"))?),
        };
        if self.foreground {
            let terminal = match &ctty {
                Some(tty) => tty.try_clone(),
                None => Ok(own_terminal("foreground")?),
            };
            let terminal =
                terminal.map_err(|e| Error::io("cannot duplicate", "the terminal", &e))?;
            command.foreground(terminal);
        }
        command.setsid(self.setsid);
        if let Some(tty) = ctty {
            command.controlling_tty(tty);
        } else if let Some(pgid) = self.pgid {
            command.process_group(pgid.0 as i32);
        } else if self.foreground && !self.setsid {
            command.process_group(0);
        }
        Ok(())
    }

    fn add_signals(&self, command: &mut Command) {
        if let Some(signal) = self.pdeathsig {
            command.death_signal(signal.0);
        }
        if let Some(set) = self.signal_mask {
            command.signal_mask(set.0);
        }
        if self.keep_signal_mask {
            command.keep_signal_mask();
        }
        let SignalSet(default) = self.default_signal.unwrap_or(SignalSet(0));
        match self.ignore_signal {
            _ if self.keep_ignored_signals => command.default_signals(default),
            None => command.default_all_signals(),
            Some(set) => command.ignore_signals(set.0),
        };
    }
}

fn open_terminal(path: &Path) -> Result<OwnedFd, Error> {
    open(&Source::File(path.to_owned(), Mode::ReadWrite), &Callers::default())
}

/// The terminal of this process: the first standard stream that is one.
fn own_terminal(key: &'static str) -> Result<OwnedFd, Error> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let Some(tty) = streams.into_iter().find(|stream| isatty(stream)) else {
        return Err(Error::new(format!("{key}: no standard stream is a terminal")).at(key));
    };
    tty.try_clone_to_owned()
        .map_err(|error| Error::io("cannot duplicate", "the terminal", &error).at(key))
}
