//! An agent that does what a test says.

use embryo::agent::Agent;
use embryo::agent::wire::{self, Head, kind};
use embryo::{ExecFlags, Op, Plan};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use zerocopy::IntoBytes;

/// Longer than anything here takes, and shorter than anybody waits.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
pub(crate) fn within(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    if is_done.recv_timeout(LONG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("it hangs");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A connection to an agent that greets and then does as it is told.
pub(crate) fn agent(script: impl FnOnce(&mut Fake) + Send + 'static) -> Agent {
    let (theirs, mut fake) = Fake::pair();
    std::thread::spawn(move || {
        fake.greet();
        script(&mut fake);
        fake.wait_for_end();
    });
    Agent::from_fd(theirs).expect("it is greeted")
}

/// A plan without a slot.
pub(crate) fn plan() -> Plan {
    let mut plan = Plan::builder();
    plan.op(&Op::SetSid)
        .op(&Op::ChdirPath { path: c"/" })
        .op(&Op::Umask { mode: 0o22 })
        .op(&Op::ExecPath { path: c"/does/not/exist", flags: ExecFlags::empty() })
        .arg("x");
    plan.build().expect("a plan")
}

/// What a client asked.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    pub(crate) request: u64,
    pub(crate) flags: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// The agent's end of a connection.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) socket: OwnedFd,
}

impl Fake {
    pub(crate) fn pair() -> (OwnedFd, Self) {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a pair of sockets");
        (theirs, Self { socket: ours })
    }

    pub(crate) fn greet(&mut self) {
        self.greet_with(wire::VERSION, wire::IN_FLIGHT_MAX as u32);
    }

    pub(crate) fn greet_with(&mut self, version: u16, in_flight_max: u32) {
        let hello = self.receive().expect("a greeting");
        assert_eq!(hello.kind, kind::HELLO);
        let welcome = wire::Hello {
            oldest: version.into(),
            newest: version.into(),
            message_bytes_max: (wire::MESSAGE_BYTES_MAX as u32).into(),
            in_flight_max: in_flight_max.into(),
            connection: 1.into(),
            ..Default::default()
        };
        self.send(kind::WELCOME, hello.request, 0, welcome.as_bytes(), &[]);
    }

    /// The next request; `None` when the client has gone.
    pub(crate) fn receive(&mut self) -> Option<Request> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(wire::FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = vec![0; wire::MESSAGE_BYTES_MAX];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(&self.socket, &mut parts, &mut control, flags).ok()?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.flatten().collect();
        if received.bytes == 0 {
            return None;
        }
        let (head, body) = Head::split(&buffer[..received.bytes]).expect("a message");
        assert_eq!(head.version.get(), wire::VERSION);
        Some(Request {
            kind: head.kind.get(),
            request: head.request.get(),
            flags: head.flags.get(),
            body: body.to_vec(),
            fds,
        })
    }

    /// Says something; whether anybody hears it is another question.
    pub(crate) fn send(
        &mut self,
        kind: u16,
        request: u64,
        flags: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) {
        let head = Head::new(kind, request, flags, body.len());
        self.send_bytes(&[head.as_bytes(), body].concat(), fds);
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(wire::FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let parts = [IoSlice::new(bytes)];
        let _ = rustix::net::sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL);
    }

    pub(crate) fn started(&mut self, request: u64, child: u64, pidfd: BorrowedFd<'_>) {
        let started = wire::Started {
            child: child.into(),
            pid: (1000 + child as u32).into(),
            image_pid: (2000 + child as u32).into(),
        };
        self.send(kind::STARTED, request, 0, started.as_bytes(), &[pidfd]);
    }

    pub(crate) fn ended(&mut self, request: u64, child: u64, status: i32) {
        let usage = wire::Used { user_ns: 11.into(), ..Default::default() };
        let ended =
            wire::Ended { child: child.into(), status: status.into(), usage, ..Default::default() };
        self.send(kind::ENDED, request, wire::flags::USAGE, ended.as_bytes(), &[]);
    }

    /// That the client says nothing for so long.
    pub(crate) fn expect_nothing(&mut self, time: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        let time = Timespec::try_from(time).expect("a short time");
        assert_eq!(rustix::event::poll(&mut fds, Some(&time)), Ok(0));
    }

    /// Until the client has gone; what it says meanwhile is nothing to anybody.
    pub(crate) fn wait_for_end(&mut self) {
        while self.receive().is_some() {}
    }
}

/// A process to have a handle of.
#[derive(Debug)]
pub(crate) struct Sleeper {
    child: std::process::Child,
    pidfd: OwnedFd,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        let child = std::process::Command::new("sleep").arg("1000").spawn().expect("it starts");
        let pid = rustix::process::Pid::from_child(&child);
        let flags = rustix::process::PidfdFlags::empty();
        let pidfd = rustix::process::pidfd_open(pid, flags).expect("it runs");
        Self { child, pidfd }
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
    }
}
