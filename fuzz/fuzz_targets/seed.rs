//! Arbitrary messages to a real seed: requests that are ones, nearly ones, or none, with as many
//! descriptors as chance gives them.
//!
//! The seed is nobody, within limits that it cannot raise. However it is spoken to, it answers or ends, and what
//! ends it is not a mistake of its own; when its owner has gone it ends.
#![no_main]

use embryo::fuzzing::{
    CONTROL_FD, Reply, ReplyKind, Request, RequestFlags, RequestKind, SEED_NAME, reply_bytes,
    request_bytes, seed_image,
};
use embryo::{ExecFlags, Keep, Op, Plan, PlanBuilder, Process, Slot, SpawnOptions, spawn_with};
use embryo_fuzz::{Description, Grants, Socket, as_batch, harmless_for_nobody, pair};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, getuid, pidfd_open};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const NOBODY: u32 = 65534;
/// Only a seed that hangs takes it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Seven pages below where its image is linked to.
const BELOW_THE_SEED: u64 = 0x1f_9000;
const MESSAGES_MAX: usize = 8;
/// What the last request, which is a good one, is answered with.
const LAST: u32 = 77;

const ILL_TRAP_ABRT_FPE_SEGV_SYS: [i32; 6] = [4, 5, 6, 8, 11, 31];
const BUS: i32 = 7;

#[derive(Arbitrary, Debug)]
struct Owner {
    /// Whether the first request is as it should be.
    greets: bool,
    messages: Vec<Message>,
}

#[derive(Arbitrary, Debug)]
enum Message {
    /// Nothing that anybody has thought of.
    Bytes(Vec<u8>, u8),
    /// A request, and what is wrong with it.
    Request(Nearly),
}

#[derive(Arbitrary, Debug)]
struct Nearly {
    kind: Kind,
    plan: Description,
    /// Whether it has ops on memory alone, and they mean the seed's own.
    near: bool,
    live: bool,
    trace: bool,
    as_file: bool,
    changes: Vec<(u16, u8)>,
    wrong: Option<Wrong>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Apply,
    Launch,
    Grants,
    Other(u32),
}

/// Differences to what would be right.
#[derive(Arbitrary, Debug)]
struct Wrong {
    magic: bool,
    plan_len: i16,
    far: bool,
    grants: i8,
    fds: i8,
    flags: u32,
    cut: u16,
    longer: u8,
}

fuzz_target!(|owner: Owner| {
    let seed = seed();
    let mut run = Run { seed, entered: false, lied_of_a_file: false };
    let messages = owner.messages;
    if owner.greets {
        let greeted = run.seed.socket.say(&once().first, &[once().owner.as_fd()]);
        greeted.expect("a new seed listens");
        let answer = run.seed.socket.hear(PATIENCE).expect("it answers");
        assert_eq!(answer, reply_bytes(&Reply::done(0)), "a good request is answered");
    }
    for message in messages.iter().take(MESSAGES_MAX) {
        let _ = run.say(message);
    }
    run.judge(&messages);
});

/// A seed and this end of its socket.
struct Seed {
    process: Process,
    socket: Socket,
}

struct Run {
    seed: Seed,
    /// Whether it said that it enters its image: whatever ends it then is not the seed's.
    entered: bool,
    /// Whether a plan was said to be in a file in which it is not. The seed takes its owner's word.
    lied_of_a_file: bool,
}

impl Run {
    /// Puts a message into the socket.
    fn say(&mut self, message: &Message) -> Result<(), Errno> {
        self.hear(Duration::ZERO);
        let nearly = match message {
            Message::Bytes(bytes, fds) => {
                let null = once().null.as_fd();
                self.lied_of_a_file = true;
                return self.seed.socket.say(bytes, &vec![null; usize::from(*fds)]);
            }
            Message::Request(nearly) => nearly,
        };
        let Some(plan) = nearly.plan.build().ok() else { return Ok(()) };
        let up = if nearly.near { BELOW_THE_SEED } else { 0 };
        let plan = harmless_for_nobody(&plan.as_plan(), &once().grants, up);
        let Some(plan) = plan else { return Ok(()) };
        let plan = match nearly.kind {
            Kind::Launch => plan,
            _ => match as_batch(&plan.as_plan(), nearly.near) {
                Some(batch) => batch,
                None => return Ok(()),
            },
        };
        self.say_nearly(nearly, &plan)
    }

