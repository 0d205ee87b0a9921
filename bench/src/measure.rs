//! One launch measured, and one point measured: all contenders in turn, in rounds.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::child::{self, ChildSpec, State};
use crate::cli::Settings;
use crate::clock::now_ns;
use crate::contender::{Contender, Kind, Running};
use crate::shuffle::Shuffler;
use crate::stdio::{OwnStdout, Stdio, make_pipes};

/// A contender that fails this often at a point is not launched there again.
const FAILURES_MAX: u32 = 10;
/// The most of a point's time that one lane may use, in percent: see [`Lane::may_run`].
const SHARE_PERCENT_MAX: u64 = 40;

/// The times of one launch, all from just before the call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    /// Until the call came back to its caller.
    pub(crate) blocked_ns: u64,
    /// Until the child read the clock.
    pub(crate) first_ns: u64,
    /// Until the child was reaped.
    pub(crate) reaped_ns: u64,
}

/// The times of many launches. They are kept small, since a fork copies them: a time of more than
/// four seconds is written down as four.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) blocked_ns: Vec<u32>,
    pub(crate) first_ns: Vec<u32>,
    pub(crate) reaped_ns: Vec<u32>,
}

impl Times {
    fn with_capacity(launches: u32) -> Self {
        let times = || Vec::with_capacity(launches as usize);
        Self { blocked_ns: times(), first_ns: times(), reaped_ns: times() }
    }

    fn push(&mut self, launch: Launch) {
        let short = |time_ns| u32::try_from(time_ns).unwrap_or(u32::MAX);
        self.blocked_ns.push(short(launch.blocked_ns));
        self.first_ns.push(short(launch.first_ns));
        self.reaped_ns.push(short(launch.reaped_ns));
    }
}

/// Launches that failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    pub(crate) first: Option<String>,
}

impl Failures {
    /// Counts one.
    pub(crate) fn add(&mut self, error: &io::Error) {
        self.count += 1;
        self.first.get_or_insert_with(|| error.to_string());
    }

    /// Adds another's.
    pub(crate) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }

    /// Whether there were so many that going on would say nothing more.
    pub(crate) fn too_many(&self) -> bool {
        self.count >= FAILURES_MAX
    }
}

/// One contender with one kind of stdio at one point.
pub(crate) struct Lane {
    pub(crate) kind: Kind,
    pub(crate) stdio: Stdio,
    pub(crate) times: Times,
    pub(crate) failures: Failures,
    contender: Box<dyn Contender>,
    spent_ns: u64,
}

impl Lane {
    /// A lane without times, for at most `launches_max` of them.
    pub(crate) fn new(
        kind: Kind,
        stdio: Stdio,
        spec: &ChildSpec,
        launches_max: u32,
    ) -> io::Result<Self> {
        let (times, failures) = (Times::with_capacity(launches_max), Failures::default());
        Ok(Self { kind, stdio, times, failures, contender: kind.prepare(spec)?, spent_ns: 0 })
    }

    /// Whether the lane takes part in the next round. One that has used more than its share of
    /// the time sits out, so that a fork of 4 GiB leaves time for the others, and its launches
    /// still lie evenly among theirs.
    fn may_run(&self, point_ns: u64) -> bool {
        self.spent_ns <= point_ns * SHARE_PERCENT_MAX / 100
    }

    fn run(&mut self, own: &OwnStdout, record: bool) {
        let started_ns = now_ns();
        if self.failures.too_many() {
            return;
        }
        match launch_once(&mut *self.contender, self.stdio, own, child::read_first_ns) {
            Ok(launch) if record => self.times.push(launch),
            Ok(_) => {}
            Err(error) => self.failures.add(&error),
        }
        self.contender.settle();
        self.spent_ns += now_ns() - started_ns;
    }
}

