//! A mandate in words: what it allows, what it forces, how much of it.
//!
//! It must never leave out something that is allowed.

use embryo::agent::mandate::{
    Args, Bounds, Filter, Forced, Ids, ImageRule, Lifetime, Mandate, Numbers, Peer, SignalName,
};
use embryo_agent::config::Listen;
use std::fmt::Display;

/// A socket, and who may open it.
pub(super) fn socket(listen: &Listen) -> String {
    let place = match (&listen.path, &listen.fd_name) {
        (Some(path), _) => {
            let mode = listen.mode.as_deref().unwrap_or("0600");
            let owner = listen.owner.as_deref().map(|owner| format!(", owner {owner}"));
            let group = listen.group.as_deref().map(|group| format!(", group {group}"));
            let more = [owner, group].into_iter().flatten().collect::<String>();
            format!("{} (mode {mode}{more})", path.display())
        }
        (_, name) => format!("a socket passed as {}", name.as_deref().unwrap_or("?")),
    };
    format!("{place}: {}", listen.mandate)
}

/// Lines, each with what it is about.
pub(super) fn of(mandate: &Mandate) -> Vec<(&'static str, String)> {
    let mut lines = vec![("who", who(mandate.peers.as_deref()))];
    if mandate.operator {
        lines.push(("operator", "sees everybody's children, and may kill them".into()));
    }
    match mandate.images.as_deref() {
        None | Some([]) => lines.push(("may run", "nothing".into())),
        Some(rules) => lines.extend(rules.iter().map(|rule| ("may run", image(rule)))),
    }
    let ops = list(mandate.ops.as_deref());
    lines.push(("operations", ops.unwrap_or_else(|| "none but the start".into())));
    lines.extend(bounds(&mandate.bounds).into_iter().map(|line| ("within", line)));
    let environment = list(mandate.environment.as_deref());
    lines.push(("environment", environment.unwrap_or_else(|| "none".into())));
    lines.extend(forced(&mandate.forced).into_iter().map(|line| ("forced", line)));
    lines.extend(numbers(&mandate.numbers).map(|line| ("at most", line)));
    let each = numbers(&mandate.numbers_per_uid);
    lines.extend(each.map(|line| ("at most", format!("{line}, for each uid"))));
    let name = |name: &SignalName| match name {
        SignalName::Number(number) => number.to_string(),
        SignalName::Text(text) => text.clone(),
    };
    let signals: Vec<String> = mandate.signals.iter().flatten().map(name).collect();
    lines.push(("signals", list(Some(&signals)).unwrap_or_else(|| "none but to kill".into())));
    lines.push((
        "children",
        match mandate.lifetime.unwrap_or_default() {
            Lifetime::Connection => "end with the connection that asked for them".into(),
            Lifetime::Agent => "end with the agent".into(),
            Lifetime::LiveOn => "live on when the agent ends".into(),
        },
    ));
    lines.push((
        "narrower",
        match mandate.narrower {
            None | Some(0) => "cannot be narrowed".into(),
            Some(depth) => format!("can be narrowed {depth} times in a row"),
        },
    ));
    lines
}

fn who(peers: Option<&[Peer]>) -> String {
    let Some(peers) = peers else { return "whoever can open the socket".into() };
    let one = |peer: &Peer| {
        let uids = peer.uids.as_deref().map(|uids| format!("uid {}", ids(uids)));
        let gids = peer.gids.as_deref().map(|gids| format!("group {}", ids(gids)));
        let cgroup = peer.cgroup.as_ref().map(|path| format!("in cgroup {}", path.display()));
        let all: Vec<String> = [uids, gids, cgroup].into_iter().flatten().collect();
        if all.is_empty() { "whoever can open the socket".into() } else { all.join(" and ") }
    };
    let each: Vec<String> = peers.iter().map(one).collect();
    if each.is_empty() { "nobody".into() } else { each.join("; ") }
}

fn image(rule: &ImageRule) -> String {
    let what = match rule {
        ImageRule { registers: true, .. } => "anything at all, by registers".to_owned(),
        ImageRule { path: Some(path), .. } => path.display().to_string(),
        ImageRule { under: Some(path), .. } => format!("any file below {}", path.display()),
        ImageRule { sha256: Some(digest), .. } => format!("a copy of a file with SHA-256 {digest}"),
        ImageRule { verity: Some(digest), .. } => format!("a file with fs-verity digest {digest}"),
        ImageRule { inode: Some(inode), .. } => format!("the granted file {inode}"),
        _ => "nothing".to_owned(),
    };
    let script = if rule.script { ", which may be a script" } else { "" };
    let owners = match rule.owners.as_slice() {
        [] => String::new(),
        owners => format!(", of root or {}", ids(owners)),
    };
    format!("{what}{script}{owners}{}", arguments(rule.args.as_ref()))
}

