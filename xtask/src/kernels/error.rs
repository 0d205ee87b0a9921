//! What can keep a program from being run under another kernel.

use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{tool} is not installed: apt-get install {package}")]
    Missing { tool: String, package: String },
    #[error("{command}: {reason}")]
    Command { command: String, reason: String },
    #[error(
        "apt's sources name no Debian archive (or its index was never fetched: apt-get update)"
    )]
    NoArchive,
    #[error("the index of Debian's packages could not be fetched")]
    NoIndex,
    #[error("{wanted}: no such kernel; there are: {}", there_are.join(", "))]
    NoKernel { wanted: String, there_are: Vec<String> },
    #[error("no build of kernel {0} could be fetched; a newer index may help: --refresh")]
    NotFetched(String),
    #[error("{0}: this kernel has no such module")]
    NoModule(String),
    #[error("{0}: not found")]
    NoProgram(String),
    #[error("{path}: {why}")]
    Unfit { path: String, why: String },
    #[error("the guest had not {what} after {} s{}", .after.as_secs(), tail(console))]
    Timeout { what: &'static str, after: Duration, console: String },
    #[error("the kernel panicked: {reason}{}", tail(console))]
    Panic { reason: String, console: String },
    #[error("the guest's init: {what}: {source}{}", tail(console))]
    Guest { what: String, source: io::Error, console: String },
    #[error("the guest ended without a report (QEMU: {qemu}){}", tail(console))]
    NoReport { qemu: String, console: String },
}

impl Error {
    /// For `map_err`: names the path that an I/O error is about.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = path.display().to_string();
        move |source| Self::Io { what, source }
    }
}

/// The console's last lines, as the end of a message.
fn tail(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    let last = &lines[lines.len().saturating_sub(30)..];
    last.iter().fold(String::new(), |text, line| text + "\n  | " + line)
}

/// Runs a tool to its end and returns its output; `package` is what to install where the tool is
/// missing.
pub(crate) fn output(command: &mut Command, package: &str) -> Result<Output> {
    let tool = command.get_program().display().to_string();
    let output = command.output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { tool: tool.clone(), package: package.into() },
        _ => Error::Io { what: tool.clone(), source },
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = format!("{}: {}", output.status, stderr.trim());
    Err(Error::Command { command: tool, reason })
}
