//! What `wire.rs` says, read from its text: a list kept beside it could be forgotten.
//!
//! It must never skip a line that it does not understand inside of what it reads.

const SOURCE: &str = include_str!("../../../embryo/src/agent/wire.rs");

/// A structure: its name, and the name and size of each field in order.
pub(crate) struct Structure {
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, usize)>,
}

/// The constants of a module of `wire.rs`, with their values.
pub(crate) fn constants(module: &str) -> Vec<(String, u32)> {
    let start = format!("pub mod {module} {{");
    let lines = SOURCE.lines().skip_while(|line| *line != start).skip(1);
    let found: Vec<_> =
        lines.take_while(|line| *line != "}").filter_map(|line| constant(line.trim())).collect();
    assert!(!found.is_empty(), "wire.rs has no module {module}");
    found
}

/// `pub const NAME: TYPE = VALUE;`; nothing if it is documentation.
fn constant(line: &str) -> Option<(String, u32)> {
    if line.starts_with("//") || line.is_empty() {
        return None;
    }
    let parts = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(": "));
    let (name, rest) = parts.unwrap_or_else(|| panic!("no constant: {line}"));
    let (_, value) = rest.split_once(" = ").unwrap_or_else(|| panic!("no value: {line}"));
    let value = value.trim_end_matches(';');
    let value = match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => value.parse(),
    };
    Some((name.to_owned(), value.unwrap_or_else(|error| panic!("{line}: {error}"))))
}

/// The structures of the messages, the head among them.
pub(crate) fn structures() -> Vec<Structure> {
    let mut found: Vec<Structure> = Vec::new();
    let lines = SOURCE.lines().skip_while(|line| *line != "wire! {").skip(1);
    for line in lines.take_while(|line| *line != "}").map(str::trim) {
        if line.is_empty() || line.starts_with("//") || line == "}" {
            continue;
        }
        let line = line.strip_prefix("pub ").unwrap_or_else(|| panic!("neither: {line}"));
        if let Some(name) = line.strip_prefix("struct ") {
            let name = name.trim_end_matches(" {").to_owned();
            found.push(Structure { name, fields: Vec::new() });
            continue;
        }
        let (field, kind) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line}"));
        let size = size(kind.trim_end_matches(','));
        let structure = found.last_mut().unwrap_or_else(|| panic!("outside of all: {line}"));
        structure.fields.push((field.to_owned(), size));
    }
    found
}

fn size(kind: &str) -> usize {
    match kind {
        "[u8; 4]" | "U32" | "I32" => 4,
        "U16" => 2,
        "U64" => 8,
        "Used" => size_of::<embryo::agent::wire::Used>(),
        other => panic!("a field of another type: {other}"),
    }
}
