//! An agent that executes itself anew, and keeps its sockets, its connections, its children, and what was
//! charged for them.
//!
//! It stays the same process, so its children stay its children and their ends are its to learn. What it
//! knows travels as JSON in a memfd; the descriptors stay open under their numbers. Requests that were under
//! way are finished or failed before.

use super::child::Child;
use super::connection::{Connection, Waiting};
use super::{Counts, Error, Server, Token, elapsed_ms};
use crate::account::{AccountId, Accounts, Saved};
use crate::config::Config;
use crate::files::cgroup::Own;
use crate::listen::Listener;
use crate::log::Ring;
use crate::mandate::{Compiled, Held};
use crate::peer::Peer;
use embryo::ProcessParts;
use embryo::agent::mandate::{Lifetime, Mandate};
use rustix::event::epoll;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The descriptor with this number.
pub(super) type Number = i32;

/// What an agent knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Of this form; another is not read.
    version: u32,
    next: u64,
    since_ms: u64,
    counts: Counts,
    connections: Vec<ConnectionState>,
    children: Vec<ChildState>,
    accounts: Saved,
    /// What listens, which is the concern of whoever set that up.
    pub extra: serde_json::Value,
}

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct ConnectionState {
    number: u64,
    socket: Number,
    parent: Option<u64>,
    since_ms: u64,
    started: u64,
    welcomed: bool,
    levels: Vec<(String, Mandate)>,
    accounts: Vec<AccountId>,
    peer: PeerState,
    waiting: Vec<(String, Vec<Number>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PeerState {
    pid: u32,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    cgroup: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChildState {
    number: u64,
    pidfd: Number,
    status: Option<Number>,
    image: Option<Number>,
    connection: Option<u64>,
    request: u64,
    program: String,
    mandate: String,
    client_uid: u32,
    since_ms: u64,
    left_ms: Option<u64>,
    lifetime: Lifetime,
    accounts: Vec<AccountId>,
    cgroup: Option<PathBuf>,
    time_is_over: bool,
}

/// Descriptors that stay open when this process executes another program, as long as this lives.
#[derive(Debug, Default)]
pub struct Staying(Vec<OwnedFd>);

impl Staying {
    /// Makes a second one of it that stays open.
    ///
    /// # Errors
    /// What duplicating it answers.
    pub fn keep(&mut self, fd: BorrowedFd<'_>) -> std::io::Result<Number> {
        self.take(fd.try_clone_to_owned()?)
    }

    fn take(&mut self, fd: OwnedFd) -> std::io::Result<Number> {
        rustix::io::fcntl_setfd(&fd, FdFlags::empty())?;
        let number = fd.as_raw_fd();
        self.0.push(fd);
        Ok(number)
    }
}

impl Server {
    /// Finishes what is under way, reads nothing more, and puts down all that it knows. `staying` holds what
    /// has to stay open.
    ///
    /// # Errors
    /// A descriptor cannot be duplicated. Nothing has changed then, but that requests under way have ended.
    pub fn save(&mut self, staying: &mut Staying, patience: Duration) -> std::io::Result<State> {
        self.drain(patience);
        let connections =
            self.connections.iter().map(|(number, one)| ConnectionState::of(*number, one, staying));
        let connections = connections.collect::<std::io::Result<_>>()?;
        let children =
            self.children.iter().map(|(number, child)| ChildState::of(*number, child, staying));
        let children = children.collect::<std::io::Result<_>>()?;
        Ok(State {
            version: VERSION,
            next: self.next,
            since_ms: elapsed_ms(self.since),
            counts: self.counts,
            connections,
            children,
            accounts: self.accounts.save(),
            extra: serde_json::Value::Null,
        })
    }

    /// Ends what is of no use to the program that is executed next, once all is put down: the embryos, which
    /// it would not know. Children are left alone.
    pub fn retire(self) {
        let Self { hatchery, children, signals, .. } = self;
        drop(hatchery);
        // A child that is dropped is reaped in the background, and its status lost. Signals are noted up to
        // the end.
        std::mem::forget((children, signals));
    }

    /// Has the requests that are under way end, one way or another.
    fn drain(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        self.draining = true;
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.look_for(id);
        }
        while !self.launches.is_empty() && Instant::now() < until {
            let _ = self.run(Some(Duration::from_millis(5)));
        }
        for number in self.launches.keys().copied().collect::<Vec<_>>() {
            self.fail_for_restart(number);
        }
        self.draining = false;
    }

    /// An agent that goes on where another has stopped, in the same process. `take` gives the descriptor
    /// with a number, close-on-exec.
    ///
    /// # Errors
    /// As [`Server::new`]; a state that is of another version, or makes no sense.
    pub fn restored(
        config: &Config,
        listeners: Vec<Listener>,
        ring: Ring,
        state: State,
        take: &mut dyn FnMut(i32) -> std::io::Result<OwnedFd>,
    ) -> Result<Self, Error> {
        let mut server = Self::new(config, listeners, ring)?;
        if state.version != VERSION {
            let error = std::io::Error::from(std::io::ErrorKind::InvalidData);
            return Err(Error::io("reading the state of another version")(error));
        }
        server.next = state.next.max(server.next);
        server.since = earlier(state.since_ms);
        server.counts = state.counts;
        server.accounts = Accounts::restore(state.accounts);
        let mut compiled = BTreeMap::new();
        for connection in state.connections {
            server.restore_connection(connection, &mut compiled, take)?;
        }
        for child in state.children {
            server.restore_child(child, take)?;
        }
        Ok(server)
    }

    fn restore_connection(
        &mut self,
        state: ConnectionState,
        compiled: &mut BTreeMap<String, Arc<Compiled>>,
        take: &mut dyn FnMut(i32) -> std::io::Result<OwnedFd>,
    ) -> Result<(), Error> {
        let failed = || Error::io::<std::io::Error>("taking up a connection");
        let socket = take(state.socket).map_err(failed())?;
        let mut waiting = Vec::new();
        for (hex, fds) in state.waiting {
            let fds = fds.into_iter().map(&mut *take).collect::<Result<_, _>>().map_err(failed())?;
            waiting.push((from_hex(&hex), fds));
        }
        let mut levels = Vec::new();
        for (at, (name, source)) in state.levels.iter().enumerate() {
            let widest = at + 1 == state.levels.len();
            levels.push(compile_again(name, source, widest, compiled)?);
        }
        let PeerState { pid, uid, gid, groups, cgroup } = state.peer;
        let peer = Arc::new(Peer { pid, uid, gid, groups, cgroup, pidfd: None });
        let held = Held { levels, accounts: state.accounts, peer };
        let mut connection = Connection::new(socket, held, state.parent);
        connection.since = earlier(state.since_ms);
        connection.started = state.started;
        connection.welcomed = state.welcomed;
        connection.keep_waiting(waiting);
        let number = state.number;
        self.watch(&connection, Token::Connection(number), epoll::EventFlags::RDHUP)?;
        self.connections.insert(number, connection);
        self.look_for(number);
        Ok(())
    }

    fn restore_child(
        &mut self,
        state: ChildState,
        take: &mut dyn FnMut(i32) -> std::io::Result<OwnedFd>,
    ) -> Result<(), Error> {
        let failed = || Error::io::<std::io::Error>("taking up a child");
        let mut optional = |number: Option<Number>| number.map(&mut *take).transpose();
        let (status, image) =
            (optional(state.status).map_err(failed())?, optional(state.image).map_err(failed())?);
        let parts = ProcessParts { pidfd: take(state.pidfd).map_err(failed())?, status, image };
        let process = embryo::Process::from_parts(parts)?;
        let number = state.number;
        self.watch(process.pidfd(), Token::Child(number), epoll::EventFlags::IN)?;
        let deadline = state.left_ms.map(|left| Instant::now() + Duration::from_millis(left));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, number));
        }
        let connection = state.connection.filter(|id| self.connections.contains_key(id));
        if let Some(connection) = connection.and_then(|id| self.connections.get_mut(&id)) {
            connection.children.insert(number);
        }
        let child = Child::restored(process, connection, deadline, state.into());
        self.children.insert(number, child);
        Ok(())
    }
}

