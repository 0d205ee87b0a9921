//! A terminal of the child's own, and carrying between it and ours: keys in, the screen out.
//!
//! It must never leave our terminal in another mode than it was found in, nor wait for one side while the other
//! has something to say.

use crate::failure::Failure;
use embryo::Pty;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, isatty, tcgetattr,
    tcgetpgrp, tcgetsid, tcsetattr,
};
use std::time::Duration;

/// As much as the kernel hands over at once.
const PIECE: usize = 4096;
/// What a pseudoterminal can hold at most, and more than enough: 64 KiB on their way and a line buffer.
const HELD_MAX: usize = 128 << 10;
/// What can be written after POLLOUT without waiting, to a terminal that could not be opened again.
const CAUTIOUS: usize = 128;
/// The kernel does not tell a background job when it is in the foreground again, if it was not stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The child's terminal and what lies between it and us.
pub(crate) struct Relay {
    /// `None` once it is hung up.
    pty: Option<Pty>,
    /// The child's side. While we have it too, ours is never at its end.
    _slave: OwnedFd,
    keyboard: Keyboard,
    screen: Screen,
    /// The first of our streams that is a terminal: the child's has its size.
    sized_by: Option<OwnedFd>,
    /// Since the child has ended: how much more may be read, so that a process which it left behind
    /// cannot keep us.
    left: Option<usize>,
}

/// Where keys come from: standard input.
struct Keyboard {
    fd: Option<OwnedFd>,
    outer: Option<Outer>,
    /// Typed, and not yet taken by the child's terminal.
    pending: Vec<u8>,
    /// Whether the last byte ended a line.
    at_line_start: bool,
}

/// Where the screen is: standard output.
struct Screen {
    fd: OwnedFd,
    /// How much may be written after POLLOUT.
    at_once: usize,
    pending: Vec<u8>,
    /// Nobody looks any more.
    gone: bool,
    /// That was a pipe's or a socket's reader.
    broke: bool,
}

/// Our terminal, of which we take every key.
struct Outer {
    tty: OwnedFd,
    /// Its settings before, while they are ours.
    before: Option<Termios>,
    /// Whether what is written to it was laid out by the child's terminal.
    raw_output: bool,
}

/// Which of the relay's descriptors [`Relay::poll_fds`] has named.
#[derive(Clone, Copy)]
enum Side {
    Pty,
    Keyboard,
    Screen,
}

/// What the keys asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    /// Ctrl-Z, where no shell in the child's session would notice a stop: this process group is to be
    /// stopped, and we with it.
    Suspend(Pid),
}

impl Relay {
    /// Opens a terminal for a child, with the settings and the size of ours.
    pub(crate) fn open() -> Result<Self, Failure> {
        let pty = Pty::open().map_err(|e| Failure::from(e).hint("mount devpts at /dev/pts"))?;
        let slave = pty.slave()?;
        pty.set_nonblocking(true)?;
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let tty = streams.into_iter().find(|stream| isatty(stream));
        // In the background it may be in any mode, such as that of the shell's line editor.
        if let Some(tty) = tty.filter(is_ours) {
            pty.set_like(tty)?;
        }
        let (typed, shown) = (isatty(&stdin), isatty(&stdout));
        adjust(&pty, typed, shown).map_err(|e| Failure::io("cannot set", "a terminal", &e))?;
        let outer = match typed {
            true => Some(Outer { tty: copy(stdin.as_fd())?, before: None, raw_output: shown }),
            false => None,
        };
        let relay = Self {
            pty: Some(pty),
            _slave: slave,
            keyboard: Keyboard {
                fd: Some(unblocked(stdin.as_fd(), OFlags::RDONLY)?.0),
                outer,
                pending: Vec::new(),
                at_line_start: true,
            },
            screen: Screen::of(stdout.as_fd())?,
            sized_by: tty.map(copy).transpose()?,
            left: None,
        };
        relay.resize();
        Ok(relay)
    }

    /// The child's terminal, for its description.
    pub(crate) fn pty(&self) -> Option<&Pty> {
        self.pty.as_ref()
    }

    /// Gives it the size of ours.
    pub(crate) fn resize(&self) {
        if let (Some(pty), Some(tty)) = (&self.pty, &self.sized_by) {
            let _ = pty.resize_like(tty);
        }
    }

    /// Takes our terminal's keys, if it is our turn; to be called at the start and after every stop.
    pub(crate) fn enter(&mut self) {
        self.resize();
        if let Some(outer) = &mut self.keyboard.outer {
            outer.look();
        }
    }

    /// Gives our terminal its settings back.
    pub(crate) fn leave(&mut self) {
        if let Some(outer) = &mut self.keyboard.outer {
            outer.restore();
        }
    }

    /// Hangs up: the child's session gets SIGHUP, and reads and writes nothing more.
    pub(crate) fn hang_up(&mut self) {
        self.pty = None;
        self.keyboard.fd = None;
    }

