//! What a spawn must not leave: children, zombies, descriptors.
//!
//! It must never wait for any of them to go away: what is there when the spawn has returned was
//! left by it.

use crate::{observe, text::Text};
use std::collections::BTreeMap;

/// The descriptors and descendants a process has. Take one before, and hand it to
/// [`assert_nothing_left`] after.
///
/// Both belong to the process: use it in a test that is [`alone!`](crate::alone), and after a
/// first spawn where that one makes something which is kept (a reserved socket, a hatchery).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers {
    fds: BTreeMap<i32, Open>,
    descendants: BTreeMap<i32, Child>,
}

/// Which file a number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    dev: u64,
    ino: u64,
    target: Option<Text>,
}

/// A child, or a child's child, as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// Its parent's process id.
    pub ppid: i32,
    /// Its state as one letter: `R`, `S`, `D`, `T`, `t`, or `Z` for a zombie.
    pub state: char,
    /// The name of its main thread.
    pub comm: String,
    /// When it was started, in clock ticks since boot: the same pid at another time is another
    /// process.
    pub start_time: u64,
}

impl Leftovers {
    /// Looks at the calling process.
    #[must_use]
    pub fn capture() -> Self {
        let open = observe::fds()
            .into_iter()
            .map(|fd| (fd.fd, Open { dev: fd.dev, ino: fd.ino, target: fd.target }));
        let descendants = descendants_of_self().into_iter().map(|child| (child.pid, child));
        Self { fds: open.collect(), descendants: descendants.collect() }
    }

    /// One line for each thing that `after` has and `self` had not, and for each descriptor that
    /// is gone or stands for something else. Empty if there is none.
    ///
    /// A child that was there before and is gone is no leftover, but one that has become a zombie
    /// is.
    #[must_use]
    pub fn diff(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (pid, child) in &after.descendants {
            let before = self.descendants.get(pid).filter(|c| c.start_time == child.start_time);
            if before.is_none_or(|before| before.state != 'Z' && child.state == 'Z') {
                let kind = if child.state == 'Z' { "zombie" } else { "process" };
                lines.push(format!("a {kind} was left: {child:?}"));
            }
        }
        for (number, open) in &after.fds {
            match self.fds.get(number) {
                None => lines.push(format!("descriptor {number} was left open: {open:?}")),
                Some(before) if before != open => {
                    lines.push(format!("descriptor {number} was {before:?} and is {open:?}"));
                }
                Some(_) => {}
            }
        }
        for (number, open) in &self.fds {
            if !after.fds.contains_key(number) {
                lines.push(format!("descriptor {number} was closed: {open:?}"));
            }
        }
        lines
    }
}

/// Looks again and checks that nothing was left since `before`: no child and no child's child, no
/// zombie, no descriptor.
///
/// # Panics
/// If something was; the message says what.
#[track_caller]
pub fn assert_nothing_left(before: &Leftovers) {
    let left = before.diff(&Leftovers::capture());
    assert!(left.is_empty(), "something was left:\n  {}", left.join("\n  "));
}

/// The children of the calling process, zombies included.
///
/// # Panics
/// If there is no `/proc`: an empty answer would make every test pass.
#[must_use]
pub fn children_of_self() -> Vec<Child> {
    let own = rustix::process::getpid().as_raw_pid();
    match children_files() {
        Some(pids) => {
            pids.into_iter().filter_map(|pid| child(pid).or_else(|| hidden(pid))).collect()
        }
        None => processes().into_iter().filter(|process| process.ppid == own).collect(),
    }
}

/// The children of the calling process, their children, and so on.
///
/// A process whose parent has died is not found: it belongs to whoever adopted it.
///
/// # Panics
/// If there is no `/proc`.
#[must_use]
pub fn descendants_of_self() -> Vec<Child> {
    let mut others = processes();
    // `/proc` may hide processes of other users, but not from the list of children.
    let mut found = children_of_self();
    let mut seen = 0;
    others.retain(|process| !found.iter().any(|child| child.pid == process.pid));
    while let Some(parent) = found.get(seen).map(|child| child.pid) {
        found.extend(others.extract_if(.., |process| process.ppid == parent));
        seen += 1;
    }
    found
}

/// What the kernel lists as children of each thread, if it was built with such lists.
fn children_files() -> Option<Vec<i32>> {
    let mut pids = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").expect("there is a /proc").flatten() {
        match std::fs::read_to_string(task.path().join("children")) {
            Ok(list) => pids.extend(
                list.split_ascii_whitespace()
                    .map(|pid| pid.parse::<i32>().expect("the kernel writes numbers")),
            ),
            // The thread has ended, and its children are another thread's now.
            Err(_) if !task.path().exists() => return children_files(),
            Err(_) => return None,
        }
    }
    Some(pids)
}

/// Every process that `/proc` shows.
fn processes() -> Vec<Child> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    entries.filter_map(|entry| child(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// A process by its number, if it still exists.
fn child(pid: i32) -> Option<Child> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = observe::Stat::parse(&stat)?;
    Some(Child {
        pid,
        ppid: stat.field(4)?,
        state: stat.field(3)?,
        start_time: stat.field(22)?,
        comm: stat.comm,
    })
}

/// A child that `/proc` does not show: it is another user's now, and `hidepid` is set. One that is
/// gone since it was listed is nothing.
fn hidden(pid: i32) -> Option<Child> {
    use rustix::{io::Errno, process};
    let exists = process::test_kill_process(process::Pid::from_raw(pid)?) != Err(Errno::SRCH);
    let ppid = process::getpid().as_raw_pid();
    exists.then(|| Child { pid, ppid, state: '?', comm: String::new(), start_time: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_list_of_children_and_the_parents_agree() {
        crate::alone!();
        let before = Leftovers::capture();
        assert_nothing_left(&before);
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & read x"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(crate::wait_for(std::time::Duration::from_secs(5), || {
            descendants_of_self().len() == 2
        }));
        let own = std::process::id().cast_signed();
        let by_parent: Vec<i32> =
            processes().iter().filter(|p| p.ppid == own).map(|p| p.pid).collect();
        assert_eq!(by_parent, [shell.id().cast_signed()]);
        assert_eq!(children_files().unwrap_or(by_parent.clone()), by_parent);
        let left = before.diff(&Leftovers::capture()).join("\n");
        assert!(left.contains("\"sh\""), "{left}");
        assert!(left.contains("\"sleep\"") && left.contains("was left open"), "{left}");

        let orphan = descendants_of_self()[1].pid;
        shell.kill().unwrap();
        assert!(crate::wait_for(std::time::Duration::from_secs(5), || {
            children_of_self()[0].state == 'Z'
        }));
        assert!(before.diff(&Leftovers::capture())[0].starts_with("a zombie was left"));
        shell.wait().unwrap();
        drop(shell);
        assert_nothing_left(&before);
        let orphan = rustix::process::Pid::from_raw(orphan).unwrap();
        rustix::process::kill_process(orphan, rustix::process::Signal::KILL).unwrap();
    }
}
