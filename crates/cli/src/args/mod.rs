//! The command line: what can be asked for, as types, with the help that describes it.
//!
//! The build script compiles this too, to make man pages and completions from it. So it must never
//! do anything, nor name anything that is more than a value.

mod child;
pub(crate) mod confine;
mod help;
mod mount;
mod namespace;
mod run;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

pub(crate) use child::ChildArgs;
pub(crate) use confine::{ConfineArgs, SeccompArgs};
pub(crate) use mount::{MountArg, MountArgs};
pub(crate) use namespace::{Joined, NamespaceArgs, Range};
pub(crate) use run::RunArgs;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Start programs without fork, with nothing inherited that was not granted
///
/// A child process is described as data, a plan: its descriptors, environment, directories,
/// session, limits, credentials and signals, each of them said. embryo makes the child with
/// clone3(2) and performs the plan in it. What the plan does not grant, the child does not have.
#[derive(Debug, Parser)]
#[command(name = "embryo", version, styles = STYLES, after_long_help = help::TOP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What embryo does.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    Run(Box<RunArgs>),
    Explain(ExplainArgs),
    Check(CheckArgs),
    Doctor(DoctorArgs),
    Seccomp(SeccompArgs),
    Completions(CompletionsArgs),
    Generate(GenerateArgs),
}

/// Print what an encoded plan does, and run nothing
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::EXPLAIN)]
pub(crate) struct ExplainArgs {
    /// The plan; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Say whether a file is an encoded plan, and what is wrong with it if not
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::CHECK)]
pub(crate) struct CheckArgs {
    /// The plan; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List what this kernel and this user can do, tried on children where that is possible
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::DOCTOR)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::COMPLETIONS)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Install the man pages and completions below a directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::GENERATE)]
pub(crate) struct GenerateArgs {
    /// The directory, such as /usr/local/share or ~/.local/share
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// A shell that there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}
