//! What this kernel and this user can do, found out by trying it on a child where that is possible.

mod cgroup;
mod mounts;
mod namespaces;
mod privilege;

use crate::spawn::{SpawnOptions, spawn_with};
use crate::{Error, ExecFlags, FilterFlags, Keep, Op, Plan};
use embryo_syscall::{self as sys, CloseRange, Errno};
use std::fmt;

mod confine;

/// One thing that a launch may need.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ability {
    /// A short name.
    pub name: &'static str,
    /// Whether it is there.
    pub available: bool,
    /// What follows if it is not, or what was found.
    pub note: String,
}

/// The findings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Doctor {
    /// The kernel's release.
    pub kernel: String,
    /// The effective uid.
    pub uid: u32,
    /// What can be done and what cannot.
    pub abilities: Vec<Ability>,
}

impl Doctor {
    /// Looks. It makes short-lived children that execute nothing but a failing op.
    #[must_use]
    pub fn examine() -> Self {
        let mut abilities = kernel_abilities();
        abilities.extend(op_abilities());
        abilities.extend(privilege::abilities());
        abilities.extend(cgroup::abilities());
        abilities.extend(confine::abilities());
        abilities.extend(namespaces::abilities());
        abilities.extend(mounts::abilities());
        abilities.push(sigchld());
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            uid: rustix::process::geteuid().as_raw(),
            abilities,
        }
    }

    /// Whether nothing that every launch needs is missing.
    #[must_use]
    pub fn can_spawn(&self) -> bool {
        self.abilities.iter().filter(|found| REQUIRED.contains(&found.name)).all(|f| f.available)
    }
}

/// Without these there is no launch.
const REQUIRED: [&str; 2] = ["direct launch", "launch through the seed"];

fn ability(name: &'static str, available: bool, note: impl Into<String>) -> Ability {
    Ability { name, available, note: note.into() }
}

fn kernel_abilities() -> Vec<Ability> {
    // A number above every open one: nothing is closed.
    let range = |how| sys::close_range(i32::MAX as u32, i32::MAX as u32, how);
    let direct = try_op(None, SpawnOptions::new());
    let through_seed = try_op(None, SpawnOptions::new().through_seed(true));
    let clone3 = match &direct {
        Tried::Works(legacy) => !legacy,
        Tried::Fails(_) => false,
    };
    let mrelease = sys::process_mrelease(-1) != Err(Errno::NOSYS);
    let exit_info = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
    .is_ok_and(|own| sys::pidfd_exit_status(std::os::fd::AsRawFd::as_raw_fd(&own)).is_ok());
    vec![
        ability("direct launch", matches!(direct, Tried::Works(_)), direct.note()),
        ability(
            "launch through the seed",
            matches!(through_seed, Tried::Works(_)),
            through_seed.note(),
        ),
        ability(
            "clone3",
            clone3,
            "Linux 5.3; without it clone(2) serves, with one system call more for each signal",
        ),
        ability(
            "close_range",
            range(CloseRange::Close).is_ok(),
            "Linux 5.9; without it the whole descriptor table is copied",
        ),
        ability(
            "close_range CLOEXEC",
            range(CloseRange::Cloexec).is_ok(),
            "Linux 5.11; without it each descriptor is marked on its own",
        ),
        ability(
            "process_mrelease",
            mrelease,
            "Linux 5.15; without it /proc is read after each launch through the seed",
        ),
        ability(
            "memory layout",
            sys::mm_layout_size().is_ok(),
            "CONFIG_CHECKPOINT_RESTORE; without it /proc shows the seed's of a loaded program",
        ),
        ability(
            "status after a foreign reap",
            exit_info,
            "Linux 6.15; without it a child reaped by somebody else has no status",
        ),
    ]
}

fn sigchld() -> Ability {
    let ignored = matches!(sys::get_disposition(17), Ok(sys::Disposition::Ignore));
    ability(
        "SIGCHLD kept",
        !ignored,
        if ignored {
            "SIGCHLD is ignored here: the kernel reaps children itself, and their status is lost before Linux 6.15"
        } else {
            "children stay until they are waited for"
        },
    )
}

