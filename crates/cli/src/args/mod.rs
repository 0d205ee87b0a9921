//! The command line: what can be asked for, as types, with the help that describes it.
//!
//! The build script compiles this too, to make man pages and completions from it. So it must never
//! do anything, nor name anything that is more than a value.

mod agent;
mod cgroup;
mod child;
pub(crate) mod confine;
mod help;
mod mount;
mod namespace;
mod privilege;
mod run;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) use agent::{
    AgentAction, AgentArgs, AgentCheckArgs, AgentKillArgs, AgentLogArgs, AgentPsArgs, AgentRunArgs,
    AgentTopArgs, LogFormat, LogLevel, OperatorArgs,
};
pub(crate) use cgroup::CgroupArgs;
pub(crate) use child::ChildArgs;
pub(crate) use confine::{ConfineArgs, SeccompArgs};
pub(crate) use mount::MountArgs;
pub(crate) use namespace::{Joined, NamespaceArgs, Range};
pub(crate) use privilege::PrivilegeArgs;
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
    Convert(ConvertArgs),
    Import(ImportArgs),
    /// Print the JSON Schema of jobs and of plans op by op
    Schema,
    Doctor(DoctorArgs),
    Seccomp(SeccompArgs),
    Agent(AgentArgs),
    Completions(CompletionsArgs),
    Generate(GenerateArgs),
}

/// Print what a job or a plan does, and run nothing
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::EXPLAIN)]
pub(crate) struct ExplainArgs {
    /// The job or plan; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Say whether a file is a job or a plan, and what is wrong with it if not
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::CHECK)]
pub(crate) struct CheckArgs {
    /// The job or plan; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Turn a job or a plan into TOML, JSON or an encoded plan
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::CONVERT)]
pub(crate) struct ConvertArgs {
    /// What to make of it
    #[arg(long, value_name = "FORM")]
    pub(crate) to: Form,
    /// Where to write it; `-`, the default, is standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// The job or plan; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Print the job that equals the command line of another program
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::IMPORT)]
pub(crate) struct ImportArgs {
    /// Whose command line it is
    pub(crate) from: Foreign,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Its options, its program and its arguments
    #[arg(last = true, required = true, value_name = "ARG")]
    pub(crate) args: Vec<OsString>,
}

/// A program whose command line can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Foreign {
    /// bubblewrap
    Bwrap,
}

/// How a job or a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A job stays one; an encoded plan is written op by op
    Toml,
    /// The same in JSON
    Json,
    /// An encoded plan
    Plan,
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
