//! A program brought into an embryo's memory without execve(2): its file is read here, mapped by
//! the embryo, and started by registers.
//!
//! # What a program can tell apart from execve
//! - `/proc/self/exe` names the seed, a memfd. What looks there for its own path, or for files
//!   beside it, does not find them: `$ORIGIN` in the run path of the program itself (libraries'
//!   own are right; give `LD_LIBRARY_PATH`), `std::env::current_exe`. What executes it, as
//!   busybox's shell does to run another applet, executes the seed, which ends with 127. The kernel
//!   lets it be changed only with CAP_CHECKPOINT_RESTORE, and not while the seed is still mapped.
//! - Its name in ps(1) (`comm`) is `embryo` until it takes another.
//! - Where the kernel cannot be told a layout (no `CONFIG_CHECKPOINT_RESTORE`), /proc/self/auxv,
//!   cmdline, environ and the addresses in /proc/self/stat are the seed's, and so is the heap
//!   of brk(2): malloc(3) of glibc and musl and the thread-local storage of static programs take
//!   mmap(2) where it finds its place taken (glibc since 2.35; an older static one says that it cannot
//!   allocate TLS data, and ends). [`Loaded::layout`] tells. Everywhere else they are its own.
//! - The heap begins up to 1 GiB behind the program, whatever kind of program and kernel it is: the
//!   kernel strews heaps over 32 MiB before Linux 6.9, and has another place for the heap of a
//!   position-independent program without an interpreter.
//! - The stack is where we put it: a mapping that grows down (`MAP_GROWSDOWN`), in the 16 GiB that
//!   the kernel puts stacks in. It grows to `RLIMIT_STACK` as always, but is kept clear for 64 MiB
//!   only.
//! - The vdso is where the seed's was.
//! - One page of code that the seed leapt from is left, readable and executable.
//! - Addresses are always random, whatever personality(2) and `kernel.randomize_va_space` say.
//! - Set-user-id, set-group-id and file capabilities are not honoured: the credentials are the
//!   embryo's. `AT_SECURE` is 1 only where the effective ids are not the real ones.
//! - A program that is given another uid by its plan is not dumpable (`PR_GET_DUMPABLE`), as no process
//!   is after such a change; execve would make it so again. It dumps no core, and only root may trace it.
//! - Nothing asks for execute permission: whoever may read a file may load it (a file system
//!   mounted noexec is still refused, by mmap; [`crate::Command::load`] asks). Security modules,
//!   audit and fanotify(7) see files mapped for execution, not an exec.
//! - Nobody is kept from writing to the file while it runs (no ETXTBSY): what is not yet touched
//!   of a private mapping changes with it.
//! - The interpreter is opened by the owner under the owner's root, not under one that the start
//!   plan enters.
//! - Dispositions, mask, descriptors, timers, names of threads and whatever else exec resets are
//!   as after exec, since the seed was exec'd.
//!
//! It must never run anything: what it makes are ops like any other's.

mod auxv;
mod error;
mod file;
mod place;
mod stack;

use crate::error::Error;
use crate::live::Embryo;
use crate::process::Process;
use crate::stdio::own;
use auxv::{Facts, Placed};
use embryo_plan::{ArmRegs, Keep, Layout, MapFlags, Op, Plan, PlanBuilder, Regset, X86Regs};
use file::{Executable, Extent, io};
use place::{INTERPRETER_ZONE, PROGRAM_ZONE, Room, random};
use rustix::fs::{Mode, OFlags};
use stack::{Contents, Initial};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub use error::{LoadError, NotLoadable, Part};

/// How far the kernel moves the pointers on a stack away from the strings, at most.
const SHIFT_MAX: u64 = 8192;

/// A program that is to be loaded: a static, static position-independent or dynamic ELF executable
/// with its interpreter, its arguments and its environment.
///
/// Nothing is inherited: without [`Load::env`] the environment is empty.
///
/// # Restrictions
/// Segments that share a page are refused. On aarch64 pages of 4 KiB are taken for granted.
///
/// ```
/// # fn main() -> Result<(), embryo::Error> {
/// let mut load = embryo::Load::open("/bin/sh")?;
/// load.args(["-c", "exit $N"]).env("N", "7");
/// assert_eq!(load.start()?.wait()?.code(), Some(7));
/// # Ok(())
/// # }
/// ```
pub struct Load {
    program: Executable,
    interpreter: Option<Executable>,
    name: OsString,
    arg0: Option<OsString>,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    env_strings: Vec<Vec<u8>>,
}

