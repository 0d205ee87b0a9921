//! The longest stall that another thread of the parent sees while children are launched.
//!
//! The thread writes to one page after another and reads the clock after each; between two
//! readings lies nothing of its own that could take long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::child::ChildSpec;
use crate::cli::StallSettings;
use crate::clock::now_ns;
use crate::contender::{Contender, Kind};
use crate::cpus::{Confined, Parts};
use crate::mapping::Mapping;
use crate::measure::{Failures, launch_timed};
use crate::shuffle::Shuffler;
use crate::stats::{Histogram, Spread};
use crate::stdio::{OwnStdout, Stdio};

/// A gap from here on is one that the thread's own work cannot explain.
const LONG_NS: u64 = 10_000;

/// What the thread saw while one contender launched.
#[derive(Debug, Serialize)]
pub(crate) struct Stall {
    /// `None` while nothing was launched: what the machine does by itself.
    pub(crate) contender: Option<Kind>,
    pub(crate) launches: u32,
    /// The longest gap of all.
    pub(crate) max_ns: u64,
    /// The median of the slices' longest gaps.
    pub(crate) slice_max_p50_ns: u64,
    pub(crate) p999_ns: u64,
    /// The part of its time that the thread lost in gaps of 10 us and more.
    pub(crate) long_gap_share: f64,
    /// Whether the thread had a CPU that neither the launching thread nor a child used.
    pub(crate) own_cpu: bool,
    #[serde(skip)]
    pub(crate) failures: Failures,
}

struct Lane {
    kind: Option<Kind>,
    contender: Option<Box<dyn Contender>>,
    launches: u32,
    failures: Failures,
    gaps: Histogram,
    slices_max_ns: Vec<u64>,
}

impl Lane {
    fn new(kind: Option<Kind>, contender: Option<Box<dyn Contender>>) -> Self {
        let (failures, gaps) = (Failures::default(), Histogram::new());
        Self { kind, contender, launches: 0, failures, gaps, slices_max_ns: Vec::new() }
    }

    fn result(self, settings: &StallSettings, own_cpu: bool) -> Stall {
        let total = settings.slice * settings.slices;
        Stall {
            contender: self.kind,
            launches: self.launches,
            max_ns: self.gaps.max_ns(),
            slice_max_p50_ns: Spread::of(self.slices_max_ns).map_or(0, |spread| spread.p50_ns),
            p999_ns: self.gaps.quantile_ns(0.999),
            long_gap_share: self.gaps.sum_from_ns(LONG_NS) as f64 / total.as_nanos() as f64,
            own_cpu,
            failures: self.failures,
        }
    }
}

/// Measures all of `kinds`, and a launcher that launches nothing, in slices that take turns.
pub(crate) fn measure(
    kinds: &[Kind],
    spec: &ChildSpec,
    settings: &StallSettings,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> Result<Vec<Stall>, String> {
    let memory = Mapping::new(settings.memory_bytes).map_err(|error| format!("mmap: {error}"))?;
    let mut lanes = vec![Lane::new(None, None)];
    for &kind in kinds {
        let contender = kind.prepare(spec).map_err(|error| format!("{}: {error}", kind.label()))?;
        lanes.push(Lane::new(Some(kind), Some(contender)));
    }
    // One CPU for the walking thread and the others for the launches, if there are two.
    let cpus = Parts::here();
    // From the launching thread its children inherit the CPUs, so that what the other thread sees
    // is the memory that it shares with them and not a CPU.
    let _launcher = cpus.as_ref().and_then(|cpus| Confined::to(&cpus.others).ok());
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for _ in 0..settings.slices {
        shuffler.shuffle(&mut order);
        for &index in &order {
            // The last fork left every page to be copied or claimed at its next write.
            memory.dirty();
            slice(&mut lanes[index], &memory, settings, own, cpus.as_ref());
        }
    }
    let own_cpu = cpus.is_some();
    Ok(lanes.into_iter().map(|lane| lane.result(settings, own_cpu)).collect())
}

fn slice(
    lane: &mut Lane,
    memory: &Mapping,
    settings: &StallSettings,
    own: &OwnStdout,
    cpus: Option<&Parts>,
) {
    let done = AtomicBool::new(false);
    let gaps = thread::scope(|scope| {
        let walker = scope.spawn(|| {
            let _walker = cpus.and_then(|cpus| Confined::to(&cpus.last).ok());
            walk(memory, &done)
        });
        launch_for(lane, settings, own);
        done.store(true, Ordering::Relaxed);
        walker.join()
    });
    if let Ok(gaps) = gaps {
        lane.gaps.merge(&gaps);
        lane.slices_max_ns.push(gaps.max_ns());
    }
}

/// Writes to page after page until `done`, and notes the time between every two writes.
fn walk(memory: &Mapping, done: &AtomicBool) -> Histogram {
    let mut gaps = Histogram::new();
    let mut last_ns = now_ns();
    for page in (0..memory.pages()).cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        memory.touch(page);
        let now_ns = now_ns();
        gaps.record(now_ns - last_ns);
        last_ns = now_ns;
    }
    gaps
}

/// Launches at the settings' rate for one slice.
fn launch_for(lane: &mut Lane, settings: &StallSettings, own: &OwnStdout) {
    let started = Instant::now();
    let mut next = settings.launch_interval;
    while next < settings.slice {
        sleep_until(started + next);
        if let Some(contender) = &mut lane.contender
            && !lane.failures.too_many()
        {
            match launch_timed(&mut **contender, Stdio::Inherited, own) {
                Ok(()) => lane.launches += 1,
                Err(error) => lane.failures.add(&error),
            }
        }
        next = started.elapsed().max(next + settings.launch_interval);
    }
    sleep_until(started + settings.slice);
}

fn sleep_until(time: Instant) {
    let left = time.saturating_duration_since(Instant::now());
    if left > Duration::ZERO {
        thread::sleep(left);
    }
}
