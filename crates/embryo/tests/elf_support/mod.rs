//! What the tests of loading need: to run a program either way and catch what it prints, a C
//! compiler, and an ELF file of a few bytes that can be damaged.

use embryo::{Access, Embryo, Keep, Load, Op, Plan};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// How a program ended and what it printed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

fn catcher() -> File {
    memfd_create("caught", MemfdFlags::CLOEXEC).expect("a memfd can be made").into()
}

fn caught(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("it is a file");
    file.read_to_end(&mut bytes).expect("it is a file");
    bytes
}

/// Runs a program by loading it.
#[track_caller]
pub(crate) fn loaded(program: &str, args: &[&str], env: &[(&str, &str)]) -> Run {
    loaded_into(Embryo::create().expect("an embryo can be made"), program, args, env)
}

/// Runs a program by loading it into an embryo.
#[track_caller]
pub(crate) fn loaded_into(
    embryo: Embryo,
    program: &str,
    args: &[&str],
    env: &[(&str, &str)],
) -> Run {
    let mut load = Load::open(program).unwrap_or_else(|error| panic!("{error}"));
    load.args(args).envs(env.iter().copied());
    let (out, err) = (catcher(), catcher());
    let mut plan = Plan::builder();
    let slots = [plan.slot(), plan.slot()];
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::OpenNull { fd: 0, access: Access::Read })
        .op(&Op::PutFd { slot: slots[0], fd: 1 })
        .op(&Op::PutFd { slot: slots[1], fd: 2 });
    let started = embryo.start_loaded(&load, plan, &[out.as_fd(), err.as_fd()]);
    let mut process = started.unwrap_or_else(|(error, _)| panic!("{program}: {error}"));
    let status = process.wait().expect("it is our child");
    Run { status, out: caught(out), err: caught(err) }
}

/// Runs a program as everybody does.
#[track_caller]
pub(crate) fn launched(program: &str, args: &[&str], env: &[(&str, &str)]) -> Run {
    let (out, err) = (catcher(), catcher());
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("it is open"))
        .stderr(err.try_clone().expect("it is open"))
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let status = child.wait().expect("it is our child");
    Run { status, out: caught(out), err: caught(err) }
}

/// Says that something was not tried, past the harness, which keeps what a passed test prints.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("SKIPPED: elf: {what}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("EMBRYO_SKIP_LOG").filter(|log| !log.is_empty()) {
        let log = File::options().append(true).create(true).open(log);
        log.and_then(|mut log| log.write_all(line.as_bytes()))
            .expect("EMBRYO_SKIP_LOG is writable");
    }
}

/// The path of a program in `PATH`.
pub(crate) fn find(name: &str) -> Option<String> {
    let path = std::env::var("PATH").ok()?;
    let candidates = path.split(':').map(|directory| format!("{directory}/{name}"));
    candidates.into_iter().find(|candidate| Path::new(candidate).is_file())
}

/// A directory that goes away.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn scratch(name: &str) -> Scratch {
    let path = std::env::temp_dir().join(format!("embryo-elf-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory can be made");
    Scratch(path)
}

/// Compiles a program. The directory `EMBRYO_ELF_PROGRAMS` keeps what was compiled, for a machine
/// without a compiler.
pub(crate) fn cc(source: &Path, program: &Path, flags: &[&str]) -> Result<(), String> {
    let Some(kept) = std::env::var_os("EMBRYO_ELF_PROGRAMS") else {
        return compile(source, program, flags);
    };
    let kept = Path::new(&kept).join(program.file_name().unwrap_or_default());
    if !kept.exists() {
        compile(source, &kept, flags)?;
    }
    let copied = std::fs::copy(&kept, program);
    copied.map(drop).map_err(|error| format!("{}: {error}", kept.display()))
}

