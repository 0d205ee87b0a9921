//! The same plan with what could harm the machine taken out of it, and the grants it gets.
//!
//! The child of a harmless plan never has an image: none of its paths names one and no grant may be
//! executed. It must never reach further than that child: it becomes nobody or stays who it
//! is, its root is an empty directory, and no limit lets it dump a core.

use crate::mount;
use crate::namespace;
use embryo::{Op, Plan, PlanBuilder, PlanView, PrivilegeOp, Regset, Slot, X86Regs};
use rustix::pty::OpenptFlags;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

const NOBODY: u32 = 65534;
const RLIMIT_CORE: u32 = 4;
const SCHED_DEADLINE: u32 = 6;
const MS: u64 = 1_000_000;
const REGION: u64 = 16 * embryo::limits::PAGE;
/// Advice from here on is for tests of broken memory.
const ADVICE: u32 = 26;

/// Where a description's tame addresses end.
const LOW_END: u64 = 17 * embryo::limits::PAGE;

/// Registers that lead nowhere: nobody can map the first page.
static NOWHERE: LazyLock<Regset> = LazyLock::new(|| Regset::X86(X86Regs::at(8, 8)));
/// The filter that lets everything through.
const ALLOW: [u8; 8] = [6, 0, 0, 0, 0, 0, 0xff, 0x7f];

/// Takes out of a checked plan what could harm, and adds nothing. A batch becomes `None`: it cannot
/// be spawned. So does a start by registers, which would run whatever stands in memory.
#[must_use]
pub fn harmless(plan: &PlanView<'_>, grants: &Grants) -> Option<Plan> {
    let by_registers = |op: Option<Op<'_>>| matches!(op, Some(Op::StartRegs { .. }));
    if plan.is_batch() || plan.ops().any(by_registers) {
        return None;
    }
    tame(plan, grants, 0)
}

/// The same for a seed that is nobody, whose start by registers leads nowhere. Where memory is meant that
/// lies low, what lies `up` from there is meant instead.
#[must_use]
pub fn harmless_for_nobody(plan: &PlanView<'_>, grants: &Grants, up: u64) -> Option<Plan> {
    if plan.is_batch() { None } else { tame(plan, grants, up) }
}

fn tame(plan: &PlanView<'_>, grants: &Grants, up: u64) -> Option<Plan> {
    let mut tame = PlanBuilder::new();
    for _ in 0..plan.slots() {
        tame.slot();
    }
    tame.keep(plan.keep());
    for op in plan.ops() {
        tame.op(&moved(tamed(op?, grants), up));
    }
    plan.argv().for_each(|arg| _ = tame.arg(arg.to_bytes()));
    plan.envp().for_each(|string| _ = tame.env_string(string.to_bytes()));
    Some(tame.build_in_order().expect("a plan with other values in their ranges is a plan"))
}

