//! process_vm_writev(2): the kernel's own way to write to another process in bulk.

use std::ffi::c_void;
use std::io;

use super::target::{Target, WRITE};
use super::{BURST, Runner};

/// Writes a burst with `size` elements a call.
#[derive(Debug)]
pub(crate) struct VmWritev {
    size: usize,
    remote: Vec<libc::iovec>,
}

impl VmWritev {
    /// For this target: where its writes go is written down beforehand.
    pub(crate) fn new(size: usize, target: &Target) -> Self {
        let element =
            |index| libc::iovec { iov_base: target.addr(index) as *mut c_void, iov_len: WRITE };
        Self { size, remote: (0..BURST).map(element).collect() }
    }
}

impl Runner for VmWritev {
    fn run(&mut self, target: &mut Target) -> io::Result<()> {
        for first in (0..BURST).step_by(self.size) {
            let remote = &self.remote[first..(first + self.size).min(BURST)];
            // The places adjoin here as well, so one local element holds them all.
            let bytes = &target.contents[first * WRITE..][..remote.len() * WRITE];
            let local =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            // SAFETY: the local bytes are live and only read; the remote addresses are looked up in
            // another process, whose memory no reference of this one reaches.
            let written = unsafe {
                libc::process_vm_writev(
                    target.pid(),
                    &local,
                    1,
                    remote.as_ptr(),
                    remote.len() as libc::c_ulong,
                    0,
                )
            };
            match usize::try_from(written) {
                Ok(written) if written == bytes.len() => {}
                Ok(_) => return Err(io::Error::other("process_vm_writev wrote less than asked")),
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        Ok(())
    }

    fn reset(&mut self, target: &mut Target) -> io::Result<()> {
        target.reset()
    }
}
