//! One connection to an agent, and what can be asked over it that is not about a child.
//!
//! It must never say what is allowed: the agent does.

use super::connection::{Connection, Question, Unsent};
use super::demux::Broken;
use super::mandate::Mandate;
use super::packet::Packet;
use super::wire::{self, Hello, VERSION, flags, kind};
use super::{launch, socket};
use crate::error::{AgentError, Error};
use crate::process::Process;
use crate::spawn::SpawnOptions;
use embryo_plan::OwnedPlan;
use rustix::io::Errno;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// How long an agent may take to accept a connection and to say its version.
const GREETING: Duration = Duration::from_secs(10);
/// How long it may take to answer, beside what it is asked to do.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// What it may have to say, at most.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// The environment variable that names an agent: the path of its socket, or `fd:N` for a connection that was
/// handed down as descriptor N.
pub(crate) const VARIABLE: &str = "EMBRYO_AGENT";

/// A connection to an agent.
///
/// Clones are the same connection, and any number of threads may use it at once. It ends when the last clone
/// and the last [`Process`] that came of it are gone; what becomes of its children then is said by its mandate
/// ([`super::mandate::Lifetime`]).
///
/// # Errors
/// Of all methods that ask the agent: [`Error::Agent`] for the connection, with ETIMEDOUT if the agent does not
/// answer within half a minute, EPIPE if it has ended, ESHUTDOWN if it is stopping, EBADMSG if it is none;
/// [`Error::Refused`] for what its mandate does not allow. A connection on which something has come that is no
/// message is of no use any more.
///
/// # Kernel
/// Linux 5.10. Source: unix(7), `SOCK_SEQPACKET`, `SCM_RIGHTS`.
#[derive(Clone)]
pub struct Agent {
    pub(super) shared: Arc<Shared>,
}

/// What clones share.
pub(super) struct Shared {
    pub(super) connection: Arc<Connection>,
    /// The number of the connection, once the agent has said its version.
    greeted: Mutex<Option<u64>>,
}

