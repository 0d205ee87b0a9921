//! A file that holds a job or an exact form, in TOML or JSON, and where in it a mistake is.
//!
//! It must never show a byte of the file to a terminal that would move its cursor.

use crate::error::Error;
use crate::exact::Exact;
use crate::job::Job;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

/// A file, read.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    text: String,
    syntax: Syntax,
    content: Content,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A job.
    Job(Box<Job>),
    /// A plan op by op.
    Exact(Exact),
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct DocumentError {
    name: String,
    /// Line and column, from 1.
    at: Option<(usize, usize)>,
    message: String,
    hint: Option<String>,
    excerpt: String,
}

impl Document {
    /// Reads a file called `name`. Without a syntax, a name that ends in `.json` and a text that begins with
    /// a brace are JSON.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(
        name: impl Into<String>,
        bytes: Vec<u8>,
        syntax: Option<Syntax>,
    ) -> Result<Self, DocumentError> {
        let name = name.into();
        let text = utf8(&name, bytes)?;
        let syntax = syntax.unwrap_or_else(|| Syntax::guess(&name, &text));
        let content = match syntax {
            Syntax::Toml => toml_content(&name, &text)?,
            Syntax::Json => json_content(&name, &text)?,
        };
        Ok(Self { name, text, syntax, content })
    }

    /// What it holds.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What it holds, without the file.
    #[must_use]
    pub fn into_content(self) -> Content {
        self.content
    }

    /// Says where in the file that is which an error is about.
    #[must_use]
    pub fn locate(&self, error: &Error) -> DocumentError {
        let span = match self.syntax {
            Syntax::Toml => self.span_of(error),
            Syntax::Json => None,
        };
        let message = match (&span, error.key(), error.op()) {
            (None, Some(key), _) => format!("{key}: {error}"),
            (None, _, Some(op)) => format!("op {op}: {error}"),
            _ => error.to_string(),
        };
        let hint = error.hint().map(str::to_owned);
        DocumentError::new(&self.name, &self.text, span, message, hint)
    }

    fn span_of(&self, error: &Error) -> Option<Range<usize>> {
        let table = DeTable::parse(&self.text).ok()?;
        let table = table.get_ref();
        if let Some(index) = error.op() {
            let DeValue::Array(ops) = table.get("op")?.get_ref() else { return None };
            let span = ops.get(index)?.span();
            let field = quoted(error.to_string().as_str()).map(str::to_owned);
            let narrow = field.and_then(|field| key_in(&self.text, &span, &field));
            return Some(narrow.unwrap_or(span));
        }
        let (key, value) =
            table.iter().find(|(key, _)| Some(key.get_ref().as_ref()) == error.key())?;
        // A table is pointed at by its head, anything else by what stands there.
        Some(if value.get_ref().is_table() { key.span() } else { value.span() })
    }
}

impl Content {
    /// It as TOML.
    ///
    /// # Errors
    /// Something in it cannot be said in TOML.
    pub fn to_toml(&self) -> Result<String, Error> {
        match self {
            Content::Job(job) => job.to_toml(),
            Content::Exact(exact) => to_toml(exact),
        }
    }

    /// It as JSON.
    ///
    /// # Errors
    /// Something in it cannot be said in JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        match self {
            Content::Job(job) => to_json(job),
            Content::Exact(exact) => to_json(exact),
        }
    }
}

fn to_toml(value: &impl Serialize) -> Result<String, Error> {
    toml::to_string(value).map_err(|error| Error::new(format!("not to be said in TOML: {error}")))
}

fn to_json(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Error::new(format!("not to be said in JSON: {error}")))
}

impl Job {
    /// Reads a job in TOML.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_toml(text: &str) -> Result<Self, DocumentError> {
        from_toml("job", text)
    }

    /// Reads a job in JSON.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        from_json("job", text)
    }

    /// Writes it in TOML, a mount on a line of its own.
    ///
    /// # Errors
    /// Something in it cannot be said in TOML.
    pub fn to_toml(&self) -> Result<String, Error> {
        let mut rest = self.clone();
        let mounts = std::mem::take(&mut rest.mount);
        let mut text = to_toml(&rest)?;
        for mount in mounts {
            let mount = serde_json::to_value(mount);
            let mount =
                mount.map_err(|error| Error::new(format!("not to be said in TOML: {error}")))?;
            text.push_str("\n[[mount]]\n");
            for (key, value) in mount.as_object().into_iter().flatten() {
                text.push_str(&format!("{key} = {}\n", inline(key, value)));
            }
        }
        Ok(text)
    }
}

