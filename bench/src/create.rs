//! What it costs to make an embryo and to abandon it.
//!
//! A launch by posix_spawn takes turns with it, so that the cost has something of the same run to
//! be held against.

use std::io;
use std::time::Instant;

use ::embryo::Embryo;
use serde::Serialize;

use crate::child::ChildSpec;
use crate::cli::CreateSettings;
use crate::clock::now_ns;
use crate::contender::Kind;
use crate::measure::launch_blocked;
use crate::stats::Spread;
use crate::stdio::{OwnStdout, Stdio};

/// Rounds that are dropped: the first embryo makes what the library keeps.
const WARM_UP_ROUNDS: u32 = 3;

/// The times of many embryos.
#[derive(Debug, Serialize)]
pub(crate) struct Creation {
    pub(crate) embryos: usize,
    /// `Embryo::create`, from call to return: the embryo has answered its first message.
    pub(crate) create: Spread,
    /// Dropping it, from call to return: it is dead and reaped, or somebody sees to that.
    pub(crate) abandon: Spread,
    /// The caller's blocked time of a launch by posix_spawn in the same rounds.
    pub(crate) posix_spawn_blocked: Spread,
}

/// Makes and abandons embryos until the rounds or the time run out.
pub(crate) fn measure(
    settings: &CreateSettings,
    spec: &ChildSpec,
    own: &OwnStdout,
) -> io::Result<Creation> {
    let mut posix_spawn = Kind::PosixSpawn.prepare(spec)?;
    let (mut create, mut abandon, mut blocked) = (Vec::new(), Vec::new(), Vec::new());
    let started = Instant::now();
    for round in 0..WARM_UP_ROUNDS.saturating_add(settings.rounds_max) {
        if round > WARM_UP_ROUNDS && started.elapsed() > settings.budget {
            break;
        }
        let (made_ns, dropped_ns) = once()?;
        let blocked_ns = launch_blocked(&mut *posix_spawn, Stdio::Inherited, own)?;
        if round >= WARM_UP_ROUNDS {
            create.push(made_ns);
            abandon.push(dropped_ns);
            blocked.push(blocked_ns);
        }
    }
    let none = || io::Error::other("no embryo was made");
    Ok(Creation {
        embryos: create.len(),
        create: Spread::of(create).ok_or_else(none)?,
        abandon: Spread::of(abandon).ok_or_else(none)?,
        posix_spawn_blocked: Spread::of(blocked).ok_or_else(none)?,
    })
}

/// One embryo: the time of its making, and that of its end.
fn once() -> io::Result<(u64, u64)> {
    let started_ns = now_ns();
    let embryo = Embryo::create();
    let made_ns = now_ns();
    let embryo = embryo?;
    let dropped_ns = now_ns();
    drop(embryo);
    Ok((made_ns - started_ns, now_ns() - dropped_ns))
}
