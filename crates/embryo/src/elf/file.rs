//! From an open file to what has to be mapped of it, with everything checked.
//!
//! It refuses more than the kernel does (segments that share a page or are out of order, an entry
//! point outside the code), because here a mistake can still be named. It must never map anything.

use super::error::{NotLoadable, Part};
use crate::hint::script_interpreter;
use embryo_plan::limits::{ADDRESS_END, PAGE, PATH_BYTES_MAX};
use object::LittleEndian as LE;
use object::elf::{
    EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64, ET_CORE, ET_DYN, ET_EXEC, ET_REL,
    FileHeader64, Machine, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramHeader64,
};
use object::pod::{from_bytes, slice_from_bytes};
use rustix::fs::FileType;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

/// Segments of one file: with its interpreter's they have to fit into one plan.
const SEGMENTS_MAX: usize = 256;
/// Bytes of a program header table: the kernel's limit.
const TABLE_BYTES_MAX: usize = 64 << 10;
/// An alignment above this is no alignment.
const ALIGN_MAX: u64 = 1 << 30;
/// Bytes of one program header.
pub(super) const HEADER_SIZE: usize = size_of::<ProgramHeader64<LE>>();

const MACHINE: Machine = if cfg!(target_arch = "x86_64") { EM_X86_64 } else { EM_AARCH64 };

/// A stretch of a program as the file says it, addresses not yet moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) addr: u64,
    pub(super) mem_len: u64,
    pub(super) offset: u64,
    pub(super) file_len: u64,
    /// `PROT_*` bits.
    pub(super) prot: u32,
}

impl Segment {
    /// The page it begins in.
    pub(super) fn first(&self) -> u64 {
        page_floor(self.addr)
    }

    /// The page behind it.
    pub(super) fn end(&self) -> u64 {
        page_ceil(self.addr + self.mem_len)
    }
}

/// A file that can be mapped.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) file: OwnedFd,
    /// Whether it may lie anywhere.
    pub(super) movable: bool,
    pub(super) entry: u64,
    /// Where its program headers are once it is mapped; 0 if nowhere.
    pub(super) table: u64,
    pub(super) table_len: u64,
    /// Ascending, no two in one page, at least one.
    pub(super) segments: Vec<Segment>,
    /// What the address it is moved by has to be a multiple of.
    pub(super) align: u64,
    pub(super) interpreter: Option<CString>,
    pub(super) executable_stack: bool,
}

impl Executable {
    /// Reads and checks the headers of a file.
    pub(super) fn read(file: OwnedFd) -> Result<Self, NotLoadable> {
        let stat = rustix::fs::fstat(&file).map_err(io)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(NotLoadable::NotElf("a directory")),
            _ => return Err(NotLoadable::NotElf("no regular file")),
        }
        let size = stat.st_size as u64;
        let head = read_at(&file, 0, size.min(256) as usize, Part::Header, size)?;
        let header = header(&head, size)?;
        let entry = header.e_entry.get(LE);
        let table_at = header.e_phoff.get(LE);
        let count = usize::from(header.e_phnum.get(LE));
        if usize::from(header.e_phentsize.get(LE)) != HEADER_SIZE {
            return Err(NotLoadable::Malformed(Part::Table, "has entries of another size"));
        }
        let bytes = count * HEADER_SIZE;
        if count == 0 || bytes > TABLE_BYTES_MAX {
            return Err(NotLoadable::Malformed(Part::Table, "has none or too many entries"));
        }
        let bytes = read_at(&file, table_at, bytes, Part::Table, size)?;
        let (table, _) = slice_from_bytes::<ProgramHeader64<LE>>(&bytes, count)
            .map_err(|()| NotLoadable::Malformed(Part::Table, "cannot be read"))?;

