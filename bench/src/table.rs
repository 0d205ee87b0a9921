//! The results as text. All times are in microseconds.

use std::io::{self, Write};

use crate::axis::Axis;
use crate::batch::{self, BURST, Batch, Job, SIZES, Way};
use crate::contender::Kind;
use crate::create::Creation;
use crate::results::{Point, Results, Row, blocked_ratio, find, ratio};
use crate::sandbox::{self, Sandbox};
use crate::stall::Stall;
use crate::stats::Spread;
use crate::stdio::Stdio;
use crate::throughput::Throughput;

mod agent;

const NAME: usize = 15;

/// Writes everything.
pub(crate) fn write(results: &Results, kinds: &[Kind], to: &mut impl Write) -> io::Result<()> {
    let machine = &results.machine;
    writeln!(to, "embryo-bench, {}", machine.date)?;
    writeln!(
        to,
        "{}, {} CPUs, {} MiB, Linux {} {}, {}",
        machine.cpu, machine.cpus, machine.memory_mib, machine.kernel, machine.arch, machine.libc
    )?;
    writeln!(to, "All times in microseconds, from just before the launch call.")?;
    let cpus = if results.pinned { "kept to one CPU" } else { "left to the scheduler" };
    writeln!(to, "Parent and children were {cpus}.")?;
    for point in &results.points {
        writeln!(to, "\n{}: {}", point.axis.title(), point.axis.label(point.value))?;
        match &point.skipped {
            Some(reason) => writeln!(to, "  SKIPPED: {reason}")?,
            None => rows(&point.rows, kinds, to)?,
        }
    }
    for &axis in Axis::ALL {
        for stdio in Stdio::ALL {
            summary(results, axis, stdio, kinds, to)?;
        }
    }
    if let Some(creation) = &results.creation {
        self::creation(creation, to)?;
    }
    batching(&results.batching, to)?;
    sandboxes(&results.sandboxes, to)?;
    if let Some(report) = &results.agent {
        agent::write(report, to)?;
    }
    throughput(&results.throughput, to)?;
    stalls(&results.stalls, to)?;
    aims(results, to)?;
    troubles(results, to)
}

fn rows(rows: &[Row], kinds: &[Kind], to: &mut impl Write) -> io::Result<()> {
    for stdio in Stdio::ALL {
        writeln!(
            to,
            "  {:<NAME$} |{:^24} |{:^24} |{:^24} |{:>6} |  blocked p50 against",
            stdio.label(),
            "caller blocked",
            "first instruction",
            "reaped",
            "",
        )?;
        writeln!(
            to,
            "  {:<NAME$} |{p10:>8}{p50:>8}{p99:>8} |{p10:>8}{p50:>8}{p99:>8} \
             |{p10:>8}{p50:>8}{p99:>8} |{:>6} |{:>12}{:>12}",
            "",
            "n",
            Kind::PosixSpawn.label(),
            Kind::VforkExec.label(),
            p10 = "p10",
            p50 = "p50",
            p99 = "p99",
        )?;
        for row in kinds.iter().filter_map(|&kind| find(rows, kind, stdio)) {
            let against = |other| decimal(blocked_ratio(rows, stdio, row.contender, other));
            writeln!(
                to,
                "  {:<NAME$} |{} |{} |{} |{:>6} |{:>12}{:>12}",
                row.contender.label(),
                spread(row.blocked),
                spread(row.first_instruction),
                spread(row.reaped),
                row.launches,
                against(Kind::PosixSpawn),
                against(Kind::VforkExec),
            )?;
        }
    }
    Ok(())
}

/// One line a contender: the medians of its blocked time along the axis.
fn summary(
    results: &Results,
    axis: Axis,
    stdio: Stdio,
    kinds: &[Kind],
    to: &mut impl Write,
) -> io::Result<()> {
    let points: Vec<&Point> = results.measured(axis).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Ok(());
    };
    writeln!(to, "\nCaller blocked, p50: {}, {}", axis.title(), stdio.label())?;
    write!(to, "  {:<NAME$} |", "")?;
    for point in &points {
        write!(to, "{:>10}", axis.label(point.value))?;
    }
    writeln!(to, " |{:>12}", "last/first")?;
    for &kind in kinds {
        let row = |point: &Point| find(&point.rows, kind, stdio).cloned();
        let (Some(first), Some(last)) = (row(first), row(last)) else { continue };
        write!(to, "  {:<NAME$} |", kind.label())?;
        for point in &points {
            let cell = row(point).map_or_else(|| "-".to_owned(), |row| us(row.blocked.p50_ns));
            write!(to, "{cell:>10}")?;
        }
        writeln!(to, " |{:>12}", decimal(Some(ratio(&last, &first))))?;
    }
    Ok(())
}

