//! What a client may ask for besides a child.

use super::Server;
use super::answer;
use super::child::Child;
use crate::mandate::{self, Refusal};
use embryo::agent::wire::{self, Hello, IN_FLIGHT_MAX, MESSAGE_BYTES_MAX, VERSION, flags, kind};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsFd, OwnedFd};
use zerocopy::IntoBytes;

/// Bytes of log in one answer; who wants more asks again.
const LOG_BYTES_MAX: usize = 1 << 20;

type Done = Result<(), Refusal>;

fn refusal(rule: &str, why: impl Into<String>) -> Refusal {
    Refusal { rule: rule.to_owned(), why: why.into() }
}

impl Server {
    pub(super) fn hello(&mut self, id: u64, request: u64, hello: Hello) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !(hello.oldest.get()..=hello.newest.get()).contains(&VERSION) {
            let why = format!("version {VERSION} alone is spoken here");
            self.refuse(id, request, &refusal("version", why));
            return self.disconnect(id);
        }
        connection.welcomed = true;
        let body = Hello {
            oldest: VERSION.into(),
            newest: VERSION.into(),
            message_bytes_max: (MESSAGE_BYTES_MAX as u32).into(),
            in_flight_max: (IN_FLIGHT_MAX as u32).into(),
            reserved: 0.into(),
            connection: id.into(),
        };
        self.tell(id, kind::WELCOME, request, 0, body.as_bytes(), &[]);
    }

    /// A child that this connection has a say in.
    fn child(&mut self, id: u64, number: u64) -> Result<&mut Child, Refusal> {
        let operator = self.connections.get(&id).is_some_and(|one| one.is_operator());
        let child = self.children.get_mut(&number);
        child
            .filter(|child| operator || child.connection == Some(id))
            .ok_or_else(|| refusal("child", format!("there is no child {number} of yours")))
    }

    pub(super) fn signal(&mut self, id: u64, request: u64, number: u64, signal: u32) -> Done {
        if let Some(connection) = self.connections.get(&id)
            && !connection.is_operator()
        {
            mandate::may_signal(&connection.held, signal)?;
        }
        let sent = self.child(id, number)?.process.signal(signal.cast_signed());
        self.done(id, request, sent);
        Ok(())
    }

    pub(super) fn kill(&mut self, id: u64, request: u64, number: u64) -> Done {
        let killed = self.child(id, number)?.kill();
        self.done(id, request, killed);
        Ok(())
    }

    fn done(&mut self, id: u64, request: u64, outcome: Result<(), embryo::Error>) {
        match outcome {
            Ok(()) => self.tell(id, kind::DONE, request, 0, &[], &[]),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let body = answer::own_fault(errno, &error.to_string());
                self.tell(id, kind::FAULT, request, 0, &body, &[]);
            }
        }
    }

    pub(super) fn usage(&mut self, id: u64, request: u64, number: u64) -> Done {
        match self.child(id, number)?.process.usage_now() {
            Ok(usage) => {
                let used = wire::Used::from(usage);
                self.tell(id, kind::USED, request, 0, used.as_bytes(), &[]);
            }
            Err(error) => self.done(id, request, Err(error)),
        }
        Ok(())
    }

    pub(super) fn narrow(&mut self, id: u64, request: u64, json: &[u8]) -> Done {
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        let mut held = connection.held.clone();
        if self.connections.len() >= self.settings.connections {
            let why = format!("there are {} connections", self.connections.len());
            return Err(refusal("agent.connections", why));
        }
        let narrower = mandate::narrow(&held, json)?;
        let pair = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        );
        let no_socket = |errno| refusal("agent.descriptors", format!("no socket: {errno}"));
        let (ours, theirs) = pair.map_err(no_socket)?;
        // The other end is not waited at in this process, and whoever gets it may want to.
        rustix::io::ioctl_fionbio(&theirs, false).map_err(no_socket)?;
        held.accounts = self.accounts.narrow(&held, &narrower.source.numbers)?;
        held.levels.insert(0, narrower);
        if self.connect(ours, held, Some(id)).is_none() {
            return Err(refusal("agent.descriptors", "the connection cannot be watched"));
        }
        self.tell(id, kind::NARROWED, request, 0, &[], &[theirs.as_fd()]);
        Ok(())
    }

    pub(super) fn mandate(&mut self, id: u64, request: u64) -> Done {
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        let levels: Vec<_> =
            connection.held.levels.iter().rev().map(|level| &level.source).collect();
        let text =
            serde_json::to_string(&levels).map_err(|error| refusal("agent", error.to_string()))?;
        self.text(id, request, &text)
    }

    pub(super) fn list(&mut self, id: u64, request: u64) -> Done {
        self.operator(id)?;
        let listing = self.listing();
        let text =
            serde_json::to_string(&listing).map_err(|error| refusal("agent", error.to_string()))?;
        self.text(id, request, &text)
    }

    pub(super) fn log(&mut self, id: u64, request: u64, since: u64) -> Done {
        self.operator(id)?;
        let text = self.ring.since(since, LOG_BYTES_MAX);
        self.text(id, request, &text)
    }

    fn operator(&self, id: u64) -> Done {
        match self.connections.get(&id).is_some_and(|one| one.is_operator()) {
            true => Ok(()),
            false => Err(refusal("operator", "this connection is not an operator's")),
        }
    }

    /// Answers with a text, however long it is.
    fn text(&mut self, id: u64, request: u64, text: &str) -> Done {
        if text.len() <= MESSAGE_BYTES_MAX - wire::HEAD_LEN {
            self.tell(id, kind::TEXT, request, 0, text.as_bytes(), &[]);
            return Ok(());
        }
        let file = sealed(text.as_bytes()).map_err(|errno| {
            refusal("agent.descriptors", format!("no memory for the answer: {errno}"))
        })?;
        self.tell(id, kind::TEXT, request, flags::IN_FD, &[], &[file.as_fd()]);
        Ok(())
    }
}

/// A memfd that holds this and nothing else ever.
fn sealed(bytes: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(c"embryo-agent", flags)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    rustix::io::retry_on_intr(|| rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)))?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file)
}
