//! A narrower mandate: read, compiled, and put before those of the connection that asks for it.
//!
//! Nothing here looks a name or a path up. It must never take anything away from the levels that are there.

use super::{Compiled, Held, Refusal, refusal};
use embryo::agent::mandate::Mandate;
use std::sync::Arc;

/// Bytes of a narrower mandate, at most.
pub const MANDATE_BYTES_MAX: usize = 64 << 10;
/// Mandates above one another, at most, the named one counted.
pub const LEVELS_MAX: usize = 16;

/// Makes what a narrower connection holds.
///
/// # Errors
/// What is wrong with the mandate, or the rule that forbids a further one.
pub fn narrow(held: &Held, json: &[u8]) -> Result<Arc<Compiled>, Refusal> {
    may(held)?;
    if json.len() > MANDATE_BYTES_MAX {
        let why = format!("it has {} bytes, and at most {MANDATE_BYTES_MAX}", json.len());
        return Err(refusal("mandate", why));
    }
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(refusal("mandate", "it is no JSON object"));
    }
    let source: Mandate =
        serde_json::from_slice(json).map_err(|error| refusal("mandate", error.to_string()))?;
    let name = held.levels.first().map_or("", |level| level.name.as_str());
    let narrower = Compiled::narrower(name, &source)?;
    for wider in &held.levels {
        if let Some(key) = wider.forced.excludes(&narrower.forced) {
            return Err(refusal(key, format!("{} forces another", wider.name)));
        }
    }
    Ok(Arc::new(narrower))
}

/// Each level says how many may follow it.
fn may(held: &Held) -> Result<(), Refusal> {
    if held.levels.len() >= LEVELS_MAX {
        return Err(refusal("narrower", format!("there are {LEVELS_MAX} mandates already")));
    }
    let last = held.levels.len().saturating_sub(1);
    for (below, level) in held.levels.iter().enumerate() {
        let most = match level.source.narrower {
            Some(most) => most as usize,
            None if below == last => 0,
            None => continue,
        };
        if below >= most {
            return Err(refusal(
                "narrower",
                format!("{} may be narrowed {most} times", level.name),
            ));
        }
    }
    Ok(())
}
