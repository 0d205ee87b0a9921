//! A cgroup of version 2 that exists as long as its handle does; cgroups(7).
//!
//! A guardian makes it, and removes it with whoever is in it when the handle is dropped or its owner
//! dies, by whatever means. Nothing is ever written to a cgroup that was not made here, but for what
//! enabling controllers in the parent writes where that was asked for.

mod figures;
mod limits;

use crate::error::{CgroupError, Error};
use crate::guardian::{Guardian, Orders, Refused};
use crate::spawn::SpawnOptions;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use figures::CgroupFigures;
pub use limits::{Amount, CgroupLimits, CpuMax, IoMax, TransientCgroup};

/// A cgroup of one's own. Dropping it kills whoever is in it and removes it, with those that were made
/// below it.
///
/// Its directory is what [`embryo_plan::CgroupOp::Join`] takes as a grant.
///
/// # Restrictions
/// Who may write to a `cgroup.procs` above it can leave it, and is not found then: root, and the user that
/// the parent is delegated to. The guardian is in the caller's own cgroup; whoever kills that kills it
/// too, and who kills the caller as well at that moment leaves the cgroup behind.
///
/// # Kernel
/// Linux 5.10. `cgroup.kill` is of 5.14; before, processes are frozen and killed one by one.
#[derive(Debug)]
pub struct Cgroup {
    // `None` once it was let go of.
    guardian: Option<Guardian>,
    parent: OwnedFd,
    dir: OwnedFd,
    name: String,
    path: PathBuf,
}

/// How long a cgroup whose guardian was killed is tried to be removed.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cgroup {
    /// Makes one below `spec.parent`.
    ///
    /// # Errors
    /// [`Error::Cgroup`] with the directory or file and what to do about it.
    pub fn create(spec: &TransientCgroup) -> Result<Self, Error> {
        Self::create_with(spec, SpawnOptions::default())
    }

    /// [`Cgroup::create`] within the options' timeout.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn create_with(spec: &TransientCgroup, options: SpawnOptions) -> Result<Self, Error> {
        let files = spec.limits.files()?;
        let parent = open_dir(&spec.parent)?;
        for controller in missing(&spec.parent, &parent, &files)? {
            if !spec.enable_controllers {
                return Err(not_enabled(&spec.parent, &controller));
            }
            let path = spec.parent.join("cgroup.subtree_control");
            let written =
                write(parent.as_fd(), "cgroup.subtree_control", &format!("+{controller}"));
            written.map_err(|errno| {
                let what = format!("enabling {controller} in {}", path.display());
                error(what, errno, hint_of_enabling(errno))
            })?;
        }
        let name = unique_name().map_err(|errno| error("a random name".into(), errno, None))?;
        let orders = Orders { parent: parent.as_fd(), name: &name, files: &files };
        let started = Guardian::start(Some(&orders), options.timeout);
        let path = spec.parent.join(&name);
        let (guardian, dir) = started.map_err(|refused| match refused {
            Refused::Launch(error) => error,
            Refused::Order(0, errno) => {
                let errno = Errno::from_raw_os_error(i32::from(errno.number()));
                error(format!("making {}", path.display()), errno, hint_of_making(errno))
            }
            Refused::Order(index, errno) => {
                let errno = Errno::from_raw_os_error(i32::from(errno.number()));
                let (file, value) = files.get(index as usize - 1).cloned().unwrap_or_default();
                let what = format!(
                    "writing {value:?} to {file} of a new cgroup below {}",
                    spec.parent.display()
                );
                error(what, errno, hint_of_writing(errno))
            }
        })?;
        let dir = dir.expect("with orders there is a directory");
        Ok(Self { guardian: Some(guardian), parent, dir, name, path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills everybody in it, and in those below it, at once; what is made at the same time too.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    ///
    /// # Kernel
    /// `cgroup.kill` is of Linux 5.14; before, they are frozen and killed one by one until there are
    /// none.
    pub fn kill(&self) -> Result<(), Error> {
        match write(self.dir.as_fd(), "cgroup.kill", "1") {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => {
                let _ = write(self.dir.as_fd(), "cgroup.freeze", "1");
                let until = Instant::now() + PATIENCE;
                while self.is_populated() && Instant::now() < until {
                    kill_each(&self.path);
                    std::thread::sleep(Duration::from_millis(1));
                }
                write(self.dir.as_fd(), "cgroup.freeze", "0")
                    .map_err(|errno| error(format!("thawing {}", self.path.display()), errno, None))
            }
            Err(errno) => Err(error(format!("killing {}", self.path.display()), errno, None)),
        }
    }

    /// Stops everybody in it, or lets them go on. Who is stopped can be killed all the same.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn freeze(&self, freeze: bool) -> Result<(), Error> {
        let value = if freeze { "1" } else { "0" };
        write(self.dir.as_fd(), "cgroup.freeze", value)
            .map_err(|errno| error(format!("freezing {}", self.path.display()), errno, None))
    }

    /// Whether anybody is in it, or in one below it.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        let events = read(self.dir.as_fd(), "cgroup.events").unwrap_or_default();
        events.lines().any(|line| line == "populated 1")
    }

    /// What it has used so far.
    #[must_use]
    pub fn figures(&self) -> CgroupFigures {
        CgroupFigures::of(|file| read(self.dir.as_fd(), file).ok())
    }

    /// Lets it go: it is removed when nobody is in it any more, and nobody is killed, whatever becomes of
    /// the caller.
    pub fn release(mut self) {
        if let Some(guardian) = self.guardian.take() {
            guardian.release();
        }
    }

    /// Has it killed and removed.
    pub(crate) fn end_soon(&self) {
        if let Some(guardian) = &self.guardian {
            guardian.end_soon();
        }
    }

    /// The same, without anybody to ask what came of it.
    pub(crate) fn end_behind(mut self) {
        if let Some(guardian) = self.guardian.take() {
            guardian.end_behind();
        }
    }

    /// What the guardian would have done.
    fn dismantle(&self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let _ = self.kill();
            remove_below(&self.path);
            match rustix::fs::unlinkat(&self.parent, self.name.as_str(), AtFlags::REMOVEDIR) {
                Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(1)),
                _ => return,
            }
        }
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Some(mut guardian) = self.guardian.take()
            && !guardian.end()
        {
            // Somebody has killed it.
            self.dismantle();
        }
    }
}

