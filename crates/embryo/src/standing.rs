//! What a thread is entitled to, at one moment: an embryo that was made at another may have more.
//!
//! Everything that a child has of its creator without a word in the plan and that could be taken
//! away from the creator stands here. What cannot have changed is not asked for: joining and leaving
//! namespaces needs CAP_SYS_ADMIN, and so on; a capability that is not permitted can come back
//! by exec alone. (A new user namespace, which needs none, changes the capabilities themselves.)

use crate::guarded::{AsRaw, Guarded};
use embryo_syscall::{self as sys, Errno, Identity, Tell};
use rustix::fs::{Mode, OFlags};
use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

type Answer<T> = Result<T, Errno>;

const CAP_SETPCAP: u64 = 1 << 8;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const RLIMITS: usize = 16;
const CPU_BYTES: usize = 128;
const GROUPS_MAX: usize = 65536;
/// All but that of users, which the capabilities show. (The root directory can be in another mount
/// namespace than the thread is.)
const NAMESPACES: [&std::ffi::CStr; 7] =
    [c"mnt", c"net", c"pid_for_children", c"ipc", c"uts", c"cgroup", c"time_for_children"];

/// What is compared. A call that the kernel refuses is compared by its errno.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    ids: Answer<[[u32; 3]; 2]>,
    groups: Vec<u32>,
    capabilities: Answer<[u64; 3]>,
    /// Bounding and ambient set, where they can change.
    capability_sets: [u64; 2],
    securebits: Answer<usize>,
    no_new_privs: Answer<usize>,
    seccomp: Answer<usize>,
    /// How many filters there are, if there are any.
    filters: u64,
    keyring: Answer<usize>,
    limits: [Answer<[u64; 2]>; RLIMITS],
    affinity: [u8; CPU_BYTES],
    priorities: Answer<[usize; 2]>,
    personality: Answer<usize>,
    session: Answer<i32>,
    root: Answer<Identity>,
    /// By inode number, where they can change; 0 is one that the kernel has not.
    namespaces: [u64; NAMESPACES.len()],
    cgroup: Cgroup,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cgroup {
    Id(u64),
    /// /proc/thread-self/cgroup: where there are hierarchies of version 1, or no call that tells.
    Text(Vec<u8>),
}

/// Something that has to be known and cannot be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown {
    pub(crate) what: &'static str,
    pub(crate) errno: i32,
}

impl Unknown {
    fn new(what: &'static str, errno: rustix::io::Errno) -> Self {
        Self { what, errno: errno.raw_os_error() }
    }
}

/// What /proc/thread-self/status tells that no call does without changing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) umask: u32,
    pub(crate) ignored: u64,
    bounding: u64,
    ambient: u64,
    filters: u64,
}

impl Standing {
    /// The calling thread's, and its status if that is wanted. `own` is a pidfd of this process.
    pub(crate) fn now(own: BorrowedFd<'_>, status: bool) -> Result<(Self, Status), Unknown> {
        PROC.with_borrow_mut(|proc| Self::ask(own, status, proc))
    }

    fn ask(own: BorrowedFd<'_>, status: bool, proc: &mut Proc) -> Result<(Self, Status), Unknown> {
        proc.of_this_thread();
        let capabilities = sys::capget();
        // Unknown is everything.
        let [permitted, inheritable] = capabilities.map_or([!0; 2], |[_, p, i]| [p, i]);
        let seccomp = sys::tell(Tell::Seccomp);
        let bounded = permitted & CAP_SETPCAP != 0;
        let ambient = inheritable & permitted != 0;
        let status = match status || bounded || ambient || seccomp != Ok(0) {
            true => proc.status()?,
            false => Status::default(),
        };
        let mut affinity = [0; CPU_BYTES];
        // A machine with more CPUs has them compared by the errno alone.
        if let Err(errno) = sys::sched_get_affinity(&mut affinity) {
            affinity[..2].copy_from_slice(&errno.number().to_ne_bytes());
        }
        let standing = Self {
            ids: sys::get_res_ids(),
            groups: groups(),
            capabilities,
            capability_sets: [
                if bounded { status.bounding } else { 0 },
                if ambient { status.ambient } else { 0 },
            ],
            securebits: sys::tell(Tell::Securebits),
            no_new_privs: sys::tell(Tell::NoNewPrivs),
            filters: if seccomp == Ok(0) { 0 } else { status.filters },
            seccomp,
            keyring: sys::session_keyring(),
            limits: std::array::from_fn(|resource| sys::getrlimit(resource as u32)),
            affinity,
            priorities: sys::priorities(),
            personality: sys::get_personality(),
            session: sys::getsid(0),
            root: sys::identity(c"/"),
            namespaces: match permitted & CAP_SYS_ADMIN {
                0 => [0; NAMESPACES.len()],
                _ => proc.namespaces()?,
            },
            cgroup: proc.cgroup(own)?,
        };
        Ok((standing, status))
    }