    fn say_nearly(&mut self, nearly: &Nearly, plan: &Plan) -> Result<(), Errno> {
        let mut bytes = plan.as_bytes().to_vec();
        for (at, byte) in &nearly.changes {
            let at = usize::from(*at) % bytes.len();
            bytes[at] = *byte;
        }
        let mut terminal = None;
        let mut fds = once().grants.of(&plan.as_plan(), &mut terminal);
        let mut head = Request {
            magic: Request::MAGIC,
            kind: match nearly.kind {
                Kind::Apply => RequestKind::Apply as u32,
                Kind::Launch => RequestKind::Launch as u32,
                Kind::Grants => RequestKind::Grants as u32,
                Kind::Other(other) => other,
            },
            flags: 0,
            plan_len: bytes.len() as u32,
            grants: fds.len() as u32,
            owner: getpid().as_raw_pid(),
            // No time limit, which would end it, and no embryos: those are for the tests of hatcheries.
            ..Request::default()
        };
        if nearly.live {
            head.flags |= RequestFlags::LIVE;
            head.grants += 1;
            fds.insert(0, once().owner.as_fd());
        }
        if nearly.trace {
            head.flags |= RequestFlags::TRACE;
        }
        let file;
        if nearly.as_file {
            head.flags |= RequestFlags::PLAN_IN_FD;
            file = in_memory(&bytes);
            fds.insert(0, file.as_fd());
            bytes.clear();
        }
        let mut message = [request_bytes(&head), &bytes].concat();
        if let Some(wrong) = &nearly.wrong {
            // Whatever is wrong, the file may be another one or shorter than is said.
            self.lied_of_a_file = true;
            message = wrong.apply(head, &bytes, &mut fds);
        }
        self.seed.socket.say(&message, &fds)
    }

    /// Hears what is said; false at the end of the socket.
    fn hear(&mut self, patience: Duration) -> bool {
        while let Some(answer) = self.seed.socket.hear(patience) {
            let Some(kind) = answer.first_chunk::<4>() else { return false };
            self.entered |= *kind == (ReplyKind::Entering as u32).to_le_bytes();
            if self.entered || is_last(&answer) {
                return false;
            }
        }
        true
    }

    /// Says what a seed has to understand, until it answers or is no more; then leaves it alone, until
    /// it is no more.
    fn judge(mut self, messages: &[Message]) {
        let deadline = Instant::now() + PATIENCE;
        while self.hear(Duration::from_millis(1)) {
            assert!(Instant::now() < deadline, "it neither answers nor ends: {messages:?}");
            match self.seed.socket.say(&once().last, &[]) {
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(_) => break,
            }
        }
        let Seed { mut process, socket } = self.seed;
        if self.entered {
            let _ = process.kill();
        }
        drop(socket);
        let status = process.wait_timeout(PATIENCE).expect("it can be waited for");
        let Some(status) = status else { panic!("it outlives its owner: {messages:?}") };
        if let (Some(signal), false) = (status.signal(), self.entered) {
            let mistake = ILL_TRAP_ABRT_FPE_SEGV_SYS.contains(&signal);
            assert!(!mistake, "signal {signal} has ended it: {messages:?}");
            assert!(signal != BUS || self.lied_of_a_file, "it was sent a BUS: {messages:?}");
        }
    }
}

/// Whether it is the answer to the request that comes last.
fn is_last(answer: &[u8]) -> bool {
    let fault = (ReplyKind::Fault as u32).to_le_bytes();
    let errno = (LAST as u16).to_le_bytes();
    answer.len() == size_of::<Reply>() && answer[..4] == fault && answer[10..12] == errno
}

