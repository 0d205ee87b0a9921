//! What a child costs that an agent starts, from the request to its end: beside posix_spawn, beside embryo in
//! the client itself, and beside the programs that people use to start something as somebody else.
//!
//! It must never measure a child that is not confined as its row says: each way is looked at before.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::axis::Axis;
use crate::ballast::Ballast;
use crate::child;
use crate::cli::AgentSettings;
use crate::clock::now_ns;
use crate::contender::Contender;
use crate::measure::{Failures, launch_inherited};
use crate::shuffle::Shuffler;
use crate::stats::Spread;
use crate::stdio::OwnStdout;

mod daemon;
mod pipeline;
mod rates;
mod ways;

use daemon::{Daemon, Place};
pub(crate) use rates::{Caller, Rate};

/// Rounds that are dropped: the first launches bring programs into memory, and make embryos.
const WARM_UP_ROUNDS: u32 = 3;
/// Between two launches. An agent makes new embryos when half of them are used, and that is not to fall into
/// the time of whoever is next.
const PAUSE: Duration = Duration::from_millis(2);

/// The ways to the same child, and what parts of them cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// posix_spawn(3) by the client: a child that is what the client is.
    PosixSpawn,
    /// embryo::spawn by the client, of the same.
    EmbryoPlan,
    /// embryo::spawn by the client, of what the agent's mandate forces: uid, no new privileges, filter.
    SamePlan,
    /// That, from a hatchery like the agent's, heard of when it has started.
    SameHatched,
    /// A request to the agent about a child that there is not.
    Question,
    /// An agent whose mandate forces all that, with a rule for a path.
    Forced,
    /// The same with a rule for a digest, and the image granted.
    Digest,
    /// The first without a filter.
    Unfiltered,
    /// A rule for a path, and nothing forced.
    Bare,
    /// sudo(8), started by posix_spawn.
    Sudo,
    /// systemd-run(1), the same.
    SystemdRun,
}

impl Way {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 11] = [
        Self::PosixSpawn,
        Self::EmbryoPlan,
        Self::SamePlan,
        Self::SameHatched,
        Self::Question,
        Self::Forced,
        Self::Digest,
        Self::Unfiltered,
        Self::Bare,
        Self::Sudo,
        Self::SystemdRun,
    ];

    /// Its name in a table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::PosixSpawn => "posix_spawn",
            Self::EmbryoPlan => "embryo plan",
            Self::SamePlan => "embryo, same plan",
            Self::SameHatched => "hatchery, same plan",
            Self::Question => "(a question)",
            Self::Forced => "agent",
            Self::Digest => "agent, digest",
            Self::Unfiltered => "agent, no filter",
            Self::Bare => "agent, nothing forced",
            Self::Sudo => "sudo -n",
            Self::SystemdRun => "systemd-run --wait",
        }
    }

    /// Whether its call comes back when the child has started. A program's comes back when the program has.
    fn hears_of_start(self) -> bool {
        !matches!(self, Self::Sudo | Self::SystemdRun)
    }

    fn prepare(self, place: &Place, daemon: &Daemon) -> io::Result<Doer> {
        let contender = match self {
            Self::PosixSpawn => ways::posix_spawn(place)?,
            Self::EmbryoPlan => ways::embryo_plan(place)?,
            Self::SamePlan => ways::same_plan(place)?,
            Self::SameHatched => ways::same_hatched(place)?,
            Self::Question => return Ok(Doer::Question(daemon.connect(daemon::FORCED)?)),
            Self::Forced => ways::agent(place, daemon.connect(daemon::FORCED)?)?,
            Self::Digest => ways::agent_digest(place, daemon.connect(daemon::DIGEST)?)?,
            Self::Unfiltered => ways::agent(place, daemon.connect(daemon::UNFILTERED)?)?,
            Self::Bare => ways::agent(place, daemon.connect(daemon::BARE)?)?,
            Self::Sudo => ways::sudo(place)?,
            Self::SystemdRun => ways::systemd_run(place)?,
        };
        Ok(Doer::Child { contender, hears_of_start: self.hears_of_start() })
    }
}

/// What the client has much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Load {
    /// Dirty memory in bytes.
    pub(crate) memory: usize,
    /// Open descriptors.
    pub(crate) descriptors: usize,
}

