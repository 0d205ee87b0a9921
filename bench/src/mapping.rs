//! One private anonymous mapping, owned.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

/// The page size that the dirty memory is counted in.
pub(crate) const PAGE: usize = 4096;

/// Private anonymous memory in pages of 4 KiB, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut c_void,
    size: usize,
}

// SAFETY: the mapping belongs to this value alone, is not tied to a thread, and its bytes are
// reached only as atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// mmap(2) of `size` readable and writable bytes that no huge page will back.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: with a null hint and no MAP_FIXED the kernel picks a range that is free.
        let start =
            unsafe { mm::mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE)? };
        let mapping = Self { start, size };
        // SAFETY: the advice changes no byte of a range that this value owns.
        let advised = unsafe { mm::madvise(start, size, Advice::LinuxNoHugepage) };
        match advised {
            // A kernel without huge pages does not know the advice.
            Ok(()) | Err(io::Errno::INVAL) => Ok(mapping),
            Err(error) => Err(error),
        }
    }

    /// Makes every second page unwritable, so that each page is a mapping of its own.
    pub(crate) fn split(&self) -> io::Result<()> {
        for page in (1..self.pages()).step_by(2) {
            let start = self.start.wrapping_byte_add(page * PAGE);
            // SAFETY: the page lies in the range that this value owns, and of odd pages nothing
            // is asked after this: `split` is for a mapping that is only there to be counted.
            unsafe { mm::mprotect(start, PAGE, MprotectFlags::empty())? };
        }
        Ok(())
    }

    /// Whole pages in the mapping.
    pub(crate) fn pages(&self) -> usize {
        self.size / PAGE
    }

    /// Writes to every page.
    pub(crate) fn dirty(&self) {
        (0..self.pages()).for_each(|page| self.touch(page));
    }

    /// Writes one byte of page `page`. Panics if there is no such page.
    pub(crate) fn touch(&self, page: usize) {
        assert!(page < self.pages(), "page {page} of {}", self.pages());
        let byte = self.start.wrapping_byte_add(page * PAGE).cast::<u8>();
        // SAFETY: the page was checked to be in the mapping, which lives as long as `self`, and
        // all accesses are atomic.
        let byte = unsafe { AtomicU8::from_ptr(byte) };
        byte.store(1, Ordering::Relaxed);
    }

    /// The address just above the mapping: where a stack that grows downwards starts.
    pub(crate) fn top(&self) -> *mut c_void {
        self.start.wrapping_byte_add(self.size)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and no reference into it outlives `self`.
        let unmapped = unsafe { mm::munmap(self.start, self.size) };
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}
