//! The floor: this process calls the kernel for itself, so that an op costs what the kernel's own
//! work costs and nothing more.

use std::ffi::c_void;
use std::io;
use std::ptr;

use rustix::mm::{self, MapFlags, ProtFlags};

use super::target::{SIGNAL, SIGSET_SIZE, Target};
use super::{BURST, Job, Runner};
use crate::mapping::PAGE;

/// Does a burst to this process.
#[derive(Debug)]
pub(crate) struct Itself;

impl Runner for Itself {
    fn run(&mut self, target: &mut Target) -> io::Result<()> {
        match target.job {
            Job::Signal => {
                for _ in 0..BURST {
                    act(libc::SIG_IGN)?;
                }
            }
            Job::Map => {
                for index in 0..BURST {
                    map(target.addr(index) as *mut c_void)?;
                }
            }
            Job::Write => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(())
    }

    fn reset(&mut self, target: &mut Target) -> io::Result<()> {
        match target.job {
            // Launches that are measured later must find it as it was.
            Job::Signal => act(libc::SIG_DFL)?,
            Job::Map => {
                // SAFETY: only `map` maps anything there, and no reference into it was ever made.
                unsafe { mm::munmap(target.start as *mut c_void, target.room() as usize)? };
            }
            Job::Write => {}
        }
        Ok(())
    }
}

/// One rt_sigaction(2), by the kernel's own interface: what libc does around it is not measured.
fn act(handler: libc::sighandler_t) -> io::Result<()> {
    // On both machines the handler stands first in the kernel's struct; the rest is zero.
    let action = [handler, 0, 0, 0];
    let old = ptr::null_mut::<u8>();
    // SAFETY: neither handler is code of ours, and the kernel reads 32 bytes at most.
    let result =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, SIGNAL, action.as_ptr(), old, SIGSET_SIZE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A page at an address where nothing is.
fn map(at: *mut c_void) -> io::Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: the flag makes the kernel refuse an address where something is.
    unsafe { mm::mmap_anonymous(at, PAGE, ProtFlags::READ | ProtFlags::WRITE, flags)? };
    Ok(())
}
