//! Start Linux processes without `fork()`.
//!
//! # Restrictions
//! - Linux 5.10 or later, x86_64 or aarch64.
//! - A child inherits nothing that was not granted: no descriptor, no environment, no ignored
//!   signal. [`Command`] alone copies the habits of [`std::process::Command`], by granting stdio,
//!   environment, working directory, umask, session and ignored signals (but SIGPIPE) itself.
//! - There is no `pre_exec`: what people use it for is an operation of its own.
//! - Credentials, limits, scheduling, namespaces and the security context are the caller's
//!   authority, and stay what they are unless an op changes them.
//!
//! # Three doors
//! [`Command`] is what [`std::process::Command`] is, so that changing the import is the migration:
//!
//! ```
//! # fn main() -> Result<(), embryo::Error> {
//! let output = embryo::Command::new("echo").arg("hello").output()?;
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok(())
//! # }
//! ```
//!
//! A [`Plan`] is the description itself: data that is checked once, stored, sent, printed, and
//! spawned any number of times from any number of threads, each time with other grants:
//!
//! ```
//! use embryo::{Keep, Op, Plan};
//! use std::os::fd::AsFd;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut plan = Plan::builder();
//! let out = plan.slot();
//! plan.op(&Op::PutFd { slot: out, fd: 1 })
//!     .op(&Op::ChdirPath { path: c"/" })
//!     .op(&Op::Umask { mode: 0o022 })
//!     .op(&Op::SetSid)
//!     .op(&Op::ExecPath { path: c"/bin/echo", flags: embryo::ExecFlags::empty() })
//!     .arg("echo")
//!     .arg("hello");
//! let plan = plan.build()?;
//!
//! let (reader, writer) = std::io::pipe()?;
//! let mut child = embryo::spawn(&plan, &[writer.as_fd()])?;
//! drop(writer);
//! assert_eq!(std::io::read_to_string(reader)?, "hello\n");
//! assert!(child.wait()?.success());
//! # Ok(())
//! # }
//! ```
//!
//! And `embryo run` is the same at the command line.
#![forbid(unsafe_code)]

#[cfg(feature = "agent")]
pub mod agent;
mod caps;
mod cgroup;
mod command;
mod communicate;
mod direct;
mod doctor;
mod elf;
mod elsewhere;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guarded;
mod guardian;
mod hatchery;
mod hint;
mod id_maps;
#[cfg(feature = "landlock")]
mod landlock;
mod launching;
mod listener;
mod live;
mod loaded;
mod mailbox;
mod maps;
mod mount;
mod moving;
mod namespace;
mod nearest;
mod parts;
#[cfg(feature = "seccomp")]
mod policy;
mod process;
mod procfs;
mod pty;
mod reaper;
mod regions;
mod sandbox;
mod seeded;
mod spawn;
mod standing;
mod stdio;
#[cfg(feature = "tokio")]
mod tokio_process;
#[cfg(feature = "tokio")]
mod tokio_pty;

pub use caps::{CapSet, CapSetError, Privileges, Securebits, SessionKeyring, ThpDisable};
pub use cgroup::{Amount, Cgroup, CgroupFigures, CgroupLimits, CpuMax, IoMax, TransientCgroup};
pub use command::Command;
pub use doctor::{Ability, Doctor};
pub use elf::{Load, LoadError, Loaded, NotLoadable, Part};
pub use embryo_interp::Step;
pub use embryo_plan::{
    Access, ArgText, ArmRegs, BuildError, CapSets, CgroupOp, ConfineOp, ExecFlags, Explained,
    FilterFlags, FilterOutcome, IdRange, Keep, LANDLOCK_RIGHTS, LandlockFlags, Layout, MapFlags,
    MountFlags, MountOp, NamespaceOp, Namespaces, Op, OpCode, OwnedPlan as Plan, Plan as PlanView,
    PlanBuilder, PlanError, PrivilegeOp, RawPlan, Reason, Regset, Route, Slot, Spread, UserFlags,
    X86Regs, limits,
};
pub use embryo_plan::{
    capability_name, check_filter, errno_name, filter_outcome, memory_policy_name, resource_name,
    sched_policy_name, securebit_name, signal_name,
};
pub use error::{AgentError, Cause, CgroupError, Error, Fault, SpawnError};
pub use hatchery::{Hatchery, HatcheryBuilder, WhenEmpty};
#[cfg(feature = "landlock")]
pub use landlock::{
    Landlock, LandlockError, LandlockLog, LandlockRights, LandlockRule, LandlockRuleset,
    LandlockScope, UnknownRight,
};
pub use launching::{Launching, launch_with};
pub use listener::{AddFd, Listener, Notification};
pub use live::Embryo;
pub use maps::MapsEntry;
pub use mount::{Mount, MountAttributes, MountSpread, NewRoot, Upper};
pub use namespace::{Clock, NamespaceKind, UserNamespace};
pub use parts::ProcessParts;
#[cfg(feature = "seccomp")]
pub use policy::{
    Action, Architecture, Compare, Compiled, Condition, Policy, PolicyError, Rule, UnknownAction,
};
pub use process::{Process, Usage};
pub use pty::Pty;
pub use regions::Region;
pub use sandbox::{Sandbox, WorkingDirectory};
pub use spawn::{LaunchReport, SpawnOptions, TraceRecord, spawn, spawn_with};
pub use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
pub use stdio::{Stdio, StdioSource};
#[cfg(feature = "tokio")]
pub use tokio_process::{AsyncProcess, AsyncStdio};
#[cfg(feature = "tokio")]
pub use tokio_pty::AsyncPty;

/// What [`std::process::Child`] is here.
pub type Child = Process;
