//! What a whole sandbox costs, from the call to the child's end: embryo beside bubblewrap and
//! util-linux, and all of them beside the namespaces alone.
//!
//! It must never measure a sandbox that is not one: each way is looked at from inside before.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::child::{self, ChildSpec};
use crate::cli::SandboxSettings;
use crate::contender::Contender;
use crate::measure::{Failures, launch_whole};
use crate::shuffle::Shuffler;
use crate::stats::Spread;
use crate::stdio::OwnStdout;

mod embryo;
mod filter;
mod floor;
mod programs;

pub(crate) use filter::Filter;

/// Rounds that are dropped: the first launches bring programs and libraries into memory.
const WARM_UP_ROUNDS: u32 = 3;
/// Between two launches. The kernel takes a network namespace down after its last process is gone, for as
/// long as it takes to make one, and that is not to fall into the next one's time.
const PAUSE: Duration = Duration::from_millis(8);

/// The ways to the same sandbox, and the least that they have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// clone(2) with the six flags and nothing else.
    Namespaces,
    /// bwrap(1).
    Bubblewrap,
    /// unshare(1), a shell with mount(8), setpriv(1). It has neither the filter nor the devices.
    Unshare,
    /// embryo::Command, which makes a plan of its description at each launch.
    EmbryoCommand,
    /// That plan, made once.
    EmbryoPlan,
    /// `embryo run`, a program like bwrap(1).
    EmbryoRun,
}

impl Way {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 6] = [
        Self::Namespaces,
        Self::Bubblewrap,
        Self::Unshare,
        Self::EmbryoCommand,
        Self::EmbryoPlan,
        Self::EmbryoRun,
    ];

    /// Its name in a table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Namespaces => "(namespaces alone)",
            Self::Bubblewrap => "bubblewrap",
            Self::Unshare => "unshare, setpriv",
            Self::EmbryoCommand => "embryo Command",
            Self::EmbryoPlan => "embryo plan",
            Self::EmbryoRun => "embryo run",
        }
    }

    /// The way, ready to launch.
    ///
    /// # Errors
    /// `Unsupported` with the reason if it cannot be had here.
    fn prepare(self, child: &Path, filter: &Filter) -> io::Result<Box<dyn Contender>> {
        match self {
            Self::Namespaces => floor::namespaces(child),
            Self::Bubblewrap => programs::bubblewrap(child, filter),
            Self::Unshare => programs::unshare(child),
            Self::EmbryoCommand => embryo::command(child, filter),
            Self::EmbryoPlan => embryo::plan(child, filter),
            Self::EmbryoRun => programs::embryo_run(child, filter),
        }
    }
}

/// One way's times, all from just before the call.
#[derive(Debug, Serialize)]
pub(crate) struct Sandbox {
    pub(crate) way: Way,
    pub(crate) launches: usize,
    /// Until the child's first instruction.
    pub(crate) first_instruction: Option<Spread>,
    /// Until the way's process was reaped, and with it the child.
    pub(crate) whole: Option<Spread>,
    /// Why it could not be had, if it could not.
    pub(crate) skipped: Option<String>,
    #[serde(skip)]
    pub(crate) failures: Failures,
}

impl Sandbox {
    /// The median from start to exit.
    pub(crate) fn whole_p50_ns(&self) -> Option<f64> {
        self.whole.map(|whole| whole.p50_ns as f64)
    }
}

/// The ratio of two ways' medians, from start to exit.
pub(crate) fn ratio(rows: &[Sandbox], of: Way, to: Way) -> Option<f64> {
    let p50_ns = |way| rows.iter().find(|row| row.way == way)?.whole_p50_ns();
    Some(p50_ns(of)? / p50_ns(to)?)
}

struct Lane {
    way: Way,
    contender: Box<dyn Contender>,
    first_ns: Vec<u64>,
    whole_ns: Vec<u64>,
    failures: Failures,
}

/// All ways in turn, in a new order each round, until the rounds or the time run out.
pub(crate) fn measure(
    settings: &SandboxSettings,
    child: &Path,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> io::Result<Vec<Sandbox>> {
    let filter = Filter::new()?;
    let mut lanes = Vec::new();
    let mut rows = Vec::new();
    for way in Way::ALL {
        match way.prepare(child, &filter).and_then(|contender| tried(contender, own)) {
            Ok(contender) => lanes.push(Lane {
                way,
                contender,
                first_ns: Vec::new(),
                whole_ns: Vec::new(),
                failures: Failures::default(),
            }),
            Err(error) => {
                eprintln!("  SKIPPED: {}: {error}", way.label());
                rows.push(Sandbox {
                    way,
                    launches: 0,
                    first_instruction: None,
                    whole: None,
                    skipped: Some(error.to_string()),
                    failures: Failures::default(),
                });
            }
        }
    }
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    let mut started = Instant::now();
    for round in 0..WARM_UP_ROUNDS.saturating_add(settings.rounds_max) {
        if round == WARM_UP_ROUNDS {
            started = Instant::now();
        }
        if round > WARM_UP_ROUNDS && started.elapsed() > settings.budget {
            break;
        }
        shuffler.shuffle(&mut order);
        for &index in &order {
            lanes[index].run(own, round >= WARM_UP_ROUNDS);
            thread::sleep(PAUSE);
        }
    }
    rows.extend(lanes.into_iter().map(Lane::row));
    rows.sort_by_key(|row| Way::ALL.iter().position(|way| *way == row.way));
    Ok(rows)
}

/// A way whose first child has ended well; what keeps it from that is why it is skipped.
fn tried(mut contender: Box<dyn Contender>, own: &OwnStdout) -> io::Result<Box<dyn Contender>> {
    launch_whole(&mut *contender, own, child::read_first_ns)?;
    Ok(contender)
}

impl Lane {
    fn run(&mut self, own: &OwnStdout, record: bool) {
        if self.failures.too_many() {
            return;
        }
        match launch_whole(&mut *self.contender, own, child::read_first_ns) {
            Ok((first_ns, whole_ns)) if record => {
                self.first_ns.push(first_ns);
                self.whole_ns.push(whole_ns);
            }
            Ok(_) => {}
            Err(error) => self.failures.add(&error),
        }
    }

    fn row(self) -> Sandbox {
        Sandbox {
            way: self.way,
            launches: self.whole_ns.len(),
            first_instruction: Spread::of(self.first_ns),
            whole: Spread::of(self.whole_ns),
            skipped: None,
            failures: self.failures,
        }
    }
}

/// The child at another path: where a sandbox shows it.
fn spec_of(program: &str, args: &[&str]) -> io::Result<ChildSpec> {
    let mut spec = ChildSpec::timed(Path::new(program))?;
    let strings = std::iter::once(&program).chain(args);
    spec.argv = strings.map(|arg| std::ffi::CString::new(*arg)).collect::<Result<_, _>>()?;
    Ok(spec)
}
