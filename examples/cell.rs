//! Compute cells: untrusted native code, run with one input, one output and nothing else.
//!
//! A small shared object is compiled, as a stranger would hand it over, and one of its functions is called in
//! a process whose address space holds its code, its input (read only), its output, a stack and one page
//! with the seed's last instructions. It has two descriptors, the same two files, and may make
//! four system calls: read, write, exit and sigreturn. One that does not come to an end is killed.
//! Each cell is an embryo from a hatchery; a thousand run in a row, then some that misbehave.
//!
//! x86_64 alone, and `cc` is needed.

use embryo::{Hatchery, Keep, Launching, MapFlags, Op, Plan, Regset, Slot, X86Regs};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, elf};
use rustix::fs::{MemfdFlags, SealFlags};
use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
/// Where things are in a cell.
const CODE: u64 = 0x1000_0000;
const INPUT: u64 = 0x2000_0000;
const OUTPUT: u64 = 0x3000_0000;
const STACK: u64 = 0x4000_0000;
const STACK_LEN: u64 = 64 << 10;
/// What the function returns to: it ends the cell with what it returned.
const END: u64 = 0x5000_0000;
/// `mov edi, eax; mov eax, SYS_exit; syscall`.
const END_CODE: [u8; 9] = [0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
const INPUT_LEN: usize = 4096;
const OUTPUT_LEN: usize = 4096;
const R: u32 = 1;
const RW: u32 = 3;
const RX: u32 = 5;

const SOURCE: &str = r#"
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long u64;
/* The arguments of every cell: its input, how long that is, its output. */
int adler32(const u8 *in, u64 len, u8 *out) {
    u32 a = 1, b = 0;
    for (u64 i = 0; i < len; i++) { a = (a + in[i]) % 65521; b = (b + a) % 65521; }
    for (int i = 0; i < 4; i++) out[i] = (u8)(((b << 16) | a) >> (8 * i));
    return 0;
}
int endless(const u8 *in, u64 len, u8 *out) { for (;;) out[0]++; }
int stray(const u8 *in, u64 len, u8 *out) { ((volatile u8 *)in)[0] = 1; return 0; }
int outside(const u8 *in, u64 len, u8 *out) { return *(volatile u8 *)0x200000; }
static long call(long nr, long a, long b, long c) {
    long r; __asm__ volatile ("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory"); return r;
}
int opens(const u8 *in, u64 len, u8 *out) { call(2, (long)"/etc/passwd", 0, 0); return 0; }
int forks(const u8 *in, u64 len, u8 *out) { call(57, 0, 0, 0); return 0; }
int kills(const u8 *in, u64 len, u8 *out) { call(62, -1, 9, 0); return 0; }
/* Which descriptors answer: a bit for each of the first 64. */
int descriptors(const u8 *in, u64 len, u8 *out) {
    u64 open = 0; for (int fd = 0; fd < 64; fd++) if (call(0, fd, (long)out, 0) == 0) open |= 1ul << fd;
    for (int i = 0; i < 8; i++) out[i] = (u8)(open >> (8 * i));
    return 0;
}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    if !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: cells are started by registers, which is written for x86_64");
        return Ok(());
    }
    let cells = Cells::new(&compile()?)?;

    let adler32 = cells.function("adler32")?;
    let begun = Instant::now();
    for number in 0..1000u32 {
        let input: Vec<u8> = (0..INPUT_LEN as u32).map(|at| (at * number) as u8).collect();
        let (outcome, output) = cells.run(&adler32, &input)?;
        assert_eq!(outcome, Outcome::Returned(0), "cell {number}");
        assert_eq!(output[..4], expected(&input).to_le_bytes(), "cell {number}");
    }
    let each = begun.elapsed() / 1000;
    println!("1000 cells in a row, each in an empty process of its own: {each:.1?} a cell");

    let (outcome, output) = cells.run(&cells.function("descriptors")?, b"")?;
    assert_eq!(outcome, Outcome::Returned(0), "a cell may read");
    assert_eq!(output[..8], 3u64.to_le_bytes(), "it has descriptors 0 and 1, and no other");
    println!("descriptors in a cell: 0 and 1");
    for (name, expected) in [
        ("endless", Outcome::TimedOut),
        ("stray", Outcome::Killed(libc::SIGSEGV)),
        ("outside", Outcome::Killed(libc::SIGSEGV)),
        ("opens", Outcome::Killed(libc::SIGKILL)),
        ("forks", Outcome::Killed(libc::SIGKILL)),
        ("kills", Outcome::Killed(libc::SIGKILL)),
    ] {
        let (outcome, _) = cells.run(&cells.function(name)?, b"input")?;
        assert_eq!(outcome, expected, "{name}");
        println!("{name}: {outcome:?}");
    }
    Ok(())
}

/// What came of a cell.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Returned(i32),
    Killed(i32),
    TimedOut,
}

/// The code of an object, ready to be called any number of times.
struct Cells {
    hatchery: Hatchery,
    object: File,
    image: Vec<u8>,
}

impl Cells {
    fn new(image: &[u8]) -> Result<Self, Box<dyn Error>> {
        let object = sealed(image)?;
        Ok(Self { hatchery: Hatchery::builder().size(8).build()?, object, image: image.to_vec() })
    }

