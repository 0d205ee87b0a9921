//! What one op costs when many travel in a message, beside what the other ways to reach into a
//! process cost: ptrace(2) and process_vm_writev(2).
//!
//! Every way does the same burst of ops to an embryo of its own; all of them take turns, in a
//! random order each round. Before anything is measured each way is shown to have done its work.

use std::io;
use std::time::Instant;

use serde::Serialize;

use crate::cli::BatchSettings;
use crate::clock::now_ns;
use crate::shuffle::Shuffler;
use crate::stats::Spread;

use target::Target;

mod itself;
mod messages;
mod target;
mod tracer;
mod vm_writev;

/// Ops in a burst: the longest message, and a thousand of the shortest.
pub(crate) const BURST: usize = 1000;
/// Ops in a message, of the ways that can put several into one.
pub(crate) const SIZES: [usize; 4] = [1, 10, 100, BURST];
const WARM_UP_ROUNDS: u32 = 2;

/// The op of a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// Ignores SIGUSR1, which is about the least that an op can give the kernel to do: what is left is
    /// the way there.
    Signal,
    /// Maps a page of fresh memory at an address that was asked for; the burst's pages adjoin.
    Map,
    /// Writes [`target::WRITE`] bytes; the burst's places adjoin.
    Write,
}

impl Job {
    /// Every job, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Self::Signal, Self::Map, Self::Write];

    /// The job in words.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Signal => "ignore a signal",
            Self::Map => "map a page",
            Self::Write => "write 64 bytes",
        }
    }
}

/// How the ops get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// `Embryo::apply_all`; bytes to write travel in the message.
    Messages,
    /// The same, but the batches were built before the clock is started.
    MessagesPrebuilt,
    /// `Embryo::apply_all`; bytes to write lie in a file that is granted with each message.
    MessagesWithFile,
    /// The tracer of a stopped process: for a map or a signal the process is made to call
    /// the kernel, with four calls of the tracer's; a write is a PTRACE_POKEDATA for every eight bytes.
    Ptrace,
    /// process_vm_writev(2), with one element for each write.
    ProcessVmWritev,
    /// The benchmark to itself: what the kernel's work costs by itself.
    Itself,
}

impl Way {
    /// Every way, in the order of the tables.
    pub(crate) const ALL: [Self; 6] = [
        Self::Messages,
        Self::MessagesPrebuilt,
        Self::MessagesWithFile,
        Self::Ptrace,
        Self::ProcessVmWritev,
        Self::Itself,
    ];

    /// The way in words.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Messages => "embryo",
            Self::MessagesPrebuilt => "embryo, built before",
            Self::MessagesWithFile => "embryo, from a file",
            Self::Ptrace => "ptrace",
            Self::ProcessVmWritev => "process_vm_writev",
            Self::Itself => "(to itself)",
        }
    }

    /// The sizes of message in which it does `job`; none if it cannot.
    fn sizes(self, job: Job) -> &'static [usize] {
        match (self, job) {
            (Self::Messages | Self::MessagesPrebuilt, _) => &SIZES,
            (Self::MessagesWithFile | Self::ProcessVmWritev, Job::Write) => &SIZES,
            (Self::MessagesWithFile | Self::ProcessVmWritev, _) => &[],
            (Self::Ptrace, _) | (Self::Itself, Job::Signal | Job::Map) => &[1],
            (Self::Itself, Job::Write) => &[],
        }
    }
}

/// One way to do one job, with messages of one size.
#[derive(Debug, Serialize)]
pub(crate) struct Batch {
    pub(crate) job: Job,
    pub(crate) way: Way,
    pub(crate) ops_per_message: usize,
    pub(crate) bursts: usize,
    /// A burst's time divided by its ops; `None` if this cannot be done here.
    pub(crate) op: Option<Spread>,
    /// Why it cannot.
    pub(crate) skipped: Option<String>,
}

/// Does the bursts of one way.
trait Runner {
    /// All of a burst's ops. This is timed.
    fn run(&mut self, target: &mut Target) -> io::Result<()>;

    /// Makes the target ready for the next burst. This is not timed.
    fn reset(&mut self, target: &mut Target) -> io::Result<()>;
}

