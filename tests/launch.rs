//! A child of `embryo` as a test sees it: described with little ceremony, launched on a route of
//! choice, and looked at from inside (its report) and from outside (`/proc/PID`).
//!
//! It must never soften what `embryo` answers: an error is handed on as it came.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

use embryo::{ExecFlags, Keep, Op, OpCode, Plan, PlanBuilder, Process, Route, Slot, SpawnOptions};
use embryo_tests::{Report, probe_path};
use std::any::Any;
use std::ffi::CString;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

/// Longer than any child of a test takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Who executes a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Whoever the plan's route names.
    AsRouted,
    /// The seed, in any case.
    Seed,
}

impl Way {
    /// Both.
    pub(crate) const BOTH: [Way; 2] = [Way::AsRouted, Way::Seed];

    /// The options that say so.
    #[must_use]
    pub(crate) fn options(self) -> SpawnOptions {
        // The default deadline is for people; a test on a crowded machine may sleep through it.
        SpawnOptions::new().timeout(PATIENCE).through_seed(self == Way::Seed)
    }
}

/// A plan in the making together with its grants. What it does not say is kept of the caller.
#[derive(Clone)]
pub(crate) struct Draft {
    plan: PlanBuilder,
    codes: Vec<OpCode>,
    grants: Vec<RawFd>,
    args: Vec<Vec<u8>>,
    keep: Keep,
    kept_alive: Vec<Rc<dyn Any>>,
}

impl Draft {
    /// Without an image: one has to be added, and arguments too.
    #[must_use]
    pub(crate) fn bare() -> Self {
        Self {
            plan: PlanBuilder::new(),
            codes: Vec::new(),
            grants: Vec::new(),
            args: Vec::new(),
            keep: Keep::empty(),
            kept_alive: Vec::new(),
        }
    }

    /// Of the probe with these arguments.
    #[must_use]
    pub(crate) fn probe(args: &[&str]) -> Self {
        let mut draft = Self::bare();
        draft.arg("embryo-probe");
        args.iter().for_each(|arg| draft.arg(arg));
        draft
    }

    /// Of the probe that reports and then stays until it is let go.
    #[must_use]
    pub(crate) fn watched() -> Self {
        Self::probe(&["report", "then", "hold", "0"])
    }

    /// One more argument.
    pub(crate) fn arg(&mut self, arg: impl AsRef<[u8]>) {
        self.args.push(arg.as_ref().to_vec());
    }

    /// Other arguments than so far.
    pub(crate) fn args(&mut self, args: &[&str]) {
        self.args.clear();
        args.iter().for_each(|arg| self.arg(arg));
    }

    /// One more environment variable.
    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.plan.env(name, value);
    }

    /// One more op.
    pub(crate) fn op(&mut self, op: &Op<'_>) -> &mut Self {
        self.codes.push(op.code());
        self.plan.op(op);
        self
    }

    /// What is kept of the caller besides the things that must be set or kept.
    pub(crate) fn keep(&mut self, keep: Keep) -> &mut Self {
        self.keep |= keep;
        self
    }

    /// A slot for a descriptor that lives as long as the draft.
    pub(crate) fn grant(&mut self, fd: impl Into<OwnedFd>) -> Slot {
        let fd = Rc::new(fd.into());
        self.kept_alive.push(Rc::clone(&fd) as Rc<dyn Any>);
        self.grant_number(fd.as_raw_fd())
    }

    /// A slot for a descriptor by number, open or not.
    pub(crate) fn grant_number(&mut self, fd: RawFd) -> Slot {
        self.grants.push(fd);
        self.plan.slot()
    }

    /// Keeps something that the child needs as long as the draft.
    pub(crate) fn hold(&mut self, thing: impl Any) {
        self.kept_alive.push(Rc::new(thing));
    }

    /// The grants so far.
    #[must_use]
    pub(crate) fn grants(&self) -> &[RawFd] {
        &self.grants
    }

    /// The plan, its ops in the order that the kernel demands.
    #[must_use]
    pub(crate) fn build(&self) -> Plan {
        let mut plan = self.plan.clone();
        let said = |codes: &[OpCode]| self.codes.iter().any(|code| codes.contains(code));
        if !said(&[OpCode::ChdirPath, OpCode::ChdirSlot]) {
            plan.keep(Keep::CWD);
        }
        if !said(&[OpCode::Umask]) {
            plan.keep(Keep::UMASK);
        }
        if !said(&[OpCode::SetSid]) {
            plan.keep(Keep::SESSION);
        }
        plan.keep(self.keep);
        let starts = [OpCode::ExecPath, OpCode::ExecSlot, OpCode::ExecName, OpCode::StartRegs];
        if !said(&starts) {
            let path = c_path(&probe_path());
            plan.op(&Op::ExecPath { path: &path, flags: ExecFlags::empty() });
        }
        for arg in &self.args {
            plan.arg(arg);
        }
        plan.build().unwrap_or_else(|e| panic!("the draft is no plan: {e}"))
    }

    /// The ways that differ for this draft: a plan that is routed through the seed has one.
    #[must_use]
    pub(crate) fn ways(&self) -> &'static [Way] {
        match self.build().as_plan().route() {
            Route::Direct => &Way::BOTH,
            Route::Seed => &[Way::Seed],
        }
    }

    /// Launches it.
    ///
    /// # Errors
    /// What [`embryo::spawn_with`] answers.
    pub(crate) fn spawn(&self, way: Way) -> Result<Process, embryo::Error> {
        embryo::spawn_with(&self.build(), &borrow(&self.grants), way.options())
    }

    /// Launches it with a pipe at its standard input and one at its standard output.
    ///
    /// # Panics
    /// If there is no child.
    #[must_use]
    #[track_caller]
    pub(crate) fn start(&self, way: Way) -> Started {
        let (stdin, release) = std::io::pipe().expect("a pipe can be made");
        let (reader, stdout) = std::io::pipe().expect("a pipe can be made");
        let mut draft = self.clone();
        for (fd, number) in [(stdin.as_raw_fd(), 0), (stdout.as_raw_fd(), 1)] {
            let slot = draft.grant_number(fd);
            draft.op(&Op::PutFd { slot, fd: number });
        }
        let process = draft.spawn(way).unwrap_or_else(|e| panic!("{way:?}: {e}"));
        Started { process, stdin: Some(release), stdout: BufReader::new(reader) }
    }

    /// Launches the draft of [`Draft::watched`] and reads the report.
    ///
    /// # Panics
    /// If there is no child or no report.
    #[must_use]
    #[track_caller]
    pub(crate) fn watch(&self, way: Way) -> Watched {
        let mut started = self.start(way);
        let line = started.line();
        if line.is_empty() {
            panic!("no report; the child ended with {:?}", started.process.wait_timeout(PATIENCE));
        }
        Watched { report: Report::parse(&line), started }
    }
}

