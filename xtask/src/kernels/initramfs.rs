//! The guest's initramfs: init, the files that become its root, and what init is told to do.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::arch::Arch;
use super::cpio;
use super::error::{Error, Result, output};
use super::tree::Tree;

const INIT: &str = include_str!("init.c");

/// What a guest's initramfs is made of.
pub(crate) struct Contents<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) argv: &'a [OsString],
    pub(crate) env: &'a [OsString],
    pub(crate) modules: &'a [Vec<u8>],
    /// init's executable
    pub(crate) init: &'a Path,
}

impl Contents<'_> {
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).map_err(Error::at(path))?;
        let mut to = cpio::Writer::new(BufWriter::new(file));
        let init = fs::read(self.init).map_err(Error::at(self.init))?;
        let mut entry = |name: &str, mode, data: &[u8]| {
            to.entry(name.as_bytes(), mode, data).map_err(Error::at(path))
        };
        for dir in ["dev", "guest", "guest/modules", "root"] {
            entry(dir, cpio::DIRECTORY | 0o755, &[])?;
        }
        entry("init", cpio::REGULAR | 0o755, &init)?;
        entry("guest/argv", cpio::REGULAR | 0o644, &strings(self.argv))?;
        entry("guest/env", cpio::REGULAR | 0o644, &strings(self.env))?;
        for (index, module) in self.modules.iter().enumerate() {
            entry(&format!("guest/modules/{index:03}.ko"), cpio::REGULAR | 0o644, module)?;
        }
        self.tree.write(&mut to, "payload")?;
        to.finish().map_err(Error::at(path))?;
        Ok(())
    }
}

/// Each string and a NUL.
fn strings(strings: &[OsString]) -> Vec<u8> {
    strings.iter().flat_map(|string| [string.as_bytes(), b"\0"].concat()).collect()
}

/// Compiles init into `dir`.
pub(crate) fn init(dir: &Path, arch: Arch) -> Result<PathBuf> {
    let (source, made) = (dir.join("init.c"), dir.join("init"));
    fs::write(&source, INIT).map_err(Error::at(&source))?;
    let (compiler, package) = arch.compiler();
    let options = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-o"].map(OsStr::new);
    output(Command::new(compiler).args(options).arg(&made).arg(&source), package)?;
    Ok(made)
}