    /// A signal for whoever is in the foreground of the child's terminal; false if it is none of those
    /// that a terminal sends.
    pub(crate) fn signal(&self, signal: i32) -> bool {
        let sent = |pty: &Pty| pty.signal_foreground(signal.unsigned_abs()).is_ok();
        self.pty.as_ref().is_some_and(sent)
    }

    /// Whether it was hung up because nobody read from our standard output any more.
    pub(crate) fn broke(&self) -> bool {
        self.screen.broke
    }

    /// Shows nothing more.
    pub(crate) fn give_up(&mut self) {
        self.screen.gone = true;
        self.screen.pending.clear();
        self.hang_up();
    }

    /// After the child's end: shows what it wrote last, and says whether that is all.
    pub(crate) fn finish(&mut self) -> bool {
        self.left.get_or_insert(HELD_MAX);
        self.keyboard.fd = None;
        self.keyboard.pending.clear();
        loop {
            self.read_screen();
            if self.screen.pending.is_empty() {
                return true;
            }
            self.screen.show();
            if !self.screen.pending.is_empty() {
                return false;
            }
        }
    }

    /// The descriptors to wait for.
    pub(crate) fn poll_fds(&self) -> Vec<PollFd<'_>> {
        self.sides().map(|(_, fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect()
    }

    /// How long to wait at most.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let outer = self.keyboard.outer.as_ref()?;
        (self.keyboard.fd.is_some() && outer.before.is_none()).then_some(LOOK_AGAIN)
    }

    fn sides(&self) -> impl Iterator<Item = (Side, BorrowedFd<'_>, PollFlags)> {
        let mut both = PollFlags::empty();
        both.set(PollFlags::IN, self.screen.pending.is_empty() && self.left != Some(0));
        both.set(PollFlags::OUT, !self.keyboard.pending.is_empty());
        let pty = self.pty.as_ref().filter(|_| !both.is_empty());
        let pty = pty.map(|pty| (Side::Pty, pty.as_fd(), both));
        // From the background nothing may be read.
        let may_read = self.keyboard.pending.is_empty()
            && self.keyboard.outer.as_ref().is_none_or(|outer| outer.before.is_some());
        let keyboard = self.keyboard.fd.as_ref().filter(|_| may_read);
        let keyboard = keyboard.map(|fd| (Side::Keyboard, fd.as_fd(), PollFlags::IN));
        let writes = !self.screen.pending.is_empty();
        let screen = writes.then(|| (Side::Screen, self.screen.fd.as_fd(), PollFlags::OUT));
        [pty, keyboard, screen].into_iter().flatten()
    }

    /// Carries what there is, after a poll of [`Relay::poll_fds`] that has found these.
    pub(crate) fn carry(&mut self, found: &[PollFlags]) -> Asked {
        let ready = self.sides().zip(found).filter(|(_, found)| !found.is_empty());
        let ready: Vec<Side> = ready.map(|((side, ..), _)| side).collect();
        let mut asked = Asked::Nothing;
        for side in ready {
            match side {
                Side::Pty => {
                    self.type_pending();
                    self.read_screen();
                }
                Side::Keyboard => asked = self.read_keys(),
                Side::Screen => {}
            }
        }
        if let Some(outer) = &mut self.keyboard.outer {
            outer.look();
        }
        self.screen.show();
        if self.screen.gone {
            self.hang_up();
        }
        asked
    }

    /// From the child's terminal.
    fn read_screen(&mut self) {
        let Some(pty) = self.pty.as_ref().filter(|_| self.screen.pending.is_empty()) else {
            return;
        };
        let mut piece = vec![0; PIECE.min(self.left.unwrap_or(PIECE))];
        if piece.is_empty() {
            return;
        }
        match rustix::io::read(pty, &mut piece) {
            Ok(count @ 1..) => {
                piece.truncate(count);
                self.screen.pending = piece;
                self.left = self.left.map(|left| left - count);
            }
            // All that was written before the child's end is there by then.
            _ => self.left = self.left.map(|_| 0),
        }
    }

