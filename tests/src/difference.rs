//! How two records differ, in lines a person can read.
//!
//! It must never compare less than the records hold: it walks their serialized form, so a field
//! added to a record is compared from that day on.

use serde::Serialize;
use serde_json::Value;

/// One line for each place where `after` is not what `before` was, as `path: before -> after`.
///
/// A path that is in `ignored`, or lies below one that is, is left out: `"rlimits"` covers
/// `rlimits.nofile.soft`.
pub(crate) fn lines<T: Serialize>(before: &T, after: &T, ignored: &[&str]) -> Vec<String> {
    let [before, after] = [before, after]
        .map(|record| serde_json::to_value(record).expect("records have no keys but strings"));
    let mut lines = Vec::new();
    walk("", &before, &after, ignored, &mut lines);
    lines
}

fn walk(path: &str, before: &Value, after: &Value, ignored: &[&str], lines: &mut Vec<String>) {
    if before == after || ignored.contains(&path) {
        return;
    }
    let (Some(old), Some(new)) = (members(before), members(after)) else {
        lines.push(format!("{path}: {before} -> {after}"));
        return;
    };
    let gone = old.iter().map(|(name, value)| {
        let now = new.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
        (name, Some(*value), now)
    });
    let added = new
        .iter()
        .filter(|(name, _)| !old.iter().any(|(other, _)| other == name))
        .map(|(name, value)| (name, None, Some(*value)));
    for (name, old, new) in gone.chain(added) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (old, new) {
            (Some(old), Some(new)) => walk(&path, old, new, ignored, lines),
            _ if ignored.contains(&path.as_str()) => {}
            (Some(old), None) => lines.push(format!("{path}: {old} -> nothing")),
            (None, Some(new)) => lines.push(format!("{path}: nothing -> {new}")),
            (None, None) => unreachable!("a name comes from one side or the other"),
        }
    }
}

/// The named parts of a value, if it is worth taking apart.
///
/// A list of records is taken apart by the number that names each, so that a descriptor which
/// appeared in the middle is one line and does not shift all those after it.
fn members(value: &Value) -> Option<Vec<(String, &Value)>> {
    match value {
        Value::Object(map) => Some(map.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                let name = item.get("fd").or_else(|| item.get("signal"))?;
                Some((name.to_string(), item))
            })
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn differences_are_named_by_path() {
        let before = json!({"a": 1, "fds": [{"fd": 0, "ino": 5}, {"fd": 9, "ino": 6}], "b": [1]});
        let after = json!({"a": 1, "fds": [{"fd": 0, "ino": 7}, {"fd": 3, "ino": 8}], "b": [2]});
        let all = [
            "b: [1] -> [2]",
            "fds.0.ino: 5 -> 7",
            r#"fds.9: {"fd":9,"ino":6} -> nothing"#,
            r#"fds.3: nothing -> {"fd":3,"ino":8}"#,
        ];
        assert_eq!(super::lines(&before, &after, &[]), all);
        assert_eq!(super::lines(&before, &after, &["fds"]), all[..1]);
        assert_eq!(super::lines(&before, &after, &["b", "fds.9", "fds.3"]), all[1..2]);
    }
}
