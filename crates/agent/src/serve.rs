//! The loop that serves everybody: one thread that waits for sockets, pidfds and times, and for nothing else.
//!
//! It must never wait for a client, for a child, or for a file that a client chose. A child is made by an
//! embryo that exists already: to launch is to send a message, and what came of it is read when it comes.

mod answer;
mod child;
mod clients;
mod connection;
mod groups;
mod launch;
mod listing;
mod requests;
mod signals;
mod state;
mod throttle;

use crate::account::Accounts;
use crate::config::{Config, Settings};
use crate::files::close::Closer;
use crate::files::digest::Copier;
use crate::files::facts::Known;
use crate::files::low::Low;
use crate::listen::Listener;
use crate::log::Ring;
use crate::mandate::{Compiled, Refusal};
use child::Child;
use connection::Connection;
use embryo::Hatchery;
use embryo::agent::wire::kind;
use groups::Groups;
use launch::Launch;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use signals::Signals;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use throttle::Throttle;

pub use state::{State, Staying};

/// Messages that are read of one connection before others have their turn.
const TURN: usize = 16;
/// Bytes of plans that are under way, of all connections; further requests wait.
const PLANS_BYTES_MAX: usize = 64 << 20;
/// How long to rest when something is full of which nobody says when it is not.
const REST: Duration = Duration::from_millis(50);

/// Why the agent cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call failed without which there is no agent.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// Embryos cannot be made.
    #[error("making embryos: {0}")]
    Hatchery(#[from] embryo::Error),
    /// A mandate cannot be enforced.
    #[error("mandate {name:?}: {}", text_of(problems))]
    Mandate {
        /// Which.
        name: String,
        /// Why.
        problems: Vec<Refusal>,
    },
    /// A socket has a mandate that there is not.
    #[error("a socket has the mandate {0:?}, and there is none of that name")]
    NoMandate(String),
}

fn text_of(problems: &[Refusal]) -> String {
    let each = problems.iter().map(|problem| format!("{}: {}", problem.rule, problem.why));
    each.collect::<Vec<_>>().join("; ")
}

impl Error {
    fn io<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { what, source: source.into() }
    }
}

/// Why [`Server::run`] has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The time has come that was asked for.
    Tick,
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Restart,
}

/// An agent that serves.
#[derive(Debug)]
pub struct Server {
    epoll: OwnedFd,
    signals: Signals,
    listeners: Vec<Listener>,
    /// Whether connections are accepted; not for a while after there was no descriptor for one.
    resting_until: Option<Instant>,
    mandates: BTreeMap<String, Arc<Compiled>>,
    settings: Settings,
    hatchery: Hatchery,
    /// The hatchery's process, and what tells that it has made an embryo.
    watched: Option<(u32, OwnedFd)>,
    accounts: Accounts,
    closer: Closer,
    /// Keeps low numbers from what clients send.
    _low: Low,
    copier: Copier,
    groups: Groups,
    known: Known,
    connections: HashMap<u64, Connection>,
    /// Those whose socket was full for a reason that epoll does not tell.
    stalled: BTreeSet<u64>,
    /// Those that are not read, though they may have something to say.
    paused: BTreeSet<u64>,
    children: HashMap<u64, Child>,
    launches: HashMap<u64, Launch>,
    /// Launches that wait for an embryo, in the order of their requests.
    waiting: VecDeque<u64>,
    /// Launches whose embryo has its plan.
    flying: BTreeSet<u64>,
    /// When children have lived long enough.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Bytes of the plans in `launches`.
    plans_bytes: usize,
    /// Numbers of connections, launches and children, which are never given twice.
    next: u64,
    since: Instant,
    /// When the configuration was read.
    loaded: Instant,
    counts: Counts,
    throttle: Throttle,
    ring: Ring,
    /// Whether no request is read, since the agent is about to execute itself.
    draining: bool,
    /// What messages are read into.
    buffer: Vec<u8>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Counts {
    accepted: u64,
    started: u64,
    faults: u64,
    refused: u64,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Signals,
    Listener(u64),
    Connection(u64),
    Child(u64),
    Launch(u64),
    Hatchery,
}

impl Token {
    const SHIFT: u32 = 60;

    fn encode(self) -> epoll::EventData {
        let (tag, id) = match self {
            Token::Signals => (0, 0),
            Token::Listener(id) => (1, id),
            Token::Connection(id) => (2, id),
            Token::Child(id) => (3, id),
            Token::Launch(id) => (4, id),
            Token::Hatchery => (5, 0),
        };
        epoll::EventData::new_u64(tag << Self::SHIFT | id)
    }