fn creation(creation: &Creation, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "\nAn embryo's making and its end ({} embryos)", creation.embryos)?;
    writeln!(to, "  {:<NAME$} |{:>8}{:>8}{:>8} |  p50 against", "", "p10", "p50", "p99")?;
    let base = creation.posix_spawn_blocked;
    let against = Kind::PosixSpawn.label();
    writeln!(to, "  {:<NAME$} |{:>24} |{against:>13}", "", "")?;
    for (label, times) in
        [("create", creation.create), ("abandon", creation.abandon), (against, base)]
    {
        let ratio = times.p50_ns as f64 / base.p50_ns as f64;
        writeln!(to, "  {label:<NAME$} |{} |{ratio:>13.2}", spread(times))?;
    }
    Ok(())
}

/// One line a way: what an op costs by the size of its message.
fn batching(batches: &[Batch], to: &mut impl Write) -> io::Result<()> {
    const NAME: usize = 20;
    for job in Job::ALL {
        let of_job = || batches.iter().filter(move |batch| batch.job == job);
        let Some(bursts) = of_job().map(|batch| batch.bursts).max() else { continue };
        let ptrace = batch::op_ns(batches, job, Way::Ptrace, 1);
        writeln!(to, "\nOne op, p50 of {bursts} bursts of {BURST}: {}", job.label())?;
        writeln!(
            to,
            "  {:<NAME$} |{:^40} |{:>10} |{:>10}",
            "", "ops in a message", "1 op/100", "ptrace/"
        )?;
        write!(to, "  {:<NAME$} |", "")?;
        for size in SIZES {
            write!(to, "{size:>10}")?;
        }
        writeln!(to, " |{:>10} |{:>10}", "", "best")?;
        for way in Way::ALL.into_iter().filter(|&way| of_job().any(|batch| batch.way == way)) {
            let cell = |size| batch::op_ns(batches, job, way, size);
            write!(to, "  {:<NAME$} |", way.label())?;
            for size in SIZES {
                write!(to, "{:>10}", cell(size).map_or_else(|| "-".to_owned(), us))?;
            }
            let best = SIZES.into_iter().filter_map(cell).min();
            let gain = ptrace.zip(best).map(|(ptrace, best)| ptrace as f64 / best as f64);
            let worth = decimal(batch::worth(batches, job, way, 100));
            writeln!(to, " |{worth:>10} |{:>10}", decimal(gain))?;
        }
    }
    Ok(())
}

/// One line a way, from start to exit.
fn sandboxes(rows: &[Sandbox], to: &mut impl Write) -> io::Result<()> {
    const NAME: usize = 20;
    let Some(launches) = rows.iter().map(|row| row.launches).max() else { return Ok(()) };
    writeln!(to, "\nA sandbox from the call to its end ({launches} launches)")?;
    let columns = format!("{:>8}{:>8}{:>8}", "p10", "p50", "p99");
    writeln!(
        to,
        "  {:<NAME$} |{:^24} |{:^24} |  whole, p50 against",
        "", "first instruction", "whole"
    )?;
    let (to_bubblewrap, to_floor) = (sandbox::Way::Bubblewrap, sandbox::Way::Namespaces);
    writeln!(
        to,
        "  {:<NAME$} |{columns} |{columns} |{:>12}{:>20}",
        "",
        to_bubblewrap.label(),
        to_floor.label()
    )?;
    for row in rows {
        let (Some(first), Some(whole)) = (row.first_instruction, row.whole) else { continue };
        let against = |other| decimal(sandbox::ratio(rows, row.way, other));
        writeln!(
            to,
            "  {:<NAME$} |{} |{} |{:>12}{:>20}",
            row.way.label(),
            spread(first),
            spread(whole),
            against(to_bubblewrap),
            against(to_floor),
        )?;
    }
    Ok(())
}

