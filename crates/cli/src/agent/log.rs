//! `embryo agent log`: the entries that an agent has kept.
//!
//! It must never print one twice.

use super::printable;
use super::socket::Operator;
use crate::args::AgentLogArgs;
use crate::failure::Failure;
use crate::output;
use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};
use std::time::Duration;

/// How long to wait before asking for more.
const PAUSE: Duration = Duration::from_millis(500);
const DIM: Style = Style::new().dimmed();

/// Prints the log.
pub(super) fn log(args: &AgentLogArgs) -> Result<u8, Failure> {
    let operator = Operator::connect(&args.operator)?;
    let mut next = args.since;
    loop {
        let lines = operator.log(next)?;
        let mut text = String::new();
        for line in lines.lines() {
            let entry: Value = serde_json::from_str(line)
                .map_err(|error| Failure::new(format!("an entry is no JSON: {error}")))?;
            next = next.max(entry["entry"].as_u64().unwrap_or(0).saturating_add(1));
            text.push_str(&if args.json { line.to_owned() } else { readable(&entry) });
            text.push('\n');
        }
        output::text(&text)?;
        // As many as fit come at once.
        if !lines.is_empty() {
            continue;
        }
        if !args.follow {
            return Ok(0);
        }
        std::thread::sleep(PAUSE);
    }
}

fn readable(entry: &Value) -> String {
    let text = |key: &str| printable(entry[key].as_str().unwrap_or_default());
    let level = text("level");
    let style = match level.as_str() {
        "error" => AnsiColor::Red.on_default().bold(),
        "warn" => AnsiColor::Yellow.on_default(),
        _ => Style::new(),
    };
    let none = Map::new();
    let fields = entry["fields"].as_object().unwrap_or(&none).iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) if !text.is_empty() && !text.contains([' ', '"']) => {
                printable(text)
            }
            other => printable(&other.to_string()),
        };
        format!(" {}={value}", printable(name))
    });
    let fields: String = fields.collect();
    let (time, message) = (text("time"), text("message"));
    format!("{DIM}{time}{DIM:#} {style}{level:5}{style:#} {message}{fields}")
}