impl Wrong {
    fn apply(&self, mut head: Request, plan: &[u8], fds: &mut Vec<BorrowedFd<'_>>) -> Vec<u8> {
        let off = |value: u32, by: i32| value.wrapping_add_signed(by);
        let far = if self.far { 1 << 16 } else { 1 };
        head.magic ^= u32::from(self.magic);
        head.plan_len = off(head.plan_len, i32::from(self.plan_len).wrapping_mul(far));
        head.grants = off(head.grants, i32::from(self.grants));
        head.flags ^= self.flags;
        let count = fds.len().saturating_add_signed(self.fds.into());
        fds.resize(count, once().null.as_fd());
        let mut message = [request_bytes(&head), plan].concat();
        message.truncate(message.len().saturating_sub(self.cut.into()));
        message.resize(message.len() + usize::from(self.longer), 0);
        message
    }
}

/// What is made once.
struct Once {
    grants: Grants,
    null: std::fs::File,
    owner: OwnedFd,
    image: OwnedFd,
    /// A seed in the place of an image: nobody, and within limits.
    plan: Plan,
    /// The first request of an embryo that is to live.
    first: Vec<u8>,
    /// The last request.
    last: Vec<u8>,
}

fn once() -> &'static Once {
    static ONCE: OnceLock<Once> = OnceLock::new();
    ONCE.get_or_init(|| {
        let mut last = PlanBuilder::batch();
        let last = last.op(&Op::Fail { errno: LAST }).build().expect("it is a batch");
        let first = PlanBuilder::batch().build().expect("it is a batch");
        let request = |plan: &Plan, flags, grants| {
            let head = Request {
                magic: Request::MAGIC,
                kind: RequestKind::Apply as u32,
                flags,
                plan_len: plan.as_bytes().len() as u32,
                grants,
                ..Request::default()
            };
            [request_bytes(&head), plan.as_bytes()].concat()
        };
        Once {
            grants: Grants::new(),
            null: std::fs::File::open("/dev/null").expect("there is one"),
            owner: pidfd_open(getpid(), PidfdFlags::empty()).expect("one's own"),
            image: in_memory(seed_image()),
            plan: nobody(),
            first: request(&first, RequestFlags::LIVE, 1),
            last: request(&last, 0, 0),
        }
    })
}

fn nobody() -> Plan {
    const LIMITS: [(u32, u64); 4] = [
        /* CPU */ (0, 10),
        /* FSIZE */ (1, 1 << 20),
        /* CORE */ (4, 0),
        /* AS */ (9, 1 << 28),
    ];
    let mut plan = Plan::builder();
    let (socket, image): (Slot, Slot) = (plan.slot(), plan.slot());
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::PutFd { slot: socket, fd: CONTROL_FD as u32 })
        .op(&Op::SignalMask { set: !(1 << 8 | 1 << 18) })
        .op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() })
        .arg(SEED_NAME.to_bytes());
    for (resource, most) in LIMITS {
        plan.op(&Op::Rlimit { resource, soft: most, hard: most });
    }
    if getuid().is_root() {
        plan.op(&Op::Groups { list: &[] })
            .op(&Op::Gid { real: NOBODY, effective: NOBODY, saved: NOBODY })
            .op(&Op::Uid { real: NOBODY, effective: NOBODY, saved: NOBODY });
    }
    plan.build().expect("it is a plan")
}

fn seed() -> Seed {
    let (socket, theirs) = pair();
    let grants = [theirs.as_fd(), once().image.as_fd()];
    let options = SpawnOptions::new().timeout(PATIENCE);
    let process = spawn_with(&once().plan, &grants, options);
    Seed { process: process.expect("a seed can be started"), socket }
}

fn in_memory(bytes: &[u8]) -> OwnedFd {
    let file = rustix::fs::memfd_create("embryo:fuzz", MemfdFlags::CLOEXEC);
    let file = file.expect("a file in memory can be made");
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).expect("there is room");
        rest = &rest[written..];
    }
    file
}
