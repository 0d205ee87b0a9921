//! A seed that lies: arbitrary answers to an owner that asks for arbitrary things.
//!
//! The owner gets an answer or an error in time, does not panic, and nothing is left of the embryo.
#![no_main]

use embryo::fuzzing::{Reply, ReplyKind, answer_instead, reply_bytes, set_timeout};
use embryo::{Embryo, ExecFlags, Keep, MapFlags, Op, Plan, PlanBuilder, SpawnOptions, limits};
use embryo_fuzz::{Caller, Socket, pair};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long an owner waits for what never comes.
const TIMEOUT: Duration = Duration::from_millis(1);
/// Longer than all of it takes.
const PATIENCE: Duration = Duration::from_secs(20);
const ASKED_MAX: usize = 8;
const SAID_MAX: usize = 16;

#[derive(Arbitrary, Debug)]
struct Lie {
    exchanges: Vec<(Asked, Answer)>,
    /// What is said to the start.
    last: Vec<Said>,
    /// Whether the liar goes away when it has said all.
    leaves: bool,
    starts: bool,
}

/// What is said to one question: as much as it wants, or anything.
#[derive(Arbitrary, Debug)]
enum Answer {
    Good(Vec<Told>),
    Any(Vec<Said>),
}

/// One answer, and how many descriptors come with it.
#[derive(Arbitrary, Debug)]
enum Said {
    Bytes(Vec<u8>, u8),
    Head { kind: u8, index: u32, code: u16, errno: u16, traced: u32, words: Vec<u64>, odd: u8 },
    Done(Vec<Told>),
    Entering(Vec<[u64; 2]>),
    Long { words: u16, traced: u32 },
}

/// What an op is said to tell.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Told {
    Page(u8),
    High(u16),
    Number(u64),
}

impl Told {
    fn word(self) -> u64 {
        match self {
            Self::Page(page) => u64::from(page % 64) * limits::PAGE,
            Self::High(below) => u64::MAX - u64::from(below),
            Self::Number(number) => number,
        }
    }
}

/// One question.
#[derive(Arbitrary, Debug)]
enum Asked {
    Batch(Vec<[u32; 4]>),
    Read { addr: u64, len: u16 },
    Write { addr: u64, contents: Vec<u8> },
    Long,
}

fuzz_target!(|lie: Lie| {
    static WARM: OnceLock<()> = OnceLock::new();
    WARM.get_or_init(|| drop(embryo()));
    let before = Caller::look();
    let begun = Instant::now();
    tell(&lie);
    assert!(begun.elapsed() < PATIENCE, "it took {:?}: {lie:?}", begun.elapsed());
    let after = Caller::look();
    assert!(before == after, "the owner has changed: {before:#?} {after:#?} {lie:?}");
});

fn embryo() -> Embryo {
    Embryo::create_with(SpawnOptions::new().timeout(PATIENCE)).expect("an embryo can be made")
}

fn tell(lie: &Lie) {
    let mut embryo = embryo();
    set_timeout(&mut embryo, TIMEOUT);
    let (liar, owners) = pair();
    let real = answer_instead(&mut embryo, owners);
    for (asked, said) in lie.exchanges.iter().take(ASKED_MAX) {
        let Some(batch) = asked.batch() else { continue };
        let ops = batch.as_ref().map_or(1, |batch| batch.as_plan().entries().len());
        match said {
            Answer::Good(told) => {
                let told = told.iter().copied().chain(std::iter::repeat(Told::Page(1)));
                Said::Done(told.take(ops).collect()).say(&liar);
            }
            Answer::Any(said) => said.iter().take(SAID_MAX).for_each(|said| said.say(&liar)),
        }
        asked.ask(batch, &mut embryo);
        assert!(embryo.regions().count() < 1 << 16);
    }
    lie.last.iter().take(SAID_MAX).for_each(|said| said.say(&liar));
    let liar = (!lie.leaves).then_some(liar);
    if lie.starts {
        start(embryo);
    } else {
        drop(embryo);
    }
    drop((liar, real));
}

