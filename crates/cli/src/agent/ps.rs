//! `embryo agent ps`: what runs, for whom, under which mandate.
//!
//! It must never leave a child out.

use super::columns::{self, now_ms, or_dash, time};
use super::socket::Operator;
use crate::args::AgentPsArgs;
use crate::failure::Failure;
use crate::output;

/// Prints it once.
pub(super) fn ps(args: &AgentPsArgs) -> Result<u8, Failure> {
    let listing = Operator::connect(&args.operator)?.list()?;
    if args.json {
        output::json(&listing)?;
        return Ok(0);
    }
    let lines = match args.connections {
        true => columns::connections(&listing.connections, now_ms()),
        false => {
            let cpu = |child: &embryo_agent::operator::Child| or_dash(child.cpu_ms.map(time));
            columns::children(&listing.children, now_ms(), ("CPU", cpu), None)
        }
    };
    output::text(&(lines.join("\n") + "\n"))?;
    Ok(0)
}
