//! The ops on memory. Only a process that has an address space of its own may execute them; in a
//! directly made child they would change the creator's.
//!
//! Contents are copied by the kernel, from and to files, so a bad address is EFAULT and the embryo
//! lives on. The embryo's own pages are refused with EBUSY.

use crate::vdso;
use embryo_plan::{Layout, MapFlags, Op};
use embryo_syscall::{self as sys, Action, Errno, Mapping, Result};

/// The stretches of memory that the executor itself lives in: first address and end. Both are 0
/// where there is none.
pub type Own = [[u64; 2]; 3];

const MAP_SHARED: u32 = 0x1;
const MAP_PRIVATE: u32 = 0x2;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_GROWSDOWN: u32 = 0x100;
const MAP_NORESERVE: u32 = 0x4000;
const MAP_POPULATE: u32 = 0x8000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;

/// Executes an op on memory. Answers what it has to tell: the address of a mapping, the bytes
/// moved, or 0. `fd` is that of the op's slot.
pub(crate) fn apply(op: &Op<'_>, fd: i32, own: &Own) -> Result<u64> {
    match *op {
        Op::Map { addr, len, prot, flags } => {
            map(addr, len, prot, kernel_flags(flags) | MAP_ANONYMOUS, -1, 0)
        }
        Op::MapSlot { addr, len, prot, flags, offset, .. } => {
            map(addr, len, prot, kernel_flags(flags), fd, offset)
        }
        Op::Unmap { addr, len } => {
            spare(own, addr, len)?;
            // SAFETY: the executor's own memory lies elsewhere, and it uses no other.
            unsafe { sys::munmap(addr, len) }.map(|()| 0)
        }
        Op::Protect { addr, len, prot } => {
            spare(own, addr, len)?;
            // SAFETY: as for munmap.
            unsafe { sys::mprotect(addr, len, prot) }.map(|()| 0)
        }
        Op::Remap { addr, len, to, to_len } => {
            spare(own, addr, len)?;
            spare(own, to, to_len)?;
            // SAFETY: as for munmap.
            unsafe { sys::mremap(addr, len, to, to_len) }
        }
        Op::Advise { addr, len, advice } => {
            spare(own, addr, len)?;
            // SAFETY: as for munmap.
            unsafe { sys::madvise(addr, len, advice) }.map(|()| 0)
        }
        Op::Lock { addr, len } => sys::mlock(addr, len).map(|()| 0),
        Op::NameRegion { addr, len, name } => sys::name_region(addr, len, name).map(|()| 0),
        Op::Write { addr, contents } => write(addr, contents, own),
        Op::WriteSlot { addr, len, offset, .. } => read_file(fd, addr, len, offset, own),
        Op::ReadSlot { addr, len, offset, .. } => whole(len, |done| {
            sys::pwrite_from(
                fd,
                addr.wrapping_add(done),
                len.wrapping_sub(done),
                offset.wrapping_add(done),
            )
        }),
        Op::Fill { addr, len, byte } => fill(addr, len, byte, own),
        Op::SignalAction { signal, flags, handler, restorer, mask } => {
            // SAFETY: every signal is blocked until the image is entered.
            unsafe { sys::set_action(signal, &Action { handler, flags, restorer, mask }) }
                .map(|()| 0)
        }
        Op::MmLayout { layout, auxv } => {
            let layout = Layout::read(layout).ok_or(Errno::INVAL)?;
            // SAFETY: the executor has no heap, and what the image will have begins there.
            unsafe { sys::set_mm_layout(layout.fields().map(|(_, addr)| addr), auxv) }.map(|()| 0)
        }
        Op::MoveVdso { to } => vdso::relocate(to, own),
        Op::DropVdso => vdso::remove().map(|()| 0),
        _ => Err(Errno::NOSYS),
    }
}