/// A value on one line; permissions are octal, as everybody writes them.
fn inline(key: &str, value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Number(number) if key == "mode" => {
            number.as_u64().map_or(number.to_string(), |mode| format!("{mode:#o}"))
        }
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| inline("", item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{name} = {}", inline(name, value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

impl Exact {
    /// Writes it in TOML.
    ///
    /// # Errors
    /// Something in it cannot be said in TOML.
    pub fn to_toml(&self) -> Result<String, Error> {
        to_toml(self)
    }

    /// Reads one in TOML.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_toml(text: &str) -> Result<Self, DocumentError> {
        from_toml("plan", text)
    }
}

impl Syntax {
    fn guess(name: &str, text: &str) -> Self {
        let json = Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        if json || text.trim_start().starts_with('{') { Syntax::Json } else { Syntax::Toml }
    }
}

fn toml_content(name: &str, text: &str) -> Result<Content, DocumentError> {
    let exact = DeTable::parse(text).is_ok_and(|table| table.get_ref().contains_key("op"));
    Ok(match exact {
        true => Content::Exact(from_toml(name, text)?),
        false => Content::Job(Box::new(from_toml(name, text)?)),
    })
}

fn json_content(name: &str, text: &str) -> Result<Content, DocumentError> {
    #[derive(Deserialize)]
    struct Probe {
        op: Option<serde::de::IgnoredAny>,
    }
    let exact = serde_json::from_str::<Probe>(text).is_ok_and(|probe| probe.op.is_some());
    Ok(match exact {
        true => Content::Exact(from_json(name, text)?),
        false => Content::Job(Box::new(from_json(name, text)?)),
    })
}

/// The text of a file called `name`.
pub(crate) fn utf8(name: &str, bytes: Vec<u8>) -> Result<String, DocumentError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let message = "this is not UTF-8, which TOML and JSON are".to_owned();
        DocumentError::new(name, &text, Some(valid..valid + 1), message, None)
    })
}

pub(crate) fn from_toml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, DocumentError> {
    toml::from_str(text).map_err(|error| mistake(name, text, error.message(), error.span()))
}

fn from_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, DocumentError> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        let start: usize =
            text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        // The column is that of the last byte read.
        let at = (start + error.column()).min(text.len());
        let word = quoted(message);
        let key = word.and_then(|word| {
            let word = format!("\"{word}\"");
            let from = text.get(..at)?.rfind(&word)?;
            Some(from..from + word.len())
        });
        mistake(name, text, message, Some(key.unwrap_or(at.saturating_sub(1)..at)))
    })
}

/// From what serde says to what is to be shown.
fn mistake(name: &str, text: &str, message: &str, span: Option<Range<usize>>) -> DocumentError {
    let unknown = ["field", "variant", "op"].into_iter().find_map(|what| {
        let rest = message.strip_prefix("unknown ")?.strip_prefix(what)?.strip_prefix(" `")?;
        let (word, rest) = rest.split_once('`')?;
        Some((what, word, rest.split('`').skip(1).step_by(2).collect::<Vec<_>>()))
    });
    let Some((what, word, known)) = unknown else {
        return DocumentError::new(name, text, span, message.trim_end().replace('\n', " "), None);
    };
    let what = match what {
        "field" => "key",
        "variant" => "word",
        what => what,
    };
    let quote = |c: char| c == '"' || c == '\'';
    let is_word = |span: &Range<usize>| {
        text.get(span.clone()).is_some_and(|part| part.trim_matches(quote) == word)
    };
    let span = span.map(|span| match is_word(&span) {
        true => span,
        false => key_in(text, &span, word).unwrap_or(span),
    });
    let hint = match nearest(word, &known) {
        Some(nearest) => format!("the nearest known one is `{nearest}`"),
        None if known.is_empty() => "there are none here".to_owned(),
        None if known.len() <= 16 => format!("known are {}", known.join(", ")),
        None => "`embryo schema` prints all that there are".to_owned(),
    };
    DocumentError::new(name, text, span, format!("unknown {what} `{word}`"), Some(hint))
}

