//! The messages between an agent and its clients, byte by byte; `docs/agent-protocol.md` says the same in
//! words, and must change with it.
//!
//! Each message is one packet of a `SOCK_SEQPACKET` Unix socket: a [`Head`], a body, and descriptors as
//! `SCM_RIGHTS`. All integers are little-endian, and nothing needs alignment. Reading a message never
//! panics, whatever it holds, and never believes a length.

use std::time::Duration;
use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of every message.
pub const MAGIC: [u8; 4] = *b"EMBA";
/// The version of the protocol that this code speaks.
pub const VERSION: u16 = 1;
/// Bytes of a [`Head`].
pub const HEAD_LEN: usize = size_of::<Head>();
/// Bytes of a whole message. A plan that does not fit travels in a sealed memfd ([`flags::IN_FD`]).
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Descriptors of one message, as the kernel limits them (`SCM_MAX_FD`).
pub const FDS_MAX: usize = 253;
/// Requests of one connection that have not been answered. Further ones are not read until some are.
pub const IN_FLIGHT_MAX: usize = 64;

/// Kinds of messages. Requests are below 0x8000, answers are not.
pub mod kind {
    /// Body [`super::Hello`]. Answered with [`WELCOME`], or [`REFUSED`] if no version is common.
    pub const HELLO: u16 = 1;
    /// Body [`super::Spawn`], then the plan's bytes. Descriptors: the plan's memfd if [`super::flags::IN_FD`],
    /// then the grants in the order of their slots. Answered with [`STARTED`] (and [`ENDED`] later, under the
    /// same request), [`FAULT`] or [`REFUSED`].
    pub const SPAWN: u16 = 2;
    /// Body [`super::Signal`]. Answered with [`DONE`], [`FAULT`] or [`REFUSED`].
    pub const SIGNAL: u16 = 3;
    /// Body [`super::Child`]: SIGKILL to the child, and to everybody in its cgroup if the agent made one for
    /// it. Answered as [`SIGNAL`].
    pub const KILL: u16 = 4;
    /// Body [`super::Child`]. Answered with [`USED`], [`FAULT`] or [`REFUSED`].
    pub const USAGE: u16 = 5;
    /// Body: a mandate in JSON. Answered with [`NARROWED`] or [`REFUSED`].
    pub const NARROW: u16 = 6;
    /// No body. Answered with [`TEXT`]: the mandates of this connection in JSON, the widest first.
    pub const MANDATE: u16 = 7;
    /// No body; operators only. Answered with [`TEXT`]: connections and children in JSON.
    pub const LIST: u16 = 16;
    /// Body [`super::Since`]; operators only. Answered with [`TEXT`]: the log from there on in JSON lines.
    pub const LOG: u16 = 17;
    /// Body [`super::Hello`]: the version that is spoken from now on.
    pub const WELCOME: u16 = 0x8001;
    /// Body [`super::Started`]. One descriptor: a pidfd of the child.
    pub const STARTED: u16 = 0x8002;
    /// Body [`super::Fault`], then what is known of it in words (UTF-8).
    pub const FAULT: u16 = 0x8003;
    /// Body: the rule's name, a NUL, and why in words (UTF-8).
    pub const REFUSED: u16 = 0x8004;
    /// Body [`super::Ended`].
    pub const ENDED: u16 = 0x8005;
    /// No body.
    pub const DONE: u16 = 0x8006;
    /// Body [`super::Used`].
    pub const USED: u16 = 0x8007;
    /// No body. One descriptor: a connected socket whose mandate is the narrower one.
    pub const NARROWED: u16 = 0x8008;
    /// Body: text (UTF-8); with [`super::flags::IN_FD`] none, and one descriptor that holds it.
    pub const TEXT: u16 = 0x8009;
    /// Request 0, no body: the agent takes no more requests of this connection. What it started and
    /// lets live goes on, and its end is told by its pidfd alone.
    pub const STOPPING: u16 = 0x800a;
}

/// Flags of messages.
pub mod flags {
    /// The bytes that would follow the body are in the first descriptor: of a request, in a memfd that is sealed
    /// against writing, growing and shrinking.
    pub const IN_FD: u32 = 1;
    /// Of [`super::kind::ENDED`]: usage is known.
    pub const USAGE: u32 = 2;
    /// Of [`super::kind::ENDED`]: the agent ended it because its time was over.
    pub const TIME_IS_OVER: u32 = 4;
    /// Of [`super::kind::ENDED`]: how it ended is not known, since somebody else reaped it.
    pub const UNKNOWN: u32 = 8;
    /// Of [`super::kind::FAULT`]: a signal killed the child before it had started.
    pub const KILLED: u32 = 16;
    /// Of [`super::kind::FAULT`]: the child did not start in time.
    pub const TIMED_OUT: u32 = 32;
}

macro_rules! wire {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
            Unaligned,
        )]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    )*};
}

