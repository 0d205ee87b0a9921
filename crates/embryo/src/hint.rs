//! From a fault to what a person needs to know: which thing, what exactly, and what to do.
//!
//! All of it is found out after the failure and in the caller, so a launch that succeeds pays
//! nothing. It looks at files again, so it says what seems to be, not what certainly was.

use crate::error::{Cause, Fault};
use embryo_interp::Step;
use embryo_plan::{
    ArgText, CgroupOp, ConfineOp, FilterFlags, MountOp, Op, Plan, PrivilegeOp, Slot,
};
use embryo_syscall::{self as sys, Errno};
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use std::ffi::{CStr, OsStr};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

mod mount;
pub(crate) mod namespace;

/// What was launched, and with what.
pub(crate) struct Context<'a> {
    pub(crate) plan: Plan<'a>,
    pub(crate) grants: &'a [i32],
}

/// How many interpreters that are scripts themselves the kernel follows.
const INTERPRETERS_MAX: u32 = 5;

const LANDLOCKED: &str = "the file, or a loader or interpreter that it needs, may not be executed: by its \
     permissions, or by the plan's own Landlock ruleset";
const LANDLOCK_HINT: &str = "the ruleset has to grant execute for the image, for its loader and for the \
     interpreter of a script, and read for what they open";

type Findings = (Option<String>, Option<String>, Option<String>);