/// Room for `len` bytes that nobody may touch, at `addr` or, if that is 0, wherever there is some.
pub(crate) fn map_reserved(addr: u64, len: u64) -> Result<u64> {
    let fixed = if addr == 0 { 0 } else { MAP_FIXED_NOREPLACE };
    map(addr, len, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0)
}

fn kernel_flags(flags: MapFlags) -> u32 {
    let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
    let sharing = if flags.contains(MapFlags::SHARED) { MAP_SHARED } else { MAP_PRIVATE };
    sharing
        | bit(MapFlags::FIXED, MAP_FIXED_NOREPLACE)
        | bit(MapFlags::POPULATE, MAP_POPULATE)
        | bit(MapFlags::GROWSDOWN, MAP_GROWSDOWN)
        | bit(MapFlags::NORESERVE, MAP_NORESERVE)
}

fn map(addr: u64, len: u64, prot: u32, flags: u32, fd: i32, offset: u64) -> Result<u64> {
    // SAFETY: never MAP_FIXED, so nothing that is mapped is replaced.
    let at = unsafe { sys::mmap(&Mapping { addr, len, prot, flags, fd, offset }) }?;
    if flags & MAP_FIXED_NOREPLACE != 0 && at != addr {
        // A kernel that does not know the flag takes the address for a hint.
        // SAFETY: the mapping just made, which nobody uses.
        let _ = unsafe { sys::munmap(at, len) };
        return Err(Errno::EXIST);
    }
    Ok(at)
}

/// Refuses a range that touches the executor's own memory.
pub(crate) fn spare(own: &Own, addr: u64, len: u64) -> Result<()> {
    let end = addr.saturating_add(len);
    let touched = own.iter().any(|[from, to]| addr < *to && *from < end);
    if touched { Err(Errno::BUSY) } else { Ok(()) }
}

/// Repeats a call that may move less than all; zero bytes is the end of a file: ENODATA.
fn whole(len: u64, mut some: impl FnMut(u64) -> Result<u64>) -> Result<u64> {
    let mut done = 0u64;
    while done < len {
        match some(done) {
            Ok(0) => return Err(Errno::NODATA),
            Ok(moved) => done = done.wrapping_add(moved),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

fn read_file(fd: i32, addr: u64, len: u64, offset: u64, own: &Own) -> Result<u64> {
    spare(own, addr, len)?;
    whole(len, |done| {
        // SAFETY: the executor's own memory lies elsewhere, and it uses no other.
        unsafe {
            sys::pread_to(
                fd,
                addr.wrapping_add(done),
                len.wrapping_sub(done),
                offset.wrapping_add(done),
            )
        }
    })
}

/// A file in memory, gone when it is dropped.
struct Scratch(i32);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = sys::close(self.0);
    }
}

fn write(addr: u64, contents: &[u8], own: &Own) -> Result<u64> {
    let scratch = Scratch(sys::memfd(c"embryo:write")?);
    let from = contents.as_ptr() as u64;
    let len = contents.len() as u64;
    whole(len, |done| {
        sys::pwrite_from(scratch.0, from.wrapping_add(done), len.wrapping_sub(done), done)
    })?;
    read_file(scratch.0, addr, len, 0, own)
}

fn fill(addr: u64, len: u64, byte: u8, own: &Own) -> Result<u64> {
    let scratch = Scratch(sys::memfd(c"embryo:fill")?);
    if byte == 0 {
        // A hole reads as zeros and takes no memory.
        sys::ftruncate(scratch.0, len)?;
        return read_file(scratch.0, addr, len, 0, own);
    }
    let pattern = [byte; 1024];
    let size = pattern.len() as u64;
    sys::pwrite_from(scratch.0, pattern.as_ptr() as u64, size, 0)?;
    let mut done = 0u64;
    while done < len {
        let part = size.min(len.wrapping_sub(done));
        done = done.wrapping_add(read_file(scratch.0, addr.wrapping_add(done), part, 0, own)?);
    }
    Ok(done)
}