/// What of a child's state needs no descriptor.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) request: u64,
    pub(super) program: String,
    pub(super) mandate: String,
    pub(super) client_uid: u32,
    pub(super) since: Instant,
    pub(super) lifetime: Lifetime,
    pub(super) accounts: Vec<AccountId>,
    pub(super) cgroup: Option<Own>,
    pub(super) time_is_over: bool,
}

impl From<ChildState> for Remembered {
    fn from(state: ChildState) -> Self {
        Self {
            request: state.request,
            program: state.program,
            mandate: state.mandate,
            client_uid: state.client_uid,
            since: earlier(state.since_ms),
            lifetime: state.lifetime,
            accounts: state.accounts,
            cgroup: state.cgroup.and_then(|path| cgroup_again(&path)),
            time_is_over: state.time_is_over,
        }
    }
}

impl ConnectionState {
    fn of(number: u64, connection: &Connection, staying: &mut Staying) -> std::io::Result<Self> {
        let held = &connection.held;
        let levels = held.levels.iter().map(|level| (level.name.clone(), level.source.clone()));
        let Peer { pid, uid, gid, groups, cgroup, .. } = &*held.peer;
        let peer = PeerState {
            pid: *pid,
            uid: *uid,
            gid: *gid,
            groups: groups.clone(),
            cgroup: cgroup.clone(),
        };
        let mut waiting = Vec::new();
        for Waiting { bytes, fds } in connection.waiting() {
            let fds = fds.iter().map(|fd| staying.keep(fd.as_fd())).collect::<Result<_, _>>()?;
            waiting.push((to_hex(bytes), fds));
        }
        Ok(Self {
            number,
            socket: staying.keep(connection.as_fd())?,
            parent: connection.parent,
            since_ms: elapsed_ms(connection.since),
            started: connection.started,
            welcomed: connection.welcomed,
            levels: levels.collect(),
            accounts: held.accounts.clone(),
            peer,
            waiting,
        })
    }
}

