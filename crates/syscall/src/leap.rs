//! Leaving for good: all registers at once, while the code that does it goes away.
//!
//! The last instructions of a seed run in pages of their own, the *area*, which is left behind:
//! they unmap everything else of the seed, let the further threads go, install a filter, and call
//! rt_sigreturn(2) on a frame that lies in the area. Nothing can be unmapped by code that lies in
//! it, hence the area; and what the filter refuses comes before it.
//!
//! The area is one page, readable and executable, if everything fits in it and there is one thread;
//! else a page of code and as many of data as are needed, read-only in the end. Further threads are
//! made before anything is unmapped, so that a clone that fails can still be told, and wait in the
//! area.

use crate::raw::syscall;
use crate::seccomp::Program;
use crate::{Errno, Result};
use core::sync::atomic::{AtomicU32, Ordering};
use linux_raw_sys::general::{__NR_futex, __NR_mprotect};

#[cfg_attr(target_arch = "x86_64", path = "leap/x86.rs")]
#[cfg_attr(target_arch = "aarch64", path = "leap/arm.rs")]
mod machine;

pub use machine::LeapRegs;
use machine::{Frame, STATE_ROOM, embryo_leap_code, embryo_leap_code_end, embryo_leap_thread};

/// Bytes of a page of the area.
pub const LEAP_PAGE: usize = 4096;
/// Ranges that may go away.
pub const LEAP_RANGES: usize = 64;
/// What a process ends with if its filter cannot be installed when nobody is left to be told.
pub const LEAP_FAILED: i32 = 126;

/// Room for the code, in front of the data where both share a page.
const CODE_ROOM: usize = 512;
/// The alignment of what lies in the area: that of vector state.
const ALIGN: usize = 64;

/// What is to be installed in each thread, last of all.
#[derive(Clone, Copy, Debug)]
pub enum LeapFilter<'a> {
    /// Nothing.
    None,
    /// `SECCOMP_SET_MODE_STRICT`.
    Strict,
    /// `SECCOMP_SET_MODE_FILTER` with these flags and this program.
    Program(u32, &'a [u8]),
}

/// What the code reads. The offsets stand in the code.
#[repr(C)]
struct Control {
    /// 0: the threads wait, 1: they go, 2: they end.
    word: AtomicU32,
    /// How many of them are in the area.
    arrived: AtomicU32,
    /// How many there are to be.
    threads: u64,
    /// The pages of data.
    data: [u64; 2],
    /// Whether there is a filter; then the arguments of seccomp(2).
    filter: u64,
    operation: u64,
    flags: u64,
    program: u64,
    program_itself: Program,
    /// The name that each thread takes.
    name: [u8; 16],
}

const _: () = assert!(core::mem::offset_of!(Control, filter) == 32);
const _: () = assert!(core::mem::offset_of!(Control, name) == 80);

/// What there is of one thread.
#[repr(C, align(64))]
struct Record {
    frame: Frame,
    /// Not zero until the thread is gone.
    tid: AtomicU32,
    regs: LeapRegs,
}

/// Rounds up to what things in the area begin at.
const fn aligned(len: usize) -> usize {
    len.wrapping_add(ALIGN - 1) & !(ALIGN - 1)
}

/// How large an area has to be, counted up before it is mapped.
#[derive(Clone, Copy, Debug)]
pub struct LeapSize {
    data: usize,
    threads: usize,
}

impl LeapSize {
    /// For so many ranges and this filter, without any thread yet.
    #[must_use]
    pub fn new(ranges: usize, filter: LeapFilter<'_>) -> Self {
        let program = if let LeapFilter::Program(_, program) = filter { program.len() } else { 0 };
        let data = aligned(size_of::<Control>())
            .wrapping_add(aligned(ranges.wrapping_mul(16)))
            .wrapping_add(aligned(program));
        Self { data, threads: 0 }
    }

    /// One thread more, with or without vector state.
    pub fn add_thread(&mut self, with_state: bool) {
        let room = if with_state { STATE_ROOM } else { 0 };
        self.data = self.data.wrapping_add(size_of::<Record>()).wrapping_add(room);
        self.threads = self.threads.wrapping_add(1);
    }

    /// Where in the area the data begin.
    fn data_at(self) -> usize {
        let shares = self.threads == 1 && CODE_ROOM.wrapping_add(self.data) <= LEAP_PAGE;
        if shares { CODE_ROOM } else { LEAP_PAGE }
    }

