//! What this machine can do, as a table.
//!
//! It must never hide a reason.

use super::json;
use crate::failure::Failure;
use anstyle::{AnsiColor, Style};
use embryo::Doctor;
use serde_json::json;
use std::fmt::Write;

const YES: Style = AnsiColor::Green.on_default().bold();
const NO: Style = AnsiColor::Red.on_default().bold();

/// Prints the findings.
pub(crate) fn doctor(doctor: &Doctor, json: bool) -> Result<(), Failure> {
    if json {
        let ability = |found: &embryo::Ability| json!({ "name": found.name, "available": found.available, "note": found.note });
        return json::print(&json!({
            "kernel": doctor.kernel,
            "uid": doctor.uid,
            "can_spawn": doctor.can_spawn(),
            "abilities": doctor.abilities.iter().map(ability).collect::<Vec<_>>(),
        }));
    }
    let mut text = format!("kernel {}, uid {}\n", doctor.kernel, doctor.uid);
    for found in &doctor.abilities {
        let (style, mark) = if found.available { (YES, "yes") } else { (NO, "no") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{style}{mark:3}{style:#}  {:30}  {}", found.name, found.note);
    }
    text.push_str(match doctor.can_spawn() {
        true => "programs can be started here\n",
        false => "no program can be started here\n",
    });
    super::text(&text)
}
