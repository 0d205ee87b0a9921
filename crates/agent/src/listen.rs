//! The sockets that an agent listens on: made at paths, or passed by the service manager.
//!
//! It must never take a path away from somebody who still listens there, nor leave a moment in which more can
//! connect than the file says.

use crate::config::{Config, Listen};
use crate::serve::Staying;
use embryo_job::Callers;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// A socket to accept connections from, and what they may ask for.
#[derive(Debug)]
pub struct Listener {
    /// It does not block.
    pub fd: OwnedFd,
    /// The name of the mandate.
    pub mandate: String,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A system call failed.
    #[error("cannot {what} {}: {}", path.display(), errno_text(*errno))]
    Io {
        /// What was to be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The path cannot be had.
    #[error("{}: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The sockets that were passed are not those that the file names.
    #[error("{0}")]
    Passed(String),
}

/// All sockets of an agent.
#[derive(Debug, Default)]
pub struct Sockets {
    passed: BTreeMap<String, Vec<OwnedFd>>,
    bound: BTreeMap<PathBuf, Bound>,
}

/// A socket at a path.
#[derive(Debug)]
struct Bound {
    socket: OwnedFd,
    /// The directory and the name in it.
    dir: OwnedFd,
    name: OsString,
    /// The file, which keeps its inode's number from being given again.
    inode: OwnedFd,
}

/// All sockets by the numbers of their descriptors, for the program that this process executes next.
#[derive(Debug, Serialize, Deserialize)]
pub struct SocketNumbers {
    passed: Vec<(String, i32)>,
    /// The socket, the directory and the file.
    bound: Vec<(PathBuf, [i32; 3])>,
}

impl Sockets {
    /// Has all of them stay open.
    ///
    /// # Errors
    /// A descriptor cannot be duplicated.
    pub fn save(&self, staying: &mut Staying) -> io::Result<SocketNumbers> {
        let mut numbers = SocketNumbers { passed: Vec::new(), bound: Vec::new() };
        for (name, fds) in &self.passed {
            for fd in fds {
                numbers.passed.push((name.clone(), staying.keep(fd.as_fd())?));
            }
        }
        for (path, Bound { socket, dir, inode, .. }) in &self.bound {
            let mut keep = |fd: &OwnedFd| staying.keep(fd.as_fd());
            numbers.bound.push((path.clone(), [keep(socket)?, keep(dir)?, keep(inode)?]));
        }
        Ok(numbers)
    }

    /// Those that the program before has saved.
    ///
    /// # Errors
    /// A descriptor is not there.
    pub fn restored(
        numbers: SocketNumbers,
        take: &mut dyn FnMut(i32) -> io::Result<OwnedFd>,
    ) -> io::Result<Self> {
        let mut sockets = Self::default();
        for (name, number) in numbers.passed {
            sockets.passed.entry(name).or_default().push(take(number)?);
        }
        for (path, [socket, dir, inode]) in numbers.bound {
            let name = path.file_name().unwrap_or_default().to_owned();
            let bound = Bound { socket: take(socket)?, dir: take(dir)?, name, inode: take(inode)? };
            sockets.bound.insert(path, bound);
        }
        Ok(sockets)
    }

    /// Takes those that the service manager passed to this process (`LISTEN_FDS`), if any. It has to be
    /// called before anything else opens a descriptor.
    ///
    /// # Errors
    /// One is no listening `SOCK_SEQPACKET` Unix socket.
    pub fn passed() -> Result<Self, ListenError> {
        let bad = |error: io::Error| ListenError::Passed(format!("LISTEN_FDS: {error}"));
        let names = sd_notify::listen_fds_with_names().map_err(bad)?;
        let names: Vec<(i32, String)> = names.collect();
        let numbers = names.iter().map(|(fd, _)| fd.unsigned_abs());
        let callers = Callers::take(numbers)
            .map_err(|error| ListenError::Passed(format!("LISTEN_FDS: {error}")))?;
        let mut sockets = Self::default();
        for (number, name) in names {
            let fd = callers.get(number.unsigned_abs());
            let fd = fd.map_err(|error| ListenError::Passed(error.to_string()))?;
            // The handle is another one; the number itself belongs to nobody here.
            let _ = embryo_syscall::close(number);
            if !is_listening(fd.as_fd()) {
                return Err(ListenError::Passed(format!(
                    "descriptor {number} ({name:?}) is no listening SOCK_SEQPACKET Unix socket: \
                     ListenSequentialPacket= makes one"
                )));
            }
            let passed =
                |errno| ListenError::Io { what: "set up", path: name.clone().into(), errno };
            rustix::io::ioctl_fionbio(&fd, true).map_err(passed)?;
            sockets.passed.entry(name).or_default().push(fd);
        }
        Ok(sockets)
    }