fn arguments(args: Option<&Args>) -> String {
    let Some(args) = args else { return ", with any arguments".into() };
    let mut parts = Vec::new();
    if !args.first.is_empty() {
        parts.push(format!("first {}", args.first.join(" ")));
    }
    parts.push(match args.rest.as_slice() {
        [] if args.first.is_empty() => "none".to_owned(),
        [] => "no further ones".to_owned(),
        rest => format!("then any of {}", rest.join(" ")),
    });
    if !args.never.is_empty() {
        parts.push(format!("never {}", args.never.join(" ")));
    }
    parts.extend(args.max.map(|max| format!("at most {max}")));
    format!(", with arguments: {}", parts.join(", "))
}

fn bounds(bounds: &Bounds) -> Vec<String> {
    let paths = |paths: &Option<Vec<std::path::PathBuf>>| {
        paths.as_ref().map(|paths| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        })
    };
    let sources = bounds.sources.as_ref().map(|sources| {
        let one = |source: &embryo::agent::mandate::Source| {
            let how = if source.writable { " (writable)" } else { "" };
            format!("{}{how}", source.path.display())
        };
        sources.iter().map(one).collect::<Vec<_>>().join(", ")
    });
    let namespaces = bounds.namespaces.as_ref().map(words);
    [
        bounds.uids.as_deref().map(|uids| format!("uids {}", ids(uids))),
        bounds.gids.as_deref().map(|gids| format!("gids and groups {}", ids(gids))),
        bounds.limits.as_ref().map(|limits| format!("limits up to {}", pairs(limits))),
        bounds.nice.map(|nice| format!("nice value from {nice}")),
        bounds.oom_score_adj.map(|score| format!("OOM score from {score}")),
        paths(&bounds.cgroups).map(|paths| format!("cgroups below {paths}")),
        namespaces.map(|kinds| format!("new namespaces: {kinds}")),
        paths(&bounds.directories).map(|paths| format!("working directory below {paths}")),
        paths(&bounds.roots).map(|paths| format!("root at {paths}")),
        sources.map(|sources| format!("binds of {sources}")),
        bounds.capabilities.map(|set| format!("capabilities {}", words(&set))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn forced(forced: &Forced) -> Vec<String> {
    let filter = |filter: &Filter| match filter {
        Filter::Profile(name) => format!("system calls of profile {name}"),
        Filter::Policy(_) => "system calls of a policy in the file".to_owned(),
    };
    let cgroup = forced.cgroup.as_ref().map(|cgroup| {
        let own = if cgroup.own { "one of its own in cgroup" } else { "cgroup" };
        format!("{own} {}", cgroup.path.display())
    });
    let id = |id: &Ids| ids(std::slice::from_ref(id));
    let has = |set: bool, text: &str| set.then(|| text.to_owned());
    [
        has(forced.no_new_privs, "no new privileges"),
        forced.seccomp.as_ref().map(filter),
        has(forced.landlock.is_some(), "files and ports by Landlock"),
        cgroup,
        forced.uid.as_ref().map(|uid| format!("uid {}", id(uid))),
        forced.gid.as_ref().map(|gid| format!("gid {}", id(gid))),
        forced.groups.as_deref().map(|groups| format!("groups {}", ids(groups))),
        has(!forced.limits.is_empty(), &format!("limits {}", pairs(&forced.limits))),
        has(!forced.environment.is_empty(), &format!("variables {}", pairs(&forced.environment))),
        forced.directory.as_ref().map(|path| format!("working directory {}", path.display())),
        forced.umask.map(|umask| format!("umask {umask:03o}")),
        has(
            !forced.namespaces.is_empty(),
            &format!("new namespaces: {}", words(&forced.namespaces)),
        ),
        forced.bounding_set.map(|set| format!("capabilities out of {}", words(&set))),
        forced.nice.map(|nice| format!("nice value {nice}")),
        forced.oom_score_adj.map(|score| format!("OOM score {score}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn numbers(numbers: &Numbers) -> Option<String> {
    let each: Vec<String> = [
        (numbers.children, "children at once"),
        (numbers.per_minute, "children a minute"),
        (numbers.total, "children in all"),
        (numbers.seconds, "seconds to live"),
        (numbers.plan_bytes, "bytes of a plan"),
        (numbers.grants, "grants of a plan"),
        (numbers.connections, "connections"),
    ]
    .into_iter()
    .filter_map(|(number, what)| Some(format!("{} {what}", number?)))
    .collect();
    (!each.is_empty()).then(|| each.join(", "))
}

fn ids(ids: &[Ids]) -> String {
    let one = |id: &Ids| match id {
        Ids::Number(number) => number.to_string(),
        Ids::Text(text) => text.clone(),
    };
    match ids {
        [] => "none".into(),
        ids => ids.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn pairs<V: Display>(pairs: &std::collections::BTreeMap<String, V>) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

fn list(words: Option<&[String]>) -> Option<String> {
    words.filter(|words| !words.is_empty()).map(|words| words.join(", "))
}

/// As they are written in the file.
fn words(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Array(values)) => {
            let text =
                |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_owned);
            values.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}