wire! {
    /// What every message begins with.
    pub struct Head {
        /// [`MAGIC`].
        pub magic: [u8; 4],
        /// [`VERSION`].
        pub version: U16,
        /// Of [`kind`].
        pub kind: U16,
        /// Chosen by the client, which may have several under way; an answer has that of its request.
        pub request: U64,
        /// Of [`flags`]. Others are refused.
        pub flags: U32,
        /// Bytes that follow, all of the packet.
        pub body_len: U32,
    }

    /// Body of [`kind::HELLO`] and [`kind::WELCOME`].
    pub struct Hello {
        /// The oldest version that is spoken; of an answer, the one that will be.
        pub oldest: U16,
        /// The newest.
        pub newest: U16,
        /// Of an answer: bytes of a message, at most.
        pub message_bytes_max: U32,
        /// Of an answer: requests that may be under way.
        pub in_flight_max: U32,
        /// Zero.
        pub reserved: U32,
        /// Of an answer: the connection's number, as the operator sees it.
        pub connection: U64,
    }

    /// Body of [`kind::SPAWN`], before the plan.
    pub struct Spawn {
        /// How long the child may take to start, in milliseconds; 0, and more than the agent allows, is what
        /// the agent allows.
        pub timeout_ms: U32,
        /// Zero.
        pub reserved: U32,
    }

    /// Body of requests about a child.
    pub struct Child {
        /// Its number, from [`Started`].
        pub child: U64,
    }

    /// Body of [`kind::SIGNAL`].
    pub struct Signal {
        /// The child's number.
        pub child: U64,
        /// 1 to 64.
        pub signal: U32,
        /// Zero.
        pub reserved: U32,
    }

    /// Body of [`kind::LOG`].
    pub struct Since {
        /// The number of the first entry that is wanted.
        pub entry: U64,
    }

    /// Body of [`kind::STARTED`].
    pub struct Started {
        /// The child's number with this agent, which is never given again.
        pub child: U64,
        /// Its pid in the agent's pid namespace.
        pub pid: U32,
        /// The pid of the image, which is another below an init; else the same.
        pub image_pid: U32,
    }

    /// Body of [`kind::FAULT`]; words follow.
    pub struct Fault {
        /// Index of the op in the client's plan; `u32::MAX` for none of them: something that the agent does,
        /// or what the mandate forces.
        pub index: U32,
        /// The op's number in plans, or 0.
        pub code: U16,
        /// What the kernel answered.
        pub errno: U16,
    }

    /// Body of [`kind::ENDED`].
    pub struct Ended {
        /// The child's number.
        pub child: U64,
        /// The status, as wait(2) has it.
        pub status: I32,
        /// Zero.
        pub reserved: U32,
        /// What it used, if [`flags::USAGE`].
        pub usage: Used,
    }

    /// Body of [`kind::USED`], and part of [`Ended`].
    pub struct Used {
        /// Nanoseconds on a CPU in user mode.
        pub user_ns: U64,
        /// Nanoseconds on a CPU in the kernel.
        pub system_ns: U64,
        /// Largest resident set, in bytes.
        pub max_rss: U64,
        /// Page faults served without input or output.
        pub minor_faults: U64,
        /// Page faults that needed input or output.
        pub major_faults: U64,
        /// Context switches by its own choice.
        pub voluntary_switches: U64,
        /// Context switches forced on it.
        pub involuntary_switches: U64,
    }
}

impl Head {
    /// One of this kind, for a body of this length.
    #[must_use]
    pub fn new(kind: u16, request: u64, flags: u32, body_len: usize) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION.into(),
            kind: kind.into(),
            request: request.into(),
            flags: flags.into(),
            body_len: u32::try_from(body_len).unwrap_or(u32::MAX).into(),
        }
    }

    /// Splits a packet into head and body; `None` if it is no message of any version.
    #[must_use]
    pub fn split(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (head, body) = Self::read_from_prefix(packet).ok()?;
        (head.magic == MAGIC && head.body_len.get() as usize == body.len()).then_some((head, body))
    }
}

impl From<crate::Usage> for Used {
    fn from(usage: crate::Usage) -> Self {
        let nanos = |time: Duration| U64::new(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        Self {
            user_ns: nanos(usage.user),
            system_ns: nanos(usage.system),
            max_rss: usage.max_rss.into(),
            minor_faults: usage.minor_faults.into(),
            major_faults: usage.major_faults.into(),
            voluntary_switches: usage.voluntary_switches.into(),
            involuntary_switches: usage.involuntary_switches.into(),
        }
    }
}

impl From<Used> for crate::Usage {
    fn from(used: Used) -> Self {
        Self {
            user: Duration::from_nanos(used.user_ns.get()),
            system: Duration::from_nanos(used.system_ns.get()),
            max_rss: used.max_rss.get(),
            minor_faults: used.minor_faults.get(),
            major_faults: used.major_faults.get(),
            voluntary_switches: used.voluntary_switches.get(),
            involuntary_switches: used.involuntary_switches.get(),
        }
    }
}
