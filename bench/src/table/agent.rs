//! What an agent's children cost, as text.

use std::io::{self, Write};

use super::{decimal, spread};
use crate::agent::{Caller, Point, Rate, Report, Way};
use crate::measure::Failures;

const NAME: usize = 22;

/// One table a client, and one of rates.
pub(super) fn write(report: &Report, to: &mut impl Write) -> io::Result<()> {
    for point in &report.points {
        self::point(point, to)?;
    }
    rates(&report.rates, to)
}

fn point(point: &Point, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "\nA child from the call to its end, client: {}", point.load.label())?;
    if let Some(reason) = &point.skipped {
        return writeln!(to, "  SKIPPED: {reason}");
    }
    let columns = format!("{:>8}{:>8}{:>8}", "p10", "p50", "p99");
    let base = Way::PosixSpawn;
    writeln!(
        to,
        "  {:<NAME$} |{:^24} |{:^24} |{:^24} |{:>6} |  p50 / {}",
        "",
        "started",
        "first instruction",
        "ended",
        "",
        base.label()
    )?;
    writeln!(
        to,
        "  {:<NAME$} |{columns} |{columns} |{columns} |{:>6} |{:>9}{:>9}",
        "", "n", "started", "ended"
    )?;
    for row in point.rows.iter().filter(|row| row.launches > 0) {
        let cell = |times| match times {
            Some(times) => spread(times),
            None => format!("{:>8}{:>8}{:>8}", "-", "-", "-"),
        };
        writeln!(
            to,
            "  {:<NAME$} |{} |{} |{} |{:>6} |{:>9}{:>9}",
            row.way.label(),
            cell(row.started),
            cell(row.first_instruction),
            cell(row.ended),
            row.launches,
            decimal(point.ratio(|row| row.started, row.way, base)),
            decimal(point.ratio(|row| row.ended, row.way, base)),
        )?;
    }
    Ok(())
}

fn rates(rates: &[Rate], to: &mut impl Write) -> io::Result<()> {
    if rates.is_empty() {
        return Ok(());
    }
    writeln!(to, "\nChildren a second, all clients together")?;
    let base = Caller::PosixSpawn;
    writeln!(
        to,
        "  {:<NAME$} |{:>8}{:>11}{:>12}{:>13}",
        "",
        "clients",
        "in flight",
        "children/s",
        base.label()
    )?;
    for rate in rates {
        let same = |other: &&Rate| other.caller == base && other.clients == rate.clients;
        let against = rates.iter().find(same).map(|base| rate.per_second / base.per_second);
        writeln!(
            to,
            "  {:<NAME$} |{:>8}{:>11}{:>12.0}{:>13}",
            rate.caller.label(),
            rate.clients,
            rate.in_flight,
            rate.per_second,
            decimal(against)
        )?;
    }
    Ok(())
}

/// What was left out, and what failed.
pub(super) fn troubles(report: &Report, to: &mut impl Write) -> io::Result<()> {
    if let Some(reason) = &report.skipped {
        writeln!(to, "\nSKIPPED: agent: {reason}")?;
    }
    // What one client cannot have none can.
    for row in report.points.first().iter().flat_map(|point| &point.rows) {
        if let Some(reason) = &row.skipped {
            writeln!(to, "\nSKIPPED: {}: {reason}", row.way.label())?;
        }
    }
    for (point, row) in
        report.points.iter().flat_map(|point| point.rows.iter().map(move |row| (point, row)))
    {
        failed(row.way.label(), &point.load.label(), &row.failures, to)?;
    }
    for rate in &report.rates {
        failed(rate.caller.label(), &format!("{} clients", rate.clients), &rate.failures, to)?;
    }
    Ok(())
}

fn failed(name: &str, place: &str, failures: &Failures, to: &mut impl Write) -> io::Result<()> {
    let Some(first) = &failures.first else { return Ok(()) };
    writeln!(to, "\nFAILED: {name}, {place}: {} launches, the first with: {first}", failures.count)
}
