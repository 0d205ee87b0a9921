//! ptrace(2): a debugger's way. The target stands still, and its tracer writes to its memory or
//! makes it call the kernel.

use std::io;
use std::ptr;
use std::thread;
use std::time::Duration;

use super::target::{READ_WRITE, SIGNAL, SIGSET_SIZE, Target};
use super::{BURST, Job, Runner};
use crate::mapping::PAGE;

/// A target may be met outside a system call, where it is of no use; then it is stopped again.
const ATTEMPTS: u32 = 100;

/// The tracer of a stopped process, which it lets go of when it is dropped.
#[derive(Debug)]
pub(crate) struct Tracer {
    pid: libc::pid_t,
    /// Registers to go on with.
    saved: Registers,
}

impl Tracer {
    /// Seizes `pid` and stops it in a system call.
    ///
    /// # Errors
    /// `PermissionDenied` where Yama or a filter says so; `Unsupported` on a machine for whose
    /// registers nothing is written here.
    pub(crate) fn attach(pid: libc::pid_t) -> io::Result<Self> {
        request(libc::PTRACE_SEIZE, pid, 0, 0)?;
        let mut tracer = Self { pid, saved: Registers::default() };
        for _ in 0..ATTEMPTS {
            request(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
            tracer.stopped()?;
            tracer.saved = Registers::of(pid)?;
            if tracer.saved.behind_syscall(pid)? {
                return Ok(tracer);
            }
            request(libc::PTRACE_CONT, pid, 0, 0)?;
            thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::other("the target was never met in a system call"))
    }

    /// Waits until the target stands still.
    fn stopped(&self) -> io::Result<()> {
        let mut status = 0;
        loop {
            // SAFETY: the call writes only the status.
            let waited = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
            if waited == self.pid && libc::WIFSTOPPED(status) {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if waited >= 0 {
                return Err(io::Error::other("the target died while it was traced"));
            }
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Makes the target call the kernel, and returns what the kernel answered.
    fn call(&self, number: i64, args: [u64; 6]) -> io::Result<u64> {
        self.saved.calling(number, args).set(self.pid)?;
        request(libc::PTRACE_SINGLESTEP, self.pid, 0, 0)?;
        self.stopped()?;
        Registers::of(self.pid)?.result()
    }

    fn map(&self, addr: u64) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let args = [addr, PAGE as u64, READ_WRITE.into(), flags as u64, u64::MAX, 0];
        match self.call(libc::SYS_mmap, args)? {
            at if at == addr => Ok(()),
            _ => Err(io::Error::other("mmap put a page elsewhere")),
        }
    }

    fn write(&self, addr: u64, bytes: &[u8]) -> io::Result<()> {
        for (addr, word) in (addr..).step_by(size_of::<u64>()).zip(bytes.as_chunks().0) {
            request(libc::PTRACE_POKEDATA, self.pid, addr, u64::from_ne_bytes(*word))?;
        }
        Ok(())
    }
}

impl Runner for Tracer {
    fn run(&mut self, target: &mut Target) -> io::Result<()> {
        if target.job == Job::Signal {
            // The call reads its action from the target's memory: the handler, then zeros.
            self.write(target.start, &(libc::SIG_IGN as u64).to_ne_bytes())?;
        }
        for index in 0..BURST {
            match target.job {
                Job::Map => self.map(target.addr(index))?,
                Job::Signal => {
                    let args = [SIGNAL.into(), target.start, 0, SIGSET_SIZE as u64, 0, 0];
                    self.call(libc::SYS_rt_sigaction, args)?;
                }
                Job::Write => self.write(target.addr(index), target.bytes(index))?,
            }
        }
        Ok(())
    }

    fn reset(&mut self, target: &mut Target) -> io::Result<()> {
        if target.job == Job::Map {
            self.call(libc::SYS_munmap, [target.start, target.room(), 0, 0, 0, 0])?;
        }
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It goes back into the system call that it was met in. One that is dead needs nothing.
        let _ = self.saved.set(self.pid);
        let _ = request(libc::PTRACE_DETACH, self.pid, 0, 0);
    }
}

/// One of the requests that take two numbers.
fn request(request: libc::c_uint, pid: libc::pid_t, addr: u64, data: u64) -> io::Result<()> {
    let (addr, data) = (addr as *mut libc::c_void, data as *mut libc::c_void);
    // SAFETY: the requests made here take both for numbers, and reach only the target's memory.
    let result = unsafe { libc::ptrace(request, pid, addr, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The target's general registers.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
struct Registers(libc::user_regs_struct);

#[cfg(target_arch = "x86_64")]
impl Default for Registers {
    fn default() -> Self {
        // SAFETY: the registers are numbers, of which all zeros is a value.
        Self(unsafe { std::mem::zeroed() })
    }
}

#[cfg(target_arch = "x86_64")]
impl Registers {
    /// The instruction `syscall`, as it lies in memory.
    const SYSCALL: [u8; 2] = [0x0f, 0x05];

    fn of(pid: libc::pid_t) -> io::Result<Self> {
        let mut registers = Self::default();
        let room: *mut libc::user_regs_struct = &mut registers.0;
        // SAFETY: the request writes the registers to the room that it is given.
        let result =
            unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, ptr::null_mut::<u8>(), room) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(registers) }
    }

    fn set(&self, pid: libc::pid_t) -> io::Result<()> {
        let registers: *const libc::user_regs_struct = &self.0;
        // SAFETY: the request only reads the registers; they are those of a bench target.
        let result =
            unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, ptr::null_mut::<u8>(), registers) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether the instruction before the next one is `syscall`.
    fn behind_syscall(&self, pid: libc::pid_t) -> io::Result<bool> {
        let at = self.0.rip.wrapping_sub(Self::SYSCALL.len() as u64);
        let mut bytes = [0_u8; Self::SYSCALL.len()];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: the call writes only to the local bytes.
        let read = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
        if read < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes == Self::SYSCALL) }
    }

    /// These, but about to execute that `syscall` once more with another number and arguments.
    fn calling(&self, number: i64, args: [u64; 6]) -> Self {
        let mut registers = self.0;
        registers.rip = registers.rip.wrapping_sub(Self::SYSCALL.len() as u64);
        registers.rax = number as u64;
        // No system call is under way that the kernel would begin again.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] =
            args;
        Self(registers)
    }

    /// What the kernel answered.
    fn result(&self) -> io::Result<u64> {
        let answer = self.0.rax as i64;
        match answer {
            -4095..0 => Err(io::Error::from_raw_os_error(-answer as i32)),
            _ => Ok(self.0.rax),
        }
    }
}

/// Not written yet.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Debug, Clone, Copy, Default)]
struct Registers;

#[cfg(not(target_arch = "x86_64"))]
impl Registers {
    fn of(_: libc::pid_t) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "written for x86_64 alone"))
    }

    fn set(&self, _: libc::pid_t) -> io::Result<()> {
        Ok(())
    }

    fn behind_syscall(&self, _: libc::pid_t) -> io::Result<bool> {
        Ok(false)
    }

    fn calling(&self, _: i64, _: [u64; 6]) -> Self {
        Self
    }

    fn result(&self) -> io::Result<u64> {
        Ok(0)
    }
}
