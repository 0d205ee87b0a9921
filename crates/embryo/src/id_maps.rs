//! Writing the maps of another process's user namespace: what the process itself may not.
//!
//! Whoever has CAP_SETUID and CAP_SETGID here writes them; for everybody else newuidmap(1) and
//! newgidmap(1) do, which are allowed to by /etc/subuid and /etc/subgid.

use crate::command::Command;
use crate::stdio::Stdio;
use embryo_plan::{IdRange, NamespaceOp, Op, Plan};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Why maps were not written.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) errno: u16,
    pub(crate) why: String,
}

/// How long a helper may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the maps that a plan has for the user namespace of this process, which is a child that
/// waits for them.
pub(crate) fn write(pid: i32, plan: &Plan<'_>) -> Result<(), Refused> {
    let maps = plan.ops().flatten().find_map(|op| match op {
        Op::Namespace(NamespaceOp::MappedUser { uids, gids, .. }) => Some((uids, gids)),
        _ => None,
    });
    let Some((uids, gids)) = maps else {
        return Err(Refused::new(Errno::INVAL, "the plan has no maps".to_owned()));
    };
    write_one(pid, "uid_map", "newuidmap", uids)?;
    write_one(pid, "gid_map", "newgidmap", gids)
}

impl Refused {
    fn new(errno: Errno, why: String) -> Self {
        Self { errno: errno.raw_os_error().unsigned_abs() as u16, why }
    }
}

fn write_one(pid: i32, file: &str, helper: &str, ranges: &[u8]) -> Result<(), Refused> {
    let text = IdRange::read(ranges).fold(String::new(), |mut text, range| {
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
        text
    });
    let path = format!("/proc/{pid}/{file}");
    let written = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file: OwnedFd| rustix::io::write(&file, text.as_bytes()));
    match written {
        Ok(count) if count == text.len() => Ok(()),
        Ok(_) => Err(Refused::new(Errno::IO, format!("{path} took only a part"))),
        Err(Errno::PERM | Errno::ACCESS) => by_helper(pid, helper, ranges),
        Err(errno) => Err(Refused::new(errno, format!("writing {path}"))),
    }
}

/// Another program, which is privileged, and looks whether the caller may have these ids.
fn by_helper(pid: i32, helper: &str, ranges: &[u8]) -> Result<(), Refused> {
    let mut command = Command::new(helper);
    command.arg(pid.to_string());
    for range in IdRange::read(ranges) {
        command.args([range.inside, range.outside, range.count].map(|number| number.to_string()));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let file = if helper == "newuidmap" { "/etc/subuid" } else { "/etc/subgid" };
    let mut child = command.spawn().map_err(|error| match error.raw_os_error() {
        Some(2) => Refused::new(
            Errno::NOENT,
            format!("{helper}(1) is not installed (the package is uidmap, or shadow-utils)"),
        ),
        _ => Refused::new(Errno::PERM, format!("{helper}: {error}")),
    })?;
    let status = child.wait_timeout(PATIENCE);
    let _ = child.kill();
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(1 << 10).read_to_string(&mut said);
    }
    match status {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(_)) => {
            let said = said.trim().escape_debug().to_string();
            let said = if said.is_empty() { helper.to_owned() } else { said };
            Err(Refused::new(
                Errno::PERM,
                format!(
                    "{said}: {file} has to give the caller these ids, and {helper} has to be set-uid"
                ),
            ))
        }
        Ok(None) => Err(Refused::new(Errno::TIMEDOUT, format!("{helper} did not end"))),
        Err(error) => Err(Refused::new(Errno::PERM, format!("{helper}: {error}"))),
    }
}