/// What people call a thing that has another name here.
const ALIASES: [(&str, &str); 16] = [
    ("affinity", "cpus"),
    ("argv", "args"),
    ("chroot", "root"),
    ("command", "program"),
    ("cpu-affinity", "cpus"),
    ("current-dir", "chdir"),
    ("cwd", "chdir"),
    ("death-signal", "pdeathsig"),
    ("environment", "env"),
    ("exec", "program"),
    ("fds", "fd"),
    ("io-priority", "ioprio"),
    ("limits", "rlimit"),
    ("mounts", "mount"),
    ("name", "program"),
    ("working-directory", "chdir"),
];

pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    let word = word.replace('_', "-").to_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == word).map(|(_, name)| *name);
    if let Some(name) = known.iter().find(|name| Some(**name) == alias) {
        return Some(name);
    }
    let near =
        known.iter().map(|name| (strsim::jaro_winkler(&word, &name.replace('_', "-")), *name));
    near.filter(|(near, _)| *near >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// The first word in backquotes.
fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

/// A table that has a head is only its head for whoever parsed it: up to the next head.
fn whole_table(text: &str, span: &Range<usize>) -> Range<usize> {
    let after = text.get(span.end..).unwrap_or_default();
    match text.get(span.clone()).is_some_and(|part| part.starts_with('[')) {
        true => span.start..span.end + after.find("\n[").unwrap_or(after.len()),
        false => span.clone(),
    }
}

/// Where in `span` a key stands, or a string that is this word.
fn key_in(text: &str, span: &Range<usize>, word: &str) -> Option<Range<usize>> {
    let part = text.get(whole_table(text, span))?;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    part.match_indices(word).find_map(|(at, _)| {
        let before = part.get(..at)?.chars().next_back();
        let after = part.get(at + word.len()..)?;
        let alone = !before.is_some_and(letter) && !after.starts_with(letter);
        let quote = |c: char| c == '"' || c == '\'';
        let is_key = after.trim_start_matches(quote).trim_start().starts_with(['=', '.']);
        let is_string = before.is_some_and(quote) && after.starts_with(quote);
        let from = span.start + at;
        (alone && (is_key || is_string)).then(|| from..from + word.len())
    })
}

impl DocumentError {
    pub(crate) fn new(
        name: &str,
        text: &str,
        span: Option<Range<usize>>,
        message: String,
        hint: Option<String>,
    ) -> Self {
        let place = span.map(|span| Excerpt::of(text, &span));
        Self {
            name: name.to_owned(),
            at: place.as_ref().map(|place| (place.line, place.column)),
            message,
            hint,
            excerpt: place.map(|place| place.to_string()).unwrap_or_default(),
        }
    }

    /// Line and column, from 1; the column counts characters.
    #[must_use]
    pub fn at(&self) -> Option<(usize, usize)> {
        self.at
    }

    /// What is wrong, without where.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The line that is meant with a mark below, or nothing.
    #[must_use]
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        if let Some((line, column)) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for DocumentError {}

/// A line with a mark below.
struct Excerpt {
    line: usize,
    column: usize,
    text: String,
    marked: usize,
}

impl Excerpt {
    /// The line in which a span begins; the mark ends with it at the latest.
    fn of(text: &str, span: &Range<usize>) -> Self {
        let at = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        let at = at.unwrap_or(0);
        let (before, after) = text.split_at(at);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(start..).unwrap_or_default().chars().count();
        let rest = after.lines().next().unwrap_or_default();
        let marked = rest.char_indices().take_while(|(byte, _)| at + byte < span.end).count();
        Self {
            line: before.matches('\n').count() + 1,
            column: column + 1,
            text: line.to_owned(),
            marked: marked.max(1),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 100;
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        // Of a long line what is around the mark.
        let skipped = if self.column > WIDTH { self.column - WIDTH / 2 } else { 0 };
        let shown = self.text.chars().skip(skipped).take(WIDTH);
        let shown: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        let column = self.column - 1 - skipped;
        let mark = "^".repeat(self.marked.min(WIDTH.saturating_sub(column)).max(1));
        writeln!(f, " {number} | {shown}")?;
        write!(f, " {gutter} | {}{mark}", " ".repeat(column))
    }
}
