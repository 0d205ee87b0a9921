//! What options and keys take, from text to value and back. An error says what was expected, in one
//! line.
//!
//! An option and the key of the same name take the same text. It must never look at the system:
//! whether a user exists or a file opens is found out later, elsewhere.

mod cpus;
mod duration;
mod files;
mod ids;
mod io_priority;
mod limit;
mod numbers;
mod persona;
mod schedule;
mod signals;
mod source;
mod text;
mod variable;

pub use cpus::{Cpus, MemoryPolicy};
pub use duration::{Span, nanoseconds, seconds};
#[cfg(feature = "command")]
pub(crate) use files::{input, output};
pub use ids::{Groups, Id, Ids, Pgid};
pub use io_priority::IoPriority;
pub use limit::{Limits, Resource, Rlimit};
pub use numbers::{Nice, OomScoreAdj, Umask, umask};
pub use persona::Persona;
pub use schedule::{Deadline, Policy};
pub use signals::{Signal, SignalSet};
pub use source::{Ctty, FdGrant, ImageSource, Mode, NullFd, SlotGrant, Source, StdioSource};
pub use text::Text;
pub(crate) use text::{Textual, textual};
pub use variable::Variable;

/// Checks a parser: what it makes of a text, or that it refuses it; and that what it prints is read
/// as the same.
#[cfg(test)]
pub(crate) fn check<T>(text: &str, expect: Option<T>)
where
    T: std::str::FromStr<Err = String> + std::fmt::Debug + std::fmt::Display + PartialEq,
{
    let read = text.parse::<T>().ok();
    assert_eq!(read, expect, "{text:?}");
    if let Some(read) = read {
        assert_eq!(read.to_string().parse::<T>().as_ref(), Ok(&read), "{text:?} -> {read}");
    }
}
