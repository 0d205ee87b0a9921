//! The bytes: header, entries, references into the data section.
//!
//! All integers are little-endian and nothing needs alignment, so a plan may lie anywhere.
//! `docs/plan-format.md` is the same thing in words and must change with it.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first eight bytes of a plan.
pub const MAGIC: [u8; 8] = *b"EMBRYO\0\x01";
/// The version of the format that this code reads and writes.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 72;
/// Bytes of an entry.
pub const ENTRY_LEN: usize = 64;

bitflags! {
    /// Flags of a whole plan.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PlanFlags: u32 {
        /// A batch of ops for an embryo that goes on living: no image, no start.
        const BATCH = 1;
    }
}

/// A range of the data section.
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
pub struct DataRef {
    /// Bytes from the start of the data section.
    pub offset: U32,
    /// Bytes. Zero with offset zero: no data.
    pub len: U32,
}

/// A range of the data section that holds `count` NUL-terminated strings, end to end.
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
pub struct ListRef {
    /// Where the strings lie.
    pub data: DataRef,
    /// How many they are.
    pub count: U32,
}

/// The header of a plan.
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
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U16,
    /// [`HEADER_LEN`]; entries begin there.
    pub header_len: U16,
    /// [`PlanFlags`].
    pub flags: U32,
    /// Bytes of the whole plan.
    pub total_len: U32,
    /// [`crate::Keep`] bits.
    pub keep: U32,
    /// Grant slots that must be given at a spawn.
    pub slots: U32,
    /// Entries.
    pub entries: U32,
    /// Bytes of the data section, which follows the entries.
    pub data_len: U32,
    /// argv.
    pub argv: ListRef,
    /// envp.
    pub envp: ListRef,
    /// Zero.
    pub reserved: [U32; 2],
    /// Zero.
    pub reserved_tail: U32,
}

/// One op.
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
pub struct Entry {
    /// [`crate::OpCode`].
    pub code: U16,
    /// Flags of the op.
    pub flags: U16,
    /// A grant slot, or `NO_SLOT`.
    pub slot: U32,
    /// Numbers; unused ones are zero.
    pub args: [U64; 4],
    /// Data; unused ones are zero.
    pub data: [DataRef; 2],
    /// Zero.
    pub reserved: U64,
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);
const _: () = assert!(size_of::<Entry>() == ENTRY_LEN);
