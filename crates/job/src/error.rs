//! What is wrong with a description that could be read: which key, and what to do about it.
//!
//! It must never lose the errno of what failed.

use std::fmt;
use std::io;

/// Why a description is not a child.
#[derive(Debug)]
pub struct Error {
    message: String,
    hint: Option<String>,
    key: Option<&'static str>,
    op: Option<usize>,
    source: Option<Box<embryo::Error>>,
}

impl Error {
    /// `what` is wrong.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, key: None, op: None, source: None }
    }

    /// `what` failed on `object`.
    pub fn io(what: &str, object: impl fmt::Display, error: &io::Error) -> Self {
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let name = error.raw_os_error().and_then(|errno| embryo::errno_name(errno.unsigned_abs()));
        let text = name.map_or(text.to_owned(), |name| format!("{text} ({name})"));
        Self::new(format!("{what} {object}: {text}"))
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says which key holds it, unless that is known already.
    #[must_use]
    pub fn at(self, key: &'static str) -> Self {
        Self { key: self.key.or(Some(key)), ..self }
    }

    /// Says which op of an exact form it is.
    #[must_use]
    pub fn at_op(self, index: usize) -> Self {
        Self { op: Some(index), ..self }
    }

    /// The op of an exact form that it is about.
    #[must_use]
    pub fn op(&self) -> Option<usize> {
        self.op
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The key that holds it.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        self.key
    }

    /// The library's error, if it is one.
    ///
    /// # Errors
    /// This one, if it is not.
    pub fn into_library(self) -> Result<embryo::Error, Self> {
        match self.source {
            Some(error) => Ok(*error),
            None => Err(self),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<embryo::Error> for Error {
    fn from(error: embryo::Error) -> Self {
        let refused = match &error {
            embryo::Error::Plan(embryo::BuildError::Plan(error)) => error.code,
            _ => None,
        };
        let key = refused.and_then(|code| crate::surface::surface(code).keys.first()).copied();
        let message = error.to_string();
        Self { key, source: Some(Box::new(error)), ..Self::new(message) }
    }
}