    /// Opens what the file names, and keeps what is open already. If that fails everything is as it was.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub fn open(&mut self, config: &Config) -> Result<Vec<Listener>, ListenError> {
        let mut new = BTreeMap::new();
        let opened = self.open_into(config, &mut new);
        if opened.is_err() {
            new.into_values().for_each(Bound::remove);
            return opened;
        }
        self.bound.append(&mut new);
        opened
    }

    /// Removes the sockets that this file does not name any more, and gives the others the permissions that
    /// it says.
    ///
    /// # Errors
    /// The permissions cannot be set.
    pub fn settle(&mut self, config: &Config) -> Result<(), ListenError> {
        let named =
            |path: &PathBuf| config.listen.iter().any(|listen| listen.path.as_ref() == Some(path));
        let gone: Vec<PathBuf> = self.bound.keys().filter(|path| !named(path)).cloned().collect();
        gone.iter().filter_map(|path| self.bound.remove(path)).for_each(Bound::remove);
        for listen in &config.listen {
            let Some(path) = &listen.path else { continue };
            if let Some(bound) = self.bound.get(path) {
                bound.permit(path, listen)?;
            }
        }
        Ok(())
    }

    /// Removes all that were made.
    pub fn remove(&mut self) {
        std::mem::take(&mut self.bound).into_values().for_each(Bound::remove);
    }

    /// The names of those that were passed and that the file does not use.
    #[must_use]
    pub fn unused(&self, config: &Config) -> Vec<&str> {
        let used = |name: &&str| {
            config.listen.iter().any(|listen| listen.fd_name.as_deref() == Some(*name))
        };
        self.passed.keys().map(String::as_str).filter(|name| !used(name)).collect()
    }

    fn open_into(
        &self,
        config: &Config,
        new: &mut BTreeMap<PathBuf, Bound>,
    ) -> Result<Vec<Listener>, ListenError> {
        let mut listeners = Vec::new();
        for listen in &config.listen {
            let mandate = &listen.mandate;
            let mut give = |fd: &OwnedFd| {
                let copied = rustix::io::fcntl_dupfd_cloexec(fd, 0);
                let copied = copied.map_err(|errno| ListenError::Io {
                    what: "duplicate the socket for",
                    path: mandate.into(),
                    errno,
                })?;
                listeners.push(Listener { fd: copied, mandate: mandate.clone() });
                Ok::<(), ListenError>(())
            };
            if let Some(name) = &listen.fd_name {
                let fds = self.passed.get(name).ok_or_else(|| self.missing(name))?;
                fds.iter().try_for_each(give)?;
            } else if let Some(path) = &listen.path {
                if let Some(bound) = self.bound.get(path) {
                    give(&bound.socket)?;
                    continue;
                }
                let bound = Bound::new(path, listen)?;
                let given = give(&bound.socket);
                new.insert(path.clone(), bound);
                given?;
            }
        }
        Ok(listeners)
    }

    fn missing(&self, name: &str) -> ListenError {
        let names: Vec<&str> = self.passed.keys().map(String::as_str).collect();
        ListenError::Passed(match names.is_empty() {
            true => format!("no socket {name:?} was passed, nor any other (LISTEN_FDS)"),
            false => {
                format!("no socket {name:?} was passed; those passed are {}", names.join(", "))
            }
        })
    }
}