struct Lane {
    job: Job,
    way: Way,
    size: usize,
    target: Target,
    runner: Box<dyn Runner>,
    times_ns: Vec<u64>,
}

impl Lane {
    /// A lane whose way was tried and has done what it was to do.
    fn new(job: Job, way: Way, size: usize) -> io::Result<Self> {
        let mut target = Target::new(job)?;
        let mut runner = runner(way, size, &target)?;
        runner.run(&mut target)?;
        // A tracer lets go first, or the target could not answer.
        drop(runner);
        if way == Way::Itself {
            self::runner(way, size, &target)?.reset(&mut target)?;
        } else {
            target.check()?;
            target.reset()?;
        }
        let runner = self::runner(way, size, &target)?;
        Ok(Self { job, way, size, target, runner, times_ns: Vec::new() })
    }

    fn run(&mut self, record: bool) -> io::Result<()> {
        let started_ns = now_ns();
        let done = self.runner.run(&mut self.target);
        let time_ns = now_ns() - started_ns;
        done?;
        if record {
            self.times_ns.push(time_ns / BURST as u64);
        }
        self.runner.reset(&mut self.target)
    }
}

fn runner(way: Way, size: usize, target: &Target) -> io::Result<Box<dyn Runner>> {
    Ok(match way {
        Way::Messages => Box::new(messages::Messages::new(size)),
        Way::MessagesPrebuilt => Box::new(messages::Messages::prebuilt(size, target)?),
        Way::MessagesWithFile => Box::new(messages::Messages::with_file(size, target)?),
        Way::Ptrace => Box::new(tracer::Tracer::attach(target.pid())?),
        Way::Itself => Box::new(itself::Itself),
        Way::ProcessVmWritev => Box::new(vm_writev::VmWritev::new(size, target)),
    })
}

/// Measures every way of every job, with every size of message.
pub(crate) fn measure(settings: &BatchSettings, shuffler: &mut Shuffler) -> io::Result<Vec<Batch>> {
    let (mut lanes, mut skipped) = (Vec::new(), Vec::new());
    for job in Job::ALL {
        for way in Way::ALL {
            for &size in way.sizes(job) {
                match Lane::new(job, way, size) {
                    Ok(lane) => lanes.push(lane),
                    Err(error) if refused(way, &error) => {
                        skipped.push(Batch {
                            job,
                            way,
                            ops_per_message: size,
                            bursts: 0,
                            op: None,
                            skipped: Some(error.to_string()),
                        });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    rounds(&mut lanes, settings, shuffler)?;
    let measured = lanes.into_iter().map(|lane| Batch {
        job: lane.job,
        way: lane.way,
        ops_per_message: lane.size,
        bursts: lane.times_ns.len(),
        op: Spread::of(lane.times_ns),
        skipped: None,
    });
    Ok(measured.chain(skipped).collect())
}

/// Whether this is no failure but one of the permissions that embryo does without.
fn refused(way: Way, error: &io::Error) -> bool {
    let foreign = matches!(way, Way::Ptrace | Way::ProcessVmWritev);
    foreign && matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
}

fn rounds(lanes: &mut [Lane], settings: &BatchSettings, shuffler: &mut Shuffler) -> io::Result<()> {
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    let started = Instant::now();
    for round in 0..WARM_UP_ROUNDS.saturating_add(settings.rounds_max) {
        if round > WARM_UP_ROUNDS && started.elapsed() > settings.budget {
            break;
        }
        shuffler.shuffle(&mut order);
        for &index in &order {
            lanes[index].run(round >= WARM_UP_ROUNDS)?;
        }
    }
    Ok(())
}

/// What an op costs at the median.
pub(crate) fn op_ns(batches: &[Batch], job: Job, way: Way, size: usize) -> Option<u64> {
    let found = batches
        .iter()
        .find(|batch| batch.job == job && batch.way == way && batch.ops_per_message == size)?;
    Some(found.op?.p50_ns)
}

/// How many times cheaper an op of an embryo is with `size` in a message than with one.
pub(crate) fn worth(batches: &[Batch], job: Job, way: Way, size: usize) -> Option<f64> {
    let (one, many) = (op_ns(batches, job, way, 1)?, op_ns(batches, job, way, size)?);
    Some(one as f64 / many as f64)
}
