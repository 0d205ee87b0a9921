//! Paths that take the kernel long to walk, so that a child is caught before it has an image.
//!
//! It must never depend on a file system that sleeps: every step is a lookup in memory, and a
//! signal is acted upon between two steps of a search.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

use crate::launch::c_path;
use embryo::{Access, ExecFlags, Op, Plan, PlanBuilder};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A directory behind as many links as the kernel follows, each of which goes a long way round.
pub(crate) struct Maze {
    dir: tempfile::TempDir,
    /// How long one walk takes here.
    walk: Duration,
}

impl Maze {
    /// Links that the kernel follows on one walk.
    const LINKS: usize = 38;
    /// Times that each goes into a directory and out again; a link holds 4095 bytes.
    const DETOURS: usize = 800;

    pub(crate) fn new() -> Self {
        let dir = embryo_tests::tempdir();
        std::fs::create_dir(dir.path().join("x")).expect("a directory can be made");
        for link in 0..Self::LINKS {
            let next = if link + 1 == Self::LINKS { "x".into() } else { format!("l{}", link + 1) };
            let target = format!("{}{next}", "x/../".repeat(Self::DETOURS));
            std::os::unix::fs::symlink(target, dir.path().join(format!("l{link}")))
                .expect("a link can be made");
        }
        let path = dir.path().join("l0");
        let begun = Instant::now();
        for _ in 0..3 {
            std::fs::metadata(&path).expect("the way through is open");
        }
        let walk = begun.elapsed() / 3;
        Self { dir, walk }
    }

    /// A directory that is reached by one long walk.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("l0")
    }

    /// A plan that looks for a program that is nowhere, for about this long.
    pub(crate) fn search_for(&self, time: Duration) -> Plan {
        let mut plan = self.base();
        let walks = (time.as_nanos() / self.walk.as_nanos().max(1)).clamp(1, 20_000) as usize;
        // Relative, because a search list is not to be longer than an argument.
        let search = CString::new(vec!["l0"; walks].join(":")).expect("no NUL is in it");
        plan.op(&Op::ChdirPath { path: &c_path(self.dir.path()) }).op(&Op::ExecName {
            name: c"nothing",
            search: &search,
            flags: ExecFlags::empty(),
        });
        plan.arg("nothing");
        plan.build().expect("it is a plan")
    }

    /// A plan that enters a directory the long way, and then starts a program.
    pub(crate) fn enter(&self, program: &std::path::Path, args: &[&str]) -> Plan {
        let mut plan = self.base();
        plan.op(&Op::ChdirPath { path: &c_path(&self.path()) })
            .op(&Op::ExecPath { path: &c_path(program), flags: ExecFlags::empty() })
            .arg(program.as_os_str().as_bytes());
        args.iter().for_each(|arg| {
            plan.arg(arg);
        });
        plan.build().expect("it is a plan")
    }

    fn base(&self) -> PlanBuilder {
        let mut plan = Plan::builder();
        plan.op(&Op::SetSid).op(&Op::Umask { mode: 0o022 });
        for (fd, access) in [(0, Access::Read), (1, Access::Write), (2, Access::Write)] {
            plan.op(&Op::OpenNull { fd, access });
        }
        plan
    }
}
