//! A described child whose program is loaded instead of executed: its file is found here, in the
//! owner, where exec would have found it in the child.
//!
//! It must never load what exec would have refused to execute: that is what a description asks
//! for, however its program comes into memory.

use crate::elf::{Load, LoadError, NotLoadable};
use crate::error::Error;
use crate::live::Embryo;
use crate::process::Process;
use crate::spawn::{SpawnOptions, TraceRecord};
use embryo_plan::{ArgText, ExecFlags, Keep, MountOp, Op, OwnedPlan, Plan, PlanBuilder};
use embryo_syscall::{self as sys, Disposition};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

/// Starts what a plan with an exec describes, without the exec.
pub(crate) fn spawn(
    plan: &OwnedPlan,
    grants: &[BorrowedFd<'_>],
    options: SpawnOptions,
) -> Result<Process, Error> {
    let view = plan.as_plan();
    let load = program(&view, grants)?;
    let rest = without_start(&view);
    let mut embryo = Embryo::create_with(options)?;
    let begun = Instant::now();
    let loaded = embryo.load_for(&load, &view)?;
    let took = begun.elapsed();
    let start = rest.clone().op(&loaded.op()).build()?;
    let started = embryo.start(&start, grants).map_err(|(error, _)| error);
    if !options.trace {
        return started;
    }
    let record = TraceRecord { index: None, name: "load", errno: 0, took };
    match started {
        Ok(mut process) => {
            process.recorded_first(record);
            Ok(process)
        }
        Err(Error::Spawn(mut error)) => {
            error.trace.insert(0, record);
            Err(error.into())
        }
        Err(error) => Err(error),
    }
}

/// The signals that this process ignores. What an embryo would keep is its own, which is nothing.
pub(crate) fn ignored_now() -> u64 {
    (1..=64u32)
        .filter(|signal| sys::get_disposition(*signal) == Ok(Disposition::Ignore))
        .fold(0, |set, signal| set | 1 << (signal - 1))
}

/// Everything of a plan but its start, argv and envp, which are the load's.
fn without_start(plan: &Plan<'_>) -> PlanBuilder {
    let mut rest = PlanBuilder::new();
    rest.keep(plan.keep() - Keep::IGNORED_SIGNALS);
    for _ in 0..plan.slots() {
        rest.slot();
    }
    for op in plan.ops().flatten().filter(|op| !op.is_start()) {
        rest.op(&op);
    }
    rest
}

/// The program that a plan executes, opened and read.
pub(crate) fn program(plan: &Plan<'_>, grants: &[BorrowedFd<'_>]) -> Result<Load, Error> {
    let start = plan.ops().flatten().find(Op::is_start);
    let name = |name: &CStr| OsStr::from_bytes(name.to_bytes()).to_owned();
    let told = match start {
        Some(Op::ExecPath { path, .. }) => name(path),
        Some(Op::ExecName { name: path, .. }) => name(path),
        _ => plan.argv().next().map(name).unwrap_or_default(),
    };
    let failed = |reason| Error::from(Box::new(LoadError::of(told.to_string_lossy(), reason)));
    if let Some(why) = cannot(plan) {
        return Err(failed(NotLoadable::Cannot(why)));
    }
    let (file, path) = match start {
        Some(Op::ExecPath { path, .. }) => {
            let file = at_directory(plan, grants, |dir| executable(dir, path));
            (file.map_err(failed)?, told.clone())
        }
        Some(Op::ExecName { name, search, .. }) => {
            at_directory(plan, grants, |dir| search_for(dir, name, search)).map_err(failed)?
        }
        Some(Op::ExecSlot { slot, .. }) => {
            let file = grants.get(slot.0 as usize).ok_or(NotLoadable::Io(Errno::BADF.into()));
            (file.and_then(|file| reopened(*file)).map_err(failed)?, told.clone())
        }
        _ => return Err(failed(NotLoadable::Cannot("the plan executes no file"))),
    };
    let mut load = Load::from_file(file, path)?;
    let mut argv = plan.argv().map(name);
    load.arg0(argv.next().unwrap_or_default()).args(argv);
    for string in plan.envp() {
        load.env_string(string.to_bytes());
    }
    Ok(load)
}

