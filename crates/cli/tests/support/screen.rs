//! A terminal with programs on it, and somebody who types and reads.

use super::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_Z: &str = "\x1a";
pub(crate) const CTRL_BACKSLASH: &str = "\x1c";

/// Programs on a terminal, and somebody who types and reads.
pub(crate) struct Screen {
    pub(crate) keyboard: File,
    pub(crate) text: String,
    /// Up to where it has been read.
    pub(crate) read: usize,
    pub(crate) leader: embryo::Process,
}

impl Screen {
    /// Starts a program as the leader of a session on a terminal of its own.
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        super::ignore_nothing();
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        let copy = || OwnedFd::try_clone(&theirs).unwrap();
        let mut command = embryo::Command::new(program);
        command.args(args).stdin(copy()).stdout(copy()).stderr(copy()).controlling_tty(copy());
        command.env("E", env!("CARGO_BIN_EXE_embryo")).env("PS1", "@ ").env("TERM", "dumb");
        let leader = command.spawn().unwrap();
        Self { keyboard: ours.into(), text: String::new(), read: 0, leader }
    }

    /// An interactive bash(1), unless there is none.
    pub(crate) fn shell() -> Option<Self> {
        let bash = ["/bin/bash", "/usr/bin/bash"].into_iter();
        let bash = bash.clone().find(|path| std::path::Path::new(path).exists())?;
        let mut screen = Self::new(bash, &["--norc", "--noprofile", "--noediting", "-i"]);
        screen.sees("@ ");
        Some(screen)
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this appears behind what has been read; returns what stands between.
    #[track_caller]
    pub(crate) fn sees(&mut self, expect: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text[self.read..].find(expect) {
                let between = self.text[self.read..self.read + at].to_owned();
                self.read += at + expect.len();
                return between;
            }
            let unread = &self.text[self.read..];
            assert!(Instant::now() < deadline, "no {expect:?} on the screen: {unread:?}");
            let mut fds = [PollFd::new(&self.keyboard, PollFlags::IN)];
            let wait = Timespec::try_from(Duration::from_millis(100)).unwrap();
            if poll(&mut fds, Some(&wait)).unwrap() == 1 {
                let mut bytes = [0; 4096];
                // The last program's end is an error here.
                let count = self.keyboard.read(&mut bytes).unwrap_or(0);
                self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        }
    }

    /// Runs a script in sh(1) through embryo with these options, and waits for its "ready"; returns
    /// the script's pid.
    pub(crate) fn starts(&mut self, options: &str, script: &str) -> u32 {
        self.starts_with(options, "", script)
    }

    /// The same with something that the script does before it is ready.
    pub(crate) fn starts_with(&mut self, options: &str, setup: &str, script: &str) -> u32 {
        // The quotes keep the words from being seen when they are typed.
        self.types(&format!(
            "\"$E\" run {options} -- sh -c '{setup}echo pid:$$:; echo re\"\"ady; {script}'\n"
        ));
        self.sees("pid:");
        while !self.sees(":").chars().all(|c| c.is_ascii_digit()) {}
        let before = &self.text[..self.read - 1];
        let pid = before[before.rfind(':').unwrap() + 1..].parse().unwrap();
        self.sees("ready");
        pid
    }

    /// The status of the last command.
    #[track_caller]
    pub(crate) fn status(&mut self) -> i32 {
        self.types("echo status:$?:\n");
        self.sees("status:$?:");
        self.sees("status:");
        self.sees(":").parse().unwrap()
    }

    pub(crate) fn foreground(&self) -> u32 {
        let group = rustix::termios::tcgetpgrp(self.keyboard.as_fd()).unwrap();
        group.as_raw_nonzero().get().unsigned_abs()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The session's end takes its foreground with it.
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}
