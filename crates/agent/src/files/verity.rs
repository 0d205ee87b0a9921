//! The digest that fs-verity has of a file: the kernel checks what is read against it, and the file can never be
//! written again. Documentation/filesystems/fsverity.rst.
//!
//! It must never be asked of a file whose file system is not of this machine: FUSE would ask its server.

use crate::files::facts::{Facts, Kind};
use embryo_syscall::{Errno, VerityDigest, measure_verity};
use std::fmt::Write;
use std::os::fd::BorrowedFd;

/// The digest as `fsverity measure` prints it: `sha256:HEX`. `None` if there is none, or the file is not one
/// that can be asked; `facts` are of the same descriptor.
///
/// # Errors
/// As `FS_IOC_MEASURE_VERITY`, but for what says that the file has no digest.
///
/// # Kernel
/// Linux 5.4, with `CONFIG_FS_VERITY`, on ext4, f2fs and btrfs.
pub fn measure(fd: BorrowedFd<'_>, facts: &Facts) -> Result<Option<String>, Errno> {
    if !matches!(facts.kind, Kind::File(_)) {
        return Ok(None);
    }
    let VerityDigest { algorithm, bytes, len } = match measure_verity(fd) {
        Ok(digest) => digest,
        Err(Errno::NODATA | Errno::NOTTY | Errno::OPNOTSUPP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let name = match algorithm {
        1 => "sha256",
        2 => "sha512",
        _ => return Ok(None),
    };
    let mut text = format!("{name}:");
    for byte in bytes.iter().take(len) {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(Some(text))
}
