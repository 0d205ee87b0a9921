//! How many children several threads can launch in a second, and what a thread that launches
//! nothing feels of it.
//!
//! The two are measured in slices of their own: a thread that spins would take a CPU from the
//! launches that are counted.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::child::ChildSpec;
use crate::cli::ThroughputSettings;
use crate::clock::now_ns;
use crate::contender::{Contender, Kind};
use crate::cpus::{Confined, Parts};
use crate::measure::{Failures, launch_among_others};
use crate::shuffle::Shuffler;
use crate::stats::{Histogram, Spread};
use crate::stdio::OwnStdout;

/// Who takes part, of those that were chosen.
pub(crate) const KINDS: &[Kind] = &[
    Kind::PosixSpawn,
    Kind::StdCommand,
    Kind::EmbryoPlan,
    Kind::EmbryoCommand,
    Kind::EmbryoHatchery,
    Kind::EmbryoHatcheryFixed,
];
/// Threads that launch at the same time.
pub(crate) const THREADS: [usize; 3] = [1, 2, 8];

/// One contender, launched by a number of threads.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    /// `None` while nothing was launched: what the machine does by itself.
    pub(crate) contender: Option<Kind>,
    pub(crate) threads: usize,
    /// Launched and reaped in the slices without the spinning thread.
    pub(crate) launches: u64,
    /// The median of those slices' rates.
    pub(crate) per_second: f64,
    /// Launched and reaped while the other thread spun.
    pub(crate) stall_launches: u64,
    /// The longest time between two of its readings of the clock.
    pub(crate) stall_max_ns: u64,
    /// The median of the slices' longest.
    pub(crate) stall_slice_max_p50_ns: u64,
    pub(crate) stall_p999_ns: u64,
    /// Whether the spinning thread had a CPU that neither a launching thread nor a child used.
    pub(crate) own_cpu: bool,
    #[serde(skip)]
    pub(crate) failures: Failures,
}

/// One row while it is measured.
struct Lane {
    kind: Option<Kind>,
    threads: usize,
    launches: u64,
    rates: Vec<f64>,
    stall_launches: u64,
    gaps: Histogram,
    slices_max_ns: Vec<u64>,
    failures: Failures,
}

impl Lane {
    fn new(kind: Option<Kind>, threads: usize) -> Self {
        Self {
            kind,
            threads,
            launches: 0,
            rates: Vec::new(),
            stall_launches: 0,
            gaps: Histogram::new(),
            slices_max_ns: Vec::new(),
            failures: Failures::default(),
        }
    }

    /// A slice in which launches are counted.
    fn count(&mut self, slice: Duration, spec: &ChildSpec, own: &OwnStdout) -> io::Result<()> {
        let Some(kind) = self.kind else { return Ok(()) };
        let (counted, took) = launch_for(self.threads, slice, &one_by_one(kind, spec), own)?;
        self.launches += counted.launches;
        self.rates.push(counted.launches as f64 / took.as_secs_f64());
        self.failures.merge(counted.failures);
        Ok(())
    }

    /// A slice in which another thread spins.
    fn stall(
        &mut self,
        slice: Duration,
        spec: &ChildSpec,
        own: &OwnStdout,
        cpus: Option<&Parts>,
    ) -> io::Result<()> {
        let done = AtomicBool::new(false);
        let (gaps, counted) = thread::scope(|scope| {
            let spinner = scope.spawn(|| {
                let _spinner = cpus.and_then(|cpus| Confined::to(&cpus.last).ok());
                spin(&done)
            });
            // The launching threads inherit the CPUs from this one, and their children from them.
            let _launcher = cpus.and_then(|cpus| Confined::to(&cpus.others).ok());
            let counted = match self.kind {
                Some(kind) => {
                    let prepare = one_by_one(kind, spec);
                    launch_for(self.threads, slice, &prepare, own).map(|(it, _)| it)
                }
                None => {
                    thread::sleep(slice);
                    Ok(Counted::default())
                }
            };
            done.store(true, Ordering::Relaxed);
            (spinner.join(), counted)
        });
        let gaps = gaps.map_err(|_| io::Error::other("the spinning thread panicked"))?;
        let counted = counted?;
        self.stall_launches += counted.launches;
        self.failures.merge(counted.failures);
        self.gaps.merge(&gaps);
        self.slices_max_ns.push(gaps.max_ns());
        Ok(())
    }