/// The same op on memory that lies elsewhere.
fn moved(mut op: Op<'_>, up: u64) -> Op<'_> {
    match &mut op {
        Op::Map { addr, .. }
        | Op::MapSlot { addr, .. }
        | Op::Unmap { addr, .. }
        | Op::Protect { addr, .. }
        | Op::Remap { addr, .. }
        | Op::Advise { addr, .. }
        | Op::Lock { addr, .. }
        | Op::Write { addr, .. }
        | Op::WriteSlot { addr, .. }
        | Op::ReadSlot { addr, .. }
        | Op::Fill { addr, .. }
            if (1..LOW_END).contains(addr) =>
        {
            *addr += up;
        }
        _ => {}
    }
    op
}

fn tamed<'a>(op: Op<'a>, grants: &'a Grants) -> Op<'a> {
    let id = |id: u32| if id == u32::MAX { id } else { NOBODY };
    match op {
        Op::Uid { real, effective, saved } => {
            Op::Uid { real: id(real), effective: id(effective), saved: id(saved) }
        }
        Op::Gid { real, effective, saved } => {
            Op::Gid { real: id(real), effective: id(effective), saved: id(saved) }
        }
        Op::ChrootPath { .. } => Op::ChrootPath { path: &grants.empty_dir },
        Op::Mount(op) => Op::Mount(mount::tamed(op, &grants.empty_dir)),
        Op::Namespace(op) => Op::Namespace(namespace::tamed(op, NOBODY)),
        // A task that has used up its runtime does not even die before its next period.
        Op::Sched { policy: SCHED_DEADLINE, priority, flags, .. } => Op::Sched {
            policy: SCHED_DEADLINE,
            priority,
            flags,
            runtime_ns: 10 * MS,
            deadline_ns: 20 * MS,
            period_ns: 20 * MS,
        },
        Op::Rlimit { resource: RLIMIT_CORE, .. } => {
            Op::Rlimit { resource: RLIMIT_CORE, soft: 0, hard: 0 }
        }
        // Memory that a machine has, and no advice that takes pages away from all of it.
        Op::Map { addr, len, prot, flags } => Op::Map { addr, len: len.min(REGION), prot, flags },
        Op::MapSlot { slot, addr, len, prot, flags, offset } => {
            Op::MapSlot { slot, addr, len: len.min(REGION), prot, flags, offset }
        }
        Op::Remap { addr, len, to, to_len } => {
            Op::Remap { addr, len, to, to_len: to_len.min(REGION) }
        }
        Op::Advise { addr, len, advice } => Op::Advise { addr, len, advice: advice % ADVICE },
        Op::StartRegs { page, leave, .. } => {
            Op::StartRegs { page, regset: NOWHERE.as_bytes(), leave }
        }
        // A name that stands for nothing, so that no keyring outlives the child.
        Op::Privilege(PrivilegeOp::SessionKeyring { .. }) => {
            Op::Privilege(PrivilegeOp::SessionKeyring { name: c"" })
        }
        // What a rule or ruleset of Landlock is granted is none, so nobody is confined by it.
        // Any other filter than this may end the child, or keep it from saying what it failed on.
        Op::Seccomp { flags, .. } => Op::Seccomp { flags, program: &ALLOW },
        Op::ExecPath { flags, .. } => Op::ExecPath { path: c"/nonexistent/embryo-fuzz", flags },
        Op::ExecName { search, flags, .. } => {
            Op::ExecName { name: c"embryo-fuzz-no-such-program", search, flags }
        }
        other => other,
    }
}

/// What the slots stand for: a directory, a file, a pipe, a null device and a terminal of their own,
/// none of which can be executed.
#[derive(Debug)]
pub struct Grants {
    _folder: tempfile::TempDir,
    empty_dir: CString,
    dir: File,
    file: File,
    pipe: OwnedFd,
    null: File,
}

impl Grants {
    /// Makes them, in a temporary directory that goes away with them.
    ///
    /// # Panics
    /// If the machine has no temporary directory to give.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let empty = folder.path().join("empty");
        std::fs::create_dir(&empty).expect("a directory can be made in it");
        let (reader, _) = std::io::pipe().expect("a pipe can be made");
        Self {
            empty_dir: CString::new(empty.as_os_str().as_bytes()).expect("no NUL in a path"),
            dir: File::open(&empty).expect("the directory just made can be opened"),
            file: File::create(folder.path().join("file")).expect("a file can be made"),
            pipe: reader.into(),
            null: File::open("/dev/null").expect("there is a null device"),
            _folder: folder,
        }
    }

    /// One for each slot of a plan, and the terminal among them, which lives as long as `terminal`
    /// does: one that was a session's is hung up when its leader ends, so each launch gets another.
    #[must_use]
    pub fn of<'a>(
        &'a self,
        plan: &PlanView<'_>,
        terminal: &'a mut Option<[OwnedFd; 2]>,
    ) -> Vec<BorrowedFd<'a>> {
        let ops = plan.ops().flatten();
        let wanted = ops.filter_map(|op| match op {
            Op::ControllingTty { slot: Slot(slot) } | Op::Foreground { slot: Slot(slot) } => {
                Some(slot)
            }
            _ => None,
        });
        let wanted: Vec<u32> = wanted.collect();
        if !wanted.is_empty() {
            *terminal = open_terminal();
        }
        let others = [self.dir.as_fd(), self.file.as_fd(), self.pipe.as_fd(), self.null.as_fd()];
        let terminal: &'a Option<[OwnedFd; 2]> = terminal;
        let grant = |slot: u32| match terminal {
            Some([_, tty]) if wanted.contains(&slot) => tty.as_fd(),
            _ => others[slot as usize % others.len()],
        };
        (0..plan.slots()).map(grant).collect()
    }
}

impl Default for Grants {
    fn default() -> Self {
        Self::new()
    }
}

/// Both ends of a new terminal, which becomes nobody's controlling one by being opened.
fn open_terminal() -> Option<[OwnedFd; 2]> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).ok()?;
    rustix::pty::unlockpt(&master).ok()?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).ok()?;
    Some([master, slave])
}
