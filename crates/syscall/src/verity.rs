//! fs-verity: the digest that the kernel checks a file against whenever it is read.

use crate::Result;
use crate::raw::syscall;
use linux_raw_sys::general::__NR_ioctl;
use rustix::fd::{AsRawFd, BorrowedFd};

/// The digest of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerityDigest {
    /// `FS_VERITY_HASH_ALG_*`: 1 is SHA-256, 2 SHA-512.
    pub algorithm: u16,
    /// The digest, and what does not belong to it.
    pub bytes: [u8; 64],
    /// How many of these do.
    pub len: usize,
}

/// `struct fsverity_digest` with room for the longest.
#[repr(C)]
struct Measured {
    algorithm: u16,
    size: u16,
    bytes: [u8; 64],
}

/// `ioctl(2)` with `FS_IOC_MEASURE_VERITY`. ENODATA if the file has no digest, ENOTTY or EOPNOTSUPP if its file
/// system or the kernel knows of none. Since Linux 5.4.
pub fn measure_verity(file: BorrowedFd<'_>) -> Result<VerityDigest> {
    const FS_IOC_MEASURE_VERITY: usize = 0xc004_6686;
    let mut measured = Measured { algorithm: 0, size: 64, bytes: [0; 64] };
    let into = &raw mut measured;
    // SAFETY: the kernel reads `size` from a live local, and writes at most that many bytes of a digest
    // behind it, for which there is room.
    unsafe { syscall!(__NR_ioctl, file.as_raw_fd() as isize, FS_IOC_MEASURE_VERITY, into) }?;
    let Measured { algorithm, size, bytes } = measured;
    Ok(VerityDigest { algorithm, bytes, len: usize::from(size).min(64) })
}