impl Bound {
    /// Makes a socket at a path. Nobody can connect before it listens, and it does not before it has its owner
    /// and its permissions.
    fn new(path: &Path, listen: &Listen) -> Result<Self, ListenError> {
        let fail = |what| move |errno| ListenError::Io { what, path: path.into(), errno };
        let refuse = |why: &str| ListenError::Path { path: path.into(), why: why.into() };
        let name = path.file_name().ok_or_else(|| refuse("it names no file"))?;
        let dir = directory(path.parent().unwrap_or(Path::new("/")))?;
        let address = SocketAddrUnix::new(path).map_err(fail("bind a socket to"))?;
        let socket = socket().map_err(fail("make a socket for"))?;
        match rustix::net::bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                clear(dir.as_fd(), name, path, listen)?;
                rustix::net::bind(&socket, &address)
            }
            done => done,
        }
        .map_err(fail("bind a socket to"))?;
        let inode = open_socket(dir.as_fd(), name).map_err(fail("find the socket made at"))?;
        let bound = Self { socket, dir, name: name.to_owned(), inode };
        let listening = bound
            .permit(path, listen)
            .and_then(|()| rustix::net::listen(&bound.socket, BACKLOG).map_err(fail("listen on")));
        match listening {
            Ok(()) => Ok(bound),
            Err(error) => {
                bound.remove();
                Err(error)
            }
        }
    }

    /// Gives the file its owner and permissions, by a handle: no path is looked up again.
    fn permit(&self, path: &Path, listen: &Listen) -> Result<(), ListenError> {
        let fail = |what| move |errno| ListenError::Io { what, path: path.into(), errno };
        let refuse = |why| ListenError::Path { path: path.into(), why };
        let owner = listen.owner_id().map_err(refuse)?.map(rustix::fs::Uid::from_raw);
        let group = listen.group_id().map_err(refuse)?.map(rustix::fs::Gid::from_raw);
        let mode = Mode::from_raw_mode(listen.permissions().map_err(refuse)?);
        if owner.is_some() || group.is_some() {
            rustix::fs::chownat(&self.inode, "", owner, group, AtFlags::EMPTY_PATH)
                .map_err(fail("change the owner of"))?;
        }
        let handle = format!("/proc/self/fd/{}", self.inode.as_raw_fd());
        rustix::fs::chmod(handle, mode).map_err(fail("change the mode of"))
    }

    /// Removes the file, if it is still this one.
    fn remove(self) {
        let Ok(there) = open_socket(self.dir.as_fd(), &self.name) else { return };
        if let (Ok(there), Ok(own)) = (rustix::fs::fstat(&there), rustix::fs::fstat(&self.inode))
            && (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)
        {
            let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The directory that a socket is to be in: no symbolic link leads there.
fn directory(path: &Path) -> Result<OwnedFd, ListenError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    opened.map_err(|errno| match errno {
        Errno::LOOP => {
            let real = std::fs::canonicalize(path).unwrap_or_default();
            let why = format!("a symbolic link leads there; it is {}", real.display());
            ListenError::Path { path: path.into(), why }
        }
        errno => ListenError::Io { what: "open the directory", path: path.into(), errno },
    })
}

/// A handle of a socket's file.
fn open_socket(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inode = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    match is_socket(&rustix::fs::fstat(&inode)?) {
        true => Ok(inode),
        false => Err(Errno::NOTSOCK),
    }
}

fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}

/// Removes what an agent before this one has left at a path, and nothing else.
fn clear(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    listen: &Listen,
) -> Result<(), ListenError> {
    let refuse = |why: String| ListenError::Path { path: path.into(), why };
    let inode = match open_socket(dir, name) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTSOCK) => {
            return Err(refuse("something that is no socket is there, and stays".into()));
        }
        opened => {
            opened.map_err(|errno| ListenError::Io { what: "look at", path: path.into(), errno })?
        }
    };
    let fail = |errno| ListenError::Io { what: "look at", path: path.into(), errno };
    let stat = rustix::fs::fstat(&inode).map_err(fail)?;
    let own = rustix::process::geteuid().as_raw();
    let named = listen.owner_id().ok().flatten();
    if stat.st_uid != own && Some(stat.st_uid) != named {
        return Err(refuse(format!("a socket of uid {} is there, and stays", stat.st_uid)));
    }
    let asked =
        SocketAddrUnix::new(path).and_then(|address| rustix::net::connect(&socket()?, &address));
    match asked {
        Err(Errno::CONNREFUSED) => rustix::fs::unlinkat(dir, name, AtFlags::empty())
            .map_err(|errno| ListenError::Io { what: "remove", path: path.into(), errno }),
        _ => Err(refuse("somebody listens there already".into())),
    }
}

fn is_listening(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
        && sockopt::socket_acceptconn(fd) == Ok(true)
}

/// The system's words for an errno, and its name.
pub(crate) fn errno_text(errno: Errno) -> String {
    let error = io::Error::from(errno).to_string();
    let text = error.split(" (os error").next().unwrap_or_default();
    match embryo::errno_name(errno.raw_os_error().unsigned_abs()) {
        Some(name) => format!("{text} ({name})"),
        None => error,
    }
}
