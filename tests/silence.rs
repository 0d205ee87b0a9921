//! Things that never answer: a supervisor that sleeps, a file server that is dead, a cgroup that is
//! frozen.
//!
//! Each is undone when it is dropped, and must never reach beyond the process that made it.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A seccomp listener that nobody reads: who makes one of its calls waits until it is closed.
pub(crate) struct Listener(#[expect(dead_code, reason = "it is closed on drop")] OwnedFd);

impl Listener {
    /// Intercepts one system call of the calling thread and of its children from now on. `None` if
    /// this kernel has no listeners.
    pub(crate) fn on(call: libc::c_long) -> Option<Self> {
        const USER_NOTIF: u32 = 0x7fc0_0000;
        const NEW_LISTENER: libc::c_ulong = 8;
        let step =
            |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, USER_NOTIF),
            step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        if !embryo_tests::is_root() {
            rustix::thread::set_no_new_privs(true).expect("anybody may set it");
        }
        // SAFETY: the kernel reads one sock_fprog and the program it points to, both alive.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                NEW_LISTENER,
                &raw const filter,
            )
        };
        // SAFETY: the kernel has just made it, and nobody else knows its number.
        (fd >= 0).then(|| Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }
}

/// A file system whose server has died without saying so: every lookup in it waits.
pub(crate) struct DeadServer {
    // Closing it lets everybody go.
    device: Option<File>,
    dir: tempfile::TempDir,
}

impl DeadServer {
    /// Mounts one in a mount namespace of the calling thread's own. `None` if it may not, or if the
    /// kernel has no FUSE.
    pub(crate) fn mount() -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let dir = embryo_tests::tempdir();
        // SAFETY: no memory is concerned, and what is mounted from here on is this thread's.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return None;
        }
        let here = CString::new(dir.path().as_os_str().as_bytes()).ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).ok()?;
        // SAFETY: the paths are C strings.
        let private = unsafe {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
        };
        // SAFETY: paths and options are C strings.
        let mounted = unsafe {
            let fuse = c"fuse".as_ptr();
            libc::mount(fuse, here.as_ptr(), fuse, 0, options.as_ptr().cast())
        };
        (private == 0 && mounted == 0).then_some(Self { device: Some(device), dir })
    }

    /// The directory on which it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for DeadServer {
    fn drop(&mut self) {
        drop(self.device.take());
        if let Ok(path) = CString::new(self.dir.path().as_os_str().as_bytes()) {
            // SAFETY: the path is a C string.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// A cgroup whose members stand still.
pub(crate) struct Frozen {
    dir: PathBuf,
    thaw: (&'static str, &'static str),
}

impl Frozen {
    /// Makes one for each kind of freezer there is: in version 2 a member can be killed, in version
    /// 1 it cannot even die.
    pub(crate) fn each() -> Vec<Self> {
        let kinds = [
            ("/sys/fs/cgroup", ("cgroup.freeze", "1"), ("cgroup.freeze", "0")),
            ("/sys/fs/cgroup/unified", ("cgroup.freeze", "1"), ("cgroup.freeze", "0")),
            ("/sys/fs/cgroup/freezer", ("freezer.state", "FROZEN"), ("freezer.state", "THAWED")),
        ];
        let make = |(root, freeze, thaw): (&str, (&str, &str), _)| {
            let dir = Path::new(root).join(format!("embryo-test-{}", std::process::id()));
            std::fs::create_dir(&dir).ok()?;
            let frozen = Self { dir, thaw };
            std::fs::write(frozen.dir.join(freeze.0), freeze.1).ok()?;
            Some(frozen)
        };
        kinds.into_iter().filter_map(make).collect()
    }

    /// Puts a process in, unless it has ended.
    pub(crate) fn take(&self, pid: i32) {
        match std::fs::write(self.dir.join("cgroup.procs"), pid.to_string()) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            outcome => outcome.unwrap_or_else(|e| panic!("{self} takes no member: {e}")),
        }
    }

    /// Lets its members go on.
    pub(crate) fn thaw(&self) {
        let _ = std::fs::write(self.dir.join(self.thaw.0), self.thaw.1);
    }
}

impl std::fmt::Display for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dir.display().fmt(f)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw();
        let removed = || std::fs::remove_dir(&self.dir).is_ok();
        let _ = embryo_tests::wait_for(std::time::Duration::from_secs(5), removed);
    }
}