    /// Bytes of the area, whole pages.
    #[must_use]
    pub fn bytes(self) -> usize {
        let end = self.data_at().wrapping_add(self.data);
        end.wrapping_add(LEAP_PAGE - 1) & !(LEAP_PAGE - 1)
    }
}

/// An area that is ready to be leapt from.
#[derive(Debug)]
pub struct Leap {
    area: *mut u8,
    size: LeapSize,
    /// Bytes of the data that are used.
    used: usize,
    ranges: *mut [u64; 2],
    range_count: usize,
    /// Where the records begin.
    records: *mut Record,
    record_count: usize,
    cloned: usize,
}

impl Leap {
    /// Writes code, ranges and filter to the area.
    ///
    /// # Safety
    /// `area` must be a private, writable, page-aligned, zero-filled mapping of `size.bytes()` bytes
    /// that nobody else uses, and `size` made with these ranges and this filter.
    pub unsafe fn prepare(
        area: *mut u8,
        size: LeapSize,
        ranges: &[[u64; 2]],
        filter: LeapFilter<'_>,
        name: [u8; 16],
    ) -> Result<Self> {
        let from = &raw const embryo_leap_code;
        let len = (&raw const embryo_leap_code_end as usize).wrapping_sub(from as usize);
        if ranges.len() > LEAP_RANGES || len > CODE_ROOM {
            return Err(Errno::INVAL);
        }
        // SAFETY: the code's own bytes, and an area that the caller vouches for.
        unsafe { core::ptr::copy_nonoverlapping(from, area, len) };
        let mut leap = Self {
            area,
            size,
            used: 0,
            ranges: core::ptr::null_mut(),
            range_count: ranges.len(),
            records: core::ptr::null_mut(),
            record_count: 0,
            cloned: 0,
        };
        let control: *mut Control = leap.room(size_of::<Control>())?.cast();
        leap.records = leap.room(size.threads.wrapping_mul(size_of::<Record>()))?.cast();
        leap.ranges = leap.room(ranges.len().wrapping_mul(16))?.cast();
        // SAFETY: there is room for as many as they are.
        unsafe { core::ptr::copy_nonoverlapping(ranges.as_ptr(), leap.ranges, ranges.len()) };
        let program = if let LeapFilter::Program(_, program) = filter { program } else { &[] };
        let copy = leap.room(program.len())?;
        // SAFETY: there is room for as much as it is.
        unsafe { core::ptr::copy_nonoverlapping(program.as_ptr(), copy, program.len()) };
        let (operation, flags) = match filter {
            LeapFilter::Program(flags, _) => (1, u64::from(flags)),
            _ => (0, 0),
        };
        let itself = control.wrapping_byte_add(core::mem::offset_of!(Control, program_itself));
        // SAFETY: the first thing in the area, aligned, and nobody reads it yet.
        unsafe {
            control.write(Control {
                word: AtomicU32::new(0),
                arrived: AtomicU32::new(0),
                threads: size.threads.wrapping_sub(1) as u64,
                data: [
                    area.wrapping_add(LEAP_PAGE) as u64,
                    size.bytes().wrapping_sub(LEAP_PAGE) as u64,
                ],
                filter: u64::from(!matches!(filter, LeapFilter::None)),
                operation,
                flags,
                program: if operation == 1 { itself as u64 } else { 0 },
                program_itself: Program { at: copy as u64, ..Program::of(program) },
                name,
            });
        }
        Ok(leap)
    }

    /// The next free bytes of the data.
    fn room(&mut self, len: usize) -> Result<*mut u8> {
        let from = self.used;
        let to = from.wrapping_add(aligned(len));
        if to > self.size.data {
            return Err(Errno::TOOBIG);
        }
        self.used = to;
        Ok(self.area.wrapping_add(self.size.data_at()).wrapping_add(from))
    }

    fn control_at(&self) -> *const Control {
        self.area.wrapping_add(self.size.data_at()).cast()
    }

    fn control(&self) -> &Control {
        // SAFETY: written by `prepare`, aligned, and changed through its atomics only.
        unsafe { &*self.control_at() }
    }

    /// The record of a thread that was added.
    fn record(&self, index: usize) -> &Record {
        // SAFETY: `add_thread` wrote those below the count, and nothing but their atomics changes.
        unsafe { &*self.records.wrapping_add(index) }
    }