/// Opens the directory of a cgroup.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| error(format!("opening {}", path.display()), errno, None))?;
    // Every cgroup of version 2 has it, the root too, and nothing else does.
    match rustix::fs::accessat(
        &dir,
        "cgroup.controllers",
        rustix::fs::Access::EXISTS,
        AtFlags::empty(),
    ) {
        Ok(()) => Ok(dir),
        Err(errno) => {
            let hint = "a cgroup of version 2 is needed: embryo doctor says where they are";
            Err(error(format!("{} is no cgroup", path.display()), errno, Some(hint.to_owned())))
        }
    }
}

/// Controllers that the files need and the parent does not have enabled for its children.
fn missing(
    path: &Path,
    parent: &OwnedFd,
    files: &[(String, String)],
) -> Result<Vec<String>, Error> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let list = |file: &str| -> Result<Vec<String>, Error> {
        let text = read(parent.as_fd(), file);
        let text = text.map_err(|errno| {
            error(format!("reading {}", path.join(file).display()), errno, None)
        })?;
        Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
    };
    let (available, enabled) = (list("cgroup.controllers")?, list("cgroup.subtree_control")?);
    let mut missing = Vec::new();
    for (file, _) in files {
        let controller = file.split('.').next().unwrap_or_default().to_owned();
        if controller == "cgroup" || enabled.contains(&controller) || missing.contains(&controller)
        {
            continue;
        }
        if !available.contains(&controller) {
            let has = if available.is_empty() { "none".into() } else { available.join(" ") };
            let what = format!(
                "{file} needs the controller {controller}, which {} does not have (it has {has})",
                path.display()
            );
            let hint = "it may be on a hierarchy of version 1, or not be enabled in a cgroup above";
            return Err(error(what, Errno::NOTSUP, Some(hint.to_owned())));
        }
        missing.push(controller);
    }
    Ok(missing)
}

fn not_enabled(path: &Path, controller: &str) -> Error {
    let file = path.join("cgroup.subtree_control");
    let what =
        format!("the controller {controller} is not enabled for cgroups in {}", path.display());
    let hint = format!(
        "echo +{controller} > {}, or have it enabled (enable_controllers, --cgroup-enable)",
        file.display()
    );
    error(what, Errno::NOTSUP, Some(hint))
}

fn hint_of_enabling(errno: Errno) -> Option<String> {
    let hint = match errno {
        Errno::BUSY => {
            "processes are in that cgroup itself: only cgroups without any can have some \
                        with controllers below them"
        }
        Errno::ACCESS | Errno::PERM => "it is not delegated to this user",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_of_making(errno: Errno) -> Option<String> {
    let hint = match errno {
        Errno::ACCESS | Errno::PERM => {
            "the parent is not delegated to this user: embryo doctor says which is"
        }
        Errno::AGAIN => "cgroup.max.descendants or cgroup.max.depth of one above allows no more",
        Errno::ROFS => "the cgroup file system is mounted read-only, as in a container",
        Errno::NOENT | Errno::NODEV => "the parent has been removed",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_of_writing(errno: Errno) -> Option<String> {
    let hint = match errno {
        Errno::NOENT => "this kernel has no such file, or the controller was disabled meanwhile",
        Errno::INVAL | Errno::RANGE | Errno::NODEV => "the kernel does not take this value",
        Errno::ACCESS | Errno::PERM => "the parent keeps that to itself",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn error(what: String, errno: Errno, hint: Option<String>) -> Error {
    CgroupError::of(what, errno.into(), hint)
}

/// A name that nobody else has made up.
fn unique_name() -> Result<String, Errno> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("embryo-{}-{:016x}", std::process::id(), u64::from_ne_bytes(bytes)))
}

fn write(dir: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    let file = rustix::fs::openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

fn read(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let file = rustix::fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let text = io::read_to_string(std::fs::File::from(file));
    text.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn below(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink())
}

fn kill_each(path: &Path) {
    let procs = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    // 0 is somebody outside the pid namespace.
    let pids = procs.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?));
    pids.for_each(|pid| {
        _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    });
    below(path).for_each(|path| kill_each(&path));
}

fn remove_below(path: &Path) {
    for path in below(path) {
        remove_below(&path);
        let _ = std::fs::remove_dir(path);
    }
}