impl Load {
    /// Opens a program by path; `PATH` is not searched. It and its interpreter are read and checked.
    ///
    /// # Errors
    /// [`Error::Load`]: it cannot be opened, is no program for this machine, or is malformed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().as_os_str();
        let file = open(path).map_err(|reason| failed(path.to_string_lossy(), reason))?;
        Self::from_file(file, path)
    }

    /// Takes a program that is open for reading. `name` is what the program is told its path was
    /// (`AT_EXECFN`), and its `argv[0]` if nothing else is said.
    ///
    /// # Errors
    /// As [`Load::open`].
    pub fn from_file(file: impl Into<OwnedFd>, name: impl AsRef<OsStr>) -> Result<Self, Error> {
        let name = name.as_ref().to_owned();
        let program = Executable::read(file.into())
            .map_err(|reason| failed(name.to_string_lossy(), reason))?;
        let interpreter = program.interpreter.as_ref().map(|path| {
            let path = OsStr::from_bytes(path.to_bytes());
            open(path).and_then(Executable::read).map_err(|reason| {
                let (path, name) = (path.to_string_lossy(), name.to_string_lossy());
                failed(format!("{path}, the interpreter of {name}"), reason)
            })
        });
        Ok(Self {
            program,
            interpreter: interpreter.transpose()?,
            name,
            arg0: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            env_strings: Vec::new(),
        })
    }

    /// Sets `argv[0]`, which is otherwise the program's path.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.arg0 = Some(arg.as_ref().to_owned());
        self
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets environment variables.
    pub fn envs(
        &mut self,
        vars: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        for (name, value) in vars {
            self.env(name, value);
        }
        self
    }

    /// Adds a string to the environment as it is, behind the variables.
    pub(crate) fn env_string(&mut self, string: &[u8]) {
        self.env_strings.push(string.to_vec());
    }

    /// The path it was opened by, or the name that was given with an open file.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(&self.name)
    }

    /// The interpreter that it names, which is loaded with it: its dynamic loader. A static
    /// program has none.
    #[must_use]
    pub fn interpreter(&self) -> Option<&Path> {
        let name = self.program.interpreter.as_ref()?;
        Some(Path::new(OsStr::from_bytes(name.to_bytes())))
    }

    /// Whether it may lie anywhere. One that may not lies at the addresses in its file.
    #[must_use]
    pub fn is_position_independent(&self) -> bool {
        self.program.movable
    }

    /// Loads and starts it in a new embryo, with the caller's standard streams, working directory,
    /// umask and session.
    ///
    /// # Errors
    /// As [`Embryo::create`], [`Embryo::load`] and [`Embryo::start`].
    pub fn start(&self) -> Result<Process, Error> {
        let mut plan = PlanBuilder::new();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        let mut grants = Vec::new();
        for number in 0..3 {
            if let Some(stream) = own(number) {
                grants.push(stream);
                let slot = plan.slot();
                plan.op(&Op::PutFd { slot, fd: number });
            }
        }
        let embryo = Embryo::create()?;
        embryo.start_loaded(self, plan, &grants).map_err(|(error, _)| error)
    }

    fn initial(&self) -> Initial<'_> {
        let arg0 = self.arg0.as_ref().unwrap_or(&self.name);
        let variable = |(name, value): (&OsString, &OsString)| {
            [name.as_bytes(), b"=", value.as_bytes()].concat()
        };
        Initial {
            argv: [arg0].into_iter().chain(&self.args).map(|arg| arg.as_bytes()).collect(),
            envp: self.env.iter().map(variable).chain(self.env_strings.iter().cloned()).collect(),
            name: self.name.as_bytes(),
            aux: Vec::new(),
            random: [0; 16],
            shift: 0,
        }
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("name", &self.name)
            .field("interpreter", &self.program.interpreter)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

/// A program in an embryo's memory, ready to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    regset: Regset,
    base: u64,
    interpreter_base: Option<u64>,
    entry: u64,
    layout: Option<Layout>,
}

