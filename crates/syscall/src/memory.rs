//! The calling process's own memory, by address.
//!
//! An address from a plan is just a number. Calls that only rearrange mappings are safe to *make*
//! with any number when nothing the caller itself uses lies there, which is what each of them asks
//! for. Contents are copied by the kernel (from and to files), so that a bad address is EFAULT and
//! not a signal.

use crate::Result;
use crate::raw::syscall;
use core::ffi::CStr;
use linux_raw_sys::general::{
    __NR_ftruncate, __NR_madvise, __NR_memfd_create, __NR_mlock, __NR_mmap, __NR_mprotect,
    __NR_mremap, __NR_munmap, __NR_prctl, __NR_pread64, __NR_pwrite64,
};

/// What mmap(2) is to map.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// Address, or 0.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// `MAP_*`.
    pub flags: u32,
    /// The file, or -1 for anonymous memory.
    pub fd: i32,
    /// Where in the file.
    pub offset: u64,
}

/// `mmap(2)`. Returns the address.
///
/// # Safety
/// With `MAP_FIXED`, nothing that the caller uses may lie there.
pub unsafe fn mmap(mapping: &Mapping) -> Result<u64> {
    let Mapping { addr, len, prot, flags, fd, offset } = *mapping;
    // SAFETY: the caller vouches for the range; elsewhere the kernel finds room.
    let at = unsafe {
        crate::raw::ret(crate::raw::syscall6(
            __NR_mmap,
            addr as usize,
            len as usize,
            prot as usize,
            flags as usize,
            fd as isize as usize,
            offset as usize,
        ))
    }?;
    Ok(at as u64)
}

/// `munmap(2)`.
///
/// # Safety
/// Nothing that the caller uses may lie there.
pub unsafe fn munmap(addr: u64, len: u64) -> Result<()> {
    // SAFETY: the caller vouches for the range.
    unsafe { syscall!(__NR_munmap, addr, len) }.map(drop)
}

/// `mprotect(2)`.
///
/// # Safety
/// Nothing that the caller uses may lie there.
pub unsafe fn mprotect(addr: u64, len: u64, prot: u32) -> Result<()> {
    // SAFETY: the caller vouches for the range.
    unsafe { syscall!(__NR_mprotect, addr, len, prot) }.map(drop)
}

/// `mremap(2)`; `to` 0 lets the kernel choose. Returns the new address.
///
/// # Safety
/// Nothing that the caller uses may lie in either range.
pub unsafe fn mremap(addr: u64, len: u64, to: u64, to_len: u64) -> Result<u64> {
    const MAYMOVE: usize = 1;
    const FIXED: usize = 2;
    let flags = if to == 0 { MAYMOVE } else { MAYMOVE | FIXED };
    // SAFETY: the caller vouches for both ranges.
    unsafe { syscall!(__NR_mremap, addr, len, to_len, flags, to) }.map(|at| at as u64)
}

/// `madvise(2)`.
///
/// # Safety
/// Nothing that the caller uses may lie there: some advice discards contents.
pub unsafe fn madvise(addr: u64, len: u64, advice: u32) -> Result<()> {
    // SAFETY: the caller vouches for the range.
    unsafe { syscall!(__NR_madvise, addr, len, advice) }.map(drop)
}

/// `mlock(2)`.
pub fn mlock(addr: u64, len: u64) -> Result<()> {
    // SAFETY: locking pages changes neither contents nor mappings.
    unsafe { syscall!(__NR_mlock, addr, len) }.map(drop)
}

/// `prctl(2)` `PR_SET_VMA_ANON_NAME`. Since Linux 5.17.
pub fn name_region(addr: u64, len: u64, name: &CStr) -> Result<()> {
    const PR_SET_VMA: usize = 0x5356_4d41;
    // SAFETY: the kernel copies the string; the region itself does not change.
    unsafe { syscall!(__NR_prctl, PR_SET_VMA, 0usize, addr, len, name.as_ptr()) }.map(drop)
}

/// `pread(2)` to an address. Returns the bytes read.
///
/// # Safety
/// Nothing that the caller relies on may lie there.
pub unsafe fn pread_to(fd: i32, addr: u64, len: u64, offset: u64) -> Result<u64> {
    // SAFETY: the caller vouches for the range; an unmapped one is EFAULT.
    unsafe { syscall!(__NR_pread64, fd as isize, addr, len, offset) }.map(|n| n as u64)
}

/// `pwrite(2)` from an address. Returns the bytes written.
pub fn pwrite_from(fd: i32, addr: u64, len: u64, offset: u64) -> Result<u64> {
    // SAFETY: the kernel only reads the range; an unmapped one is EFAULT.
    unsafe { syscall!(__NR_pwrite64, fd as isize, addr, len, offset) }.map(|n| n as u64)
}

/// `memfd_create(2)`, close-on-exec.
pub fn memfd(name: &CStr) -> Result<i32> {
    // SAFETY: the kernel copies the string.
    unsafe { syscall!(__NR_memfd_create, name.as_ptr(), 1usize) }.map(|fd| fd as i32)
}

/// `ftruncate(2)`.
pub fn ftruncate(fd: i32, len: u64) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_ftruncate, fd as isize, len) }.map(drop)
}

/// What `PR_SET_MM_MAP` takes: `struct prctl_mm_map`.
#[repr(C)]
struct MmMap {
    addresses: [u64; 11],
    auxv: *const u8,
    auxv_len: u32,
    exe_fd: u32,
}

const PR_SET_MM: usize = 35;

/// `prctl(2)` `PR_SET_MM_MAP`: where the parts of the program are, in the order of the kernel's
/// struct, and what /proc/PID/auxv is to be; an empty one leaves it. The executable stays. Since
/// Linux 3.18, with `CONFIG_CHECKPOINT_RESTORE`.
///
/// # Safety
/// Nothing in this address space may use memory of brk(2), which begins elsewhere then.
pub unsafe fn set_mm_layout(addresses: [u64; 11], auxv: &[u8]) -> Result<()> {
    const MAP: usize = 14;
    let map = MmMap { addresses, auxv: auxv.as_ptr(), auxv_len: auxv.len() as u32, exe_fd: !0 };
    // SAFETY: the kernel reads one struct and the vector that it points to; the caller vouches for
    // the heap.
    unsafe { syscall!(__NR_prctl, PR_SET_MM, MAP, &raw const map, size_of::<MmMap>()) }.map(drop)
}

/// `prctl(2)` `PR_SET_MM_MAP_SIZE`: whether this kernel takes [`set_mm_layout`], and as many bytes.
///
/// # Errors
/// EINVAL, or EPERM for an ordinary user, without `CONFIG_CHECKPOINT_RESTORE`.
pub fn mm_layout_size() -> Result<u32> {
    const SIZE: usize = 15;
    let mut size = 0u32;
    // SAFETY: the kernel writes one 32-bit number to `size`.
    unsafe { syscall!(__NR_prctl, PR_SET_MM, SIZE, &raw mut size) }?;
    Ok(size)
}
