//! What a launch costs its caller: embryo beside fork, vfork, posix_spawn and std.
//!
//! `README.md` says what is measured and how. This file orders the run: check that all contenders
//! start the same child, measure every point, judge, write. It must never time anything itself.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

use crate::axis::Axis;
use crate::ballast::Ballast;
use crate::child::ChildSpec;
use crate::cleanup::Scratch;
use crate::cli::{Args, Settings};
use crate::contender::Kind;
use crate::cpus::Confined;
use crate::machine::Machine;
use crate::measure::{Failures, Lane};
use crate::results::{Failure, LeftOut, Point, Results, Row};
use crate::shuffle::Shuffler;
use crate::stdio::{OwnStdout, Stdio};

mod agent;
mod aims;
mod axis;
mod ballast;
mod batch;
mod child;
mod cleanup;
mod cli;
mod clock;
mod contender;
mod cpus;
mod create;
mod machine;
mod mapping;
mod measure;
mod plot;
mod results;
mod sandbox;
mod scale;
mod shuffle;
mod signals;
mod stall;
mod stats;
mod stdio;
mod table;
mod throughput;

/// The child's file.
const CHILD: &str = "bench-child";

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(results) if results.failing_places() == 0 => ExitCode::SUCCESS,
        Ok(results) => {
            eprintln!("embryo-bench: launches failed in {} places", results.failing_places());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("embryo-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Results, Failed> {
    let mut settings = args.settings();
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    signals::reset()?;
    stdio::keep_own_descriptors();
    ballast::raise_descriptor_limit(axis::descriptors_max(&settings));

    let scratch = Scratch::new(CHILD)?;
    let child = scratch.directory().join(CHILD);
    child::install(&child)?;
    let results = measure_all(&mut settings, &child);
    scratch.close()?;
    let results = results?;

    table::write(&results, &settings.kinds, &mut io::stdout().lock())?;
    write_files(&results, &settings, &args.out)?;
    Ok(results)
}

fn measure_all(settings: &mut Settings, child: &Path) -> Result<Results, Failed> {
    let spec = ChildSpec::timed(child)?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos());
    let mut shuffler = Shuffler::new(seed as u64);
    let own = OwnStdout::take_over()?;

    let left_out = leave_out(settings, &ChildSpec::reporting(child)?, &own)?;
    let mut results = Results {
        machine: Machine::here(),
        quick: settings.quick,
        pinned: settings.pinned,
        rounds_max: settings.rounds_max,
        points: Vec::new(),
        creation: None,
        batching: Vec::new(),
        sandboxes: Vec::new(),
        agent: None,
        throughput: Vec::new(),
        stalls: Vec::new(),
        aims: Vec::new(),
        left_out,
        failures: Vec::new(),
    };
    let confined = settings.pinned.then(Confined::to_last).transpose()?;
    for &axis in &settings.axes {
        for &value in axis.values(settings) {
            eprintln!("{}: {}", axis.title(), axis.label(value));
            let (point, failures) =
                measure_value(axis, value, &spec, settings, &own, &mut shuffler)?;
            results.points.push(point);
            results.failures.extend(failures);
        }
    }
    if let Some(create) = &settings.create {
        eprintln!("creation of embryos");
        let creation = create::measure(create, &spec, &own);
        results.creation = Some(creation.map_err(|error| format!("creation: {error}"))?);
    }
    if let Some(batching) = &settings.batching {
        eprintln!("batching");
        let batching = batch::measure(batching, &mut shuffler);
        results.batching = batching.map_err(|error| format!("batching: {error}"))?;
    }
    if let Some(sandbox) = &settings.sandbox {
        eprintln!("sandboxes");
        let rows = sandbox::measure(sandbox, child, &own, &mut shuffler);
        results.sandboxes = rows.map_err(|error| format!("sandboxes: {error}"))?;
    }
    if let Some(agent) = &settings.agent {
        eprintln!("an agent's children");
        let report = agent::measure(agent, &own, &mut shuffler);
        results.agent = Some(report.map_err(|error| format!("agent: {error}"))?);
    }
    drop(confined);
    let there = results.agent.as_mut().filter(|report| report.skipped.is_none());
    if let Some((report, agent)) = there.zip(settings.agent.as_ref()) {
        eprintln!("an agent's children a second");
        let rates = agent::measure_rates(agent, &own, &mut shuffler);
        report.rates = rates.map_err(|error| format!("agent, rates: {error}"))?;
    }
    if let Some(throughput) = &settings.throughput {
        eprintln!("throughput");
        let rows = throughput::measure(&settings.kinds, &spec, throughput, &own, &mut shuffler);
        let rows = rows.map_err(|error| format!("throughput: {error}"))?;
        let failures = rows.iter().filter_map(|row| {
            failure(row.contender?, format!("{} threads", row.threads), &row.failures)
        });
        results.failures.extend(failures);
        results.throughput = rows;
    }
    if let Some(stall) = &settings.stall {
        eprintln!("stalls");
        let stalls = stall::measure(&settings.kinds, &spec, stall, &own, &mut shuffler)?;
        let failures = stalls
            .iter()
            .filter_map(|stall| failure(stall.contender?, "stalls".to_owned(), &stall.failures));
        results.failures.extend(failures);
        results.stalls = stalls;
    }
    results.aims = aims::judge(&results);
    Ok(results)
}

