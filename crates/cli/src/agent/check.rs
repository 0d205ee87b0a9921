//! `embryo agent check`: whether an agent can use a file, and what it allows, in words.
//!
//! It must never say that a file is good which an agent would refuse.

use super::{NO, print_mistakes, words};
use crate::args::AgentCheckArgs;
use crate::failure::Failure;
use crate::output;
use anstyle::{AnsiColor, Style};
use embryo_agent::config::{Config, ConfigError, Loaded};
use embryo_job::DocumentError;
use serde_json::{Value, json};

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NAME: Style = AnsiColor::Green.on_default().bold();

/// Checks it.
pub(super) fn check(args: &AgentCheckArgs) -> Result<u8, Failure> {
    match Config::load(&args.file) {
        Ok(loaded) if args.json => {
            output::json(&good(&loaded))?;
            Ok(0)
        }
        Ok(loaded) => {
            print(&loaded)?;
            Ok(0)
        }
        Err(ConfigError::Mistakes(mistakes)) if args.json => {
            let mistakes: Vec<Value> = mistakes.iter().map(place).collect();
            output::json(&json!({ "valid": false, "mistakes": mistakes }))?;
            Ok(NO)
        }
        Err(error) => Err(print_mistakes(error)),
    }
}

fn good(Loaded { config, doubts }: &Loaded) -> Value {
    let listen = |listen: &embryo_agent::config::Listen| json!({ "path": listen.path, "fd-name": listen.fd_name, "mandate": listen.mandate });
    let words = config.mandates.iter().map(|(name, mandate)| (name, words::of(mandate)));
    let words: std::collections::BTreeMap<_, _> = words.collect();
    json!({
        "valid": true,
        "listen": config.listen.iter().map(listen).collect::<Vec<_>>(),
        "mandates": config.mandates,
        "allows": words,
        "warnings": doubts.iter().map(place).collect::<Vec<_>>(),
    })
}

fn place(error: &DocumentError) -> Value {
    let (line, column) = error.at().unzip();
    json!({ "line": line, "column": column, "reason": error.message(), "hint": error.hint() })
}

fn print(Loaded { config, doubts }: &Loaded) -> Result<(), Failure> {
    for doubt in doubts {
        let hint = doubt.hint().map_or(String::new(), |hint| format!(" (hint: {hint})"));
        let text = output::printable(&format!("{doubt}{hint}"));
        anstream::eprintln!("{WARNING}warning:{WARNING:#} {text}");
    }
    let mut text = String::new();
    for listen in &config.listen {
        text.push_str(&format!("{}\n", output::printable(&words::socket(listen))));
    }
    for (name, mandate) in &config.mandates {
        text.push_str(&format!("\n{NAME}{}{NAME:#}", output::printable(name)));
        if let Some(description) = &mandate.description {
            text.push_str(&format!(": {}", output::printable(description)));
        }
        text.push('\n');
        for (about, line) in words::of(mandate) {
            text.push_str(&format!("  {about:12} {}\n", output::printable(&line)));
        }
    }
    output::text(&text)
}