/// What says that it has started may be believed; it is the process's own word.
fn start(embryo: Embryo) {
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION).arg("fuzz");
    plan.op(&Op::ExecPath { path: c"/nonexistent/embryo-fuzz", flags: ExecFlags::empty() });
    let plan = plan.build().expect("it is a plan");
    match embryo.start(&plan, &[]) {
        Ok(mut process) => {
            let _ = process.kill();
            process.wait().expect("it was killed");
        }
        Err((error, embryo)) => {
            assert!(!error.to_string().is_empty());
            drop(embryo);
        }
    }
}

impl Said {
    fn say(&self, liar: &Socket) {
        let null = std::fs::File::open("/dev/null").expect("there is one");
        let fds = |count: u8| vec![null.as_fd(); usize::from(count) % 8];
        let bytes_of = |words: &[u64]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let message = |head: Reply, rest: &[u8]| [reply_bytes(&head), rest].concat();
        let (bytes, count) = match self {
            Self::Bytes(bytes, count) => (bytes.clone(), *count),
            Self::Head { kind, index, code, errno, traced, words, odd } => {
                let head = Reply {
                    kind: u32::from(*kind) % 5,
                    index: *index,
                    code: *code,
                    errno: *errno,
                    traced: *traced,
                };
                let mut rest = bytes_of(words);
                rest.truncate(rest.len().saturating_sub(usize::from(*odd) % 8));
                (message(head, &rest), 0)
            }
            Self::Done(told) => {
                let words: Vec<u64> = told.iter().copied().map(Told::word).collect();
                (message(Reply::done(words.len()), &bytes_of(&words)), 0)
            }
            Self::Entering(records) => {
                (message(Reply::entering(records.len()), &bytes_of(records.as_flattened())), 0)
            }
            Self::Long { words, traced } => {
                let kind = ReplyKind::Done as u32;
                let head = Reply { kind, traced: *traced, ..Reply::default() };
                (message(head, &bytes_of(&vec![0; (*words).into()])), 0)
            }
        };
        let _ = liar.say(&bytes, &fds(count));
    }
}

impl Asked {
    /// The batch that it asks for, if it asks for one; nothing if that cannot be asked for.
    fn batch(&self) -> Option<Option<Plan>> {
        let Self::Batch(ops) = self else { return Some(None) };
        let mut batch = PlanBuilder::batch();
        for op in ops.iter().take(64) {
            let op = memory_op(*op);
            if PlanBuilder::batch().op(&op).build().is_ok() {
                batch.op(&op);
            }
        }
        Some(Some(batch.build_in_order().ok()?))
    }

    fn ask(&self, batch: Option<Plan>, embryo: &mut Embryo) {
        let outcome = match self {
            Self::Batch(_) => batch.map_or(Ok(()), |batch| embryo.apply_all(&batch, &[]).map(drop)),
            Self::Read { addr, len } => embryo.read(addr % (1 << 46), (*len).into()).map(drop),
            Self::Write { addr, contents } => embryo.write(addr % (1 << 46), contents),
            Self::Long => embryo.write(limits::PAGE, &[7; 20_000]),
        };
        if let Err(error) = outcome {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// An op that the owner's account of memory has to follow.
fn memory_op([which, a, b, c]: [u32; 4]) -> Op<'static> {
    let page = |number: u32| u64::from(number % 64 + 1) * limits::PAGE;
    let (addr, len, prot) = (page(a), page(b), c % 8);
    let fixed = if c & 8 == 0 { MapFlags::FIXED } else { MapFlags::empty() };
    match which % 5 {
        0 | 1 => Op::Map { addr, len, prot, flags: fixed },
        2 => Op::Unmap { addr, len },
        3 => Op::Protect { addr, len, prot },
        _ => {
            Op::Remap { addr, len, to: if c & 8 == 0 { 0 } else { page(c) }, to_len: page(c >> 8) }
        }
    }
}