    /// The plan of a cell that calls this function. It is the same for each input: what differs is
    /// granted.
    fn function(&self, name: &str) -> Result<Plan, Box<dyn Error>> {
        let file = object::File::parse(&*self.image)?;
        let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name));
        let entry = CODE + symbol.ok_or("there is no such function")?.address();

        let mut plan = Plan::builder();
        let (object, input, output) = (plan.slot(), plan.slot(), plan.slot());
        let fixed = MapFlags::FIXED;
        let memory = |addr, len, prot| Op::Map { addr, len, prot, flags: fixed };
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::PutFd { slot: input, fd: 0 }).op(&Op::PutFd { slot: output, fd: 1 });
        for segment in segments(&self.image)? {
            let Segment { addr, len, prot, offset } = segment;
            plan.op(&Op::MapSlot { slot: object, addr, len, prot, flags: fixed, offset });
        }
        let len = INPUT_LEN as u64;
        plan.op(&shared(input, INPUT, len, R)).op(&shared(output, OUTPUT, OUTPUT_LEN as u64, RW));
        let top = STACK + STACK_LEN - 8;
        plan.op(&memory(STACK, STACK_LEN, RW))
            .op(&Op::Write { addr: top, contents: &END.to_le_bytes() })
            .op(&memory(END, PAGE, RW))
            .op(&Op::Write { addr: END, contents: &END_CODE })
            .op(&Op::Protect { addr: END, len: PAGE, prot: RX });
        let mut registers = X86Regs::at(entry, top);
        (registers.rdi, registers.rsi, registers.rdx) = (INPUT.into(), len.into(), OUTPUT.into());
        let regset = Regset::X86(registers);
        //SECCOMP
        plan.op(&Op::StartRegs { page: 0, regset: regset.as_bytes(), leave: &[] });
        Ok(plan.build()?)
    }

    /// What came of it, and what stands in its output.
    fn run(&self, plan: &Plan, input: &[u8]) -> Result<(Outcome, Vec<u8>), Box<dyn Error>> {
        const DEADLINE: Duration = Duration::from_millis(500);
        let mut whole = input.to_vec();
        whole.resize(INPUT_LEN, 0);
        let (input, output) = (sealed(&whole)?, memfd()?);
        output.set_len(OUTPUT_LEN as u64)?;
        let grants = [self.object.as_fd(), input.as_fd(), output.as_fd()];
        let mut cell = self.hatchery.spawn(plan, &grants).and_then(Launching::wait)?;
        let outcome = match cell.wait_timeout(DEADLINE)? {
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Outcome::Returned(code),
                (None, signal) => Outcome::Killed(signal.unwrap_or(0)),
            },
            None => {
                cell.kill()?;
                cell.wait()?;
                Outcome::TimedOut
            }
        };
        let mut result = vec![0; OUTPUT_LEN];
        output.read_exact_at(&mut result, 0)?;
        Ok((outcome, result))
    }
}

fn shared(slot: Slot, addr: u64, len: u64, prot: u32) -> Op<'static> {
    let flags = MapFlags::FIXED | MapFlags::SHARED;
    Op::MapSlot { slot, addr, len, prot, flags, offset: 0 }
}

/// A part of an object that is mapped.
struct Segment {
    addr: u64,
    len: u64,
    prot: u32,
    offset: u64,
}

/// Of an object that needs nothing but to be mapped: no data to write, nothing to relocate.
fn segments(image: &[u8]) -> Result<Vec<Segment>, Box<dyn Error>> {
    let header = elf::FileHeader64::<Endianness>::parse(image)?;
    let endian = header.endian()?;
    let mut segments = Vec::new();
    for program in header.program_headers(endian, image)? {
        if program.p_type(endian) != elf::PT_LOAD {
            continue;
        }
        let flags = program.p_flags(endian);
        if flags.contains(elf::PF_W) {
            // Where it is only for the dynamic section, nobody will read it.
            continue;
        }
        let start = program.p_vaddr(endian) & !(PAGE - 1);
        let end = (program.p_vaddr(endian) + program.p_memsz(endian)).next_multiple_of(PAGE);
        segments.push(Segment {
            addr: CODE + start,
            len: end - start,
            prot: if flags.contains(elf::PF_X) { RX } else { R },
            offset: program.p_offset(endian) & !(PAGE - 1),
        });
    }
    Ok(segments)
}

/// What a stranger would have sent.
fn compile() -> Result<Vec<u8>, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (source, object) = (dir.path().join("cell.c"), dir.path().join("cell.so"));
    std::fs::write(&source, SOURCE)?;
    let output = embryo::Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-O2",
            "-nostdlib",
            "-fno-stack-protector",
            "-fcf-protection=none",
        ])
        .args(["-Wl,--hash-style=gnu", "-Wl,-z,noseparate-code", "-o"])
        .arg(&object)
        .arg(&source)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(std::fs::read(&object)?)
}

fn memfd() -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(rustix::fs::memfd_create(c"cell", flags)?.into())
}

/// A file that nobody can change or shrink any more.
fn sealed(contents: &[u8]) -> std::io::Result<File> {
    let file = memfd()?;
    file.write_all_at(contents, 0)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    Ok(file)
}

fn expected(input: &[u8]) -> u32 {
    let (a, b) = input.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}