fn compile(source: &Path, program: &Path, flags: &[&str]) -> Result<(), String> {
    let output = Command::new("cc")
        .args(["-O1", "-pthread", "-o"])
        .arg(program)
        .args(flags)
        .arg(source)
        .output()
        .map_err(|error| format!("cc: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("cc {flags:?}: {}", text.lines().next().unwrap_or("failed")))
}

/// An ELF file of two segments that exits with 7, or with 1 if its zeroed memory is not zero.
pub(crate) struct Tiny {
    pub(crate) bytes: Vec<u8>,
}

const TABLE: usize = 64;
const ENTRY_SIZE: usize = 56;
const CODE: u64 = 0x100;
const TEXT: u64 = 0x4000_0000;
const DATA: u64 = 0x4000_1000;

impl Tiny {
    pub(crate) fn new() -> Self {
        let mut tiny = Tiny { bytes: vec![0; 0x120] };
        tiny.bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        tiny.kind(2);
        tiny.machine(if cfg!(target_arch = "x86_64") { 62 } else { 183 });
        tiny.put(20, &1u32.to_le_bytes());
        tiny.entry(TEXT + CODE);
        tiny.put(52, &64u16.to_le_bytes());
        tiny.table(TABLE as u64, ENTRY_SIZE as u16, 2);
        tiny.at(0).kind(1);
        tiny.at(0).flags(5);
        tiny.at(0).place(0, TEXT);
        tiny.at(0).lengths(0x120, 0x120);
        tiny.at(0).align(0x1000);
        tiny.at(1).kind(1);
        tiny.at(1).flags(6);
        tiny.at(1).place(0, DATA);
        // The rest of this page and the one behind it are to be zeros, not the file's bytes.
        tiny.at(1).lengths(8, 0x1800);
        tiny.at(1).align(0x1000);
        // mov edi, [0x40001100]; add edi, [0x40002008]; neg edi; sbb edi, edi; and edi, -6;
        // add edi, 7; mov eax, 60; syscall
        let code = [
            0x8b, 0x3c, 0x25, 0x00, 0x11, 0x00, 0x40, 0x03, 0x3c, 0x25, 0x08, 0x20, 0x00, 0x40,
            0xf7, 0xdf, 0x19, 0xff, 0x83, 0xe7, 0xfa, 0x83, 0xc7, 0x07, 0xb8, 60, 0, 0, 0, 0x0f,
            0x05, 0xcc,
        ];
        tiny.put(CODE as usize, &code);
        tiny
    }

    /// The file, open for both.
    pub(crate) fn file(&self) -> File {
        let mut file = catcher();
        file.write_all(&self.bytes).expect("it is a file");
        file
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn kind(&mut self, kind: u16) {
        self.put(16, &kind.to_le_bytes());
    }

    pub(crate) fn machine(&mut self, machine: u16) {
        self.put(18, &machine.to_le_bytes());
    }

    pub(crate) fn entry(&mut self, entry: u64) {
        self.put(24, &entry.to_le_bytes());
    }

    pub(crate) fn table(&mut self, at: u64, entry_size: u16, count: u16) {
        self.put(32, &at.to_le_bytes());
        self.put(54, &entry_size.to_le_bytes());
        self.put(56, &count.to_le_bytes());
    }

    /// The program header with this index.
    pub(crate) fn at(&mut self, index: usize) -> Header<'_> {
        Header { at: TABLE + index * ENTRY_SIZE, tiny: self }
    }

    pub(crate) fn each(&mut self, change: impl Fn(&mut Header<'_>)) {
        for index in 0..2 {
            change(&mut self.at(index));
        }
    }

    /// A third header, for an interpreter of this name.
    pub(crate) fn interpreter(&mut self, name: &[u8], len: u64) {
        self.table(TABLE as u64, ENTRY_SIZE as u16, 3);
        // Between the headers and the code there is no room for a name.
        let at = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let mut header = self.at(2);
        header.kind(3);
        header.place(at as u64, 0);
        header.lengths(len, len);
    }
}

/// A program header.
pub(crate) struct Header<'a> {
    tiny: &'a mut Tiny,
    at: usize,
}

impl Header<'_> {
    pub(crate) fn kind(&mut self, kind: u32) {
        self.tiny.put(self.at, &kind.to_le_bytes());
    }

    pub(crate) fn flags(&mut self, flags: u32) {
        self.tiny.put(self.at + 4, &flags.to_le_bytes());
    }

    pub(crate) fn place(&mut self, offset: u64, addr: u64) {
        self.tiny.put(self.at + 8, &offset.to_le_bytes());
        self.tiny.put(self.at + 16, &addr.to_le_bytes());
    }

    pub(crate) fn lengths(&mut self, file: u64, memory: u64) {
        self.tiny.put(self.at + 32, &file.to_le_bytes());
        self.tiny.put(self.at + 40, &memory.to_le_bytes());
    }

    pub(crate) fn align(&mut self, align: u64) {
        self.tiny.put(self.at + 48, &align.to_le_bytes());
    }
}
