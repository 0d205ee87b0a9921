//! What a program needs beside its own file: its interpreter and its shared libraries.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::arch::Arch;
use super::error::{Error, Result, output};

const INTERP: u32 = 3;
const DYNAMIC: u32 = 2;

/// The files that `path` needs to run in a guest; none for what is no program.
pub(crate) fn needs(path: &Path, arch: Arch) -> Result<Vec<PathBuf>> {
    let mut file = File::open(path).map_err(Error::at(path))?;
    let mut head = Vec::new();
    file.by_ref().take(256).read_to_end(&mut head).map_err(Error::at(path))?;
    if let Some(line) = head.strip_prefix(b"#!") {
        return Ok(interpreter(line).into_iter().collect());
    }
    if !head.starts_with(b"\x7fELF\x02\x01") || head.len() < 64 {
        return Ok(Vec::new());
    }
    if u16_at(&head, 18) != arch.elf_machine() {
        let why = format!("not for {}", arch.name());
        return Err(Error::Unfit { path: path.display().to_string(), why });
    }
    let segments = segment_kinds(&mut file, &head).map_err(Error::at(path))?;
    match arch == Arch::HOST {
        true if segments.contains(&DYNAMIC) => libraries(path),
        false if segments.contains(&INTERP) => {
            let why = "a program for another architecture must be linked statically".into();
            Err(Error::Unfit { path: path.display().to_string(), why })
        }
        _ => Ok(Vec::new()),
    }
}

/// The path after a script's `#!`.
fn interpreter(line: &[u8]) -> Option<PathBuf> {
    let line = String::from_utf8_lossy(line.split(|&byte| byte == b'\n').next()?).into_owned();
    line.split_whitespace().next().map(PathBuf::from)
}

fn segment_kinds(file: &mut File, head: &[u8]) -> io::Result<Vec<u32>> {
    let start = u64::from_le_bytes(head[32..40].try_into().expect("eight bytes"));
    let (size, count) = (u16_at(head, 54), u16_at(head, 56));
    let mut table = vec![0; usize::from(size) * usize::from(count)];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut table)?;
    let kind = |entry: &[u8]| entry.first_chunk().map(|&bytes| u32::from_le_bytes(bytes));
    Ok(table.chunks(usize::from(size).max(1)).filter_map(kind).collect())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn libraries(path: &Path) -> Result<Vec<PathBuf>> {
    match output(Command::new("ldd").arg(path), "libc-bin") {
        Ok(output) => listed(path, &String::from_utf8_lossy(&output.stdout)),
        Err(Error::Command { reason, .. }) if reason.contains("not a dynamic executable") => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// The paths in ldd's answer.
fn listed(path: &Path, answer: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in answer.lines().map(str::trim) {
        if line.ends_with("=> not found") {
            return Err(Error::Unfit { path: path.display().to_string(), why: line.into() });
        }
        let target = line.split_once(" => ").map_or(line, |(_, target)| target);
        let target = target.split_once(" (").map_or(target, |(target, _)| target);
        if target.starts_with('/') {
            found.push(PathBuf::from(target));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_and_the_loader_are_listed_and_the_vdso_is_not() {
        let answer = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f10)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f11)\n";
        let found = listed(Path::new("p"), answer).unwrap();
        let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(found, paths.map(PathBuf::from));
        assert!(listed(Path::new("p"), "\tlibx.so => not found\n").is_err());
        assert!(listed(Path::new("p"), "\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn a_script_needs_its_interpreter() {
        assert_eq!(interpreter(b" /bin/sh -e\necho"), Some("/bin/sh".into()));
    }
}