fn throughput(rows: &[Throughput], to: &mut impl Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(to, "\nLaunches a second, and the stalls of a thread that only reads the clock")?;
    if rows.iter().any(|row| !row.own_cpu) {
        writeln!(to, "  (it shares its CPU with the launches: there is only one)")?;
    }
    writeln!(
        to,
        "  {:<NAME$} |{:>8}{:>12}{:>13} |{:>10}{:>12}{:>16}{:>10}",
        "",
        "threads",
        "launches/s",
        "posix_spawn",
        "launches",
        "longest",
        "longest, median",
        "p99.9"
    )?;
    for row in rows {
        let base = rows
            .iter()
            .find(|base| base.contender == Some(Kind::PosixSpawn) && base.threads == row.threads);
        let against = base.map(|base| row.per_second / base.per_second);
        let dash = |text: String| if row.contender.is_some() { text } else { "-".to_owned() };
        writeln!(
            to,
            "  {:<NAME$} |{:>8}{:>12}{:>13} |{:>10}{:>12}{:>16}{:>10}",
            row.contender.map_or("(no launches)", Kind::label),
            dash(row.threads.to_string()),
            dash(format!("{:.0}", row.per_second)),
            decimal(against),
            row.stall_launches,
            us(row.stall_max_ns),
            us(row.stall_slice_max_p50_ns),
            us(row.stall_p999_ns),
        )?;
    }
    Ok(())
}

fn stalls(stalls: &[Stall], to: &mut impl Write) -> io::Result<()> {
    if stalls.is_empty() {
        return Ok(());
    }
    writeln!(to, "\nStalls that another thread of the parent sees")?;
    if stalls.iter().any(|stall| !stall.own_cpu) {
        writeln!(to, "  (it shares its CPU with the launches: there is only one)")?;
    }
    writeln!(
        to,
        "  {:<NAME$} |{:>9}{:>12}{:>16}{:>10}{:>20}",
        "", "launches", "longest", "longest, median", "p99.9", "lost in long gaps"
    )?;
    for stall in stalls {
        writeln!(
            to,
            "  {:<NAME$} |{:>9}{:>12}{:>16}{:>10}{:>19.2}%",
            stall.contender.map_or("(no launches)", Kind::label),
            stall.launches,
            us(stall.max_ns),
            us(stall.slice_max_p50_ns),
            us(stall.p999_ns),
            stall.long_gap_share * 100.0,
        )?;
    }
    Ok(())
}

fn aims(results: &Results, to: &mut impl Write) -> io::Result<()> {
    if results.aims.is_empty() {
        return Ok(());
    }
    writeln!(
        to,
        "\nAims: ratios of medians, of the caller's blocked time, an op's, or a whole sandbox's or child's"
    )?;
    for aim in &results.aims {
        let verdict = match aim.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        writeln!(
            to,
            "  {:<58} {:>6} {} {:.2}  {verdict}",
            aim.what,
            decimal(aim.measured),
            aim.bound.sign(),
            aim.limit
        )?;
    }
    Ok(())
}

fn troubles(results: &Results, to: &mut impl Write) -> io::Result<()> {
    for left_out in &results.left_out {
        writeln!(to, "\nLEFT OUT: {}: {}", left_out.contender.label(), left_out.reason)?;
    }
    for point in &results.points {
        if let Some(reason) = &point.skipped {
            let label = point.axis.label(point.value);
            writeln!(to, "\nSKIPPED: {} {label}: {reason}", point.axis.title())?;
        }
    }
    for row in &results.sandboxes {
        let way = row.way.label();
        if let Some(reason) = &row.skipped {
            writeln!(to, "\nSKIPPED: sandbox, {way}: {reason}")?;
        }
        if let Some(first) = &row.failures.first {
            let count = row.failures.count;
            writeln!(to, "\nFAILED: sandbox, {way}: {count} launches, the first with: {first}")?;
        }
    }
    if let Some(report) = &results.agent {
        agent::troubles(report, to)?;
    }
    for batch in results.batching.iter().filter(|batch| batch.ops_per_message == 1) {
        if let Some(reason) = &batch.skipped {
            writeln!(to, "\nSKIPPED: {}: {}: {reason}", batch.way.label(), batch.job.label())?;
        }
    }
    for failure in &results.failures {
        writeln!(
            to,
            "\nFAILED: {}, {}: {} launches, the first with: {}",
            failure.contender.label(),
            failure.place,
            failure.count,
            failure.first_error
        )?;
    }
    Ok(())
}

fn spread(spread: Spread) -> String {
    let [p10, p50, p99] = [spread.p10_ns, spread.p50_ns, spread.p99_ns].map(us);
    format!("{p10:>8}{p50:>8}{p99:>8}")
}

/// Microseconds, with a decimal while that is more than noise.
fn us(time_ns: u64) -> String {
    let time = time_ns as f64 / 1000.0;
    match time {
        ..1.0 => format!("{time:.2}"),
        ..100.0 => format!("{time:.1}"),
        _ => format!("{time:.0}"),
    }
}

fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}