impl Load {
    /// A client that has nothing much.
    pub(crate) const NOTHING: Self = Self { memory: 0, descriptors: 0 };

    /// It in words.
    pub(crate) fn label(self) -> String {
        let memory = Axis::Memory.label(self.memory);
        let descriptors = format!("{} descriptors", Axis::Descriptors.label(self.descriptors));
        match (self.memory, self.descriptors) {
            (0, 0) => "small".to_owned(),
            (_, 0) => memory,
            (0, _) => descriptors,
            (..) => format!("{memory}, {descriptors}"),
        }
    }

    fn carry(self) -> Result<[Ballast; 2], String> {
        let memory = Ballast::load(Axis::Memory, self.memory)?;
        Ok([memory, Ballast::load(Axis::Descriptors, self.descriptors)?])
    }
}

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Why nothing was measured, if nothing was.
    pub(crate) skipped: Option<String>,
    pub(crate) points: Vec<Point>,
    pub(crate) rates: Vec<Rate>,
}

impl Report {
    /// In how many places launches failed.
    pub(crate) fn failing_places(&self) -> usize {
        let rows = self.points.iter().flat_map(|point| &point.rows).map(|row| &row.failures);
        let rates = self.rates.iter().map(|rate| &rate.failures);
        rows.chain(rates).filter(|failures| failures.count > 0).count()
    }
}

/// All ways from one client.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) load: Load,
    /// Why this machine could not be loaded so, if it could not.
    pub(crate) skipped: Option<String>,
    pub(crate) rows: Vec<Row>,
}

/// One way's times, all from just before the call.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) launches: usize,
    /// Until the client has heard that the child has started, or has its answer.
    pub(crate) started: Option<Spread>,
    /// Until the child's first instruction.
    pub(crate) first_instruction: Option<Spread>,
    /// Until the client has heard of the child's end.
    pub(crate) ended: Option<Spread>,
    /// Why it could not be had, if it could not.
    pub(crate) skipped: Option<String>,
    #[serde(skip)]
    pub(crate) failures: Failures,
}

impl Point {
    /// The ratio of two ways' medians of the time that `which` takes from a row.
    pub(crate) fn ratio(&self, which: fn(&Row) -> Option<Spread>, of: Way, to: Way) -> Option<f64> {
        let row = |way| self.rows.iter().find(|row| row.way == way);
        let p50_ns = |way| Some(which(row(way)?)?.p50_ns as f64);
        Some(p50_ns(of)? / p50_ns(to)?)
    }
}