/// What this user may do, op by op.
fn op_abilities() -> Vec<Ability> {
    let root: &[u8] = &0u32.to_le_bytes();
    let ops: [(&'static str, Op<'_>); 14] = [
        ("new session", Op::SetSid),
        ("chroot", Op::ChrootPath { path: c"/" }),
        ("change uid", Op::Uid { real: 65534, effective: 65534, saved: 65534 }),
        ("change gid", Op::Gid { real: 65534, effective: 65534, saved: 65534 }),
        ("set groups", Op::Groups { list: root }),
        ("raise priority (nice -1)", Op::Nice { value: -1 }),
        ("SCHED_FIFO", sched(1, 1, [0; 3])),
        ("SCHED_DEADLINE", sched(6, 0, [1_000_000, 10_000_000, 10_000_000])),
        ("SCHED_IDLE", sched(5, 0, [0; 3])),
        ("real-time I/O class", Op::IoPriority { value: 1 << 13 }),
        ("lower oom_score_adj", Op::OomScoreAdj { value: -1 }),
        ("no_new_privs", Op::NoNewPrivs),
        ("ASLR off", Op::Personality { persona: 0x0004_0000 }),
        ("timer slack", Op::TimerSlack { ns: 1 }),
    ];
    let tried = |(name, op): &(&'static str, Op<'_>)| {
        let tried = try_op(Some(op), SpawnOptions::new());
        ability(name, matches!(tried, Tried::Works(_)), tried.note())
    };
    ops.iter().map(tried).chain([filter_ability()]).collect()
}

/// A filter is installed after everything else, so it is tried with an image that cannot be one: if
/// that is what fails, the filter was taken.
fn filter_ability() -> Ability {
    const ALLOW: [u8; 8] = [6, 0, 0, 0, 0, 0, 0xff, 0x7f];
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::NoNewPrivs)
        .op(&Op::Seccomp { flags: FilterFlags::empty(), program: &ALLOW })
        .op(&Op::ExecPath { path: c"/", flags: ExecFlags::empty() })
        .arg("doctor");
    let tried = plan
        .build()
        .map_err(Error::from)
        .and_then(|plan| spawn_with(&plan, &[], SpawnOptions::new()));
    match tried {
        Err(Error::Spawn(error)) if error.op() == "exec" => {
            ability("seccomp filter", true, Tried::Works(false).note())
        }
        Err(error) => ability("seccomp filter", false, error.to_string()),
        Ok(mut process) => {
            let _ = process.kill();
            ability("seccomp filter", false, "a directory was executed".to_owned())
        }
    }
}

fn sched(
    policy: u32,
    priority: u32,
    [runtime_ns, deadline_ns, period_ns]: [u64; 3],
) -> Op<'static> {
    Op::Sched { policy, priority, flags: 0, runtime_ns, deadline_ns, period_ns }
}

enum Tried {
    /// It works; whether clone(2) had to serve.
    Works(bool),
    Fails(String),
}

impl Tried {
    fn note(&self) -> String {
        match self {
            Tried::Works(_) => "tried on a child".to_owned(),
            Tried::Fails(why) => why.clone(),
        }
    }
}

/// Makes a child that does `op` and then fails on purpose: if that is what it fails on, the op works.
fn try_op(op: Option<&Op<'_>>, options: SpawnOptions) -> Tried {
    const EXPECTED: u32 = 125;
    let mut plan = Plan::builder();
    let mut keep = Keep::UMASK;
    if let Some(op) = op {
        plan.op(op);
    }
    if !matches!(op, Some(Op::SetSid)) {
        keep |= Keep::SESSION;
    }
    if matches!(op, Some(Op::ChrootPath { .. })) {
        plan.op(&Op::ChdirPath { path: c"/" });
    } else {
        keep |= Keep::CWD;
    }
    plan.keep(keep)
        .op(&Op::Fail { errno: EXPECTED })
        .op(&Op::ExecPath { path: c"/", flags: ExecFlags::empty() })
        .arg("doctor");
    let plan = match plan.build() {
        Ok(plan) => plan,
        Err(error) => return Tried::Fails(error.to_string()),
    };
    match spawn_with(&plan, &[], options) {
        Err(Error::Spawn(error)) if u32::from(error.fault.errno) == EXPECTED => {
            Tried::Works(crate::direct::clone_is_legacy())
        }
        Err(error) => Tried::Fails(error.to_string()),
        Ok(mut process) => {
            let _ = process.kill();
            Tried::Fails("the op that fails on purpose did not".to_owned())
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.available { "yes" } else { "no" };
        write!(f, "{mark:3}  {:30}  {}", self.name, self.note)
    }
}