impl ChildState {
    fn of(number: u64, child: &Child, staying: &mut Staying) -> std::io::Result<Self> {
        let ProcessParts { pidfd, status, image } = child.process.parts()?;
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        Ok(Self {
            number,
            pidfd: staying.take(pidfd)?,
            status: status.map(|fd| staying.take(fd)).transpose()?,
            image: image.map(|fd| staying.take(fd)).transpose()?,
            connection: child.connection,
            request: child.request,
            program: child.program.clone(),
            mandate: child.mandate.clone(),
            client_uid: child.client_uid,
            since_ms: elapsed_ms(child.since),
            left_ms: child.deadline.map(|deadline| left(deadline).as_millis() as u64),
            lifetime: child.lifetime,
            accounts: child.charge.accounts.clone(),
            cgroup: child.cgroup.as_ref().map(|own| own.path().to_owned()),
            time_is_over: child.time_is_over,
        })
    }
}

/// A mandate as it was, which those who hold it keep whatever the file says now.
fn compile_again(
    name: &str,
    source: &Mandate,
    widest: bool,
    done: &mut BTreeMap<String, Arc<Compiled>>,
) -> Result<Arc<Compiled>, Error> {
    let key = serde_json::to_string(&(name, source)).unwrap_or_default();
    if let Some(compiled) = done.get(&key) {
        return Ok(Arc::clone(compiled));
    }
    let compiled = match widest {
        true => Compiled::named(name, source),
        false => Compiled::narrower(name.strip_suffix("/narrower").unwrap_or(name), source)
            .map_err(|refusal| vec![refusal]),
    };
    let failed = |problems| Error::Mandate { name: name.to_owned(), problems };
    let compiled = Arc::new(compiled.map_err(failed)?);
    done.insert(key, Arc::clone(&compiled));
    Ok(compiled)
}

fn cgroup_again(path: &Path) -> Option<Own> {
    let own = Own::again(path);
    own.inspect_err(|error| tracing::error!(%error, "a child's cgroup cannot be taken up")).ok()
}

/// A moment so long ago; the earliest there is, if there is none.
fn earlier(ms: u64) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(ms)).unwrap_or(now)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().as_chunks::<2>().0.iter();
    let byte = |pair: &[u8; 2]| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    pairs.filter_map(byte).collect()
}
