//! Children a second, by one client and by many, each with a connection of its own.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::daemon::{Daemon, FORCED, Place};
use super::pipeline::Pipeline;
use super::ways;
use crate::cli::AgentSettings;
use crate::contender::Contender;
use crate::measure::Failures;
use crate::shuffle::Shuffler;
use crate::stdio::OwnStdout;
use crate::throughput::{OneByOne, Turns, launch_for};

/// Clients at the same time.
const CLIENTS: [usize; 2] = [1, 16];
/// Children that a client of the protocol has under way.
const WINDOW: usize = 8;

/// Who launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Caller {
    /// posix_spawn(3), without an agent.
    PosixSpawn,
    /// embryo::spawn of what the mandate forces, without an agent.
    SamePlan,
    /// The library's client of an agent.
    Library,
    /// The protocol's bytes, one child after another.
    Wire,
    /// The protocol's bytes, with several children under way.
    WireWindow,
}

impl Caller {
    const ALL: [Self; 5] =
        [Self::PosixSpawn, Self::SamePlan, Self::Library, Self::Wire, Self::WireWindow];

    /// Its name in a table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::PosixSpawn => "posix_spawn",
            Self::SamePlan => "embryo, same plan",
            Self::Library => "agent",
            Self::Wire => "agent, protocol",
            Self::WireWindow => "agent, in flight",
        }
    }

    /// Children that one client has under way.
    pub(crate) fn in_flight(self) -> usize {
        if self == Self::WireWindow { WINDOW } else { 1 }
    }

    fn prepare(self, place: &Place, daemon: &Daemon) -> io::Result<Box<dyn Turns>> {
        let one = |contender: io::Result<Box<dyn Contender>>| {
            Ok::<Box<dyn Turns>, _>(Box::new(OneByOne(contender?)))
        };
        match self {
            Self::PosixSpawn => one(ways::posix_spawn(place)),
            Self::SamePlan => one(ways::same_plan(place)),
            Self::Library => one(ways::agent(place, daemon.connect(FORCED)?)),
            Self::Wire | Self::WireWindow => {
                let socket = daemon.socket(FORCED)?;
                let pipeline = Pipeline::new(socket, ways::plain(place)?, self.in_flight())?;
                Ok(Box::new(pipeline))
            }
        }
    }
}

/// One caller, in a number of threads.
#[derive(Debug, Serialize)]
pub(crate) struct Rate {
    pub(crate) caller: Caller,
    pub(crate) clients: usize,
    pub(crate) in_flight: usize,
    pub(crate) launches: u64,
    /// The median of the slices' rates.
    pub(crate) per_second: f64,
    #[serde(skip)]
    pub(crate) failures: Failures,
}

struct Lane {
    caller: Caller,
    clients: usize,
    launches: u64,
    rates: Vec<f64>,
    failures: Failures,
}

impl Lane {
    fn run(
        &mut self,
        slice: Duration,
        place: &Place,
        daemon: &Daemon,
        own: &OwnStdout,
    ) -> io::Result<()> {
        let prepare = || self.caller.prepare(place, daemon);
        let (counted, took) = launch_for(self.clients, slice, &prepare, own)?;
        self.launches += counted.launches;
        self.rates.push(counted.launches as f64 / took.as_secs_f64());
        self.failures.merge(counted.failures);
        Ok(())
    }

    fn rate(mut self) -> Rate {
        self.rates.sort_unstable_by(f64::total_cmp);
        Rate {
            caller: self.caller,
            clients: self.clients,
            in_flight: self.caller.in_flight(),
            launches: self.launches,
            per_second: self.rates.get(self.rates.len() / 2).copied().unwrap_or(0.0),
            failures: self.failures,
        }
    }
}

/// All callers with each number of clients, in slices that take turns.
pub(super) fn measure(
    settings: &AgentSettings,
    place: &Place,
    daemon: &Daemon,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> io::Result<Vec<Rate>> {
    let lane = |caller| {
        CLIENTS.map(|clients| Lane {
            caller,
            clients,
            launches: 0,
            rates: Vec::new(),
            failures: Failures::default(),
        })
    };
    let mut lanes: Vec<Lane> = Caller::ALL.into_iter().flat_map(lane).collect();
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for _ in 0..settings.slices {
        shuffler.shuffle(&mut order);
        for &index in &order {
            lanes[index].run(settings.slice, place, daemon, own)?;
        }
    }
    Ok(lanes.into_iter().map(Lane::rate).collect())
}