    /// From our terminal.
    fn read_keys(&mut self) -> Asked {
        let Some(fd) = &self.keyboard.fd else { return Asked::Nothing };
        let mut piece = [0; PIECE];
        match rustix::io::read(fd, &mut piece) {
            Ok(count @ 1..) => {
                let keys = &piece[..count];
                self.keyboard.at_line_start = keys.ends_with(b"\n");
                if self.keyboard.outer.is_some()
                    && let Some((at, group)) = self.suspends(keys)
                {
                    self.keyboard.pending = [&keys[..at], &keys[at + 1..]].concat();
                    self.type_pending();
                    return Asked::Suspend(group);
                }
                self.keyboard.pending = keys.to_vec();
                self.type_pending();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // At its end, or gone.
            Ok(0) | Err(_) => self.end_input(),
        }
        Asked::Nothing
    }

    /// What is typed into a terminal has no end but the character for it. In the middle of a line
    /// that only sends the line, so it takes two.
    fn end_input(&mut self) {
        self.keyboard.fd = None;
        if self.keyboard.outer.is_some() {
            return;
        }
        if let Some(Ok(settings)) = self.pty.as_ref().map(tcgetattr) {
            let eof = settings.special_codes[SpecialCodeIndex::VEOF];
            let count = if self.keyboard.at_line_start { 1 } else { 2 };
            self.keyboard.pending.extend(std::iter::repeat_n(eof, count));
            self.type_pending();
        }
    }

    /// Where among these keys one stands that stops a group for which the kernel would ignore it: that of
    /// the session's leader, which no shell in the session watches, if it leaves SIGTSTP alone.
    fn suspends(&self, keys: &[u8]) -> Option<(usize, Pid)> {
        let pty = self.pty.as_ref()?;
        let settings = tcgetattr(pty).ok()?;
        let key = settings.special_codes[SpecialCodeIndex::VSUSP];
        let at = keys.iter().position(|byte| *byte == key)?;
        let group = tcgetpgrp(pty).ok()?;
        let alone = settings.local_modes.contains(LocalModes::ISIG)
            && key != 0
            && tcgetsid(pty) == Ok(group)
            && crate::job::stops_by_default(group)
            && !crate::job::is_orphaned();
        alone.then_some((at, group))
    }

    fn type_pending(&mut self) {
        if let Some(pty) = &self.pty
            && let Ok(count) = rustix::io::write(pty, &self.keyboard.pending)
        {
            self.keyboard.pending.drain(..count);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Screen {
    fn of(stdout: BorrowedFd<'_>) -> Result<Self, Failure> {
        let (fd, own) = unblocked(stdout, OFlags::WRONLY)?;
        let at_once = match own {
            true => usize::MAX,
            // A pipe and a socket that can be written to have room for a page.
            false if !isatty(stdout) => PIECE,
            false => CAUTIOUS,
        };
        Ok(Self { fd, at_once, pending: Vec::new(), gone: false, broke: false })
    }

    /// Writes what is pending, as much as there is room for.
    fn show(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if !matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1)) {
            return;
        }
        let piece = &self.pending[..self.pending.len().min(self.at_once)];
        match rustix::io::write(&self.fd, piece) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => {
                self.gone = true;
                self.broke = error == Errno::PIPE;
                self.pending.clear();
            }
        }
    }
}

impl Outer {
    /// Takes the keys when it has become our turn; forgets that we had them when it is not any more.
    fn look(&mut self) {
        match (is_ours(&self.tty), self.before.is_some()) {
            (true, false) => self.take(),
            // Whoever has it now has given it settings of its own.
            (false, true) => self.before = None,
            _ => {}
        }
    }

    fn take(&mut self) {
        let Ok(before) = tcgetattr(&self.tty) else { return };
        let mut raw = before.clone();
        raw.make_raw();
        if !self.raw_output {
            raw.output_modes = before.output_modes;
        }
        // What was typed ahead is kept.
        if tcsetattr(&self.tty, OptionalActions::Now, &raw).is_ok() {
            self.before = Some(before);
        }
    }

    fn restore(&mut self) {
        if let Some(before) = self.before.take()
            && is_ours(&self.tty)
        {
            let _ = tcsetattr(&self.tty, OptionalActions::Now, &before);
        }
    }
}

/// Whether this process may use the terminal now: it is in the foreground, or the terminal is not that
/// of its session, which then says nothing of foreground and background.
fn is_ours(tty: &impl AsFd) -> bool {
    match tcgetpgrp(tty) {
        Ok(group) => embryo_syscall::getpgrp() == Ok(group.as_raw_nonzero().get()),
        Err(error) => error == Errno::NOTTY,
    }
}

/// Nobody has typed what comes from a file, so it is not echoed; and lines end with a carriage return only
/// for a screen of which we have taken the settings away.
fn adjust(pty: &Pty, typed: bool, shown: bool) -> std::io::Result<()> {
    let mut settings = tcgetattr(pty)?;
    if !typed {
        settings.local_modes.remove(LocalModes::ECHO);
    }
    if !typed || !shown {
        settings.output_modes.remove(OutputModes::OPOST);
    }
    Ok(tcsetattr(pty, OptionalActions::Now, &settings)?)
}

fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    fd.try_clone_to_owned().map_err(|e| Failure::io("cannot duplicate", "a standard stream", &e))
}

/// A stream that does not make us wait, and whether it is so. The flag for that belongs to everybody who
/// shares the stream, so a terminal or a pipe is opened once more; what cannot be opened is used as it is.
fn unblocked(fd: BorrowedFd<'_>, access: OFlags) -> Result<(OwnedFd, bool), Failure> {
    let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if matches!(kind, Ok(FileType::Fifo)) || isatty(fd) {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Ok(own) = rustix::fs::open(path, flags, Mode::empty()) {
            return Ok((own, true));
        }
    }
    Ok((copy(fd)?, false))
}
