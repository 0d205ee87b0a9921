//! The filter of system calls that every sandbox installs: five calls that a sandbox forbids, all others let through.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::MemfdFlags;

/// A filter in a file, at its beginning.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<u8>,
    file: File,
}

impl Filter {
    /// Writes it to memory.
    pub(crate) fn new() -> io::Result<Self> {
        let program = program();
        let mut file = File::from(rustix::fs::memfd_create("filter", MemfdFlags::CLOEXEC)?);
        file.write_all(&program)?;
        Ok(Self { program, file })
    }

    /// Its instructions.
    pub(crate) fn program(&self) -> &[u8] {
        &self.program
    }

    /// A copy of its descriptor that a child inherits, and reads from wherever the file stands.
    pub(crate) fn inherited(&self) -> io::Result<File> {
        let copy = rustix::io::dup(self.file.as_fd())?;
        Ok(File::from(copy))
    }
}

/// Back to the beginning, for the next child to read.
pub(super) fn rewind(mut file: &File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0)).map(drop)
}

/// Its number, for a command line.
pub(super) fn number(file: &File) -> String {
    let fd: BorrowedFd<'_> = file.as_fd();
    fd.as_raw_fd().to_string()
}

fn program() -> Vec<u8> {
    const LOAD_NUMBER: (u16, u8, u8, u32) = (0x20, 0, 0, 0);
    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    let forbidden = [
        libc::SYS_ptrace,
        libc::SYS_keyctl,
        libc::SYS_bpf,
        libc::SYS_reboot,
        libc::SYS_init_module,
    ];
    let mut code = vec![LOAD_NUMBER];
    let count = forbidden.len() as u8;
    // JEQ: to the last instruction, or on.
    code.extend((0..count).zip(forbidden).map(|(at, call)| (0x15, count - at, 0, call as u32)));
    code.extend([(0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM)]);
    let bytes = |(code, yes, no, k): (u16, u8, u8, u32)| {
        let [a, b] = code.to_ne_bytes();
        let k = k.to_ne_bytes();
        [a, b, yes, no, k[0], k[1], k[2], k[3]]
    };
    code.into_iter().flat_map(bytes).collect()
}
