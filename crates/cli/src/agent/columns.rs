//! Tables of what an agent does, and how their cells look.
//!
//! It must never put a byte that a client chose on a terminal raw.

use super::printable;
use anstyle::Style;
use embryo_agent::operator::{Agent, Child, Connection};
use std::time::{SystemTime, UNIX_EPOCH};

const HEAD: Style = Style::new().bold();

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows below a head, each column as wide as it has to be; lines are cut at `width`.
pub(super) fn table(
    head: &[(&str, Side)],
    rows: &[Vec<String>],
    width: Option<usize>,
) -> Vec<String> {
    let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |c| c.chars().count());
    let wide = |column: usize, title: &str| {
        rows.iter().map(|row| cell(row, column)).chain([title.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> =
        head.iter().enumerate().map(|(column, (title, _))| wide(column, title)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(head).zip(&widths).map(|((cell, (_, side)), width)| match side {
            Side::Left => format!("{cell:<width$}"),
            Side::Right => format!("{cell:>width$}"),
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        width.map_or(line.to_owned(), |width| line.chars().take(width).collect())
    };
    let title = line(&mut head.iter().map(|(title, _)| *title));
    let rows = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    [format!("{HEAD}{title}{HEAD:#}")].into_iter().chain(rows).collect()
}

/// Children, with what `last` says of each in the place of their time on a CPU.
pub(super) fn children(
    children: &[Child],
    now_ms: u64,
    use_of_cpu: (&str, impl Fn(&Child) -> String),
    width: Option<usize>,
) -> Vec<String> {
    use Side::{Left, Right};
    let head = [
        ("CHILD", Right),
        ("PID", Right),
        ("MANDATE", Left),
        ("CLIENT", Right),
        ("UID", Right),
        ("CONN", Right),
        ("AGE", Right),
        ("LEFT", Right),
        (use_of_cpu.0, Right),
        ("RSS", Right),
        ("PROGRAM", Left),
    ];
    let row = |child: &Child| {
        vec![
            child.child.to_string(),
            child.pid.to_string(),
            printable(&child.mandate),
            child.client_uid.to_string(),
            or_dash(child.uid.map(|uid| uid.to_string())),
            or_dash(child.connection.map(|number| number.to_string())),
            time(now_ms.saturating_sub(child.since_ms)),
            or_dash(child.left_ms.map(time)),
            use_of_cpu.1(child),
            or_dash(child.rss.map(bytes)),
            printable(&child.program),
        ]
    };
    let rows: Vec<Vec<String>> = children.iter().map(row).collect();
    table(&head, &rows, width)
}

/// Connections.
pub(super) fn connections(connections: &[Connection], now_ms: u64) -> Vec<String> {
    use Side::{Left, Right};
    let head = [
        ("CONN", Right),
        ("MANDATE", Left),
        ("UID", Right),
        ("GID", Right),
        ("PID", Right),
        ("FROM", Right),
        ("AGE", Right),
        ("ASKED", Right),
        ("CHILDREN", Right),
        ("STARTED", Right),
    ];
    let row = |one: &Connection| {
        vec![
            one.connection.to_string(),
            printable(&one.mandate),
            one.uid.to_string(),
            one.gid.to_string(),
            or_dash((one.pid != 0).then(|| one.pid.to_string())),
            or_dash(one.narrower_of.map(|number| number.to_string())),
            time(now_ms.saturating_sub(one.since_ms)),
            one.in_flight.to_string(),
            one.children.to_string(),
            one.started.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = connections.iter().map(row).collect();
    table(&head, &rows, None)
}

/// An agent, in one line.
pub(super) fn agent(agent: &Agent, connections: usize, children: usize, now_ms: u64) -> String {
    format!(
        "embryo agent {}, pid {}, up {}: {connections} connections of {}, {children} children of {}, \
         {} refused, {} failed",
        printable(&agent.version),
        agent.pid,
        time(now_ms.saturating_sub(agent.since_ms)),
        agent.accepted,
        agent.started,
        agent.refused,
        agent.faults,
    )
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time in a few characters: `3.2s`, `4:05`, `7h12`, `12d`.
pub(super) fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn bytes(bytes: u64) -> String {
    let units = [("G", 1u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    let unit = units.into_iter().find(|(_, size)| bytes >= *size);
    unit.map_or(bytes.to_string(), |(name, size)| {
        let tenths = u128::from(bytes) * 10 / u128::from(size);
        match tenths {
            0..100 => format!("{}.{}{name}", tenths / 10, tenths % 10),
            _ => format!("{}{name}", tenths / 10),
        }
    })
}

pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let head = [("N", Side::Right), ("WHAT", Side::Left)];
        let rows = [vec!["7".into(), "a".into()], vec!["123".into(), "longer".into()]];
        let lines = table(&head, &rows, Some(9));
        assert!(lines[0].contains("  N  WHAT"));
        assert_eq!(lines[1..], ["  7  a", "123  long"]);
    }

    #[test]
    fn times_and_sizes_are_short() {
        for (ms, text) in [(0, "0.0s"), (3_250, "3.2s"), (245_000, "4:05"), (25_920_000, "7h12")] {
            assert_eq!(time(ms), text);
        }
        assert_eq!(time(12 * 86_400_000), "12d");
        assert_eq!(time(u64::MAX).chars().last(), Some('d'));
        for (size, text) in
            [(12, "12"), (1536, "1.5K"), (300 << 20, "300M"), (u64::MAX, "17179869183G")]
        {
            assert_eq!(bytes(size), text);
        }
    }
}