impl Context<'_> {
    /// Object, detail and hint for a fault.
    pub(crate) fn explain(&self, fault: Fault, cause: Cause) -> Findings {
        let errno = Errno::new(fault.errno);
        if let Some(step) = Step::from_index(fault.index) {
            return self.explain_step(step, errno, cause);
        }
        let Some(op) = self.plan.op(fault.index) else { return (None, None, None) };
        let object = self.object(&op);
        if errno == Errno::ACCES && op.is_start() && self.is_landlocked() {
            return (object, Some(LANDLOCKED.to_owned()), Some(LANDLOCK_HINT.to_owned()));
        }
        let (detail, hint) = match op {
            Op::ExecPath { path, .. } => self.explain_exec(path, errno),
            Op::ExecSlot { slot, .. } => self.explain_exec_slot(slot, errno),
            Op::ExecName { name, search, .. } => self.explain_exec_name(name, search, errno),
            Op::ChdirPath { path } => self.explain_directory(path, errno, "working directory"),
            Op::ChrootPath { path } if errno != Errno::PERM => {
                self.explain_directory(path, errno, "new root directory")
            }
            Op::Mount(ref op) => mount::explain(op, errno),
            Op::Namespace(ref op) => (None, namespace::hint(op, errno)),
            _ => (None, None),
        };
        (object, detail, hint.or_else(|| general_hint(&op, errno).map(str::to_owned)))
    }

    fn explain_step(&self, step: Step, errno: Errno, cause: Cause) -> Findings {
        if let (Step::Killed, Cause::Killed(signal)) = (step, cause)
            && let Some((detail, hint)) = self.explain_filter(signal)
        {
            return (None, Some(detail.to_owned()), Some(hint.to_owned()));
        }
        let hint = match (step, errno, cause) {
            (Step::Killed, _, Cause::TimedOut) if self.plan.start_is_notified() => {
                "the plan's filter notifies its listener of the start, and nobody answered"
            }
            (Step::Killed, _, Cause::TimedOut) => {
                "another process may be stopping it, its cgroup may be frozen, or a path may lie \
                 on a file server that does not answer"
            }
            (Step::Killed, _, _) => {
                "another process with the same uid, or the OOM killer, ended it"
            }
            (Step::Clone, Errno::AGAIN, _) => {
                "no more processes are allowed: RLIMIT_NPROC of the uid, pids.max of the cgroup, or \
                 kernel.threads-max"
            }
            (Step::Clone, Errno::NOMEM, _) => "no memory, or the pid namespace's init has died",
            (Step::Clone, Errno::PERM | Errno::NOSYS, _) => {
                "a seccomp filter refuses clone3(2) and clone(2)"
            }
            (Step::ReceiveGrants, Errno::BADF, _) => {
                let closed = self.grants.iter().position(|fd| sys::fcntl_getfd(*fd).is_err());
                let object = closed.map(|slot| {
                    format!("slot {slot} (descriptor {} of the caller)", self.grants[slot])
                });
                return (object, Some("the granted descriptor is not open".into()), None);
            }
            (Step::ReceiveGrants, Errno::TOOMANYREFS, _) => {
                "more descriptors are in flight than RLIMIT_NOFILE allows this uid"
            }
            (Step::ReceiveGrants, Errno::MFILE, _) => "RLIMIT_NOFILE is below what is granted",
            (Step::Seed, Errno::ACCES | Errno::PERM, _) => {
                "the seed runs from a memfd: vm.memfd_noexec or a security policy may forbid that"
            }
            _ => return (None, None, None),
        };
        (None, None, Some(hint.to_owned()))
    }

    /// Whether Landlock was enforced before the start.
    fn is_landlocked(&self) -> bool {
        let enforces = |op| matches!(op, Op::Confine(ConfineOp::Landlock { .. }));
        self.plan.ops().flatten().any(enforces)
    }

    /// How a child ended that was under a filter of its own plan, if that tells anything.
    fn explain_filter(&self, signal: Option<i32>) -> Option<(&'static str, &'static str)> {
        const SIGSYS: i32 = 31;
        if !self.plan.ops().flatten().any(|op| matches!(op, Op::Seccomp { .. })) {
            return None;
        }
        match signal {
            Some(SIGSYS) => Some((
                "the plan's own filter ended it",
                "the filter has to let execve(2) through, or execveat(2) for a descriptor; and where \
                 the image cannot be executed, rt_sigprocmask(2) and sendmsg(2), which tell so",
            )),
            Some(_) => None,
            None => Some((
                "it ended without a word, under the plan's own filter",
                "the image could not be executed, and the filter lets no sendmsg(2) through to tell why",
            )),
        }
    }

    /// The thing an op is about.
    fn object(&self, op: &Op<'_>) -> Option<String> {
        let mut parts = Vec::new();
        op.fields(&mut |name, value| match value {
            ArgText::Text(_) if name == "search" => {}
            ArgText::Text(text) => parts.push(ArgText::Text(text).to_string()),
            ArgText::Slot(Slot(slot)) => {
                let fd = self.grants.get(slot as usize).copied().unwrap_or(-1);
                parts.push(format!("slot {slot} (descriptor {fd} of the caller)"));
            }
            other => parts.push(format!("{name}={other}")),
        });
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    fn explain_directory(
        &self,
        path: &CStr,
        errno: Errno,
        what: &str,
    ) -> (Option<String>, Option<String>) {
        let detail = match errno {
            Errno::NOENT => format!("the {what} does not exist"),
            Errno::NOTDIR => format!("the {what} is not a directory"),
            Errno::ACCES => format!("the {what} may not be entered by the uid that tries"),
            _ => return (None, None),
        };
        let relative = !path.to_bytes().starts_with(b"/");
        let hint = relative.then_some("a relative path starts at the caller's working directory");
        (Some(detail), hint.map(str::to_owned))
    }

    fn explain_exec(&self, path: &CStr, errno: Errno) -> (Option<String>, Option<String>) {
        match self.resolve(path.to_bytes()) {
            Some(file) => self.explain_file(&file, errno),
            None => (None, exec_hint(errno)),
        }
    }

    fn explain_exec_slot(&self, slot: Slot, errno: Errno) -> (Option<String>, Option<String>) {
        let Some(fd) = self.grants.get(slot.0 as usize) else { return (None, None) };
        let file = PathBuf::from(format!("/proc/self/fd/{fd}"));
        if errno == Errno::NOENT && head(&file).is_some_and(|head| head.starts_with(b"#!")) {
            let detail = "the file is a #! script, whose interpreter cannot open a descriptor that \
                          exec has closed";
            let hint = "execute the interpreter with the script as a granted descriptor, or let \
                        the descriptor stay open (ExecFlags::KEEP_OPEN)";
            return (Some(detail.into()), Some(hint.into()));
        }
        if errno == Errno::BADF {
            return (Some("the granted descriptor is not open".into()), None);
        }
        self.explain_file(&file, errno)
    }

    fn explain_exec_name(
        &self,
        name: &CStr,
        search: &CStr,
        errno: Errno,
    ) -> (Option<String>, Option<String>) {
        if name.to_bytes().contains(&b'/') {
            return self.explain_exec(name, errno);
        }
        let candidates: Vec<(String, PathBuf)> = search
            .to_bytes()
            .split(|byte| *byte == b':')
            .map(|directory| if directory.is_empty() { b"." } else { directory })
            .map(|directory| [directory, b"/", name.to_bytes()].concat())
            .filter_map(|path| Some((printable(&path), self.resolve(&path)?)))
            .filter(|(_, file)| file.symlink_metadata().is_ok())
            .collect();
        // The search passes over what is missing or denied, so the first file that is there need
        // not be the one that gave the answer.
        let fits = |(_, file): &&(String, PathBuf)| {
            self.passed_over(file, INTERPRETERS_MAX).unwrap_or(errno) == errno
        };
        let Some((path, file)) = candidates.iter().find(fits).or(candidates.first()) else {
            let list = ArgText::Text(search);
            return (Some(format!("there is no such program in the search list {list}")), None);
        };
        let (detail, hint) = self.explain_file(file, errno);
        (detail.map(|detail| format!("{path}: {detail}")), hint)
    }

    /// The answer at which a search goes on, if this file or one of `deeper` that it needs to run
    /// gives one.
    fn passed_over(&self, file: &Path, deeper: u32) -> Option<Errno> {
        let Ok(meta) = file.metadata() else { return Some(Errno::NOENT) };
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            return Some(Errno::ACCES);
        }
        let needs = head(file).as_deref().and_then(script_interpreter).map(<[u8]>::to_vec);
        let needs = needs.or_else(|| elf_loader(file))?;
        self.passed_over(&self.resolve(&needs)?, deeper.checked_sub(1)?)
    }

    /// What is the matter with an executable.
    fn explain_file(&self, file: &Path, errno: Errno) -> (Option<String>, Option<String>) {
        let meta = match file.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let detail = match file.symlink_metadata() {
                    Ok(_) => "the program is a symbolic link to something that does not exist",
                    Err(_) => "the program does not exist",
                };
                return (Some(detail.into()), None);
            }
            Err(_) => return (None, exec_hint(errno)),
            Ok(meta) => meta,
        };
        let detail = match errno {
            Errno::ACCES if meta.is_dir() => "the program is a directory".to_owned(),
            Errno::ACCES if !meta.is_file() => "the program is not a regular file".to_owned(),
            Errno::ACCES if meta.permissions().mode() & 0o111 == 0 => {
                return (
                    Some("the program has no execute permission".into()),
                    Some("chmod +x".into()),
                );
            }
            Errno::ACCES => {
                return (
                    None,
                    Some(
                        "its file system may be mounted noexec, a directory on the way \
                    may be closed to this uid, or a security policy forbids it"
                            .into(),
                    ),
                );
            }
            Errno::NOENT | Errno::NOEXEC | Errno::TXTBSY => {
                return self.explain_content(file, errno);
            }
            _ => return (None, exec_hint(errno)),
        };
        (Some(detail), None)
    }

    /// The file is there; what it asks for is not.
    fn explain_content(&self, file: &Path, errno: Errno) -> (Option<String>, Option<String>) {
        let head = head(file).unwrap_or_default();
        match errno {
            Errno::NOENT => {
                if let Some(interpreter) = script_interpreter(&head) {
                    return self.explain_interpreter(interpreter, errno, INTERPRETERS_MAX);
                }
                if let Some(loader) = elf_loader(file) {
                    let hint = "it was built for another system, or its libc is not installed";
                    let loader = printable(&loader);
                    return (
                        Some(format!("its ELF loader {loader} does not exist")),
                        Some(hint.into()),
                    );
                }
                (None, None)
            }
            Errno::NOEXEC if head.is_empty() => (Some("the program is empty".into()), None),
            Errno::NOEXEC if head.starts_with(b"\x7fELF") => {
                (Some("the program is an ELF file for another machine, or damaged".into()), None)
            }
            Errno::NOEXEC => (
                Some("the program is no ELF file and does not begin with #!".into()),
                Some("ask for the shell to run it (shell_fallback, --shell)".into()),
            ),
            _ => (None, exec_hint(errno)),
        }
    }

    /// What a script names to run it is missing, or is there and misses something itself.
    fn explain_interpreter(
        &self,
        interpreter: &[u8],
        errno: Errno,
        deeper: u32,
    ) -> (Option<String>, Option<String>) {
        let text = printable(interpreter);
        let Some(file) = self.resolve(interpreter).filter(|file| file.symlink_metadata().is_ok())
        else {
            let ends_in_cr = interpreter.ends_with(b"\r");
            let hint = ends_in_cr.then(|| "its lines end in CR LF; convert it".to_owned());
            return (Some(format!("its #! interpreter {text} does not exist")), hint);
        };
        let head = head(&file);
        let (detail, hint) = match (head.as_deref().and_then(script_interpreter), deeper) {
            (Some(_), 0) => return (None, None),
            (Some(next), _) => self.explain_interpreter(next, errno, deeper - 1),
            (None, _) => self.explain_file(&file, errno),
        };
        (detail.map(|detail| format!("its #! interpreter {text}: {detail}")), hint)
    }

    /// Where the child would have found a path, as seen from here: under its root, from its
    /// working directory.
    fn resolve(&self, path: &[u8]) -> Option<PathBuf> {
        let mut root = PathBuf::from("/");
        let mut cwd = PathBuf::from(".");
        for op in self.plan.ops().flatten() {
            match op {
                Op::Mount(MountOp::EnterRoot) => return mount::source(&self.plan, path),
                Op::ChrootPath { path } => root = to_path(path.to_bytes()),
                Op::ChrootSlot { slot } => root = self.slot_path(slot)?,
                Op::ChdirPath { path } => cwd = under(&root, &cwd, path.to_bytes()),
                Op::ChdirSlot { slot } => cwd = self.slot_path(slot)?,
                _ => {}
            }
        }
        Some(under(&root, &cwd, path))
    }

    fn slot_path(&self, slot: Slot) -> Option<PathBuf> {
        self.grants.get(slot.0 as usize).map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}")))
    }
}

fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Bytes of a plan or a file, so that none of them reaches a terminal raw.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// `path` below `root` if it is absolute, else below `cwd`.
fn under(root: &Path, cwd: &Path, path: &[u8]) -> PathBuf {
    match path.strip_prefix(b"/") {
        Some(below) => root.join(to_path(below)),
        None => cwd.join(to_path(path)),
    }
}

/// What an explanation reads of a file: the kernel looks at 256 bytes of a script, and the program
/// headers of an ELF file follow its header.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// The first bytes of a regular file.
///
/// The path is one that a plan or the inside of another root chose, so nothing but a regular file
/// is opened for reading: a FIFO would block, a device may do anything at an open.
fn head(file: &Path) -> Option<Vec<u8>> {
    use rustix::fs::{FileType, Mode, OFlags};
    let regular = |fd: &OwnedFd| {
        let stat = rustix::fs::fstat(fd).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat)
    };
    let looked = rustix::fs::open(file, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let seen = regular(&looked)?;
    // Through the handle, so that what is opened is what was looked at; not blocking all the same,
    // should /proc show something else.
    let handle = format!("/proc/self/fd/{}", looked.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(handle, flags, Mode::empty()).ok()?;
    let same = regular(&opened)?;
    if (same.st_dev, same.st_ino) != (seen.st_dev, seen.st_ino) {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::from(opened).take(HEAD_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The interpreter that a `#!` line names.
pub(crate) fn script_interpreter(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = line.trim_ascii_start();
    let end = line.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(line.len());
    line.get(..end).filter(|interpreter| !interpreter.is_empty())
}

/// The loader that an ELF file asks for.
fn elf_loader(file: &Path) -> Option<Vec<u8>> {
    let bytes = head(file)?;
    let found = interpreter_of::<FileHeader64<object::Endianness>>(&bytes)
        .or_else(|| interpreter_of::<FileHeader32<object::Endianness>>(&bytes))?;
    Some(found.to_vec())
}

fn interpreter_of<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Option<&[u8]> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let mut segments = header.program_headers(endian, bytes).ok()?.iter();
    segments.find_map(|segment| segment.interpreter(endian, bytes).ok().flatten())
}

fn exec_hint(errno: Errno) -> Option<String> {
    let hint = match errno {
        Errno::TOOBIG => {
            "argv and envp are larger than a quarter of the stack limit (ulimit -s), or one string is \
             larger than 128 KiB"
        }
        Errno::TXTBSY => "somebody has the program open for writing",
        Errno::AGAIN => "the uid has more processes than RLIMIT_NPROC allows",
        Errno::NOMEM => {
            "no memory for the new image, or RLIMIT_AS or RLIMIT_STACK is too low for it"
        }
        Errno::PERM => "a setuid file on a traced or no_new_privs process, or a security policy",
        Errno::LOOP => "too many symbolic links, or #! interpreters that are scripts themselves",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What usually is the reason when an op gets this answer.
fn general_hint(op: &Op<'_>, errno: Errno) -> Option<&'static str> {
    Some(match (op, errno) {
        (Op::Uid { .. }, Errno::PERM) => "changing user ids needs CAP_SETUID",
        (Op::Gid { .. }, Errno::PERM) => "changing group ids needs CAP_SETGID",
        (Op::Groups { .. }, Errno::PERM) => {
            "setting groups needs CAP_SETGID, and in a user namespace that setgroups is allowed"
        }
        (Op::Uid { .. } | Op::Gid { .. } | Op::Groups { .. }, Errno::INVAL) => {
            "the id has no mapping in this user namespace"
        }
        (Op::ChrootPath { .. } | Op::ChrootSlot { .. }, Errno::PERM) => {
            "changing the root needs CAP_SYS_CHROOT"
        }
        (Op::Rlimit { .. }, Errno::PERM) => "raising a hard limit needs CAP_SYS_RESOURCE",
        (Op::Nice { .. }, Errno::ACCES | Errno::PERM) => {
            "a lower nice value needs CAP_SYS_NICE or RLIMIT_NICE"
        }
        (Op::Sched { .. }, Errno::PERM) => {
            "real-time policies need CAP_SYS_NICE or RLIMIT_RTPRIO, and a cgroup with real-time time"
        }
        (Op::Sched { .. }, Errno::INVAL) => "the kernel does not take these parameters",
        (Op::Affinity { .. }, Errno::INVAL) => {
            "none of these CPUs exists and is allowed by the cpuset"
        }
        (Op::IoPriority { .. }, Errno::PERM) => {
            "the real-time I/O class needs CAP_SYS_ADMIN or CAP_SYS_NICE"
        }
        (Op::OomScoreAdj { .. }, Errno::ACCES | Errno::PERM) => {
            "a lower oom_score_adj needs CAP_SYS_RESOURCE"
        }
        (Op::OomScoreAdj { .. }, Errno::NOENT) => "/proc is not mounted",
        (Op::ControllingTty { .. }, Errno::PERM) => {
            "the terminal already belongs to another session"
        }
        (Op::ControllingTty { .. } | Op::Foreground { .. }, _) if errno == Errno::new(25) => {
            "the descriptor is not a terminal, or not the controlling one"
        }
        (Op::SetPgid { .. }, Errno::PERM | Errno::SRCH) => {
            "there is no such process group in this session"
        }
        (Op::PutFd { .. }, Errno::BADF) => {
            "the granted descriptor is not open, or the number is not below RLIMIT_NOFILE"
        }
        (Op::PutFd { .. } | Op::OpenNull { .. }, Errno::INVAL | Errno::MFILE) => {
            "RLIMIT_NOFILE leaves no room to move a descriptor out of the way"
        }
        (Op::DeathSignal { .. }, Errno::SRCH) => "the parent had ended already",
        (Op::ChdirSlot { .. } | Op::ChrootSlot { .. }, Errno::NOTDIR) => {
            "the granted descriptor is not a directory"
        }
        (Op::Map { .. }, Errno::PERM) => "the address is below vm.mmap_min_addr",
        (Op::MmLayout { .. }, Errno::PERM) => "the kernel lacks CONFIG_CHECKPOINT_RESTORE",
        (Op::MmLayout { .. }, Errno::INVAL) => {
            "an address is below vm.mmap_min_addr, heap and data are more than RLIMIT_DATA, before \
             Linux 5.15 the heap is below the data, or the kernel lacks CONFIG_CHECKPOINT_RESTORE"
        }
        (Op::MoveVdso { .. } | Op::DropVdso, Errno::NOENT) => "/proc is not mounted",
        (Op::MoveVdso { .. } | Op::DropVdso, Errno::PERM) => {
            "the kernel seals the vdso (CONFIG_MSEAL_SYSTEM_MAPPINGS)"
        }
        (Op::MoveVdso { .. }, Errno::INVAL) => "the vdso and its data are no longer side by side",
        (Op::MoveVdso { .. } | Op::DropVdso, _) if errno == Errno::new(6) => "there is no vdso",
        (Op::MapSlot { .. }, Errno::PERM) => {
            "its file system is mounted noexec, it is sealed, or the address is below \
             vm.mmap_min_addr"
        }
        (Op::Seccomp { .. }, Errno::ACCES) => {
            "a filter needs no-new-privs in the plan, or CAP_SYS_ADMIN"
        }
        (Op::Seccomp { .. }, Errno::INVAL) => "this kernel has no filters, or not this flag",
        (Op::Seccomp { .. }, Errno::NOMEM) => {
            "no memory for the filter, or too many instructions with those that are inherited"
        }
        (Op::SeccompStrict, Errno::INVAL) => {
            "the process is under a filter, as in a container: strict mode cannot be added, another \
             filter can"
        }
        (Op::Thread { .. }, Errno::AGAIN) => {
            "RLIMIT_NPROC of the uid, pids.max of the cgroup, or kernel.threads-max"
        }
        (Op::StartRegs { .. } | Op::Thread { .. }, Errno::OPNOTSUPP) => {
            "this processor or kernel lacks a component of the vector state"
        }
        (Op::StartRegs { .. } | Op::Thread { .. }, Errno::INVAL) => {
            "a vector state is shorter than the components that it says it has"
        }
        (Op::StartRegs { .. } | Op::Thread { .. }, Errno::NOEXEC) => {
            "the registers are another machine's"
        }
        (Op::StartRegs { .. }, Errno::BUSY) => {
            "the page of the last instructions lies in a range that is to go away"
        }
        (Op::Privilege(op), errno) => privilege_hint(op, errno)?,
        (Op::Cgroup(op), errno) => cgroup_hint(op, errno)?,
        (Op::CoreScheduling, Errno::INVAL) => {
            "this kernel has no core scheduling (Linux 5.14, CONFIG_SCHED_CORE)"
        }
        (Op::CoreScheduling, Errno::NODEV) => "no core of this machine runs two threads at a time",
        (Op::MemoryPolicy { .. }, Errno::INVAL) => {
            "none of these nodes is there and allowed, or this kernel lacks the mode"
        }
        (Op::MemoryPolicy { .. }, Errno::NOSYS) => {
            "this kernel has no memory policies (CONFIG_NUMA)"
        }
        (Op::Confine(ConfineOp::Landlock { .. }), Errno::PERM) => {
            "Landlock needs no-new-privs in the plan, or CAP_SYS_ADMIN"
        }
        (Op::Confine(ConfineOp::Landlock { .. }), Errno::INVAL) => {
            "choosing what is logged needs Landlock ABI 7 (Linux 6.15)"
        }
        (Op::Confine(ConfineOp::Landlock { .. }), Errno::TOOBIG) => {
            "the process is in 16 Landlock domains already"
        }
        (Op::Confine(ConfineOp::LandlockPath { .. }), Errno::INVAL) => {
            "a right that the ruleset does not restrict, or none that this file can have"
        }
        (Op::Confine(ConfineOp::LandlockPath { .. }), Errno::NOENT) => {
            "the path is looked up in the child, below its new root if it has one"
        }
        (Op::Confine(_), _) if errno == Errno::new(77) || errno == Errno::BADF => {
            "the granted descriptor is not a Landlock ruleset"
        }
        (Op::Confine(_), Errno::NOSYS | Errno::OPNOTSUPP) => {
            "this kernel has no Landlock (Linux 5.13), or it is not enabled (lsm= at boot)"
        }
        (Op::Seccomp { flags, .. }, Errno::BUSY) if flags.contains(FilterFlags::LISTENER) => {
            "the process is under a filter that has a listener already, and there can be one alone"
        }
        (_, Errno::NOSYS) => "this kernel, or a seccomp filter, lacks the system call",
        _ => return None,
    })
}

fn privilege_hint(op: &PrivilegeOp<'_>, errno: Errno) -> Option<&'static str> {
    Some(match (op, errno) {
        (PrivilegeOp::BoundingSet { .. }, Errno::PERM) => {
            "it takes CAP_SETPCAP, which a new user namespace gives; no-new-privs keeps an exec from \
             giving anything without it"
        }
        (PrivilegeOp::Securebits { .. }, Errno::PERM) => {
            "they take CAP_SETPCAP, and none of them may be locked"
        }
        (PrivilegeOp::KeepCapabilities, Errno::PERM) => "keep_caps_locked is set",
        (PrivilegeOp::Capabilities { .. }, Errno::PERM) => {
            "it has not all of those, having lost them with uid 0 (keep-capabilities would keep them) or \
             never had them, or what is to be inheritable is not in the bounding set"
        }
        (PrivilegeOp::Ambient { .. }, Errno::PERM) => {
            "each has to be permitted and inheritable, and no_cap_ambient_raise not set"
        }
        (PrivilegeOp::Ambient { .. }, Errno::INVAL) => "this kernel knows no such capability",
        (PrivilegeOp::SessionKeyring { .. }, Errno::ACCES) => {
            "the keyring of this name may not be searched by this user"
        }
        (PrivilegeOp::SessionKeyring { .. }, _) if errno == Errno::new(122) => {
            "the user has as many keys as kernel.keys.maxkeys allows"
        }
        (PrivilegeOp::SessionKeyring { .. }, Errno::NOSYS) => {
            "this kernel has no keyrings (CONFIG_KEYS), or a container's filter refuses keyctl(2)"
        }
        (PrivilegeOp::Mdwe, Errno::INVAL) => "it takes Linux 6.3",
        (PrivilegeOp::ThpDisable { except_advised: true }, Errno::INVAL) => "it takes Linux 6.18",
        _ => return None,
    })
}

fn cgroup_hint(op: &CgroupOp, errno: Errno) -> Option<&'static str> {
    Some(match (op, errno) {
        (CgroupOp::Join { .. }, Errno::NOENT | Errno::NODEV) => {
            "it is no cgroup of version 2, or was removed meanwhile"
        }
        (CgroupOp::Join { .. }, Errno::NOTDIR) => "it is no directory",
        (CgroupOp::Join { .. }, Errno::BUSY) => {
            "it has controllers enabled for cgroups below it (cgroup.subtree_control), so no process may \
             be in it"
        }
        (CgroupOp::Join { .. }, Errno::OPNOTSUPP) => {
            "it is threaded, or one above is, and takes no whole process"
        }
        (CgroupOp::Join { .. }, Errno::ACCES | Errno::PERM) => {
            "it is not delegated to this user, or the caller is not below the cgroup that is: nobody \
             but root moves a process in from outside"
        }
        (CgroupOp::Join { .. }, Errno::AGAIN) => "pids.max of it, or of one above, is reached",
        (CgroupOp::Tie { .. }, Errno::PIPE | Errno::CONNRESET) => {
            "its guardian was killed, or has too many to guard"
        }
        (CgroupOp::Tie { .. }, _) if errno == Errno::new(88) => "it is no guardian's socket",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A jail may put anything where a program is looked for, and its explanation is read by a
    /// caller that may be root.
    #[test]
    fn nothing_but_a_regular_file_is_read_to_explain_it() {
        let dir = std::env::temp_dir().join(format!("embryo-hint-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("it can be made");
        let fifo = dir.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo(1) is part of every system");
        let endless = dir.join("endless");
        std::os::unix::fs::symlink("/dev/zero", &endless).expect("it can be made");
        let long = dir.join("long");
        std::fs::write(&long, vec![b'x'; 1 << 20]).expect("it can be written");
        assert_eq!(head(&fifo), None);
        assert_eq!(head(&endless), None);
        assert_eq!(head(&dir), None);
        assert_eq!(head(&long).map(|bytes| bytes.len() as u64), Some(HEAD_BYTES_MAX));
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }

    #[test]
    fn the_interpreter_of_a_script_is_its_first_word() {
        let check = |head: &[u8], expect: Option<&[u8]>| {
            assert_eq!(script_interpreter(head), expect, "{head:?}");
        };
        check(b"#!/bin/sh\n", Some(b"/bin/sh"));
        check(b"#! /usr/bin/env python3\nx", Some(b"/usr/bin/env"));
        check(b"#!/bin/sh\r\n", Some(b"/bin/sh\r"));
        check(b"#!\n", None);
        check(b"\x7fELF", None);
    }
}
