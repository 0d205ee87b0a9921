//! The seed's executable: static, small, nothing that a loader would have to do, and linked without
//! a way to panic; and the system calls in it.

use super::symbols::artifacts;
use super::{Broken, Tidy, calls};
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

/// The most it may have; a page of slack above what it has is a mistake that shows.
const BYTES_MAX: usize = 64 << 10;

/// What the seed's panic handler calls, and nobody defines.
const UNDEFINED: &str = "embryo_seed_code_can_panic";

pub(super) fn check(tidy: &mut Tidy) -> Result<(), Broken> {
    // The image is the one that the library carries: its build script says where it is.
    let messages = artifacts(tidy.cargo().args(["build", "--package", "embryo"]))?;
    let image = messages
        .iter()
        .filter_map(|message| message.env.iter().find(|(name, _)| name == "EMBRYO_SEED_IMAGE"))
        .map(|(_, path)| path.clone())
        .next_back()
        .ok_or("the library's build script names no seed")?;
    let bytes = std::fs::read(&image)?;
    let place = "the seed";
    if bytes.len() > BYTES_MAX {
        tidy.finding(place, format_args!("{} bytes, more than {BYTES_MAX}", bytes.len()));
    }
    let header = elf::FileHeader64::<Endianness>::parse(&*bytes)?;
    let endian = header.endian()?;
    if header.e_type(endian) != elf::ET_EXEC {
        tidy.finding(place, "it is not an executable at a fixed address");
    }
    let mut loaded = 0;
    for segment in header.program_headers(endian, &*bytes)? {
        let flags = segment.p_flags(endian);
        let has = |bit: elf::ProgramFlags| flags.0 & bit.0 != 0;
        match segment.p_type(endian) {
            elf::PT_INTERP => tidy.finding(place, "it wants a loader (PT_INTERP)"),
            elf::PT_DYNAMIC => tidy.finding(place, "it is dynamic (PT_DYNAMIC)"),
            elf::PT_TLS => tidy.finding(place, "it has thread-local storage (PT_TLS)"),
            elf::PT_LOAD => {
                loaded += 1;
                if has(elf::PF_W) && has(elf::PF_X) {
                    tidy.finding(place, "a segment can be written and executed");
                }
            }
            elf::PT_GNU_STACK if has(elf::PF_X) => {
                tidy.finding(place, "its stack can be executed");
            }
            _ => {}
        }
    }
    // The link would have failed if anything could reach the panic handler: it calls what is not there.
    if !tidy.read("crates/seed/src/main.rs")?.contains(UNDEFINED) {
        tidy.finding("crates/seed/src/main.rs", "the panic handler does not break the link");
    }
    tidy.passed(
        "seed",
        format_args!(
            "{} bytes of at most {BYTES_MAX}, {loaded} segments, static, no loader, no TLS; \
             it was linked although its panic handler cannot be: nothing in it panics",
            bytes.len()
        ),
    );
    calls::check(tidy, &bytes)
}
