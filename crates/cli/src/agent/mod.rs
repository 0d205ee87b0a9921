//! `embryo agent`: the daemon, and what its operator asks of it.
//!
//! It must never decide what a client may do; that is the agent's crate alone.

mod anew;
mod check;
mod columns;
mod daemon;
mod kill;
mod log;
mod ps;
mod socket;
mod top;
mod words;

use crate::args::AgentAction;
use crate::failure::Failure;
use crate::output::printable;
use embryo_agent::config::ConfigError;

/// What is exited with for a "no".
const NO: u8 = 1;

/// Does what was asked for.
pub(crate) fn agent(action: &AgentAction) -> Result<u8, Failure> {
    match action {
        AgentAction::Run(args) => daemon::run(args),
        AgentAction::Check(args) => check::check(args),
        AgentAction::Ps(args) => ps::ps(args),
        AgentAction::Top(args) => top::top(args),
        AgentAction::Log(args) => log::log(args),
        AgentAction::Kill(args) => kill::kill(args),
    }
}

/// Prints all that is wrong with a file.
fn print_mistakes(error: ConfigError) -> Failure {
    match error {
        ConfigError::Mistakes(mistakes) => {
            mistakes.into_iter().for_each(|mistake| Failure::from(mistake).print());
            Failure::new("the file has mistakes").with_status(NO).reported()
        }
        ConfigError::Io { path, source } => Failure::io("cannot read", path.display(), &source),
    }
}