    fn result(mut self, own_cpu: bool) -> Throughput {
        self.rates.sort_unstable_by(f64::total_cmp);
        Throughput {
            contender: self.kind,
            threads: self.threads,
            launches: self.launches,
            per_second: self.rates.get(self.rates.len() / 2).copied().unwrap_or(0.0),
            stall_launches: self.stall_launches,
            stall_max_ns: self.gaps.max_ns(),
            stall_slice_max_p50_ns: Spread::of(self.slices_max_ns)
                .map_or(0, |spread| spread.p50_ns),
            stall_p999_ns: self.gaps.quantile_ns(0.999),
            own_cpu,
            failures: self.failures,
        }
    }
}

/// Measures those of `kinds` that take part, with each number of threads, in slices that take
/// turns.
pub(crate) fn measure(
    kinds: &[Kind],
    spec: &ChildSpec,
    settings: &ThroughputSettings,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> io::Result<Vec<Throughput>> {
    let mut lanes = vec![Lane::new(None, 0)];
    for &kind in KINDS.iter().filter(|kind| kinds.contains(kind)) {
        lanes.extend(THREADS.map(|threads| Lane::new(Some(kind), threads)));
    }
    let cpus = Parts::here();
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for _ in 0..settings.slices {
        shuffler.shuffle(&mut order);
        for &index in &order {
            lanes[index].count(settings.slice, spec, own)?;
        }
        for &index in &order {
            lanes[index].stall(settings.slice, spec, own, cpus.as_ref())?;
        }
    }
    Ok(lanes.into_iter().map(|lane| lane.result(cpus.is_some())).collect())
}

/// What launching threads did.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) launches: u64,
    pub(crate) failures: Failures,
}

/// What a launching thread does again and again.
pub(crate) trait Turns {
    /// Launches what there is to launch, until one more child has ended.
    fn turn(&mut self, own: &OwnStdout) -> io::Result<()>;

    /// Waits for those that are still under way, and tells how many they were.
    fn finish(&mut self, _own: &OwnStdout) -> io::Result<u64> {
        Ok(0)
    }
}

/// A child at a time.
pub(crate) struct OneByOne(pub(crate) Box<dyn Contender>);

impl Turns for OneByOne {
    fn turn(&mut self, own: &OwnStdout) -> io::Result<()> {
        launch_among_others(&mut *self.0, own)
    }
}

fn one_by_one(kind: Kind, spec: &ChildSpec) -> impl Fn() -> io::Result<Box<dyn Turns>> + Sync {
    move || Ok(Box::new(OneByOne(kind.prepare(spec)?)))
}

/// Takes turns for one slice in each thread, and tells how long that took: to the end of the last child that
/// was begun in time.
pub(crate) fn launch_for(
    threads: usize,
    slice: Duration,
    prepare: &(dyn Fn() -> io::Result<Box<dyn Turns>> + Sync),
    own: &OwnStdout,
) -> io::Result<(Counted, Duration)> {
    // Nobody begins before all are there; the one more is this thread, which takes the time.
    let begin = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let launchers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| launcher(slice, prepare, own, &begin))).collect();
        begin.wait();
        let started = Instant::now();
        let mut counted = Counted::default();
        let mut failed = None;
        for launcher in launchers {
            match launcher.join() {
                Ok(Ok(one)) => {
                    counted.launches += one.launches;
                    counted.failures.merge(one.failures);
                }
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(io::Error::other("a launching thread panicked")),
            }
        }
        let took = started.elapsed();
        failed.map_or(Ok((counted, took)), Err)
    })
}

fn launcher(
    slice: Duration,
    prepare: &(dyn Fn() -> io::Result<Box<dyn Turns>> + Sync),
    own: &OwnStdout,
    begin: &Barrier,
) -> io::Result<Counted> {
    let turns = prepare();
    // Also if that failed: the others wait.
    begin.wait();
    let (mut turns, mut counted) = (turns?, Counted::default());
    let started = Instant::now();
    while started.elapsed() < slice && !counted.failures.too_many() {
        match turns.turn(own) {
            Ok(()) => counted.launches += 1,
            Err(error) => counted.failures.add(&error),
        }
    }
    match turns.finish(own) {
        Ok(more) => counted.launches += more,
        Err(error) => counted.failures.add(&error),
    }
    Ok(counted)
}

/// Reads the clock until `done`, and notes the time between every two readings.
fn spin(done: &AtomicBool) -> Histogram {
    let mut gaps = Histogram::new();
    let mut last_ns = now_ns();
    while !done.load(Ordering::Relaxed) {
        let now_ns = now_ns();
        gaps.record(now_ns - last_ns);
        last_ns = now_ns;
    }
    gaps
}
