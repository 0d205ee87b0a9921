//! What goes wrong, in one line, and the status that embryo exits with for it.
//!
//! It must never lose the operation, the object or the errno of what failed.

use crate::output::printable;
use anstyle::{AnsiColor, Style};
use embryo::{Cause, LoadError, NotLoadable, SpawnError};
use std::fmt::Display;
use std::io;

/// embryo itself failed.
pub(crate) const FAILED: u8 = 125;
/// The program was found but could not be executed.
pub(crate) const CANNOT_EXECUTE: u8 = 126;
/// The program was not found.
pub(crate) const NOT_FOUND: u8 = 127;

const RED: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();

/// Why embryo ends without having run a program.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    message: String,
    hint: Option<String>,
    spawn: Option<Box<SpawnError>>,
    /// The line of a file that is meant.
    excerpt: String,
    /// Its line and column.
    at: Option<(usize, usize)>,
    reported: bool,
}

impl Failure {
    /// A failure of embryo's own.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status: FAILED,
            message,
            hint: None,
            spawn: None,
            excerpt: String::new(),
            at: None,
            reported: false,
        }
    }

    /// `what` failed on `object`.
    pub(crate) fn io(what: &str, object: impl Display, error: &io::Error) -> Self {
        Self::new(format!("{what} {object}: {}", errno_text(error)))
    }

    /// A program could not be loaded: the statuses are those of one that cannot be executed.
    fn not_loaded(error: &LoadError) -> Self {
        let LoadError { file, reason, .. } = error;
        let (status, reason, hint) = match reason {
            NotLoadable::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                (NOT_FOUND, errno_text(error), None)
            }
            NotLoadable::Io(error) => (CANNOT_EXECUTE, errno_text(error), None),
            NotLoadable::NotFound(_) => (NOT_FOUND, reason.to_string(), None),
            NotLoadable::Directory(dir, error) => {
                (FAILED, format!("the working directory {dir}: {}", errno_text(error)), None)
            }
            NotLoadable::Cannot(_) => (FAILED, reason.to_string(), None),
            NotLoadable::NotExecutable => (CANNOT_EXECUTE, reason.to_string(), Some("chmod +x")),
            NotLoadable::Script(_) => (CANNOT_EXECUTE, reason.to_string(), Some(NOT_BY_LOAD)),
            _ => (CANNOT_EXECUTE, reason.to_string(), None),
        };
        let failure = Self::new(format!("cannot load {file}: {reason}")).with_status(status);
        Self { hint: hint.map(str::to_owned), ..failure }
    }

    /// Says what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says which status embryo exits with.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// Says that nothing has to be printed any more.
    pub(crate) fn reported(self) -> Self {
        Self { reported: true, ..self }
    }

    /// Whether it has been printed.
    pub(crate) fn is_reported(&self) -> bool {
        self.reported
    }

    /// What embryo exits with.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// The message without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Line and column of the file that is meant.
    pub(crate) fn at(&self) -> Option<(usize, usize)> {
        self.at
    }

    /// The failed launch, if that is what it is.
    pub(crate) fn spawn(&self) -> Option<&SpawnError> {
        self.spawn.as_deref()
    }

    /// Prints it on standard error.
    pub(crate) fn print(&self) {
        let hint = self
            .hint
            .as_ref()
            .map_or(String::new(), |hint| format!(" {HINT}(hint: {}){HINT:#}", printable(hint)));
        anstream::eprintln!("{RED}embryo:{RED:#} {}{hint}", printable(&self.message));
        if !self.excerpt.is_empty() {
            anstream::eprintln!("{}", self.excerpt);
        }
    }
}

impl From<embryo::Error> for Failure {
    fn from(error: embryo::Error) -> Self {
        let mut spawn = match error {
            embryo::Error::Spawn(spawn) => spawn,
            embryo::Error::Load(error) => return Self::not_loaded(&error),
            embryo::Error::Cgroup(error) => {
                let what = format!("cgroup: {}: {}", error.what, errno_text(&error.source));
                let hint = error.hint.as_deref().map(with_options);
                return Self { hint, ..Self::new(what) };
            }
            error @ embryo::Error::Refused { .. } => {
                return Self::new(error.to_string()).with_status(CANNOT_EXECUTE);
            }
            embryo::Error::Agent(error) => {
                let failure =
                    Self::io(&format!("agent {}:", error.agent), &error.what, &error.source);
                return Self { hint: error.hint, ..failure };
            }
            other => return Self::new(other.to_string()),
        };
        let hint = spawn.hint.take().map(|hint| with_options(&hint));
        let hint = hint.or_else(|| closed_directory(&spawn).then(|| CLOSED.to_owned()));
        let message = spawn.to_string();
        spawn.hint.clone_from(&hint);
        let status = launch_status(&spawn);
        Self { status, hint, spawn: Some(spawn), ..Self::new(message) }
    }
}

impl From<embryo_job::Error> for Failure {
    fn from(error: embryo_job::Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        match error.into_library() {
            Ok(error) => error.into(),
            Err(error) => Self { hint, ..Self::new(error.to_string()) },
        }
    }
}

impl From<embryo_job::DocumentError> for Failure {
    fn from(error: embryo_job::DocumentError) -> Self {
        Self {
            hint: error.hint().map(str::to_owned),
            excerpt: error.excerpt().to_owned(),
            at: error.at(),
            ..Self::new(error.to_string())
        }
    }
}

/// The library's hints name its own items; here, the options that stand for them.
fn with_options(hint: &str) -> String {
    hint.replace("ExecFlags::KEEP_OPEN", "--keep-image-open")
        .replace("shell_fallback, --shell", "--shell-fallback")
        .replace("enable_controllers, --cgroup-enable", "--cgroup-enable")
}

const NOT_BY_LOAD: &str = "without --load the kernel runs the script";

const ENOENT: u16 = 2;
const EACCES: u16 = 13;
const ENOTDIR: u16 = 20;

const CLOSED: &str = "a directory of the list may not be searched by this user";

/// Whether the search met nothing but directories without the program and closed ones. execvp(3)
/// answers EACCES to that, which would be 126 for a program that is not there.
fn closed_directory(error: &SpawnError) -> bool {
    let none = |detail: &String| detail.starts_with("there is no such program");
    error.op() == "exec-name"
        && error.fault.errno == EACCES
        && error.detail.as_ref().is_some_and(none)
}

/// The status that a shell and env(1) give to a program that cannot be started.
fn launch_status(error: &SpawnError) -> u8 {
    let errno = error.fault.errno;
    match error.op() {
        _ if closed_directory(error) => NOT_FOUND,
        _ if error.cause != Cause::Refused => FAILED,
        "exec" if errno == ENOENT => NOT_FOUND,
        "exec-name" if errno == ENOENT || errno == ENOTDIR => NOT_FOUND,
        "exec" | "exec-name" | "exec-fd" => CANNOT_EXECUTE,
        _ => FAILED,
    }
}

/// The system's words for an error, and the errno's name.
fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let name = error.raw_os_error().and_then(|errno| embryo::errno_name(errno.unsigned_abs()));
    name.map_or(text.to_owned(), |name| format!("{text} ({name})"))
}
