//! A connection to an agent, for its operator.
//!
//! It must never speak to another one than the one that is named.

use super::NO;
use crate::args::OperatorArgs;
use crate::failure::Failure;
use embryo::Error;
use embryo::agent::Agent;
use embryo_agent::operator::Listing;
use rustix::io::Errno;
use std::path::PathBuf;

const DEFAULT: &str = "/run/embryo/operator.sock";
const NAMED_BY: &str = "EMBRYO_AGENT_OPERATOR";

/// A connection to an agent.
pub(super) struct Operator(Agent);

impl Operator {
    /// Connects to the one that is named.
    pub(super) fn connect(args: &OperatorArgs) -> Result<Self, Failure> {
        let named = || std::env::var_os(NAMED_BY).filter(|path| !path.is_empty());
        let path = args.socket.clone().or_else(|| named().map(PathBuf::from));
        let agent = Agent::connect(path.unwrap_or_else(|| DEFAULT.into()));
        let nobody = |error: &Error| {
            let errno = error.raw_os_error().map(Errno::from_raw_os_error);
            matches!(errno, Some(Errno::NOENT | Errno::CONNREFUSED))
        };
        agent.map(Self).map_err(|error| match nobody(&error) {
            true => Failure::from(error)
                .hint(format!("is it running? --socket and {NAMED_BY} name another socket")),
            false => error.into(),
        })
    }

    /// What runs.
    pub(super) fn list(&self) -> Result<Listing, Failure> {
        let text = self.0.list()?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("the agent's list is not understood: {error}")))
    }

    /// The log from an entry on, as lines of JSON.
    pub(super) fn log(&self, entry: u64) -> Result<String, Failure> {
        Ok(self.0.log(entry)?)
    }

    /// Kills a child, or sends it a signal. Its failure has the status of a "no" if that is about the child.
    pub(super) fn send(&self, child: u64, signal: Option<u32>) -> Result<(), Failure> {
        let sent = match signal {
            None => self.0.kill_child(child),
            Some(signal) => self.0.signal_child(child, signal),
        };
        sent.map_err(|error| {
            let gone = match &error {
                Error::Refused { rule, .. } => **rule == *"child",
                error => error.raw_os_error() == Some(Errno::SRCH.raw_os_error()),
            };
            match gone {
                true => Failure::new(format!("child {child} has ended, or there is none"))
                    .with_status(NO),
                false => error.into(),
            }
        })
    }
}
