//! The system calls in the seed's code, and the list of them in ARCHITECTURE.md.
//!
//! Each call stands in the code as an instruction behind one that loads its number, a constant. It
//! must never pass over a call whose number it cannot find: that is a finding as well.

use super::{Broken, Tidy};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use std::collections::BTreeSet;

const HEAD: &str = "| call | number | for |";
const PLACE: &str = "ARCHITECTURE.md, system calls of the seed";

/// Bytes between the load of a number and its call: arguments are loaded in between.
const DISTANCE: usize = 96;

pub(super) fn check(tidy: &mut Tidy, image: &[u8]) -> Result<(), Broken> {
    let listed = listed(tidy)?;
    let header = elf::FileHeader64::<object::Endianness>::parse(image)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        println!("not looked at: the seed's system calls, which are listed for x86_64");
        return Ok(());
    }
    let mut found = BTreeSet::new();
    let mut sites = 0;
    for segment in header.program_headers(endian, image)? {
        if segment.p_flags(endian).0 & elf::PF_X.0 == 0 || segment.p_type(endian) != elf::PT_LOAD {
            continue;
        }
        let code = segment.data(endian, image).map_err(|()| "a segment is not in the file")?;
        for at in calls(code) {
            sites += 1;
            match number(&code[..at]) {
                Some(number) => drop(found.insert(number)),
                None => tidy.finding(
                    "the seed",
                    format_args!("the number of the system call at {at:#x} of its code is unknown"),
                ),
            }
        }
    }
    for number in found.difference(&listed) {
        tidy.finding(PLACE, format_args!("the seed makes call {number}, which is not listed"));
    }
    for number in listed.difference(&found) {
        tidy.finding(PLACE, format_args!("call {number} is listed, and the seed does not make it"));
    }
    tidy.passed(
        "calls",
        format_args!("{} system calls of the seed, in {sites} places", found.len()),
    );
    Ok(())
}

fn listed(tidy: &Tidy) -> Result<BTreeSet<u32>, Broken> {
    let rows = tidy.table(HEAD)?;
    let number = |row: Vec<String>| -> Result<u32, Broken> {
        let cell = row.get(1).ok_or("a row without a number")?;
        cell.parse().map_err(|error| format!("{PLACE}: {cell}: {error}").into())
    };
    let listed: BTreeSet<u32> = rows.iter().cloned().map(number).collect::<Result<_, Broken>>()?;
    if listed.len() != rows.len() {
        return Err(format!("{PLACE}: a number stands there twice").into());
    }
    Ok(listed)
}

/// Where `syscall` stands.
fn calls(code: &[u8]) -> impl Iterator<Item = usize> {
    code.windows(2).enumerate().filter(|(_, bytes)| *bytes == [0x0f, 0x05]).map(|(at, _)| at)
}

/// The constant of the nearest `mov eax, CONSTANT` in front, or 0 for `xor eax, eax`. Numbers of calls
/// are below 512. With the prefix 0x41 or 0x45 the same bytes are about another register, r8.
fn number(before: &[u8]) -> Option<u32> {
    let from = before.len().saturating_sub(DISTANCE);
    before[from..].windows(6).rev().find_map(|bytes| match *bytes {
        [0x41, ..] | [0x45, 0x31, ..] => None,
        [_, 0x31, 0xc0, ..] => Some(0),
        [_, 0xb8, low, high @ 0..=1, 0, 0] => Some(u32::from(u16::from_le_bytes([low, high]))),
        _ => None,
    })
}