impl Agent {
    /// Connects to the agent that listens at this path.
    ///
    /// # Errors
    /// [`Error::Agent`]: ENOENT if there is no such socket, ECONNREFUSED if nobody listens, EPROTOTYPE if the
    /// socket is of another kind, EPROTONOSUPPORT if no version of the protocol is common; [`Error::Refused`] if
    /// the agent does not want this process.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let deadline = Instant::now() + GREETING;
        let socket = socket::connect(path, deadline)?;
        Self::greeted(socket, path.display().to_string(), deadline)
    }

    /// Takes a connected socket.
    ///
    /// Nobody else may be using it: of two readers each would get the other's answers.
    ///
    /// # Errors
    /// As [`Agent::connect`]; ENOTSOCK and EPROTOTYPE for what cannot be a connection to an agent.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        let name = "the given descriptor".to_owned();
        socket::check(fd.as_fd(), &name)?;
        Self::greeted(fd, name, Instant::now() + GREETING)
    }

    /// The agent that the environment variable `EMBRYO_AGENT` names: the path of a socket, or `fd:N`.
    ///
    /// A descriptor is the same connection each time that this is called, and stays open.
    ///
    /// # Errors
    /// As [`Agent::connect`]; ENOENT if the variable is not there, EBADF if there is no such descriptor, EINVAL if
    /// what stands behind `fd:` is no number.
    pub fn from_env() -> Result<Self, Error> {
        let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
            let hint = "it holds the path of an agent's socket, or fd:N";
            let what = "the environment variable is not set";
            return Err(AgentError::of(VARIABLE, what, Errno::NOENT.into(), Some(hint.into())));
        };
        match value.to_str().and_then(|text| text.strip_prefix("fd:")) {
            None => Self::connect(value),
            Some(number) => {
                let name = format!("{VARIABLE}=fd:{number}");
                match number.parse() {
                    Ok(number) => Self::handed_down(number, &name),
                    Err(_) => Err(AgentError::of(
                        &name,
                        "what stands behind fd: is no number",
                        Errno::INVAL.into(),
                        None,
                    )),
                }
            }
        }
    }

    /// A descriptor that was handed down, as one connection for the whole process.
    fn handed_down(number: u32, name: &str) -> Result<Self, Error> {
        static TAKEN: Mutex<Vec<((u64, u64), Agent)>> = Mutex::new(Vec::new());
        let fd = socket::inherited(number, name)?;
        socket::check(fd.as_fd(), name)?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| {
            AgentError::of(name, "looking at the descriptor", errno.into(), None)
        })?;
        let identity = (stat.st_dev, stat.st_ino);
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, agent)) = taken.iter().find(|(known, _)| *known == identity) {
            return Ok(agent.clone());
        }
        let agent = Self::greeted(fd, name.to_owned(), Instant::now() + GREETING)?;
        taken.push((identity, agent.clone()));
        Ok(agent)
    }

    /// One that has yet to say its version.
    fn new(socket: OwnedFd, name: String) -> Self {
        let connection = Arc::new(Connection::new(socket, name));
        Self { shared: Arc::new(Shared { connection, greeted: Mutex::new(None) }) }
    }

    fn greeted(socket: OwnedFd, name: String, deadline: Instant) -> Result<Self, Error> {
        let agent = Self::new(socket, name);
        agent.greet(deadline)?;
        Ok(agent)
    }

    /// Agrees on a version, if that has not been done.
    pub(super) fn greet(&self, deadline: Instant) -> Result<u64, Error> {
        let mut greeted = self.shared.greeted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = *greeted {
            return Ok(number);
        }
        let hello = hello();
        let answer =
            self.connection().ask(Question::new(kind::HELLO, hello.as_bytes()), deadline)?;
        let number = self.welcome(answer)?;
        *greeted = Some(number);
        Ok(number)
    }

    /// Whether a version has been agreed on.
    #[cfg(feature = "tokio")]
    pub(super) fn has_greeted(&self) -> bool {
        self.shared.greeted.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes the answer to a greeting.
    #[cfg(feature = "tokio")]
    pub(super) fn welcomed(&self, answer: Packet) -> Result<(), Error> {
        let number = self.welcome(answer)?;
        *self.shared.greeted.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
        Ok(())
    }

    fn welcome(&self, answer: Packet) -> Result<u64, Error> {
        let answer = self.not_refused(answer)?;
        let Ok(welcome) = Hello::read_from_bytes(&answer.body) else {
            return Err(self.connection().broken(Broken::new("a bad welcome", Errno::BADMSG)));
        };
        let theirs = welcome.newest.get();
        if theirs != VERSION {
            let what = format!("the agent speaks version {theirs}, and this program {VERSION}");
            return Err(self.connection().error(what, Errno::PROTONOSUPPORT, None));
        }
        let mut state = self.connection().state();
        let max = state.message_bytes_max;
        state.message_bytes_max = max.min(welcome.message_bytes_max.get() as usize);
        state.in_flight_max = state.in_flight_max.min(welcome.in_flight_max.get() as usize).max(1);
        Ok(welcome.connection.get())
    }

    /// What it is called in errors.
    pub(crate) fn name(&self) -> &str {
        &self.connection().name
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.shared.connection
    }

    /// The number of this connection, as the agent's operator sees it.
    ///
    /// # Errors
    /// As [`Agent`] says: one that was made by [`Agent::narrow`] agrees on a version only now.
    pub fn id(&self) -> Result<u64, Error> {
        self.greet(Instant::now() + GREETING)
    }

    /// Starts a process under the agent's authority. `grants` are the plan's slots in order; they are only
    /// borrowed.
    ///
    /// The call returns when the image has been entered. What the plan keeps ([`crate::Keep`]) is the agent's.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule of the mandate; [`Error::Spawn`] with the op that failed, its index
    /// counted in this plan; [`Error::Grants`] if the number of grants is wrong; [`Error::Agent`] for the
    /// connection. There is no child then, or it is being killed.
    pub fn spawn(&self, plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Result<Process, Error> {
        self.spawn_with(plan, grants, SpawnOptions::default())
    }

    /// [`Agent::spawn`] with options, of which the time counts alone: how the plan is executed is the agent's
    /// business, which may allow less time as well.
    ///
    /// # Errors
    /// As [`Agent::spawn`].
    pub fn spawn_with(
        &self,
        plan: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
        options: SpawnOptions,
    ) -> Result<Process, Error> {
        launch::spawn(self, plan, grants, options)
    }

    /// Asks for a connection whose mandate is what this one's and `mandate` both allow. It is one more for
    /// whoever holds it: what is used over it is charged to this one as well.
    ///
    /// # Errors
    /// [`Error::Refused`] if the mandate is none, or if no narrower one may be had; otherwise as [`Agent`] says.
    pub fn narrow(&self, mandate: &Mandate) -> Result<Self, Error> {
        let json = serde_json::to_vec(mandate).map_err(|error| {
            let what = format!("writing the mandate down: {error}");
            self.connection().error(what, Errno::INVAL, None)
        })?;
        let mut answer = self.ask(Question::new(kind::NARROW, &json))?;
        let Some(socket) = answer.fds.pop() else { return Err(self.too_many_files()) };
        Ok(Self::new(socket, format!("{}, narrowed", self.connection().name)))
    }

    /// What may be asked for over this connection: a plan has to be allowed by each of these, the last one of
    /// which is the narrowest.
    ///
    /// # Errors
    /// As [`Agent`] says.
    pub fn mandate(&self) -> Result<Vec<Mandate>, Error> {
        let text = self.text(Question::new(kind::MANDATE, &[]))?;
        serde_json::from_str(&text).map_err(|error| {
            let what = format!("the agent's mandates cannot be read: {error}");
            self.connection().error(what, Errno::BADMSG, None)
        })
    }

    /// All connections and children of the agent, in JSON; for operators.
    ///
    /// # Errors
    /// [`Error::Refused`] if this is no operator's connection; otherwise as [`Agent`] says.
    pub fn list(&self) -> Result<String, Error> {
        self.text(Question::new(kind::LIST, &[]))
    }

    /// What the agent has written down from this entry on, in lines of JSON; for operators.
    ///
    /// # Errors
    /// As [`Agent::list`].
    pub fn log(&self, since: u64) -> Result<String, Error> {
        let since = wire::Since { entry: since.into() };
        self.text(Question::new(kind::LOG, since.as_bytes()))
    }

    /// Kills a child by the number that the agent's list has for it, with everybody in its own cgroup.
    ///
    /// # Errors
    /// [`Error::Refused`] for somebody else's child, if this is no operator's connection; ESRCH if there is none of
    /// this number; otherwise as [`Agent`] says.
    pub fn kill_child(&self, child: u64) -> Result<(), Error> {
        let body = wire::Child { child: child.into() };
        self.ask(Question::new(kind::KILL, body.as_bytes())).map(drop)
    }

    /// Sends a signal to a child by the number that the agent's list has for it.
    ///
    /// # Errors
    /// As [`Agent::kill_child`]; [`Error::Refused`] for a signal that the mandate does not allow.
    pub fn signal_child(&self, child: u64, signal: u32) -> Result<(), Error> {
        let body =
            wire::Signal { child: child.into(), signal: signal.into(), ..Default::default() };
        self.ask(Question::new(kind::SIGNAL, body.as_bytes())).map(drop)
    }

    /// The socket alone, to hand it to somebody else. An agent that is used over it still is the same
    /// connection.
    ///
    /// # Errors
    /// The agent itself, if there are clones, if processes came of it, or if a request is under way.
    pub fn into_fd(self) -> Result<OwnedFd, Self> {
        let Shared { connection, greeted } = match Arc::try_unwrap(self.shared) {
            Err(shared) => return Err(Self { shared }),
            Ok(shared) => shared,
        };
        let back = |connection| Self { shared: Arc::new(Shared { connection, greeted }) };
        match Arc::try_unwrap(connection) {
            Ok(connection) if connection.is_idle() => Ok(connection.into_socket()),
            Ok(connection) => Err(back(Arc::new(connection))),
            Err(connection) => Err(back(connection)),
        }
    }

    /// Asks, and takes a refusal for an error.
    pub(super) fn ask(&self, question: Question<'_>) -> Result<Packet, Error> {
        let deadline = Instant::now() + PATIENCE;
        self.greet(deadline)?;
        if question.body[0].len() + wire::HEAD_LEN > self.connection().state().message_bytes_max {
            return Err(self.connection().unsent(Unsent::Failed(Errno::MSGSIZE)));
        }
        let answer = self.connection().ask(question, deadline)?;
        self.not_refused(answer)
    }

    /// A refusal, or a fault that no plan is to blame for, as the error that it is.
    pub(super) fn not_refused(&self, answer: Packet) -> Result<Packet, Error> {
        match answer.kind {
            kind::REFUSED => Err(refused(&answer.body)),
            kind::FAULT => Err(fault(&answer.body).map_or_else(
                || self.no_such_message(),
                |(fault, words)| {
                    let errno = Errno::from_raw_os_error(fault.errno.get().into());
                    self.connection().error(words, errno, None)
                },
            )),
            _ => Ok(answer),
        }
    }

    fn text(&self, question: Question<'_>) -> Result<String, Error> {
        let mut answer = self.ask(question)?;
        let bytes = match answer.flags & flags::IN_FD {
            0 => answer.body,
            _ => {
                let Some(file) = answer.fds.pop() else { return Err(self.too_many_files()) };
                socket::contents(file.as_fd(), TEXT_BYTES_MAX).map_err(|errno| {
                    self.connection().error("reading what the agent has sent", errno, None)
                })?
            }
        };
        String::from_utf8(bytes).map_err(|_| {
            self.connection().error("what the agent has sent is no text", Errno::BADMSG, None)
        })
    }

    pub(super) fn no_such_message(&self) -> Error {
        self.connection().error("the agent's answer is none", Errno::BADMSG, None)
    }

    pub(super) fn too_many_files(&self) -> Error {
        let hint = "RLIMIT_NOFILE of this process";
        let what = "a descriptor that the agent has sent did not arrive";
        self.connection().error(what, Errno::MFILE, Some(hint))
    }
}

impl AsFd for Agent {
    /// The socket, to grant or poll it. Whoever else reads or writes it breaks the connection.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection().socket()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("name", &self.connection().name).finish_non_exhaustive()
    }
}

pub(super) fn hello() -> Hello {
    Hello { oldest: VERSION.into(), newest: VERSION.into(), ..Hello::default() }
}

/// What a body of [`kind::REFUSED`] says.
pub(super) fn refused(body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let (rule, why) = text.split_once('\0').unwrap_or((&text, ""));
    Error::Refused { rule: plain(rule).into(), why: plain(why).into() }
}

/// What a body of [`kind::FAULT`] says.
pub(super) fn fault(body: &[u8]) -> Option<(wire::Fault, String)> {
    let (fault, words) = wire::Fault::read_from_prefix(body).ok()?;
    Some((fault, plain(&String::from_utf8_lossy(words))))
}

/// Words of somebody else's, without what a terminal would act on.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
