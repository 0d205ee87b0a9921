//! The results as text. All times are in microseconds.

use std::io::{self, Write};

use crate::axis::Axis;
use crate::contender::Kind;
use crate::results::{Point, Results, Row, blocked_ratio, find, ratio};
use crate::stall::Stall;
use crate::stats::Spread;
use crate::stdio::Stdio;

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
    writeln!(to, "\nAims: ratios of medians of the caller's blocked time")?;
    for aim in &results.aims {
        let verdict = match aim.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        writeln!(
            to,
            "  {:<58} {:>6} <= {:.2}  {verdict}",
            aim.what,
            decimal(aim.measured),
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