    /// What is not as it was, in a word.
    pub(crate) fn difference(&self, before: &Self) -> Option<&'static str> {
        let differs = [
            (self.ids != before.ids, "user and group ids"),
            (self.groups != before.groups, "supplementary groups"),
            (self.capabilities != before.capabilities, "capabilities"),
            (self.capability_sets != before.capability_sets, "capabilities"),
            (self.securebits != before.securebits, "securebits"),
            (self.no_new_privs != before.no_new_privs, "no_new_privs"),
            (self.seccomp != before.seccomp, "seccomp"),
            (self.filters != before.filters, "seccomp"),
            (self.keyring != before.keyring, "session keyring"),
            (self.limits != before.limits, "resource limits"),
            (self.affinity != before.affinity, "CPU affinity"),
            (self.priorities != before.priorities, "priority"),
            (self.personality != before.personality, "personality"),
            (self.session != before.session, "session"),
            (self.root != before.root, "root directory"),
            (self.namespaces != before.namespaces, "namespaces"),
            (self.cgroup != before.cgroup, "cgroup"),
        ];
        differs.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }

    /// Whether children of this thread come to another pid namespace than it is in.
    pub(crate) fn children_go_elsewhere() -> bool {
        let read = |name: &str| std::fs::read_link(format!("/proc/thread-self/ns/{name}"));
        match (read("pid"), read("pid_for_children")) {
            (Ok(own), Ok(children)) => own != children,
            // Of a namespace that has no process yet nothing can be read.
            (Ok(_), Err(_)) => true,
            _ => false,
        }
    }
}

fn groups() -> Vec<u32> {
    const USUAL: usize = 32;
    let mut list = vec![0; USUAL];
    let mut count = sys::getgroups(&mut list);
    if count == Err(Errno::INVAL) {
        list.resize(GROUPS_MAX, 0);
        count = sys::getgroups(&mut list);
    }
    list.truncate(count.unwrap_or(0));
    list
}

thread_local! {
    static PROC: RefCell<Proc> = const { RefCell::new(Proc::NONE) };
}

/// Files of /proc/thread-self, kept open by a thread that spawns from hatcheries.
#[derive(Debug)]
struct Proc {
    /// Whose they are: a forked child has them too, and in it they tell of another.
    process: i32,
    status: Option<Guarded>,
    cgroup: Option<Guarded>,
    namespaces: Option<Guarded>,
}

/// More than the status of a thread with many groups takes, and the paths of its cgroups.
const TEXT_MAX: usize = 64 << 10;
const TEXT_USUAL: usize = 4 << 10;

impl Proc {
    const NONE: Self = Self { process: 0, status: None, cgroup: None, namespaces: None };

    fn of_this_thread(&mut self) {
        let process = sys::getpid();
        if self.process != process {
            *self = Self { process, ..Self::NONE };
        }
    }

    /// A kept file, or one that is opened to be kept.
    fn file<'a>(
        kept: &'a mut Option<Guarded>,
        path: &'static str,
        flags: OFlags,
    ) -> Result<BorrowedFd<'a>, rustix::io::Errno> {
        if let Some(lost) = kept.take_if(|file| !file.intact()) {
            lost.forget();
        }
        if kept.is_none() {
            let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?;
            *kept = Some(Guarded::new(file)?);
        }
        Ok(kept.as_ref().map(Guarded::as_fd).expect("it was just put there"))
    }

    fn text(file: BorrowedFd<'_>) -> Result<Vec<u8>, rustix::io::Errno> {
        let mut text = vec![0; TEXT_USUAL];
        loop {
            let len = rustix::io::pread(file, &mut text, 0)?;
            if len < text.len() || text.len() >= TEXT_MAX {
                text.truncate(len);
                return Ok(text);
            }
            text.resize(TEXT_MAX, 0);
        }
    }

    fn status(&mut self) -> Result<Status, Unknown> {
        let path = "/proc/thread-self/status";
        let what = "reading /proc/thread-self/status";
        let text = Self::file(&mut self.status, path, OFlags::RDONLY).and_then(Self::text);
        let text = text.map_err(|errno| Unknown::new(what, errno))?;
        Status::parse(&text).ok_or(Unknown::new(what, rustix::io::Errno::BADMSG))
    }

    fn cgroup(&mut self, own: BorrowedFd<'_>) -> Result<Cgroup, Unknown> {
        if unified_only()
            && let Ok(id) = sys::pidfd_cgroup(own.as_raw())
        {
            return Ok(Cgroup::Id(id));
        }
        let path = "/proc/thread-self/cgroup";
        match Self::file(&mut self.cgroup, path, OFlags::RDONLY).and_then(Self::text) {
            Ok(text) => Ok(Cgroup::Text(text)),
            // A kernel without cgroups.
            Err(rustix::io::Errno::NOENT) => Ok(Cgroup::Text(Vec::new())),
            Err(errno) => Err(Unknown::new("reading the thread's cgroup", errno)),
        }
    }

    fn namespaces(&mut self) -> Result<[u64; NAMESPACES.len()], Unknown> {
        let what = "reading the thread's namespaces";
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = Self::file(&mut self.namespaces, "/proc/thread-self/ns", flags)
            .map_err(|errno| Unknown::new(what, errno))?;
        let mut inodes = [0; NAMESPACES.len()];
        for (inode, name) in inodes.iter_mut().zip(NAMESPACES) {
            let mut link = [std::mem::MaybeUninit::uninit(); 64];
            match rustix::fs::readlinkat_raw(directory, name, &mut link) {
                // NAME:[INODE].
                Ok((link, _)) => *inode = number_in(link),
                // Namespaces of time are from Linux 5.6; one for children may have no process yet.
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(Unknown::new(what, errno)),
            }
        }
        Ok(inodes)
    }
}

