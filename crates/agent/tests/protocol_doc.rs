//! The protocol's document against the code: every row of its tables says what `wire.rs` does.
//!
//! It must never take its expectation from the document.

#[path = "protocol/source.rs"]
mod source;

use embryo::agent::wire::{self, flags};
use source::{Structure, constants, structures};

const DOCUMENT: &str = include_str!("../../../docs/agent-protocol.md");

/// The rows of the first table after this heading, cell by cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let mut lines = DOCUMENT.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "the document has no heading {heading}");
    let rows = lines
        .take_while(|line| !line.starts_with('#'))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    rows.skip(2).map(cells).collect()
}

fn size(structure: &Structure) -> usize {
    structure.fields.iter().map(|(_, size)| size).sum()
}

#[test]
fn the_kinds_are_those_of_the_code() {
    let rows = table("## Kinds");
    let written: Vec<(String, String)> =
        rows.iter().map(|row| (row[1].clone(), row[0].clone())).collect();
    let meant: Vec<(String, String)> = constants("kind")
        .into_iter()
        .map(|(name, value)| (name, format!("{value:#06x}")))
        .collect();
    assert_eq!(written, meant);
}

#[test]
fn requests_have_answers_and_answers_have_none() {
    let rows = table("## Kinds");
    let kinds = constants("kind");
    let value = |name: &str| kinds.iter().find(|kind| kind.0 == name).map(|kind| kind.1);
    for row in &rows {
        let is_answer = value(&row[1]).is_some_and(|value| value >= 0x8000);
        assert_eq!(is_answer, row[4].is_empty(), "{row:?}");
        let words = row[4].split(|c: char| !c.is_ascii_uppercase());
        for answer in words.filter(|word| word.len() > 1) {
            assert!(value(answer).is_some_and(|value| value >= 0x8000), "{row:?}: {answer}");
        }
    }
}

#[test]
fn the_bodies_of_kinds_are_structures_of_the_code() {
    let known = structures();
    for row in table("## Kinds") {
        let first = row[2].split([',', ' ']).next().unwrap_or_default();
        if first.starts_with(|c: char| c.is_ascii_uppercase()) {
            assert!(known.iter().any(|structure| structure.name == first), "{row:?}");
        }
    }
}

#[test]
fn the_flags_are_those_of_the_code() {
    let written: Vec<(String, u32, u32)> = table("## Flags")
        .iter()
        .map(|row| (row[2].clone(), row[0].parse().unwrap(), row[1].parse().unwrap()))
        .collect();
    let meant: Vec<(String, u32, u32)> = constants("flags")
        .into_iter()
        .map(|(name, value)| (name, value.trailing_zeros(), value))
        .collect();
    assert_eq!(written, meant);
    assert_eq!(flags::IN_FD, 1);
}

#[test]
fn the_limits_are_those_of_the_code() {
    let meant = [
        ("MESSAGE_BYTES_MAX", wire::MESSAGE_BYTES_MAX),
        ("FDS_MAX", wire::FDS_MAX),
        ("IN_FLIGHT_MAX", wire::IN_FLIGHT_MAX),
    ];
    let written: Vec<(String, usize)> =
        table("## Limits").iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect();
    assert_eq!(written, meant.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn the_structures_are_those_of_the_code() {
    for structure in structures() {
        let heading = match structure.name.as_str() {
            "Head" => format!("## Head: {} bytes", size(&structure)),
            name => format!("### {name}: {} bytes", size(&structure)),
        };
        let mut offset = 0;
        let mut meant = Vec::new();
        for (field, size) in &structure.fields {
            meant.push((offset.to_string(), size.to_string(), field.clone()));
            offset += size;
        }
        let written: Vec<(String, String, String)> = table(&heading)
            .iter()
            .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
            .collect();
        assert_eq!(written, meant, "{}", structure.name);
    }
}

#[test]
fn the_steps_are_those_of_the_code() {
    let lines = DOCUMENT.lines().skip_while(|line| !line.starts_with("| index | step |")).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let written: Vec<(u32, String)> = rows
        .map(|row| {
            let cells: Vec<&str> =
                row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let index = u32::from_str_radix(cells[1].trim_start_matches("0x"), 16);
            (index.expect("a number"), cells[2].to_owned())
        })
        .collect();
    let meant: Vec<(u32, String)> = (0xffff_ff00..u32::MAX)
        .filter_map(|index| Some((index, embryo::Step::from_index(index)?.name().to_owned())))
        .collect();
    assert_eq!(written, meant);
}

#[test]
fn the_document_is_of_this_version() {
    assert!(DOCUMENT.contains(&format!("\nThis is version {}.\n", wire::VERSION)));
    let magic: Vec<String> = wire::MAGIC.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(DOCUMENT.contains(&format!("`{}`", magic.join(" "))));
    assert_eq!(size(&structures()[0]), wire::HEAD_LEN);
}
