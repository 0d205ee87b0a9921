//! `embryo agent`: a daemon that starts children for others, and what its operator asks of it.
//!
//! It must never hold what a mandate says; that is a file's.

use super::help;
use crate::value::{Signal, seconds};
use clap::{Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

/// Start children for those who may not, within a mandate
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::AGENT)]
pub(crate) struct AgentArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: AgentAction,
}

/// What is done with agents.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentAction {
    Run(AgentRunArgs),
    Check(AgentCheckArgs),
    Ps(AgentPsArgs),
    Top(AgentTopArgs),
    Log(AgentLogArgs),
    Kill(AgentKillArgs),
}

/// Be an agent, in the foreground, until SIGTERM or SIGINT
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::AGENT_RUN)]
pub(crate) struct AgentRunArgs {
    /// What it listens on, and the mandates of who connects
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/embryo/agent.toml",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) config: PathBuf,
    /// How the log on standard error looks
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// How much of it there is
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// What the agent that this process was before knows; the agent itself says so.
    #[arg(long, value_name = "FD", hide = true)]
    pub(crate) restored: Option<i32>,
}

/// How a log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; without the time if the journal adds it
    Text,
    /// One object a line
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// What the agent cannot do
    Error,
    /// What an operator should look at, too
    Warn,
    /// Connections, children and refusals, too
    Info,
    /// What is of use for looking for a fault, too
    Debug,
    /// Everything
    Trace,
}

/// Say what an agent's file allows, and what is wrong with it or perhaps not meant
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::AGENT_CHECK)]
pub(crate) struct AgentCheckArgs {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where an operator is heard.
#[derive(Debug, clap::Args)]
pub(crate) struct OperatorArgs {
    /// The agent's socket for operators [default: $EMBRYO_AGENT_OPERATOR, or /run/embryo/operator.sock]
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
}

/// List the children of an agent
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::AGENT_PS)]
pub(crate) struct AgentPsArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
    /// List connections instead of children
    #[arg(short, long)]
    pub(crate) connections: bool,
    /// Print JSON: the agent, its connections and its children
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the children of an agent by what they use, again and again
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::AGENT_TOP)]
pub(crate) struct AgentTopArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
    /// How long to wait before it is shown again
    #[arg(short, long, value_name = "DURATION", default_value = "2s", value_parser = seconds)]
    pub(crate) delay: Duration,
    /// How many times to show it; without end, or once if standard output is no terminal
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) iterations: Option<u64>,
    /// Print JSON, one object a line each time
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the last entries of an agent's log
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::AGENT_LOG)]
pub(crate) struct AgentLogArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
    /// Go on with those that are added
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the entry of this number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) since: u64,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Kill children of an agent, whoever asked for them
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::AGENT_KILL)]
pub(crate) struct AgentKillArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
    /// Send this signal instead of SIGKILL, which everybody in the child's own cgroup gets, too
    #[arg(short, long, value_name = "SIGNAL")]
    pub(crate) signal: Option<Signal>,
    /// Their numbers, from the first column of `embryo agent ps`
    #[arg(value_name = "CHILD", required = true)]
    pub(crate) children: Vec<u64>,
}
