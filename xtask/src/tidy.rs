//! `cargo xtask tidy`: what the project says of itself and no compiler checks.
//!
//! ARCHITECTURE.md is the record: which crate may use which, how often `unsafe` stands where, and
//! which test holds which invariant. Each check compares the record with what is there. It must never
//! repair either: that they differ is for somebody to look at.

mod calls;
mod floors;
mod invariants;
mod seed;
mod sources;
mod symbols;
mod words;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Check crate edges, unsafe code, invariants, words, and what the child's code is made of
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only read sources: leave out the checks that build something
    #[arg(long)]
    no_build: bool,
}

/// A failure of the check itself, as opposed to a finding.
type Broken = Box<dyn std::error::Error>;

/// What the checks work on, and what they found.
pub(crate) struct Tidy {
    root: PathBuf,
    architecture: String,
    findings: Vec<String>,
}

impl Tidy {
    /// Says what is wrong, and where.
    fn finding(&mut self, place: impl Display, what: impl Display) {
        self.findings.push(format!("{place}: {what}"));
    }

    /// Says what was looked at.
    fn passed(&self, check: &str, what: impl Display) {
        println!("{check:10} {what}");
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    fn read(&self, relative: impl AsRef<Path>) -> Result<String, Broken> {
        let path = self.path(relative);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// The rows of a table of ARCHITECTURE.md, cell by cell, without backquotes.
    fn table(&self, head: &str) -> Result<Vec<Vec<String>>, Broken> {
        let mut lines = self.architecture.lines().skip_while(|line| !line.starts_with(head));
        lines.next().ok_or_else(|| format!("ARCHITECTURE.md has no table {head}"))?;
        let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
        };
        Ok(rows.map(cells).collect())
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo
    }
}

/// `cargo xtask tidy`
pub(crate) fn command(args: &Args) -> ExitCode {
    match check(args) {
        Ok(findings) if findings.is_empty() => {
            println!("tidy");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            findings.iter().for_each(|finding| eprintln!("error: {finding}"));
            eprintln!("not tidy: {} findings", findings.len());
            ExitCode::FAILURE
        }
        Err(broken) => {
            eprintln!("error: {broken}");
            ExitCode::from(2)
        }
    }
}

fn check(args: &Args) -> Result<Vec<String>, Broken> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the project has a root")?;
    let mut tidy =
        Tidy { root: root.to_owned(), architecture: String::new(), findings: Vec::new() };
    tidy.architecture = tidy.read("ARCHITECTURE.md")?;
    floors::check(&mut tidy)?;
    sources::check(&mut tidy)?;
    invariants::check(&mut tidy)?;
    words::check(&mut tidy)?;
    if args.no_build {
        println!("not built: the checks of the child's code were left out");
    } else {
        symbols::check(&mut tidy)?;
        seed::check(&mut tidy)?;
    }
    Ok(tidy.findings)
}

/// The files of the project, as git knows them, that exist: relative paths.
fn files(tidy: &Tidy) -> Result<Vec<PathBuf>, Broken> {
    let mut git = Command::new("git");
    git.current_dir(&tidy.root);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output(&mut git)?;
    let names = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(names.filter(|name| tidy.path(name).is_file()).collect())
}

/// What a tool prints; its messages go where ours go.
fn output(command: &mut Command) -> Result<String, Broken> {
    let name = command.get_program().display().to_string();
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
