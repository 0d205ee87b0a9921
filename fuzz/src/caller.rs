//! What a launch must not change in the process that does it, and must not leave there.

use std::path::PathBuf;

/// The caller as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    status: Vec<String>,
    cwd: Option<PathBuf>,
    root: Option<PathBuf>,
    fds: Vec<PathBuf>,
    limits: String,
    children: String,
    dumpable: Option<u32>,
}

/// The lines of /proc/self/status that stay the same while a process goes about its business.
const LINES: [&str; 15] = [
    "Umask:",
    "Uid:",
    "Gid:",
    "Groups:",
    "NSpgid:",
    "NSsid:",
    "Threads:",
    "SigBlk:",
    "SigIgn:",
    "SigCgt:",
    "CapPrm:",
    "CapEff:",
    "NoNewPrivs:",
    "Cpus_allowed:",
    "THP_enabled:",
];

impl Caller {
    /// Looks.
    ///
    /// # Panics
    /// If there is no /proc: an empty answer would let everything pass.
    #[must_use]
    pub fn look() -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/self/{name}")).expect("there is a /proc")
        };
        let kept = |line: &&str| LINES.iter().any(|name| line.starts_with(name));
        let link = |name: &str| std::fs::read_link(format!("/proc/self/{name}")).ok();
        Self {
            status: read("status").lines().filter(kept).map(str::to_owned).collect(),
            cwd: link("cwd"),
            root: link("root"),
            fds: fds(),
            limits: read("limits"),
            children: children(),
            dumpable: rustix::process::dumpable_behavior().ok().map(|how| how as u32),
        }
    }
}

/// What every descriptor stands for, but for the one that looks. Not their numbers: the library may
/// move what it keeps to a lower one that has become free.
fn fds() -> Vec<PathBuf> {
    let open = std::fs::read_dir("/proc/self/fd").expect("there is a /proc").flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut targets: Vec<PathBuf> = targets.filter(|target| !target.ends_with("fd")).collect();
    targets.sort();
    targets
}

/// The children of every thread, zombies among them.
fn children() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc").flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")));
    lists.map(|list| list.unwrap_or_default()).collect()
}