fn number_in(text: &[u8]) -> u64 {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'))
}

/// Whether all controllers are on the hierarchy of version 2. It cannot change while one is in use.
fn unified_only() -> bool {
    static UNIFIED: OnceLock<bool> = OnceLock::new();
    *UNIFIED.get_or_init(|| {
        std::fs::read("/proc/self/cgroup").is_ok_and(|text| {
            text.split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .all(|line| line.starts_with(b"0:"))
        })
    })
}

impl Status {
    /// The calling thread's.
    pub(crate) fn of_thread() -> Result<Self, Unknown> {
        PROC.with_borrow_mut(|proc| {
            proc.of_this_thread();
            proc.status()
        })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut status = Self::default();
        let mut found = 0;
        for line in text.split(|byte| *byte == b'\n') {
            let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..at], line.get(at + 2..)?);
            let field = match name {
                b"Umask" => {
                    status.umask = number(value, 8)? as u32;
                    found += 1;
                    continue;
                }
                b"SigIgn" => &mut status.ignored,
                b"CapBnd" => &mut status.bounding,
                b"CapAmb" => &mut status.ambient,
                // Since Linux 5.9.
                b"Seccomp_filters" => {
                    status.filters = number(value, 10)?;
                    break;
                }
                _ => continue,
            };
            *field = number(value, 16)?;
            found += 1;
        }
        (found == 4).then_some(status)
    }
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> std::os::fd::OwnedFd {
        let flags = rustix::process::PidfdFlags::empty();
        rustix::process::pidfd_open(rustix::process::getpid(), flags).expect("one has a pidfd")
    }

    #[test]
    fn nothing_differs_from_one_moment_to_the_next() {
        let own = own();
        let own = std::os::fd::AsFd::as_fd(&own);
        let [first, second] =
            [Standing::now(own, false), Standing::now(own, false)].map(|now| now.expect("known").0);
        assert_eq!(first.difference(&second), None);
        assert_eq!(first, second);
    }

    #[test]
    fn a_thread_that_is_confined_to_one_cpu_differs() {
        let own = own();
        let check = move || {
            let own = std::os::fd::AsFd::as_fd(&own);
            let (before, _) = Standing::now(own, false).expect("known");
            let mut cpus = rustix::thread::sched_getaffinity(None).expect("one may ask");
            let first = (0..).find(|cpu| cpus.is_set(*cpu)).expect("it runs on one");
            if cpus.count() == 1 {
                return;
            }
            cpus.unset(first);
            rustix::thread::sched_setaffinity(None, &cpus).expect("one may do with less");
            let (now, _) = Standing::now(own, false).expect("known");
            assert_eq!(now.difference(&before), Some("CPU affinity"));
        };
        std::thread::spawn(check).join().expect("it does not panic");
    }

    #[test]
    fn a_status_says_what_no_call_tells() {
        let text =
            b"Name:\tx\nUmask:\t0022\nSigIgn:\t0000000000001000\nCapBnd:\t00000000000000ff\n\
                     CapAmb:\t0000000000000001\nSeccomp_filters:\t2\n";
        let status = Status::parse(text).expect("it is one");
        let expected =
            Status { umask: 0o22, ignored: 1 << 12, bounding: 0xff, ambient: 1, filters: 2 };
        assert_eq!(status, expected);
        assert_eq!(Status::parse(b"Name:\tx\n"), None);
    }

    #[test]
    fn a_namespace_is_known_by_its_number() {
        assert_eq!(number_in(b"net:[4026531840]"), 4_026_531_840);
    }
}