    /// Adds a thread; the one that leaps is the first. `state` is its floating-point and vector
    /// state, in whatever form the machine has it, or empty.
    ///
    /// # Errors
    /// E2BIG if there was no room counted for it; EOPNOTSUPP for state that this processor lacks.
    pub fn add_thread(&mut self, regs: &LeapRegs, state: &[u8]) -> Result<()> {
        if self.record_count >= self.size.threads {
            return Err(Errno::TOOBIG);
        }
        let mut frame = Frame::new(regs);
        if !state.is_empty() {
            let room = self.room(STATE_ROOM)?;
            // SAFETY: zeroed room for state of any size that is taken.
            unsafe { frame.set_state(room, state) }?;
        }
        let record = self.records.wrapping_add(self.record_count);
        // SAFETY: aligned room in the area that nobody else has.
        unsafe { record.write(Record { frame, tid: AtomicU32::new(1), regs: *regs }) };
        self.record_count = self.record_count.wrapping_add(1);
        Ok(())
    }

    /// Makes the code executable, and the data read-only where no thread waits on a word in them.
    pub fn seal(&mut self) -> Result<()> {
        const RX: usize = 5;
        const R: usize = 1;
        machine::flush(self.area, CODE_ROOM);
        // SAFETY: the page holds nothing else, and writing to it is over.
        unsafe { syscall!(__NR_mprotect, self.area, LEAP_PAGE, RX) }?;
        let data = self.size.bytes().wrapping_sub(LEAP_PAGE);
        if data > 0 && self.size.threads == 1 {
            // SAFETY: as above.
            unsafe { syscall!(__NR_mprotect, self.area.wrapping_add(LEAP_PAGE), data, R) }?;
        }
        Ok(())
    }

    /// Makes the next of the further threads, which waits in the area.
    ///
    /// # Errors
    /// What clone(2) answers; the threads that were made before wait on. EINVAL if all are made.
    ///
    /// # Safety
    /// The area must be sealed, and every signal blocked.
    pub unsafe fn clone_thread(&mut self) -> Result<()> {
        let index = self.cloned.wrapping_add(1);
        if index >= self.record_count {
            return Err(Errno::INVAL);
        }
        let code = &raw const embryo_leap_code as usize;
        let entry = (&raw const embryo_leap_thread as usize).wrapping_sub(code);
        let record = self.record(index);
        let at = machine::At {
            code: self.area.wrapping_add(entry),
            control: self.control_at(),
            frame: &raw const record.frame,
        };
        // SAFETY: the new thread has nothing but registers, jumps to the area at once and stays in
        // it until it is let go or ends.
        unsafe { machine::clone_into(&at, &record.tid, &record.regs) }?;
        self.cloned = index;
        Ok(())
    }

    /// Waits until the threads are in the area, so that what they came from can go away.
    pub fn await_threads(&self) {
        let control = self.control();
        loop {
            let arrived = control.arrived.load(Ordering::Acquire);
            if arrived as usize >= self.cloned {
                return;
            }
            futex_wait(&control.arrived, arrived, FUTEX_PRIVATE);
        }
    }

    /// Ends the threads that were made, and waits until they are gone: the area may be unmapped.
    pub fn abandon(&self) {
        let control = self.control();
        control.word.store(2, Ordering::Release);
        futex_wake(&control.word);
        for index in 1..=self.cloned {
            let tid = &self.record(index).tid;
            while tid.load(Ordering::Acquire) != 0 {
                // The kernel wakes it as a shared one.
                futex_wait(tid, 1, 0);
            }
        }
    }

    /// Leaps.
    ///
    /// # Safety
    /// Whatever the caller was is lost: the ranges are unmapped, the registers replaced. The
    /// caller must have no thread-local storage, nor a thread that is not in the area; the area
    /// must be sealed and hold at least one thread.
    pub unsafe fn go(self) -> ! {
        let record = self.record(0);
        let at = machine::At {
            code: self.area,
            control: self.control_at(),
            frame: &raw const record.frame,
        };
        // SAFETY: control never comes back; the caller vouches for what goes away.
        unsafe { machine::go(&at, self.ranges, self.range_count, &record.regs) }
    }
}

const FUTEX_PRIVATE: usize = 128;

fn futex_wait(word: &AtomicU32, seen: u32, private: usize) {
    // SAFETY: a live word; whatever wakes the wait, the caller looks again.
    let _ = unsafe { syscall!(__NR_futex, word.as_ptr(), private, seen, 0usize) };
}

fn futex_wake(word: &AtomicU32) {
    const WAKE: usize = 1;
    // SAFETY: a live word.
    let _ = unsafe { syscall!(__NR_futex, word.as_ptr(), WAKE | FUTEX_PRIVATE, i32::MAX as usize) };
}
