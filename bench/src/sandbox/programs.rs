//! The sandboxes that are programs: started by posix_spawn, as a program would start them.

use std::fs::File;
use std::io;
use std::path::Path;

use super::filter::{number, rewind};
use super::{Filter, spec_of};
use crate::contender::{Contender, Kind, Running, found};
use crate::stdio::WriteEnds;

/// Where a sandbox shows the child, whose own directory is hidden in it.
pub(super) const INSIDE: &str = "/tmp/bench-child";

/// A program that reads the filter from its beginning each time.
struct Filtered {
    program: Box<dyn Contender>,
    filter: File,
}

impl Contender for Filtered {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        rewind(&self.filter)?;
        self.program.arm(pipes)
    }

    fn launch(&mut self) -> io::Result<Running> {
        self.program.launch()
    }
}

/// The options of bwrap(1), which `embryo run` has by the same names.
fn options<'a>(child: &'a str, filter: &'a str) -> Vec<&'a str> {
    let mut args = vec!["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"];
    args.extend(["--unshare-uts", "--ro-bind", "/", "/", "--tmpfs", "/tmp"]);
    args.extend(["--ro-bind", child, INSIDE, "--proc", "/proc", "--dev", "/dev"]);
    args.extend(["--cap-drop", "ALL", "--chdir", "/", "--seccomp", filter]);
    args
}

/// bwrap(1) with the whole of it. No new privileges is what it always sets.
pub(super) fn bubblewrap(child: &Path, filter: &Filter) -> io::Result<Box<dyn Contender>> {
    let bwrap = found("bwrap", "bubblewrap is not installed")?;
    let (child, filter) = (text(child)?, filter.inherited()?);
    let number = number(&filter);
    let mut args = options(child, &number);
    args.extend(["--clearenv", "--setenv", "LANG", "C", INSIDE]);
    let program = Kind::PosixSpawn.prepare(&spec_of(text(&bwrap)?, &args)?)?;
    Ok(Box::new(Filtered { program, filter }))
}

/// `embryo run` with the same, if it was built beside the benchmark.
pub(super) fn embryo_run(child: &Path, filter: &Filter) -> io::Result<Box<dyn Contender>> {
    let embryo = std::env::current_exe()?.with_file_name("embryo");
    if !embryo.exists() {
        let reason = "it was not built: cargo build --release -p embryo-cli";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    let (child, filter) = (text(child)?, filter.inherited()?);
    let number = number(&filter);
    let mut args = vec!["run"];
    args.extend(options(child, &number));
    args.extend(["--clearenv", "--env", "LANG=C", "--", INSIDE]);
    let program = Kind::PosixSpawn.prepare(&spec_of(text(&embryo)?, &args)?)?;
    Ok(Box::new(Filtered { program, filter }))
}

/// As near as util-linux comes to it: the system is read-only at / alone, /dev is the caller's, and there
/// is no filter.
pub(super) fn unshare(child: &Path) -> io::Result<Box<dyn Contender>> {
    let unshare = found("unshare", "util-linux is not installed")?;
    found("setpriv", "setpriv is not installed")?;
    let child = text(child)?;
    // The child's own directory is hidden by then, so it is opened before.
    let script = format!(
        "exec 3<{child} && mount -o remount,bind,ro / && mount -t tmpfs tmpfs /tmp && >{INSIDE} && \
         mount --bind /proc/self/fd/3 {INSIDE} && exec 3<&- && cd / && \
         exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all {INSIDE}"
    );
    let mut args = vec!["--user", "--map-root-user", "--pid", "--fork", "--net", "--ipc", "--uts"];
    args.extend(["--mount", "--mount-proc", "--", "/bin/sh", "-c", &script]);
    let mut spec = spec_of(text(&unshare)?, &args)?;
    spec.envp.push(c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    Kind::PosixSpawn.prepare(&spec)
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other("a path is no UTF-8"))
}