    fn decode(data: u64) -> Option<Self> {
        let id = data & ((1 << Self::SHIFT) - 1);
        Some(match data >> Self::SHIFT {
            0 => Token::Signals,
            1 => Token::Listener(id),
            2 => Token::Connection(id),
            3 => Token::Child(id),
            4 => Token::Launch(id),
            5 => Token::Hatchery,
            _ => return None,
        })
    }
}

impl Server {
    /// An agent that has its embryos, and has not looked at a socket yet.
    ///
    /// It takes over the signals SIGTERM, SIGINT, SIGHUP and SIGUSR2, raises the soft limit of open files to
    /// the hard one for itself, goes to `/`, and makes itself undumpable, so that no process of its own uid
    /// can look into it.
    ///
    /// The program begins with `if is_copier() { copier_main() }` of [`crate::files::digest`]: images that are
    /// known by their digest are copied by this program, started once more.
    ///
    /// # Errors
    /// A mandate that cannot be enforced; a kernel that makes no embryos; what the calls answer.
    pub fn new(config: &Config, listeners: Vec<Listener>, ring: Ring) -> Result<Self, Error> {
        let settings = config.agent.clone();
        let mandates = compile(config)?;
        settle_down()?;
        // Made before the limit rises, which children are not to inherit.
        let hatchery = make_hatchery(&settings)?;
        raise_limit();
        let low = Low::take().map_err(Error::io("reserving descriptors"))?;
        let known = Known::new().map_err(Error::io("looking at the mounts"))?;
        let closer = Closer::new();
        let copier = Copier::of_this_program(closer.clone())
            .map_err(Error::io("opening the agent's own program"))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::io("epoll"))?;
        let signals = Signals::take().map_err(Error::io("signal handlers"))?;
        let mut server = Self {
            epoll,
            signals,
            listeners: Vec::new(),
            resting_until: None,
            mandates,
            settings,
            hatchery,
            watched: None,
            accounts: Accounts::default(),
            closer,
            _low: low,
            copier,
            groups: Groups::default(),
            known,
            connections: HashMap::new(),
            stalled: BTreeSet::new(),
            paused: BTreeSet::new(),
            children: HashMap::new(),
            launches: HashMap::new(),
            waiting: VecDeque::new(),
            flying: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            plans_bytes: 0,
            next: 1,
            since: Instant::now(),
            loaded: Instant::now(),
            counts: Counts::default(),
            throttle: Throttle::default(),
            ring,
            draining: false,
            buffer: Vec::new(),
        };
        server.watch(server.signals.as_fd(), Token::Signals, epoll::EventFlags::IN)?;
        server.listen(listeners)?;
        server.watch_hatchery();
        Ok(server)
    }

