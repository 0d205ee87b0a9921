//! Why a file cannot be loaded, in words that name the file.

use std::fmt;

/// A program that cannot be loaded. Nothing has happened.
#[derive(Debug, thiserror::Error)]
#[error("cannot load {file}: {reason}")]
#[non_exhaustive]
pub struct LoadError {
    /// The program, or its interpreter.
    pub file: String,
    /// What is the matter with it.
    #[source]
    pub reason: NotLoadable,
}

impl LoadError {
    pub(crate) fn of(file: impl Into<String>, reason: NotLoadable) -> Self {
        Self { file: file.into(), reason }
    }
}

/// What is the matter with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotLoadable {
    /// It cannot be opened or read.
    #[error("{0}")]
    Io(std::io::Error),
    /// A `#!` script; its interpreter.
    #[error("it is a #! script for {0}: load that, with the script as an argument")]
    Script(String),
    /// Something else altogether.
    #[error("it is no ELF file but {0}")]
    NotElf(&'static str),
    /// An ELF file for something else than this machine.
    #[error("it is an ELF file for {0}, and this is {machine}", machine = std::env::consts::ARCH)]
    Foreign(String),
    /// An ELF file for this machine that is no program.
    #[error("it is {0}, not a program")]
    NotAProgram(&'static str),
    /// It ends before something that it says it holds.
    #[error("it is truncated: {what} ends at byte {end:#x}, the file at {size:#x}")]
    Truncated {
        /// What is cut off.
        what: Part,
        /// Where that would end.
        end: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// A part of it makes no sense.
    #[error("{0} {1}")]
    Malformed(Part, &'static str),
    /// It has to be where it says, and something is there already.
    #[error("it has to lie at {from:#x}..{to:#x}, where {what} is")]
    Occupied {
        /// First address.
        from: u64,
        /// End.
        to: u64,
        /// Who is there.
        what: String,
    },
    /// No directory of the search list has it; the list.
    #[error("there is no such program in the search list {0}")]
    NotFound(String),
    /// It is there, and execve(2) would not execute it.
    #[error("it has no execute permission, or its file system is mounted noexec")]
    NotExecutable,
    /// It may be executed, but not read.
    #[error("it may be executed but not read, and loading it takes reading")]
    Unreadable,
    /// The working directory that its path starts at cannot be entered.
    #[error("the working directory {0}: {1}")]
    Directory(String, std::io::Error),
    /// What else is asked for cannot be done without exec.
    #[error("{0}")]
    Cannot(&'static str),
    /// There is no room for it.
    #[error("no room of {0:#x} bytes was found for it in the address space")]
    NoRoom(u64),
}

/// A part of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The ELF header.
    Header,
    /// The program header table.
    Table,
    /// The name of the interpreter.
    Interpreter,
    /// The program header with this index.
    Segment(usize),
    /// Where it starts.
    Entry,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header => f.write_str("the ELF header"),
            Part::Table => f.write_str("the program header table"),
            Part::Interpreter => f.write_str("the interpreter's name"),
            Part::Segment(index) => write!(f, "segment {index}"),
            Part::Entry => f.write_str("the entry point"),
        }
    }
}