/// A child with pipes.
pub(crate) struct Started {
    /// It.
    pub(crate) process: Process,
    stdin: Option<PipeWriter>,
    stdout: BufReader<PipeReader>,
}

impl Started {
    /// The next line that it writes, with its end; nothing at the end of all.
    #[must_use]
    pub(crate) fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stdout.read_until(b'\n', &mut line).expect("a pipe can be read");
        line
    }

    /// Everything that it still writes.
    #[must_use]
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("a pipe can be read");
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Lets it go and tells how it ended.
    #[track_caller]
    pub(crate) fn status(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        let status = self.process.wait_timeout(PATIENCE).expect("it can be waited for");
        status.expect("it ends when its standard input does")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Not left to the background, where it would come and go while something else is counted.
        drop(self.stdin.take());
        if let Ok(None) = self.process.wait_timeout(PATIENCE) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// A child that has reported and waits.
pub(crate) struct Watched {
    /// What it says of itself.
    pub(crate) report: Report,
    started: Started,
}

impl Watched {
    /// It.
    #[must_use]
    pub(crate) fn process(&self) -> &Process {
        &self.started.process
    }

    /// Its pid.
    #[must_use]
    pub(crate) fn pid(&self) -> i32 {
        self.process().id().cast_signed()
    }

    /// A path below its directory in `/proc`.
    #[must_use]
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.process().id().to_string()).join(name)
    }

    /// A file of it in `/proc`, if it may be read.
    #[must_use]
    pub(crate) fn try_text(&self, name: &str) -> Option<String> {
        let bytes = std::fs::read(self.proc(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of it in `/proc`.
    #[must_use]
    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> String {
        self.try_text(name).unwrap_or_else(|| panic!("/proc/PID/{name} cannot be read"))
    }

    /// A link of it in `/proc`.
    #[must_use]
    #[track_caller]
    pub(crate) fn link(&self, name: &str) -> PathBuf {
        std::fs::read_link(self.proc(name)).unwrap_or_else(|e| panic!("/proc/PID/{name}: {e}"))
    }

    /// A line of `status`, without its name.
    #[must_use]
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> String {
        let text = self.text("status");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let line = line.unwrap_or_else(|| panic!("there is no {name} in {text}"));
        line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// A field of `stat` by its number in proc_pid_stat(5), 3 or more.
    #[must_use]
    #[track_caller]
    pub(crate) fn stat(&self, number: usize) -> i64 {
        let text = self.text("stat");
        let rest = text.rsplit_once(") ").expect("a name in parentheses").1;
        let field = rest.split_ascii_whitespace().nth(number - 3).expect("that many fields");
        field.parse().expect("a number")
    }

    /// Lets it go and checks that it ended well.
    #[track_caller]
    pub(crate) fn end(mut self) {
        let status = self.started.status();
        assert!(status.success(), "the child ended with {status:?}");
    }
}

/// Descriptors by number, as a spawn takes them.
#[must_use]
pub(crate) fn borrow(numbers: &[RawFd]) -> Vec<BorrowedFd<'_>> {
    let borrow = |number: &RawFd| {
        // SAFETY: not -1, and only lent for the time of one spawn, during which the test that
        // owns it does not close it; where a test has closed it, that spawn is to fail.
        unsafe { BorrowedFd::borrow_raw(*number) }
    };
    numbers.iter().map(borrow).collect()
}

/// A path as a plan takes it.
#[must_use]
pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path of a test has no NUL")
}
