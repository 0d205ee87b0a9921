//! From a packet to a request. It never looks at anything but its bytes, and never believes them.

use embryo::agent::wire::{self, Child, Head, Hello, Signal, Since, Spawn, flags, kind};
use zerocopy::FromBytes;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Which versions it speaks.
    Hello(Hello),
    /// A child.
    Spawn {
        /// How long it may take to start, in milliseconds; 0 leaves that to the agent.
        timeout_ms: u32,
        /// The plan's bytes; `None` if they are in the first descriptor.
        plan: Option<&'a [u8]>,
    },
    /// A signal for one of its children.
    Signal {
        /// Which child.
        child: u64,
        /// Which signal.
        signal: u32,
    },
    /// The end of one of its children.
    Kill {
        /// Which child.
        child: u64,
    },
    /// What one of its children has used so far.
    Usage {
        /// Which child.
        child: u64,
    },
    /// A narrower connection.
    Narrow {
        /// The mandate.
        json: &'a [u8],
    },
    /// What it may ask for.
    Mandate,
    /// Everybody's children.
    List,
    /// What has happened.
    Log {
        /// The first entry that is wanted.
        since: u64,
    },
}

/// Why a packet is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has no head, or its length is not what the head says.
    #[error("it is no message of this protocol")]
    NoMessage,
    /// It is of another version.
    #[error("version {0} of the protocol is not spoken here, {version} is", version = wire::VERSION)]
    Version(u16),
    /// It is of no kind that a client may send.
    #[error("there is no request of kind {0}")]
    Kind(u16),
    /// It has flags that its kind does not have.
    #[error("flags {0:#x} mean nothing here")]
    Flags(u32),
    /// Its body is too short, or too long, or a field that has to be zero is not.
    #[error("the body is not what this kind of request has")]
    Body,
    /// It has more or fewer descriptors than its kind has.
    #[error("{0} descriptors came with it")]
    Descriptors(usize),
}

/// Reads a packet that came with so many descriptors.
///
/// # Errors
/// What is wrong with it, and the request's number if it has one.
pub fn parse(packet: &[u8], fds: usize) -> Result<(u64, Request<'_>), (u64, Malformed)> {
    let (head, body) = Head::split(packet).ok_or((0, Malformed::NoMessage))?;
    let id = head.request.get();
    let request = read(&head, body, fds).map_err(|malformed| (id, malformed))?;
    Ok((id, request))
}

fn read<'a>(head: &Head, body: &'a [u8], fds: usize) -> Result<Request<'a>, Malformed> {
    let (kind, given) = (head.kind.get(), head.flags.get());
    // Hello says which versions there are, so its own does not matter.
    if head.version.get() != wire::VERSION && kind != kind::HELLO {
        return Err(Malformed::Version(head.version.get()));
    }
    let known = if kind == kind::SPAWN { flags::IN_FD } else { 0 };
    if given & !known != 0 {
        return Err(Malformed::Flags(given));
    }
    if fds > 0 && kind != kind::SPAWN {
        return Err(Malformed::Descriptors(fds));
    }
    let whole = || exactly::<Child>(body).map(|child| child.child.get());
    Ok(match kind {
        kind::HELLO => Request::Hello(exactly(body)?),
        kind::SPAWN => spawn(given, body, fds)?,
        kind::SIGNAL => {
            let Signal { child, signal, reserved } = exactly(body)?;
            if reserved.get() != 0 || !(1..=64).contains(&signal.get()) {
                return Err(Malformed::Body);
            }
            Request::Signal { child: child.get(), signal: signal.get() }
        }
        kind::KILL => Request::Kill { child: whole()? },
        kind::USAGE => Request::Usage { child: whole()? },
        kind::NARROW if !body.is_empty() => Request::Narrow { json: body },
        kind::MANDATE if body.is_empty() => Request::Mandate,
        kind::LIST if body.is_empty() => Request::List,
        kind::LOG => Request::Log { since: exactly::<Since>(body)?.entry.get() },
        kind::NARROW | kind::MANDATE | kind::LIST => return Err(Malformed::Body),
        _ => return Err(Malformed::Kind(kind)),
    })
}

fn spawn(given: u32, body: &[u8], fds: usize) -> Result<Request<'_>, Malformed> {
    let (spawn, plan) = Spawn::read_from_prefix(body).map_err(|_| Malformed::Body)?;
    if spawn.reserved.get() != 0 {
        return Err(Malformed::Body);
    }
    let in_fd = given & flags::IN_FD != 0;
    if in_fd && fds == 0 {
        return Err(Malformed::Descriptors(0));
    }
    if in_fd != plan.is_empty() {
        return Err(Malformed::Body);
    }
    let plan = (!in_fd).then_some(plan);
    Ok(Request::Spawn { timeout_ms: spawn.timeout_ms.get(), plan })
}

fn exactly<T: FromBytes>(body: &[u8]) -> Result<T, Malformed> {
    T::read_from_bytes(body).map_err(|_| Malformed::Body)
}