impl Loaded {
    /// The op that starts it.
    #[must_use]
    pub fn op(&self) -> Op<'_> {
        Op::StartRegs { page: 0, regset: self.regset.as_bytes(), leave: &[] }
    }

    /// The registers it starts with: the instruction pointer at its interpreter's entry point or
    /// its own, the stack pointer at its argument count.
    #[must_use]
    pub fn regset(&self) -> Regset {
        self.regset
    }

    /// How far it lies from the addresses in its file; 0 if those are fixed.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The same of its interpreter, if it has one.
    #[must_use]
    pub fn interpreter_base(&self) -> Option<u64> {
        self.interpreter_base
    }

    /// What the kernel was told of where its parts are, for /proc and brk(2); nothing where the
    /// kernel cannot be told (`CONFIG_CHECKPOINT_RESTORE`).
    #[must_use]
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Its own entry point.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }
}

/// Where everything goes.
struct Arrangement {
    moved: u64,
    interpreter_base: Option<u64>,
    /// The end of the stack.
    top: u64,
    stack_len: u64,
    contents: Contents,
    layout: Layout,
}

impl Embryo {
    /// Brings a program into the embryo's memory at random places, in one message, with its stack
    /// and all that stands on it.
    ///
    /// What the program is told of ids is the embryo's at this moment; [`Embryo::start_loaded`]
    /// tells it what its plan makes of them.
    ///
    /// # Errors
    /// [`Error::Load`] if it does not fit beside what is there, [`Error::Plan`] if the arguments
    /// are more than execve(2) would take: nothing has happened. [`Error::Spawn`] with the op that
    /// failed: what was mapped before stays mapped. [`Error::Io`] if /proc/PID of the embryo cannot
    /// be read, which takes what [`Embryo::maps`] takes.
    pub fn load(&mut self, load: &Load) -> Result<Loaded, Error> {
        self.load_as(load, [None; 4])
    }

    /// Loads it for a start with the ops of this plan.
    pub(crate) fn load_for(&mut self, load: &Load, plan: &Plan<'_>) -> Result<Loaded, Error> {
        self.load_as(load, ids_after(plan))
    }

    /// `ids` are those that it will have, where they are not the embryo's: uid, euid, gid, egid.
    fn load_as(&mut self, load: &Load, ids: [Option<u32>; 4]) -> Result<Loaded, Error> {
        let arrangement = self.arrange(load, ids)?;
        let Arrangement { moved, interpreter_base, top, stack_len, contents, layout } =
            &arrangement;
        let moved = *moved;
        let interpreter = load.interpreter.as_ref().zip(*interpreter_base);

        let mut batch = PlanBuilder::batch();
        let mut grants: Vec<BorrowedFd<'_>> = Vec::new();
        for (file, moved) in [(&load.program, moved)].into_iter().chain(interpreter) {
            let slot = batch.slot();
            grants.push(file.file.as_fd());
            place::map(&mut batch, file, slot, moved);
        }
        let prot = if load.program.executable_stack { 7 } else { 3 };
        let flags = MapFlags::FIXED | MapFlags::GROWSDOWN;
        batch
            .op(&Op::Map { addr: top - stack_len, len: *stack_len, prot, flags })
            .op(&Op::Write { addr: contents.pointer, contents: &contents.bytes });
        // Asked of this process: both have one kernel.
        let layout = embryo_syscall::mm_layout_size().is_ok().then_some(*layout);
        if let Some(layout) = &layout {
            batch.op(&Op::MmLayout { layout: layout.as_bytes(), auxv: &contents.auxv });
        }
        self.apply_all(&batch.build()?, &grants)?;

        let entry = load.program.entry.wrapping_add(moved);
        let instruction = interpreter.map_or(entry, |(file, moved)| file.entry.wrapping_add(moved));
        let regset = if cfg!(target_arch = "x86_64") {
            Regset::X86(X86Regs::at(instruction, contents.pointer))
        } else {
            Regset::Arm(ArmRegs::at(instruction, contents.pointer))
        };
        Ok(Loaded { regset, base: moved, interpreter_base: *interpreter_base, entry, layout })
    }

