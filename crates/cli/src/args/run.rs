//! `embryo run`: the child, and what is done with its description.
//!
//! It must never describe the child itself; that is `child.rs`.

use super::{ChildArgs, ConfineArgs, help};
use crate::value::{SlotGrant, seconds, slot_grant_parser};
use clap::ValueHint;
use std::path::PathBuf;
use std::time::Duration;

/// Run a program with what is granted to it and nothing else
///
/// The program starts without fork. It gets its standard streams, the working directory, the
/// umask, the session and a minimal environment; everything else is an option away. embryo waits
/// for it, passes signals on, and ends as it ended.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = help::RUN,
    override_usage = "embryo run [OPTIONS] [--] PROGRAM [ARG]...\n       \
                      embryo run [OPTIONS] --plan FILE [--] [ARG]...\n       \
                      embryo run --plan FILE [--grant SLOT=SOURCE]..."
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) child: ChildArgs,

    // Beside it and not in it: a group with another in it has no options, for clap.
    #[command(flatten)]
    pub(crate) confine: ConfineArgs,

    /// Print the plan as readable lines and run nothing
    #[arg(long, help_heading = "Plan")]
    pub(crate) explain: bool,

    /// Run, and print each operation with its result and time
    ///
    /// On standard error, unless a file is given, which is emptied first.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        help_heading = "Plan",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) trace: Option<Option<PathBuf>>,

    /// Print --explain and --trace as JSON
    ///
    /// An error is JSON too then.
    #[arg(long, help_heading = "Plan")]
    pub(crate) json: bool,

    /// Write the encoded plan to FILE and run nothing; `-` is standard output
    #[arg(long, value_name = "FILE", help_heading = "Plan", value_hint = ValueHint::FilePath)]
    pub(crate) save: Option<PathBuf>,

    /// Run what FILE describes; `-` is standard input
    ///
    /// A job in TOML, or in JSON if its name ends in .json: keys are named as the options. Options are added to it
    /// or take the place of its keys, and the words after it are further arguments of its
    /// program. Or an encoded plan, or one op by op, as `embryo convert` makes them: it describes the
    /// whole child, so options that describe it are refused; a slot that it puts at descriptor 0, 1 or 2 is
    /// filled with the caller's own, and others need --grant.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Plan",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) plan: Option<PathBuf>,

    /// What describes the child beside --plan, if anything does.
    #[arg(skip)]
    pub(crate) beside: Option<String>,

    /// Fill a slot of --plan with a descriptor of the caller or with a file
    #[arg(
        long,
        value_name = "SLOT=FD|PATH[:MODE]",
        value_parser = slot_grant_parser(),
        requires = "plan",
        help_heading = "Plan"
    )]
    pub(crate) grant: Vec<SlotGrant>,

    /// End the program with SIGTERM if it still runs after this time, and exit with 124
    #[arg(long, value_name = "DURATION", value_parser = seconds, help_heading = "Launch")]
    pub(crate) timeout: Option<Duration>,

    /// Kill the program this long after --timeout, if it still runs; exit with 137
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = seconds,
        requires = "timeout",
        help_heading = "Launch"
    )]
    pub(crate) kill_after: Option<Duration>,

    /// How long the child may take to enter the program [default: 10s]
    ///
    /// It takes long only if somebody stops it, or if a path lies on a file system that does not
    /// answer. It is killed then, and embryo exits with 125.
    #[arg(long, value_name = "DURATION", value_parser = seconds, help_heading = "Launch")]
    pub(crate) start_timeout: Option<Duration>,

    /// Build the child through the seed even if the plan does not need it
    #[arg(long, help_heading = "Launch")]
    pub(crate) through_seed: bool,

    /// Have the agent that listens at SOCKET start the program, within its mandate
    ///
    /// Without SOCKET, which another option or `--` has to follow then, it is the agent that the
    /// environment variable EMBRYO_AGENT names. The working directory, the umask and the session are the
    /// agent's, or what its mandate says, unless options say otherwise, and no variable is passed on
    /// that --env does not name. Paths are looked up where the agent
    /// is. What it refuses is printed with the rule, and embryo exits with 126.
    #[arg(
        long,
        value_name = "SOCKET",
        num_args = 0..=1,
        conflicts_with_all = ["through_seed", "trace", "load"],
        help_heading = "Launch",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) agent: Option<Option<PathBuf>>,

    /// Exit with 128+N if signal N ended the program, instead of ending by it too
    #[arg(long, help_heading = "Launch")]
    pub(crate) signal_as_status: bool,
}
