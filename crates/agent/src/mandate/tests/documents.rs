//! What the reference of mandates and the sample of an agent's file say is true.

use super::super::ops::NEVER;
use super::super::{environment, narrow};
use super::{Compiled, Host, held, root};
use crate::config::Config;
use embryo::agent::mandate::Mandate;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REFERENCE: &str = include_str!("../../../../../docs/mandates.md");
const SAMPLE: &str = include_str!("../../../../../dist/agent.toml");

fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let starts = REFERENCE.split(fence.as_str()).skip(1);
    starts.map(|text| text.split("```").next().unwrap()).collect()
}

#[test]
fn the_examples_are_mandates() {
    let toml = blocks("toml");
    assert!(!toml.is_empty());
    for text in toml.into_iter().chain([SAMPLE]) {
        let config: Config = toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(!config.mandates.is_empty());
        for (name, mandate) in &config.mandates {
            Compiled::named_on(root(), name, mandate).unwrap_or_else(|why| panic!("{why:?}"));
        }
    }
    let json = blocks("json");
    assert!(!json.is_empty());
    for text in json {
        narrow(&held(""), text.as_bytes()).unwrap_or_else(|why| panic!("{why:?}: {text}"));
    }
}

/// A mandate with everything in it, so that each key is there when it is written.
fn everything() -> Mandate {
    let ids = json!([1]);
    let numbers = json!({
        "children": 1, "per-minute": 1, "total": 1, "seconds": 1, "plan-bytes": 1, "grants": 1,
        "connections": 1
    });
    let all = json!({
        "description": "x",
        "peers": [{ "uids": ids, "gids": ids, "cgroup": "/" }],
        "images": [{
            "path": "/", "under": "/", "sha256": "", "verity": "", "inode": "", "registers": true,
            "owners": ids, "script": true,
            "args": { "first": [""], "rest": [""], "never": [""], "max": 1 }
        }],
        "ops": [], "environment": [], "signals": [], "lifetime": "agent", "narrower": 1,
        "operator": true,
        "bounds": {
            "uids": ids, "gids": ids, "limits": {}, "nice": 1, "oom-score-adj": 1, "cgroups": [],
            "namespaces": [], "directories": [], "roots": [],
            "sources": [{ "path": "/", "writable": true }], "capabilities": "all"
        },
        "forced": {
            "no-new-privs": true, "seccomp": "default", "landlock": {},
            "cgroup": { "path": "/", "own": true, "limits": {} },
            "uid": 1, "gid": 1, "groups": ids, "limits": { "core": 0 }, "environment": { "A": "" },
            "directory": "/", "umask": 0, "namespaces": ["net"], "bounding-set": "all", "nice": 1,
            "oom-score-adj": 1
        },
        "numbers": numbers, "numbers-per-uid": numbers
    });
    serde_json::from_value(all).expect("a mandate")
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key.clone());
                let open = ["limits", "environment"].contains(&key.as_str());
                if !open {
                    keys(value, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn the_reference_has_every_key() {
    let source = everything();
    // Whoever adds a key has to add it above: all of these are spelled out.
    let shown = format!("{source:?}");
    let inner = [
        format!("{:?}", source.forced.landlock),
        format!("{:?}", source.forced.cgroup.as_ref().map(|cgroup| &cgroup.limits).unwrap()),
    ];
    let shown = inner.iter().fold(shown, |shown, inner| shown.replace(inner, ""));
    assert!(!shown.contains("None"), "a key is not set in {shown}");
    let mut found = BTreeSet::new();
    keys(&serde_json::to_value(&source).unwrap(), &mut found);
    assert!(found.len() > 45, "{found:?}");
    for inner in ["abi", "files", "bind", "connect", "scopes", "log", "best-effort"] {
        // Those of Landlock have a reference of their own.
        found.remove(inner);
    }
    for key in found {
        let named =
            [format!("`{key}`"), format!("`{key} ="), format!("`{{ {key}"), format!(", {key}")];
        assert!(
            named.iter().any(|named| REFERENCE.contains(named)),
            "{key} is not in the reference"
        );
    }
}

#[test]
fn the_reference_has_every_name_that_is_written_out_and_every_op_that_never_is() {
    for (code, _) in NEVER {
        assert!(REFERENCE.contains(&format!("`{}`", code.name())), "{}", code.name());
    }
    for name in environment::WRITTEN_OUT {
        assert!(REFERENCE.contains(&format!("`{name}`")), "{name}");
    }
    for name in environment::WRITTEN_OUT_FROM {
        assert!(REFERENCE.contains(&format!("`{name}*`")), "{name}");
    }
}

#[test]
fn the_agent_knows_what_it_is() {
    let host = Host::current();
    assert_eq!(host.uids[1], rustix::process::geteuid().as_raw());
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let ids = |key: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    assert_eq!(host.uids[..], ids("Uid:")[..3]);
    assert_eq!(host.gids[..], ids("Gid:")[..3]);
    assert_eq!(host.groups[..], ids("Groups:")[..]);
}
