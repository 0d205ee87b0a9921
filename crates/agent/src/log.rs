//! The agent's log: lines on standard error for people or programs, and the last ones in memory for
//! operators.
//!
//! It must never wait for whoever reads standard error, nor put a byte of a client's on a terminal raw.

mod record;
mod ring;

pub use ring::Ring;

use record::Record;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Bytes of a line, at most: what a pipe takes in one piece.
const LINE_MAX: usize = 4096;

/// How lines on standard error look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Has this process log to standard error and to a ring, from now on.
///
/// # Errors
/// It logs somewhere else already.
pub fn start(format: Format, level: LevelFilter, ring: &Ring) -> io::Result<()> {
    let stderr = Stderr { style: Style::of(format), lost: AtomicU64::new(0) };
    let layers = tracing_subscriber::registry().with(stderr.with_filter(level));
    // What is kept for operators does not depend on what somebody wants to see on a terminal.
    let layers = layers.with(ring.layer().with_filter(level.max(LevelFilter::INFO)));
    tracing::subscriber::set_global_default(layers).map_err(io::Error::other)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// The journal adds the time, and reads the priority from `<N>` (sd-daemon(3)).
    Journal,
    Plain,
    Coloured,
    Json,
}

impl Style {
    fn of(format: Format) -> Self {
        let coloured = || {
            io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        };
        match format {
            Format::Json => Self::Json,
            Format::Text if to_journal() => Self::Journal,
            Format::Text if coloured() => Self::Coloured,
            Format::Text => Self::Plain,
        }
    }

    fn line(self, record: &Record) -> String {
        match self {
            Self::Json => record.json(None),
            Self::Journal => format!("<{}>{}", priority(record.level), record.text()),
            Self::Plain => format!("{} {:5} {}", record.time, record.level, record.text()),
            Self::Coloured => {
                let Record { time, level, .. } = record;
                format!("\x1b[2m{time}\x1b[0m {}{level:5}\x1b[0m {}", colour(*level), record.text())
            }
        }
    }
}

/// Whether standard error is the journal: `JOURNAL_STREAM` has its device and inode.
fn to_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let found = stderr.and_then(|stderr| stderr.metadata());
    found.is_ok_and(|found| named == *format!("{}:{}", found.st_dev(), found.st_ino()))
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

/// Lines on standard error. One that would have to wait is lost, and counted.
struct Stderr {
    style: Style,
    lost: AtomicU64,
}

impl<S: Subscriber> Layer<S> for Stderr {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !takes_a_line() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut record = Record::of(event);
        if lost > 0 {
            record.add("lines_lost_before", lost.into());
        }
        let mut line = self.style.line(&record);
        if line.len() >= LINE_MAX {
            let end = (0..LINE_MAX).rev().find(|end| line.is_char_boundary(*end));
            line.truncate(end.unwrap_or(0));
        }
        line.push('\n');
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

/// Whether a line can be written without waiting: poll(2) says so of a pipe only if `PIPE_BUF` bytes fit.
fn takes_a_line() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok_and(|count| count == 1) && fds[0].revents().contains(PollFlags::OUT)
}