/// Checks every contender's child, and leaves out the contenders that cannot be had here.
fn leave_out(
    settings: &mut Settings,
    spec: &ChildSpec,
    own: &OwnStdout,
) -> Result<Vec<LeftOut>, Failed> {
    let mut left_out = Vec::new();
    for &kind in &settings.kinds {
        match measure::check_state(kind, spec, own) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                left_out.push(LeftOut { contender: kind, reason: error.to_string() });
            }
            Err(error) => return Err(format!("{}: {error}", kind.label()).into()),
        }
    }
    settings.kinds.retain(|kind| left_out.iter().all(|left_out| left_out.contender != *kind));
    if settings.kinds.is_empty() {
        return Err("no contender is left to measure".into());
    }
    Ok(left_out)
}

fn measure_value(
    axis: Axis,
    value: usize,
    spec: &ChildSpec,
    settings: &Settings,
    own: &OwnStdout,
    shuffler: &mut Shuffler,
) -> Result<(Point, Vec<Failure>), Failed> {
    let mut point = Point { axis, value, rounds: 0, skipped: None, rows: Vec::new() };
    // The load is put down when this goes out of scope.
    let _ballast = match Ballast::load(axis, value) {
        Ok(ballast) => ballast,
        Err(reason) => {
            eprintln!("  SKIPPED: {reason}");
            point.skipped = Some(reason);
            return Ok((point, Vec::new()));
        }
    };
    let mut lanes = Vec::new();
    for &kind in &settings.kinds {
        for stdio in Stdio::ALL {
            lanes.push(Lane::new(kind, stdio, spec, settings.rounds_max)?);
        }
    }
    point.rounds = measure::measure_point(&mut lanes, settings, own, shuffler);

    let mut failures = Vec::new();
    for lane in lanes {
        let place = format!("{} {}, {}", axis.title(), axis.label(value), lane.stdio.label());
        failures.extend(failure(lane.kind, place, &lane.failures));
        point.rows.extend(Row::new(lane.kind, lane.stdio, lane.times));
    }
    Ok((point, failures))
}

fn failure(contender: Kind, place: String, failures: &Failures) -> Option<Failure> {
    let first_error = failures.first.clone()?;
    Some(Failure { contender, place, count: failures.count, first_error })
}

fn write_files(results: &Results, settings: &Settings, out: &Path) -> Result<(), Failed> {
    let json = out.join("results.json");
    let mut file = BufWriter::new(File::create(&json)?);
    serde_json::to_writer_pretty(&mut file, results)?;
    writeln!(file)?;
    file.flush()?;
    println!("\nWritten: {}", json.display());
    for (axis, name) in [(Axis::Memory, "memory.svg"), (Axis::Descriptors, "descriptors.svg")] {
        if results.measured(axis).next().is_some() {
            let path = out.join(name);
            plot::draw(results, axis, &settings.kinds, &path)?;
            println!("Written: {}", path.display());
        }
    }
    if !results.batching.is_empty() {
        let path = out.join("batching.svg");
        plot::draw_batching(&results.batching, &path)?;
        println!("Written: {}", path.display());
    }
    if !results.throughput.is_empty() {
        let path = out.join("throughput.svg");
        plot::draw_throughput(&results.throughput, &path)?;
        println!("Written: {}", path.display());
    }
    Ok(())
}