/// Launches every lane once a round, in a new order each round, until the rounds or the time run
/// out. Returns the rounds that were recorded.
pub(crate) fn measure_point(
    lanes: &mut [Lane],
    settings: &Settings,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> u32 {
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for _ in 0..settings.warm_up_rounds {
        shuffler.shuffle(&mut order);
        order.iter().for_each(|&index| lanes[index].run(own, false));
    }
    lanes.iter_mut().for_each(|lane| lane.spent_ns = 0);

    let started = Instant::now();
    let started_ns = now_ns();
    let mut rounds = 0;
    while rounds < settings.rounds_max
        && (rounds < settings.rounds_min || started.elapsed() < settings.point_budget)
    {
        shuffler.shuffle(&mut order);
        let point_ns = now_ns() - started_ns;
        let may_run: Vec<bool> = lanes.iter().map(|lane| lane.may_run(point_ns)).collect();
        // With few lanes each of them uses more than its share: then there is none to be fair to.
        let all = rounds < settings.rounds_min || !may_run.contains(&true);
        for &index in order.iter().filter(|&&index| all || may_run[index]) {
            lanes[index].run(own, true);
        }
        rounds += 1;
    }
    rounds
}

/// Launches a child, reaps it and reads when it started.
pub(crate) fn launch_timed(
    contender: &mut dyn Contender,
    stdio: Stdio,
    own: &OwnStdout,
) -> io::Result<()> {
    launch_once(contender, stdio, own, child::read_first_ns).map(drop)
}

/// Launches a child, reaps it, and returns for how long the call blocked its caller.
pub(crate) fn launch_blocked(
    contender: &mut dyn Contender,
    stdio: Stdio,
    own: &OwnStdout,
) -> io::Result<u64> {
    launch_once(contender, stdio, own, child::read_first_ns).map(|launch| launch.blocked_ns)
}

/// Launches a child and reaps it. Returns the times to its first instruction and to its reaping.
pub(crate) fn launch_whole(
    contender: &mut dyn Contender,
    own: &OwnStdout,
    read: impl FnOnce(BorrowedFd<'_>) -> io::Result<u64>,
) -> io::Result<(u64, u64)> {
    let launch = launch_inherited(contender, own, read)?;
    Ok((launch.first_ns, launch.reaped_ns))
}

/// Launches a child that inherits its stdio, and reaps it.
pub(crate) fn launch_inherited(
    contender: &mut dyn Contender,
    own: &OwnStdout,
    read: impl FnOnce(BorrowedFd<'_>) -> io::Result<u64>,
) -> io::Result<Launch> {
    launch_once(contender, Stdio::Inherited, own, read)
}

/// Launches a child and reaps it while other threads do the same. All children answer to one pipe,
/// so the answer that is taken need not be this child's.
pub(crate) fn launch_among_others(
    contender: &mut dyn Contender,
    own: &OwnStdout,
) -> io::Result<()> {
    launch_once(contender, Stdio::Inherited, own, child::take_any_answer).map(drop)
}

/// Launches a child that reports the state it was started in, and compares.
pub(crate) fn check_state(kind: Kind, spec: &ChildSpec, own: &OwnStdout) -> io::Result<()> {
    let mut contender = kind.prepare(spec)?;
    for stdio in Stdio::ALL {
        let mut state = None;
        launch_once(&mut *contender, stdio, own, |pipe| {
            state = Some(State::read(pipe)?);
            Ok(0)
        })?;
        if state != Some(State::ASKED_FOR) {
            return Err(io::Error::other(format!(
                "with {}, its child is not the one asked for: {state:?} instead of {:?}",
                stdio.label(),
                State::ASKED_FOR
            )));
        }
    }
    Ok(())
}

/// The measurement itself. `read` takes the child's answer and returns when it read the clock.
fn launch_once(
    contender: &mut dyn Contender,
    stdio: Stdio,
    own: &OwnStdout,
    read: impl FnOnce(BorrowedFd<'_>) -> io::Result<u64>,
) -> io::Result<Launch> {
    let (read_ends, write_ends) = match stdio {
        Stdio::Inherited => (None, None),
        Stdio::Pipes => make_pipes().map(|(read, write)| (Some(read), Some(write)))?,
    };
    contender.arm(write_ends)?;

    let started_ns = now_ns();
    let running = contender.launch();
    let returned_ns = now_ns();
    let status = running.and_then(Running::wait);
    let reaped_ns = now_ns();

    contender.arm(None)?;
    let status = status?;
    // The answer is taken even from a child that failed, or the next one would seem to give it.
    let answers = read_ends.as_ref().map_or_else(|| own.answers(), |ends| ends.out.as_fd());
    let child_ns = read(answers);
    if !status.success() {
        return Err(io::Error::other(format!("the child ended with {status}")));
    }
    Ok(Launch {
        blocked_ns: returned_ns - started_ns,
        first_ns: child_ns?.saturating_sub(started_ns),
        reaped_ns: reaped_ns - started_ns,
    })
}