/// All ways in turn, from each client. If the machine has no agent, the report says why.
pub(crate) fn measure(
    settings: &AgentSettings,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> io::Result<Report> {
    if let Some(reason) = daemon::missing() {
        eprintln!("  SKIPPED: {reason}");
        return Ok(Report { skipped: Some(reason), ..Report::default() });
    }
    let place = Place::new()?;
    let daemon = place.start()?;
    let points = settings.loads.iter().map(|&load| {
        eprintln!("  {}", load.label());
        measure_load(load, settings, &place, &daemon, own, shuffler)
    });
    let points = points.collect();
    daemon.stop()?;
    place.remove()?;
    Ok(Report { points, ..Report::default() })
}

/// How many a second, by several clients at once.
pub(crate) fn measure_rates(
    settings: &AgentSettings,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> io::Result<Vec<Rate>> {
    let place = Place::new()?;
    let daemon = place.start()?;
    let rates = rates::measure(settings, &place, &daemon, own, shuffler);
    daemon.stop()?;
    place.remove()?;
    rates
}

fn measure_load(
    load: Load,
    settings: &AgentSettings,
    place: &Place,
    daemon: &Daemon,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> Point {
    let mut point = Point { load, skipped: None, rows: Vec::new() };
    let mut lanes = Vec::new();
    for way in Way::ALL {
        match Lane::new(way, place, daemon, own) {
            Ok(lane) => lanes.push(lane),
            Err(error) => point.rows.push(Row::without(way, &error)),
        }
    }
    // It is put down when this goes out of scope.
    let _ballast = match load.carry() {
        Ok(ballast) => ballast,
        Err(reason) => {
            eprintln!("  SKIPPED: {reason}");
            return Point { load, skipped: Some(reason), rows: Vec::new() };
        }
    };
    take_turns(&mut lanes, settings, own, shuffler);
    point.rows.extend(lanes.into_iter().map(Lane::row));
    point.rows.sort_by_key(|row| Way::ALL.iter().position(|way| *way == row.way));
    point
}

/// Every lane once a round, in a new order each round, until the rounds or the time run out.
fn take_turns(
    lanes: &mut [Lane],
    settings: &AgentSettings,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) {
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    let mut started = Instant::now();
    for round in 0..WARM_UP_ROUNDS.saturating_add(settings.rounds_max) {
        if round == WARM_UP_ROUNDS {
            started = Instant::now();
        }
        if round > WARM_UP_ROUNDS && started.elapsed() > settings.point_budget {
            break;
        }
        shuffler.shuffle(&mut order);
        for &index in &order {
            lanes[index].run(own, round >= WARM_UP_ROUNDS);
            thread::sleep(PAUSE);
        }
    }
}

/// What is done once a round.
enum Doer {
    Child { contender: Box<dyn Contender>, hears_of_start: bool },
    Question(embryo::agent::Agent),
}

/// When what happened, from just before the call.
struct Times {
    started_ns: Option<u64>,
    first_and_ended_ns: Option<(u64, u64)>,
}

impl Doer {
    fn run(&mut self, own: &OwnStdout) -> io::Result<Times> {
        match self {
            Self::Child { contender, hears_of_start } => {
                let launch = launch_inherited(&mut **contender, own, child::read_first_ns)?;
                let started_ns = hears_of_start.then_some(launch.blocked_ns);
                let rest = (launch.first_ns, launch.reaped_ns);
                Ok(Times { started_ns, first_and_ended_ns: Some(rest) })
            }
            Self::Question(agent) => {
                let asked_ns = now_ns();
                let answer = ways::ask(agent);
                let started_ns = Some(now_ns() - asked_ns);
                answer.map(|()| Times { started_ns, first_and_ended_ns: None })
            }
        }
    }
}

struct Lane {
    way: Way,
    doer: Doer,
    started_ns: Vec<u64>,
    first_ns: Vec<u64>,
    ended_ns: Vec<u64>,
    launches: usize,
    failures: Failures,
}

impl Lane {
    /// One whose first launch went well. What keeps a program from that is why it is skipped; what keeps
    /// embryo from it is a failure.
    fn new(way: Way, place: &Place, daemon: &Daemon, own: &OwnStdout) -> io::Result<Self> {
        let mut doer = way.prepare(place, daemon)?;
        let mut failures = Failures::default();
        if let Err(error) = doer.run(own) {
            if !way.hears_of_start() {
                return Err(error);
            }
            failures.add(&error);
        }
        let times = Vec::new;
        Ok(Self {
            way,
            doer,
            started_ns: times(),
            first_ns: times(),
            ended_ns: times(),
            launches: 0,
            failures,
        })
    }

    fn run(&mut self, own: &OwnStdout, record: bool) {
        if self.failures.too_many() {
            return;
        }
        match self.doer.run(own) {
            Ok(times) if record => {
                self.launches += 1;
                self.started_ns.extend(times.started_ns);
                if let Some((first_ns, ended_ns)) = times.first_and_ended_ns {
                    self.first_ns.push(first_ns);
                    self.ended_ns.push(ended_ns);
                }
            }
            Ok(_) => {}
            Err(error) => self.failures.add(&error),
        }
    }

    fn row(self) -> Row {
        Row {
            way: self.way,
            launches: self.launches,
            started: Spread::of(self.started_ns),
            first_instruction: Spread::of(self.first_ns),
            ended: Spread::of(self.ended_ns),
            skipped: None,
            failures: self.failures,
        }
    }
}

impl Row {
    /// A way that cannot be had.
    fn without(way: Way, error: &io::Error) -> Self {
        let mut failures = Failures::default();
        let skipped = match way.hears_of_start() {
            true => {
                failures.add(error);
                None
            }
            false => {
                eprintln!("  SKIPPED: {}: {error}", way.label());
                Some(error.to_string())
            }
        };
        let (started, first_instruction, ended) = (None, None, None);
        Self { way, launches: 0, started, first_instruction, ended, skipped, failures }
    }
}