    /// Decides where everything goes and what the stack holds. Nothing happens yet.
    fn arrange(&self, load: &Load, ids: [Option<u32>; 4]) -> Result<Arrangement, Error> {
        let mut initial = load.initial();
        initial.check()?;
        let maps = self.maps()?;
        let facts = Facts::read(self.id())?.with_ids(ids);
        let refused = |reason| failed(load.name.to_string_lossy(), reason);

        let mut room = Room::new(&maps);
        let lowest = lowest_address();
        let moved = room.place(&load.program, &PROGRAM_ZONE, lowest).map_err(refused)?;
        let interpreter = load.interpreter.as_ref();
        let interpreter_base = interpreter
            .map(|interpreter| room.place(interpreter, &INTERPRETER_ZONE, lowest))
            .transpose()
            .map_err(|reason| {
                failed(format!("the interpreter of {}", load.name.to_string_lossy()), reason)
            })?;

        let vdso = maps.iter().find(|entry| entry.name == "[vdso]");
        initial.aux = facts.for_program(Placed {
            program: &load.program,
            moved,
            interpreter_moved: interpreter_base.unwrap_or(0),
            vdso: vdso.map(|entry| entry.range.start),
        });
        let random = || random().map_err(refused);
        initial.random = u128::to_le_bytes(u128::from(random()?) << 64 | u128::from(random()?));
        initial.shift = random()? % SHIFT_MAX;
        let stack_len = initial.stack_len();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
        let top = room.stack(stack_len, limit.unwrap_or(u64::MAX)).map_err(refused)?;
        let contents = initial.lay_out(top);
        let heap = room.heap(load.program.span().1.wrapping_add(moved)).map_err(refused)?;
        let layout = layout(&load.program, moved, heap, &contents);
        Ok(Arrangement { moved, interpreter_base, top, stack_len, contents, layout })
    }

    /// Loads a program and starts it with the ops, grants and keeps of `plan`, which has no start
    /// yet: descriptors, working directory and so on. Arguments and environment are the load's.
    ///
    /// # Errors
    /// As [`Embryo::load`] and [`Embryo::start`], with the embryo, if it still is one.
    pub fn start_loaded(
        mut self,
        load: &Load,
        mut plan: PlanBuilder,
        grants: &[BorrowedFd<'_>],
    ) -> Result<Process, (Error, Option<Self>)> {
        // Whether all of it is sound is found out before anything happens.
        if let Err(error) = load.initial().check() {
            return Err((error.into(), Some(self)));
        }
        let anywhere = Regset::X86(X86Regs::at(0, 0));
        let start = Op::StartRegs { page: 0, regset: anywhere.as_bytes(), leave: &[] };
        let sound = plan.clone().op(&start).build().map_err(Error::from);
        let built = sound
            .and_then(|sound| self.load_for(load, &sound.as_plan()))
            .and_then(|loaded| plan.op(&loaded.op()).build().map_err(Error::from));
        match built {
            Ok(plan) => self.start(&plan, grants),
            Err(error) => Err((error, Some(self))),
        }
    }
}

/// Where the parts of a program are.
fn layout(program: &Executable, moved: u64, heap: u64, contents: &Contents) -> Layout {
    let Extent { code, data } = program.extent();
    let at = |addr: u64| addr.wrapping_add(moved).into();
    Layout {
        start_code: at(code[0]),
        end_code: at(code[1]),
        start_data: at(data[0]),
        end_data: at(data[1]),
        start_brk: heap.into(),
        brk: heap.into(),
        start_stack: contents.pointer.into(),
        arg_start: contents.args.start.into(),
        arg_end: contents.args.end.into(),
        env_start: contents.env.start.into(),
        env_end: contents.env.end.into(),
    }
}

/// What a plan makes of uid, euid, gid and egid.
fn ids_after(plan: &Plan<'_>) -> [Option<u32>; 4] {
    let set = |id: u32| (id != u32::MAX).then_some(id);
    let mut ids = [None; 4];
    for op in plan.ops().flatten() {
        match op {
            Op::Uid { real, effective, .. } => [ids[0], ids[1]] = [set(real), set(effective)],
            Op::Gid { real, effective, .. } => [ids[2], ids[3]] = [set(real), set(effective)],
            _ => {}
        }
    }
    ids
}

fn failed(file: impl Into<String>, reason: NotLoadable) -> Error {
    Box::new(LoadError::of(file, reason)).into()
}

/// Opens for reading, without waiting for the other end of a FIFO.
fn open(path: &OsStr) -> Result<OwnedFd, NotLoadable> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(Path::new(path), flags, Mode::empty()).map_err(io)
}

/// `vm.mmap_min_addr`, or its usual value.
fn lowest_address() -> u64 {
    const USUAL: u64 = 64 << 10;
    let text = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL)
}
