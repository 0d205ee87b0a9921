//! One event of the log, with its fields.
//!
//! It must never be longer than it says, whatever a client sent.

use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Bytes of one field, at most.
const FIELD_MAX: usize = 1024;

/// An event.
pub(super) struct Record {
    pub(super) time: String,
    pub(super) level: Level,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

impl Record {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut time = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let mut record = Self {
            time,
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: String::new(),
            fields: Map::new(),
        };
        event.record(&mut record);
        record
    }

    /// One more field.
    pub(super) fn add(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// The message and the fields, without a character that moves a cursor.
    pub(super) fn text(&self) -> String {
        let mut text = printable(&self.message);
        for (name, value) in &self.fields {
            text.push(' ');
            text.push_str(name);
            text.push('=');
            let value = match value {
                Value::String(value) => value.clone(),
                other => other.to_string(),
            };
            let plain = |c: char| c.is_ascii_graphic() && !['"', '=', '\\'].contains(&c);
            match !value.is_empty() && value.chars().all(plain) {
                true => text.push_str(&value),
                false => text.push_str(&format!("{value:?}")),
            }
        }
        text
    }

    /// An object on one line; with its number for those who ask for the next ones.
    pub(super) fn json(&self, entry: Option<u64>) -> String {
        let mut object = Map::new();
        if let Some(entry) = entry {
            object.insert("entry".into(), entry.into());
        }
        object.insert("time".into(), self.time.clone().into());
        object.insert("level".into(), self.level.as_str().to_lowercase().into());
        object.insert("target".into(), self.target.clone().into());
        object.insert("message".into(), self.message.clone().into());
        if !self.fields.is_empty() {
            object.insert("fields".into(), self.fields.clone().into());
        }
        Value::Object(object).to_string()
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.add(name, value),
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut short = Short(String::new());
        let _ = fmt::write(&mut short, format_args!("{value:?}"));
        self.put(field, short.0.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut short = Short(String::new());
        let _ = fmt::Write::write_str(&mut short, value);
        self.put(field, short.0.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// Text that is cut when it becomes too long; what would be written after that is not even made.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = FIELD_MAX.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(text.get(..end).unwrap_or_default());
        self.0.push('…');
        Err(fmt::Error)
    }
}

fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}
