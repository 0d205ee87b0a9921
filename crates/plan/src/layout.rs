//! Where the parts of a program are, as the kernel keeps it of each address space and tells it
//! through /proc: 11 little-endian u64s, in the order of `struct prctl_mm_map`.

use crate::limits::ADDRESS_END;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Addresses of a program's parts; `PR_SET_MM_MAP` in prctl(2).
///
/// They say where things are to /proc/PID/cmdline, environ and stat, and to brk(2); nothing is mapped
/// or moved by them. Each *end* is the first address behind.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct Layout {
    /// Code, at least one byte of it.
    pub start_code: U64,
    /// Its end.
    pub end_code: U64,
    /// Initialised data.
    pub start_data: U64,
    /// Its end.
    pub end_data: U64,
    /// Where the heap of brk(2) begins.
    pub start_brk: U64,
    /// Where it ends at first.
    pub brk: U64,
    /// The stack pointer that the program starts with. The mapping that holds it is `[stack]`.
    pub start_stack: U64,
    /// The arguments' strings: /proc/PID/cmdline.
    pub arg_start: U64,
    /// Their end.
    pub arg_end: U64,
    /// The environment's strings: /proc/PID/environ.
    pub env_start: U64,
    /// Their end.
    pub env_end: U64,
}

impl Layout {
    /// Reads one from 88 bytes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::read_from_bytes(bytes).ok()
    }

    /// The bytes that stand in a plan.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        IntoBytes::as_bytes(self)
    }

    /// The addresses with their names, in their order.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, u64); 11] {
        [
            ("start_code", self.start_code.get()),
            ("end_code", self.end_code.get()),
            ("start_data", self.start_data.get()),
            ("end_data", self.end_data.get()),
            ("start_brk", self.start_brk.get()),
            ("brk", self.brk.get()),
            ("start_stack", self.start_stack.get()),
            ("arg_start", self.arg_start.get()),
            ("arg_end", self.arg_end.get()),
            ("env_start", self.env_start.get()),
            ("env_end", self.env_end.get()),
        ]
    }

    /// What is wrong with it: the rules of the kernel, but for what `vm.mmap_min_addr` and
    /// `RLIMIT_DATA` are there.
    pub(crate) fn unsound(&self) -> Option<&'static str> {
        if self.fields().iter().any(|(_, addr)| *addr >= ADDRESS_END) {
            return Some("an address (beyond the end of the address space)");
        }
        [
            ("end_code (not above start_code)", self.start_code.get() < self.end_code.get()),
            ("end_data (below start_data)", self.start_data.get() <= self.end_data.get()),
            ("brk (below start_brk)", self.start_brk.get() <= self.brk.get()),
            ("arg_end (below arg_start)", self.arg_start.get() <= self.arg_end.get()),
            ("env_end (below env_start)", self.env_start.get() <= self.env_end.get()),
        ]
        .into_iter()
        .find(|(_, sound)| !sound)
        .map(|(what, _)| what)
    }
}