        let segments = segments(table, size)?;
        let enterable = |segment: &Segment| {
            segment.prot & PF_EXEC != 0
                && (segment.addr..segment.addr + segment.mem_len).contains(&entry)
        };
        if !segments.iter().any(enterable) {
            let why = "lies in no executable segment (a shared library has none)";
            return Err(NotLoadable::Malformed(Part::Entry, why));
        }
        let loads = || table.iter().filter(|header| header.p_type.get(LE) == PT_LOAD);
        let align = loads().map(|header| header.p_align.get(LE)).max().unwrap_or(PAGE).max(PAGE);
        if !align.is_power_of_two() || align > ALIGN_MAX {
            return Err(NotLoadable::Malformed(Part::Table, "asks for an impossible alignment"));
        }
        let holds = |segment: &&Segment| {
            (segment.offset..segment.offset + segment.file_len).contains(&table_at)
        };
        let table_addr = |segment: &Segment| segment.addr + (table_at - segment.offset);
        let stack = table.iter().find(|header| header.p_type.get(LE) == PT_GNU_STACK);
        let interpreter = table.iter().find(|header| header.p_type.get(LE) == PT_INTERP);
        let interpreter =
            interpreter.map(|header| interpreter_name(&file, header, size)).transpose()?;
        Ok(Self {
            movable: header.e_type.get(LE) == ET_DYN,
            entry,
            table: segments.iter().find(holds).map_or(0, table_addr),
            table_len: count as u64,
            align,
            interpreter,
            executable_stack: stack.is_some_and(|header| header.p_flags.get(LE).0 & PF_X.0 != 0),
            segments,
            file,
        })
    }

    /// Where it begins and ends, in whole pages and not yet moved.
    pub(super) fn span(&self) -> (u64, u64) {
        let first = self.segments.first().map_or(0, Segment::first);
        (first, self.segments.last().map_or(first, Segment::end))
    }
}

/// Where code and data of a program are, as the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) code: [u64; 2],
    pub(super) data: [u64; 2],
}

impl Executable {
    /// Not yet moved: the lowest executable address and the highest end of what the file holds of
    /// executable segments; the beginning of the last segment and the highest end of any.
    pub(super) fn extent(&self) -> Extent {
        let end = |segment: &Segment| segment.addr + segment.file_len;
        let code = || self.segments.iter().filter(|segment| segment.prot & PF_EXEC != 0);
        // There is one, since the entry point lies in it.
        let start_code = code().map(|segment| segment.addr).min().unwrap_or(self.entry);
        let end_code = code().map(end).max().unwrap_or(0).max(start_code + 1);
        let start_data = self.segments.last().map_or(start_code, |segment| segment.addr);
        let end_data = self.segments.iter().map(end).max().unwrap_or(0).max(start_data);
        Extent { code: [start_code, end_code], data: [start_data, end_data] }
    }
}

/// `PROT_EXEC`.
const PF_EXEC: u32 = 4;

/// The ELF header, if the file is a program for this machine.
fn header(head: &[u8], size: u64) -> Result<FileHeader64<LE>, NotLoadable> {
    if let Some(other) = not_elf(head) {
        return Err(other);
    }
    let [class, order, version] = [4, 5, 6].map(|at| head.get(at).copied().unwrap_or_default());
    match class {
        1 => return Err(NotLoadable::Foreign("a machine of 32 bits".into())),
        2 => {}
        _ => return Err(NotLoadable::Malformed(Part::Header, "has an unknown class")),
    }
    match order {
        1 => {}
        2 => return Err(NotLoadable::Foreign("a big-endian machine".into())),
        _ => return Err(NotLoadable::Malformed(Part::Header, "has an unknown byte order")),
    }
    if version != 1 {
        return Err(NotLoadable::Malformed(Part::Header, "has an unknown version"));
    }
    let end = size_of::<FileHeader64<LE>>() as u64;
    let (header, _) = from_bytes::<FileHeader64<LE>>(head)
        .map_err(|()| NotLoadable::Truncated { what: Part::Header, end, size })?;
    let machine = header.e_machine.get(LE);
    if machine != MACHINE {
        return Err(NotLoadable::Foreign(match machine {
            EM_386 => "i386".into(),
            EM_X86_64 => "x86_64".into(),
            EM_ARM => "arm".into(),
            EM_AARCH64 => "aarch64".into(),
            EM_RISCV => "riscv".into(),
            Machine(number) => format!("machine number {number}"),
        }));
    }
    match header.e_type.get(LE) {
        ET_EXEC | ET_DYN => Ok(*header),
        ET_REL => Err(NotLoadable::NotAProgram("an object file")),
        ET_CORE => Err(NotLoadable::NotAProgram("a core dump")),
        _ => Err(NotLoadable::NotAProgram("an ELF file of an unknown type")),
    }
}

/// What a file is that is no ELF file.
fn not_elf(head: &[u8]) -> Option<NotLoadable> {
    if head.starts_with(b"\x7fELF") {
        return None;
    }
    if head.starts_with(b"#!") {
        let interpreter = script_interpreter(head).unwrap_or(b"nothing");
        return Some(NotLoadable::Script(String::from_utf8_lossy(interpreter).into_owned()));
    }
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    Some(NotLoadable::NotElf(match head {
        [] => "an empty file",
        [b'M', b'Z', ..] => "a Windows program",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "a Mach-O program",
        [0, b'a', b's', b'm', ..] => "a WebAssembly module",
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => "an archive",
        [0x1f, 0x8b, ..] => "a gzip file",
        _ if head.iter().all(printable) => "a text",
        _ => "something of an unknown kind",
    }))
}

