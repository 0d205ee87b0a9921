//! `embryo agent kill`.
//!
//! It must never stop at the first child that is not there.

use super::NO;
use super::socket::Operator;
use crate::args::AgentKillArgs;
use crate::failure::Failure;

/// Kills them all.
pub(super) fn kill(args: &AgentKillArgs) -> Result<u8, Failure> {
    let operator = Operator::connect(&args.operator)?;
    let mut status = 0;
    for child in &args.children {
        match operator.send(*child, args.signal.map(|signal| signal.0)) {
            Err(failure) if failure.status() == NO => {
                failure.print();
                status = NO;
            }
            sent => sent?,
        }
    }
    Ok(status)
}
