//! `embryo agent top`: what children use, again and again.
//!
//! It must never leave a terminal other than it was.

use super::columns::{self, now_ms};
use super::socket::Operator;
use crate::args::AgentTopArgs;
use crate::failure::Failure;
use crate::output;
use crate::watch::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, Watch};
use embryo_agent::operator::{Child, Listing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
/// To the corner, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows it until somebody has seen enough.
pub(super) fn top(args: &AgentTopArgs) -> Result<u8, Failure> {
    let operator = Operator::connect(&args.operator)?;
    let on_terminal = io::stdout().is_terminal() && !args.json;
    let once = (!on_terminal && !args.json).then_some(1);
    let mut left = args.iterations.or(once);
    let mut screen = Screen::open(on_terminal && args.iterations != Some(1))?;
    let mut last = Usage::default();
    loop {
        let listing = operator.list()?;
        if args.json {
            output::json(&listing)?;
        } else {
            let (text, usage) = page(listing, &last, screen.size());
            last = usage;
            output::text(&format!("{}{text}", if screen.clears() { CLEAR } else { "" }))?;
        }
        left = left.map(|left| left - 1);
        if left == Some(0) || !screen.rest(args.delay)? {
            return Ok(0);
        }
    }
}

/// What children had used at a moment.
#[derive(Default)]
struct Usage {
    at: Option<Instant>,
    cpu_ms: HashMap<u64, u64>,
}

impl Usage {
    fn of(children: &[Child]) -> Self {
        let used = |child: &Child| Some((child.child, child.cpu_ms?));
        Self { at: Some(Instant::now()), cpu_ms: children.iter().filter_map(used).collect() }
    }

    /// How much of a CPU a child has had since then, in tenths of a percent; since its start if it is new.
    fn share(&self, child: &Child, now: &Self, now_ms: u64) -> Option<u64> {
        let used = *now.cpu_ms.get(&child.child)?;
        let (before, time) = match (self.cpu_ms.get(&child.child), self.at, now.at) {
            (Some(before), Some(then), Some(now)) => {
                (*before, u64::try_from(now.duration_since(then).as_millis()).unwrap_or(u64::MAX))
            }
            _ => (0, now_ms.saturating_sub(child.since_ms)),
        };
        Some(used.saturating_sub(before).saturating_mul(1000) / time.max(1))
    }
}

/// One page, and what it was made from.
fn page(mut listing: Listing, last: &Usage, size: Option<(usize, usize)>) -> (String, Usage) {
    let (usage, now_ms) = (Usage::of(&listing.children), now_ms());
    let share = |child: &Child| last.share(child, &usage, now_ms);
    listing.children.sort_by_key(|child| (Reverse(share(child)), Reverse(child.rss)));
    let percent = |child: &Child| {
        let share = share(child);
        columns::or_dash(share.map(|tenths| format!("{}.{}", tenths / 10, tenths % 10)))
    };
    let (width, height) = (size.map(|size| size.0), size.map_or(usize::MAX, |size| size.1));
    let connections = listing.connections.len();
    let head = columns::agent(&listing.agent, connections, listing.children.len(), now_ms);
    let head = width.map_or(head.clone(), |width| head.chars().take(width).collect());
    let lines = columns::children(&listing.children, now_ms, ("%CPU", percent), width);
    let lines: Vec<String> =
        [head, String::new()].into_iter().chain(lines).take(height.saturating_sub(1)).collect();
    (lines.join("\n") + "\n", usage)
}

/// The terminal, while it shows pages.
struct Screen {
    /// How the keyboard was, if it is one.
    keyboard: Option<Termios>,
    clears: bool,
    watch: Watch,
}

impl Screen {
    fn open(clears: bool) -> Result<Self, Failure> {
        let watch = Watch::start()?;
        let keyboard = clears.then(|| rustix::termios::tcgetattr(io::stdin()).ok()).flatten();
        if let Some(was) = &keyboard {
            let mut keys = was.clone();
            // Ctrl-C is a key, so that the terminal is put right before the end.
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &keys);
        }
        Ok(Self { keyboard, clears, watch })
    }

    fn clears(&self) -> bool {
        self.clears
    }

    /// Columns and rows.
    fn size(&self) -> Option<(usize, usize)> {
        let size =
            self.clears.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten()?;
        (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
    }

    /// Waits until it is time for the next page; false if there is to be none.
    fn rest(&mut self, delay: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + delay;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            let stdin = io::stdin();
            let mut fds = vec![PollFd::from_borrowed_fd(self.watch.as_fd(), PollFlags::IN)];
            if self.keyboard.is_some() {
                fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
            }
            let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
            let pressed = fds.get(1).is_some_and(|key| !key.revents().is_empty());
            let end = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
            if self.watch.arrived().iter().any(|(signal, _)| end.contains(signal)) {
                return Ok(false);
            }
            if pressed {
                match self.key() {
                    Some(b'q' | b'Q' | CTRL_C | CTRL_D) | None => return Ok(false),
                    Some(b' ') => return Ok(true),
                    Some(_) => {}
                }
            }
        }
    }

    fn key(&self) -> Option<u8> {
        let mut byte = [0];
        match rustix::io::read(io::stdin(), &mut byte) {
            Ok(1) => byte.first().copied(),
            _ => None,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(was) = &self.keyboard {
            let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, was);
        }
    }
}