    /// Serves until there is something for the caller to do: a signal, or the end of `tick`.
    ///
    /// # Errors
    /// epoll_wait(2) fails, which it does not.
    pub fn run(&mut self, tick: Option<Duration>) -> Result<Outcome, Error> {
        let until = tick.map(|tick| Instant::now() + tick);
        let mut events = Vec::with_capacity(64);
        loop {
            if let Some(outcome) = self.signals.outcome() {
                return Ok(outcome);
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(Outcome::Tick);
            }
            events.clear();
            let patience = self.next_time(until).map(|time| time.saturating_duration_since(now));
            let patience = patience.and_then(|time| Timespec::try_from(time).ok());
            match epoll::wait(&self.epoll, spare_capacity(&mut events), patience.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("epoll_wait")(errno)),
            }
            for event in events.drain(..) {
                if let Some(token) = Token::decode(event.data.u64()) {
                    self.handle(token, event.flags);
                }
            }
            self.look_at_clock();
            self.resume();
        }
    }

    /// Takes over another configuration: who connects from now on has its mandates. Connections and
    /// children that there are keep theirs, but for how much there may be, which is counted for all together.
    /// `listeners` replace those that there are.
    ///
    /// # Errors
    /// A mandate that cannot be enforced; nothing has changed then.
    pub fn reload(&mut self, config: &Config, listeners: Vec<Listener>) -> Result<(), Error> {
        let mandates = compile(config)?;
        if let Some(unknown) = listeners.iter().find(|one| !mandates.contains_key(&one.mandate)) {
            return Err(Error::NoMandate(unknown.mandate.clone()));
        }
        for (name, mandate) in &config.mandates {
            self.accounts.reload(name, &mandate.numbers, &mandate.numbers_per_uid);
        }
        self.mandates = mandates;
        self.loaded = Instant::now();
        self.settings = Settings { embryos: self.settings.embryos, ..config.agent.clone() };
        for listener in std::mem::take(&mut self.listeners) {
            let _ = epoll::delete(&self.epoll, &listener.fd);
        }
        self.listen(listeners)
    }

    /// Ends: tells everybody, kills the children that are not to live on, and waits for them, but no
    /// longer than this.
    pub fn stop(&mut self, patience: Duration) {
        for listener in std::mem::take(&mut self.listeners) {
            let _ = epoll::delete(&self.epoll, &listener.fd);
        }
        // Nothing is read any more: who asked for a child now would have one that nobody ends.
        self.draining = true;
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.tell(id, kind::STOPPING, 0, 0, &[], &[]);
            self.look_for(id);
        }
        for number in self.launches.keys().copied().collect::<Vec<_>>() {
            self.refuse_to_launch(number);
        }
        for child in self.children.values_mut() {
            child.end_with_agent();
        }
        let until = Instant::now() + patience;
        let ending = |server: &Self| {
            server.groups.has_going() || server.children.values().any(|child| !child.lives_on())
        };
        while ending(self) && Instant::now() < until {
            let _ = self.run(Some(REST.min(until.saturating_duration_since(Instant::now()))));
        }
        self.leave_children();
    }

    fn handle(&mut self, token: Token, flags: epoll::EventFlags) {
        match token {
            Token::Signals => self.signals.take_notice(),
            Token::Listener(index) => self.accept(index),
            Token::Connection(id) => self.connection_ready(id, flags),
            Token::Child(id) => self.look_at_child(id),
            Token::Launch(id) => self.look_at_launch(id),
            Token::Hatchery => self.embryos_ready(),
        }
    }

    fn watch(&self, fd: impl AsFd, token: Token, flags: epoll::EventFlags) -> Result<(), Error> {
        epoll::add(&self.epoll, fd, token.encode(), flags).map_err(Error::io("epoll_ctl"))
    }

    fn listen(&mut self, listeners: Vec<Listener>) -> Result<(), Error> {
        for (index, listener) in listeners.iter().enumerate() {
            if !self.mandates.contains_key(&listener.mandate) {
                return Err(Error::NoMandate(listener.mandate.clone()));
            }
            rustix::io::ioctl_fionbio(&listener.fd, true).map_err(Error::io("FIONBIO"))?;
            self.watch(&listener.fd, Token::Listener(index as u64), epoll::EventFlags::IN)?;
        }
        self.listeners = listeners;
        Ok(())
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// The next time at which something is to be done though nothing has happened.
    fn next_time(&self, until: Option<Instant>) -> Option<Instant> {
        let flying = self.flying.iter().filter_map(|id| self.launches.get(id)?.next_look());
        let deadline = self.deadlines.first().map(|(time, _)| *time);
        let rest = Instant::now() + REST;
        // Nobody says when what pauses a connection has passed, other than its own answers.
        let stalled =
            !self.stalled.is_empty() || !self.waiting.is_empty() || !self.paused.is_empty();
        let stalled = stalled || self.groups.has_going();
        let waiting = self.waiting.front().and_then(|id| self.launches.get(id)?.next_look());
        let stalled = stalled.then_some(rest);
        let times = [until, deadline, self.resting_until, stalled, waiting];
        times.into_iter().flatten().chain(flying).min()
    }

    fn look_at_clock(&mut self) {
        let now = Instant::now();
        if self.resting_until.is_some_and(|until| now >= until) {
            self.resting_until = None;
            self.rest_listeners(false);
        }
        while let Some((time, id)) = self.deadlines.first().copied()
            && time <= now
        {
            self.deadlines.pop_first();
            self.time_is_over(id);
        }
        let due = |id: &&u64| {
            let launch = self.launches.get(id);
            launch.and_then(Launch::next_look).is_some_and(|time| time <= now)
        };
        for id in self.flying.iter().filter(due).copied().collect::<Vec<_>>() {
            self.look_at_launch(id);
        }
        if !self.waiting.is_empty() {
            self.embryos_ready();
        }
        self.groups.try_again();
        for id in std::mem::take(&mut self.stalled) {
            self.flush(id);
        }
    }
}

/// Milliseconds since then.
fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn compile(config: &Config) -> Result<BTreeMap<String, Arc<Compiled>>, Error> {
    let compiled = config.mandates.iter().map(|(name, mandate)| {
        let compiled = Compiled::named(name, mandate);
        let compiled =
            compiled.map_err(|problems| Error::Mandate { name: name.clone(), problems })?;
        Ok((name.clone(), Arc::new(compiled)))
    });
    compiled.collect()
}

/// What an agent has of its own, so that its children need not be protected from what it was started with.
fn settle_down() -> Result<(), Error> {
    use rustix::process::{DumpableBehavior, chdir, set_dumpable_behavior};
    chdir("/").map_err(Error::io("chdir"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::io("PR_SET_DUMPABLE"))
}

fn make_hatchery(settings: &Settings) -> Result<Hatchery, Error> {
    let options = embryo::SpawnOptions::new()
        .timeout(Duration::from_millis(settings.launch_timeout_ms.into()));
    let builder = Hatchery::builder()
        .size(settings.embryos)
        .when_empty(embryo::WhenEmpty::Fail)
        // The agent's authority is what it was started with, and nothing in it changes that.
        .authority_is_fixed(true)
        .options(options);
    Ok(builder.build()?)
}

fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer it serves fewer.
    let _ = setrlimit(Resource::Nofile, limit);
}
