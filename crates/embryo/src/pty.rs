//! A terminal of a child's own: both ends of a pseudoterminal, without a path to either.
//!
//! It must never keep the child's end open: whoever reads the other end would wait for ever.

use crate::error::Error;
use embryo_syscall::terminal_signal;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

const FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

/// The side of a pseudoterminal that is not the child's: what a terminal emulator holds. pty(7).
///
/// [`crate::Command::pty`] gives the other side to a child. What the child writes is read here, and what
/// is written here the child reads as if it had been typed: an interrupt character is Ctrl-C. Dropping
/// this hangs the terminal up, and its session gets SIGHUP.
///
/// ```
/// use std::io::Read;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pty = embryo::Pty::open()?;
/// pty.resize(24, 80)?;
/// let mut child = embryo::Command::new("tty").pty(&pty).spawn()?;
/// let mut screen = String::new();
/// (&pty).read_to_string(&mut screen)?; // Until nobody has the child's side open.
/// assert!(screen.starts_with("/dev/pts/"));
/// assert!(child.wait()?.success());
/// # Ok(())
/// # }
/// ```
///
/// # Kernel
/// Linux 4.13 and a devpts at `/dev/pts`. Source: `TIOCGPTPEER` of ioctl_tty(2), by which the child's side
/// is opened without its name, which might be another file by then or in another mount namespace.
#[derive(Debug)]
pub struct Pty {
    master: Arc<OwnedFd>,
}

impl Pty {
    /// A new one, with the kernel's settings, of no size; posix_openpt(3), grantpt(3), unlockpt(3).
    ///
    /// # Errors
    /// EAGAIN if there are too many (`kernel.pty.max`), ENOENT if there is no `/dev/ptmx`.
    pub fn open() -> Result<Self, Error> {
        let open = || {
            let master = openpt(FLAGS)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            Ok(master)
        };
        let fail = |errno: rustix::io::Errno| Error::io("opening a pseudoterminal")(errno.into());
        Ok(Self { master: Arc::new(open().map_err(fail)?) })
    }

    /// The child's side, close-on-exec, and not the caller's controlling terminal.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn slave(&self) -> Result<OwnedFd, Error> {
        slave(&self.master)
    }

    /// Sets its size in characters. The foreground process group gets SIGWINCH if that is news.
    ///
    /// # Errors
    /// What the kernel answers.
    ///
    /// # Kernel
    /// Source: `TIOCSWINSZ` of ioctl_tty(2).
    pub fn resize(&self, rows: u16, cols: u16) -> Result<(), Error> {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        self.set_size(size)
    }

    /// Its rows and columns; zeros if nobody has said.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn size(&self) -> Result<(u16, u16), Error> {
        let size = tcgetwinsize(&self.master);
        let size = size.map_err(|errno| Error::io("asking for a terminal's size")(errno.into()))?;
        Ok((size.ws_row, size.ws_col))
    }

    /// Takes the size over from another terminal, in characters and in pixels.
    ///
    /// # Errors
    /// ENOTTY if it is none.
    pub fn resize_like(&self, terminal: impl AsFd) -> Result<(), Error> {
        let size = tcgetwinsize(terminal);
        self.set_size(size.map_err(|e| Error::io("asking for a terminal's size")(e.into()))?)
    }

    /// Takes the settings over from another terminal: its modes, special characters and speed.
    ///
    /// # Errors
    /// ENOTTY if it is none.
    ///
    /// # Kernel
    /// Source: tcgetattr(3). Linux lets the settings of a pair be changed from both its sides.
    pub fn set_like(&self, terminal: impl AsFd) -> Result<(), Error> {
        tcgetattr(terminal)
            .and_then(|settings| tcsetattr(&self.master, OptionalActions::Now, &settings))
            .map_err(|errno| Error::io("copying a terminal's settings")(errno.into()))
    }

    /// Sends the foreground process group a signal, whatever the settings are and however much is waiting to be
    /// read: SIGINT, SIGQUIT or SIGTSTP.
    ///
    /// # Errors
    /// EINVAL for any other.
    ///
    /// # Kernel
    /// Linux 2.6.36. Source: `TIOCSIG`.
    pub fn signal_foreground(&self, signal: u32) -> Result<(), Error> {
        terminal_signal(self.master.as_raw_fd(), signal)
            .map_err(|errno| io::Error::from_raw_os_error(errno.number().into()))
            .map_err(Error::io("signalling a terminal's foreground"))
    }

    /// Whether reading and writing answer [`io::ErrorKind::WouldBlock`] instead of waiting.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Error> {
        rustix::fs::fcntl_getfl(&self.master)
            .map(|flags| match nonblocking {
                true => flags | OFlags::NONBLOCK,
                false => flags - OFlags::NONBLOCK,
            })
            .and_then(|flags| rustix::fs::fcntl_setfl(&self.master, flags))
            .map_err(|errno| Error::io("changing a pseudoterminal's flags")(errno.into()))
    }

    /// What a command keeps of it: enough to open the child's side, not enough to keep the terminal
    /// from being hung up.
    pub(crate) fn downgrade(&self) -> Weak<OwnedFd> {
        Arc::downgrade(&self.master)
    }

    fn set_size(&self, size: Winsize) -> Result<(), Error> {
        let set = tcsetwinsize(&self.master, size);
        set.map_err(|errno| Error::io("setting a terminal's size")(errno.into()))
    }
}

/// Opens the child's side.
pub(crate) fn slave(master: &OwnedFd) -> Result<OwnedFd, Error> {
    ioctl_tiocgptpeer(master, FLAGS)
        .map_err(|errno| Error::io("opening the child's side of a pseudoterminal")(errno.into()))
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

impl TryFrom<Pty> for OwnedFd {
    type Error = io::Error;

    /// The descriptor itself; a copy if a command is opening the child's side at this moment.
    fn try_from(pty: Pty) -> io::Result<OwnedFd> {
        Arc::try_unwrap(pty.master).or_else(|shared| shared.try_clone())
    }
}

impl Read for &Pty {
    /// At the end, when nobody has the child's side open, the kernel answers EIO: that is no error here, but the
    /// end. Nothing that was written before it is lost.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&*self.master, buffer) {
            Err(rustix::io::Errno::IO) => Ok(0),
            other => Ok(other?),
        }
    }
}

impl Write for &Pty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&*self.master, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Pty {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Pty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
