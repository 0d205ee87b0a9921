//! `embryo seccomp`: policies of system calls, shown and compiled; and where they are read from.
//!
//! It must never take a file for a profile of the same name, nor the reverse.

use crate::args::confine::{SeccompAction, SeccompCompileArgs, SeccompShowArgs};
use crate::failure::Failure;
use crate::output;
use embryo::{Architecture, Policy};
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

/// What `show` and `compile` exit with for what is no policy.
const NO: u8 = 1;
/// Bytes of a policy: more than anybody writes by hand.
const BYTES_MAX: u64 = 4 << 20;

/// Does what was asked for.
pub(crate) fn run(action: &SeccompAction) -> Result<u8, Failure> {
    match action {
        SeccompAction::List(_) => {
            Policy::PROFILES.iter().try_for_each(|name| output::line(name))?;
        }
        SeccompAction::Show(args) => show(args)?,
        SeccompAction::Compile(args) => compile(args)?,
    }
    Ok(0)
}

fn show(args: &SeccompShowArgs) -> Result<(), Failure> {
    let policy = find(&args.policy)?;
    // Names are looked up, so that what is shown can be used.
    compiled(&policy, &args.policy, Architecture::HERE)?;
    let text = match (args.toml, args.json) {
        (true, _) => toml::to_string_pretty(&policy).map_err(|error| error.to_string()),
        (_, true) => serde_json::to_string_pretty(&policy)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string()),
        _ => Ok(policy.to_string()),
    };
    output::text(&text.map_err(|error| Failure::new(format!("cannot write it down: {error}")))?)
}

fn compile(args: &SeccompCompileArgs) -> Result<(), Failure> {
    let architecture = match args.arch.as_deref() {
        None => Architecture::HERE,
        Some("x86_64") => Architecture::X86_64,
        Some("aarch64") => Architecture::Aarch64,
        Some(other) => {
            return Err(Failure::new(format!("--arch {other}: x86_64 and aarch64 are known")));
        }
    };
    let program = compiled(&find(&args.policy)?, &args.policy, architecture)?;
    let mut out = std::io::stdout();
    if out.is_terminal() {
        return Err(Failure::new("a program is no text").hint("send it to a file or a pipe"));
    }
    out.write_all(&program)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::io("cannot write to", "standard output", &error))
}

fn compiled(policy: &Policy, name: &Path, architecture: Architecture) -> Result<Vec<u8>, Failure> {
    let compiled = policy.compile(architecture);
    let failed = |error| Failure::new(format!("{}: {error}", name.display())).with_status(NO);
    Ok(compiled.map_err(failed)?.program)
}

/// A profile by its name, or a file, whose name has a dot or a slash.
fn find(name: &Path) -> Result<Policy, Failure> {
    let text = name.to_string_lossy();
    if text == "-" || text.contains(['/', '.']) {
        return read(name);
    }
    Policy::profile(&text).ok_or_else(|| no_such_profile(&text))
}

/// That there is no profile of this name.
pub(crate) fn no_such_profile(name: &str) -> Failure {
    let known = Policy::PROFILES.join(", ");
    Failure::new(format!("there is no seccomp profile {name:?}"))
        .hint(format!("there is: {known}; a file is named with a dot or a slash"))
}

/// Reads a policy from a file; `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Policy, Failure> {
    let failed = |error| Failure::io("cannot read", file.display(), &error);
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        let opened = std::fs::File::open(file).map_err(failed)?;
        opened.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    // No TOML begins like that.
    let parsed = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(|error| error.to_string()),
        false => toml::from_str(&text).map_err(|error| place(&text, &error)),
    };
    let refused = |error| Failure::new(format!("{}: {error}", file.display())).with_status(NO);
    parsed.map_err(refused)
}

/// What is wrong, and in which line and column.
fn place(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let Some(span) = error.span() else { return message };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{message} at line {line} column {column}")
}