/// The segments to be mapped.
fn segments(table: &[ProgramHeader64<LE>], size: u64) -> Result<Vec<Segment>, NotLoadable> {
    let mut segments: Vec<Segment> = Vec::new();
    for (index, header) in table.iter().enumerate() {
        if header.p_type.get(LE) != PT_LOAD || header.p_memsz.get(LE) == 0 {
            continue;
        }
        let bad = |why| NotLoadable::Malformed(Part::Segment(index), why);
        let segment = segment(header);
        let Segment { addr, mem_len, offset, file_len, .. } = segment;
        if file_len > mem_len {
            return Err(bad("is longer in the file than in memory"));
        }
        if addr.checked_add(mem_len).is_none_or(|end| end > ADDRESS_END) {
            return Err(bad("lies beyond the end of the address space"));
        }
        if file_len != 0 {
            let end = offset.saturating_add(file_len);
            if end > size {
                return Err(NotLoadable::Truncated { what: Part::Segment(index), end, size });
            }
            if addr % PAGE != offset % PAGE {
                return Err(bad("is misaligned: address and offset differ within the page"));
            }
        }
        if let Some(last) = segments.last() {
            if addr < last.addr + last.mem_len {
                return Err(bad(if addr < last.addr {
                    "lies below the one before it"
                } else {
                    "overlaps the one before it"
                }));
            }
            if segment.first() < last.end() {
                return Err(bad("begins in the page that the one before it ends in"));
            }
        }
        segments.push(segment);
    }
    match segments.len() {
        0 => Err(NotLoadable::Malformed(Part::Table, "has nothing to be loaded")),
        1..=SEGMENTS_MAX => Ok(segments),
        _ => Err(NotLoadable::Malformed(Part::Table, "has too many segments to be loaded")),
    }
}

fn segment(header: &ProgramHeader64<LE>) -> Segment {
    let flags = header.p_flags.get(LE).0;
    let bit = |flag, prot| if flags & flag != 0 { prot } else { 0 };
    Segment {
        addr: header.p_vaddr.get(LE),
        mem_len: header.p_memsz.get(LE),
        offset: header.p_offset.get(LE),
        file_len: header.p_filesz.get(LE),
        prot: bit(PF_R.0, 1) | bit(PF_W.0, 2) | bit(PF_X.0, PF_EXEC),
    }
}

fn interpreter_name(
    file: &OwnedFd,
    header: &ProgramHeader64<LE>,
    size: u64,
) -> Result<CString, NotLoadable> {
    let bad = |why| NotLoadable::Malformed(Part::Interpreter, why);
    let len = header.p_filesz.get(LE);
    if !(2..=PATH_BYTES_MAX as u64).contains(&len) {
        return Err(bad("is empty or too long"));
    }
    let name = read_at(file, header.p_offset.get(LE), len as usize, Part::Interpreter, size)?;
    if name.last() != Some(&0) {
        return Err(bad("has no final NUL"));
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| bad("has no final NUL"))?;
    if name.is_empty() { Err(bad("is empty or too long")) } else { Ok(name.to_owned()) }
}

/// `len` bytes at `offset`, all of them.
fn read_at(
    file: &OwnedFd,
    offset: u64,
    len: usize,
    what: Part,
    size: u64,
) -> Result<Vec<u8>, NotLoadable> {
    let end = offset.saturating_add(len as u64);
    let truncated = NotLoadable::Truncated { what, end, size };
    if end > size {
        return Err(truncated);
    }
    let mut bytes = vec![0; len];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset + done as u64) {
            Ok(0) => return Err(truncated),
            Ok(count) => done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(io(errno)),
        }
    }
    Ok(bytes)
}

pub(super) fn io(errno: rustix::io::Errno) -> NotLoadable {
    NotLoadable::Io(errno.into())
}

pub(super) fn page_floor(addr: u64) -> u64 {
    addr & !(PAGE - 1)
}

/// The addresses here are below the end of the address space, so this cannot overflow.
pub(super) fn page_ceil(addr: u64) -> u64 {
    page_floor(addr + (PAGE - 1))
}