/// What a plan may say that a loaded program could not be given.
fn cannot(plan: &Plan<'_>) -> Option<&'static str> {
    plan.ops().flatten().find_map(|op| match op {
        Op::ChrootPath { .. } | Op::ChrootSlot { .. } | Op::Mount(MountOp::EnterRoot) => Some(
            "it and its interpreter are opened under the caller's root directory, and the plan \
             enters another",
        ),
        Op::Personality { .. } => {
            Some("a personality takes effect at exec, and a program that is loaded has none")
        }
        Op::ExecPath { flags, .. } | Op::ExecName { flags, .. }
            if flags.contains(ExecFlags::SHELL) =>
        {
            Some("a shell to fall back on takes exec")
        }
        Op::ExecSlot { flags, .. } if flags.contains(ExecFlags::KEEP_OPEN) => {
            Some("the descriptor of a file that is loaded cannot stay open; grant it instead")
        }
        _ => None,
    })
}

/// Calls `open` with the directory that relative paths of the child start at.
fn at_directory<T>(
    plan: &Plan<'_>,
    grants: &[BorrowedFd<'_>],
    open: impl FnOnce(BorrowedFd<'_>) -> Result<T, NotLoadable>,
) -> Result<T, NotLoadable> {
    for op in plan.ops().flatten() {
        match op {
            Op::ChdirPath { path } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
                    NotLoadable::Directory(ArgText::Text(path).to_string(), errno.into())
                })?;
                return open(dir.as_fd());
            }
            Op::ChdirSlot { slot } => {
                let dir = grants.get(slot.0 as usize).copied();
                return open(dir.ok_or(NotLoadable::Io(Errno::BADF.into()))?);
            }
            _ => {}
        }
    }
    open(CWD)
}

/// Opens a file that exec would execute.
fn executable(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, NotLoadable> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat(dir, path, flags, Mode::empty()) {
        // May it be executed, or is it closed altogether?
        Err(Errno::ACCESS)
            if rustix::fs::accessat(dir, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok() =>
        {
            return Err(NotLoadable::Unreadable);
        }
        opened => opened.map_err(|errno| NotLoadable::Io(errno.into()))?,
    };
    may_execute(file.as_fd())?;
    Ok(file)
}

fn may_execute(file: BorrowedFd<'_>) -> Result<(), NotLoadable> {
    let stat = rustix::fs::fstat(file).map_err(|errno| NotLoadable::Io(errno.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        // What it is instead will be said when it is read.
        return Ok(());
    }
    let flags = AtFlags::EACCESS | AtFlags::EMPTY_PATH;
    match rustix::fs::accessat(file, c"", Access::EXEC_OK, flags) {
        Err(Errno::ACCESS) => Err(NotLoadable::NotExecutable),
        Err(_) if stat.st_mode & 0o111 == 0 => Err(NotLoadable::NotExecutable),
        // A kernel or a filter without faccessat2(2) has let the mode speak.
        _ => Ok(()),
    }
}

/// A granted file, open for reading: one that is a mere place (O_PATH) is opened again.
fn reopened(file: BorrowedFd<'_>) -> Result<OwnedFd, NotLoadable> {
    may_execute(file)?;
    let io = |errno: Errno| NotLoadable::Io(errno.into());
    if !rustix::fs::fcntl_getfl(file).map_err(io)?.contains(OFlags::PATH) {
        return file.try_clone_to_owned().map_err(NotLoadable::Io);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io)
}

/// As execvp(3) searches: past what is missing or may not be executed. Returns the path as well.
fn search_for(
    dir: BorrowedFd<'_>,
    name: &CStr,
    search: &CStr,
) -> Result<(OwnedFd, std::ffi::OsString), NotLoadable> {
    let owned = |path: &[u8]| OsStr::from_bytes(path).to_owned();
    if name.to_bytes().contains(&b'/') {
        return Ok((executable(dir, name)?, owned(name.to_bytes())));
    }
    let mut denied = None;
    for directory in search.to_bytes().split(|byte| *byte == b':') {
        let path = match directory {
            b"" => name.to_bytes().to_vec(),
            directory => [directory, b"/", name.to_bytes()].concat(),
        };
        let Ok(c_path) = std::ffi::CString::new(path.clone()) else { continue };
        match executable(dir, &c_path) {
            Ok(file) if is_directory(&file) => denied = denied.or(Some(NotLoadable::NotExecutable)),
            Ok(file) => return Ok((file, owned(&path))),
            Err(NotLoadable::Io(error))
                if [Errno::NOENT, Errno::NOTDIR]
                    .map(Errno::raw_os_error)
                    .map(Some)
                    .contains(&error.raw_os_error()) => {}
            Err(reason) => denied = denied.or(Some(reason)),
        }
    }
    Err(denied.unwrap_or_else(|| NotLoadable::NotFound(ArgText::Text(search).to_string())))
}

fn is_directory(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
    })
}
