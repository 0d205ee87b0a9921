//! The guest's files: the host's tree, thinned. A file keeps its path, and every symbolic link on
//! the way is kept too, so that paths compiled into a program (`CARGO_BIN_EXE_…`, its interpreter)
//! hold in the guest.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::arch::Arch;
use super::cpio;
use super::error::{Error, Result};
use super::program;

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

enum Node {
    Directory(u32),
    Link(OsString),
    Host(PathBuf, u32),
    Bytes(Vec<u8>, u32),
}

pub(crate) struct Tree {
    arch: Arch,
    nodes: BTreeMap<PathBuf, Node>,
    seen: HashSet<PathBuf>,
}

impl Tree {
    /// A tree with the little that programs expect of any root; `/bin` and the like are links if
    /// they are links here.
    pub(crate) fn new(arch: Arch) -> Result<Self> {
        let mut tree = Self { arch, nodes: BTreeMap::new(), seen: HashSet::new() };
        for (path, mode) in [("/etc", 0o755), ("/root", 0o700), ("/run", 0o755), ("/tmp", 0o1777)] {
            tree.nodes.insert(path.into(), Node::Directory(mode));
        }
        tree.bytes(
            "/etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        );
        tree.bytes("/etc/group", b"root:x:0:\nnogroup:x:65534:\n");
        for path in ["/bin", "/lib", "/lib64", "/sbin"].map(Path::new) {
            if path.is_symlink() {
                tree.trace(path, 0)?;
            }
        }
        Ok(tree)
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) {
        self.nodes.insert(path.into(), Node::Bytes(bytes.to_vec(), 0o644));
    }

    /// Adds a file with what it needs to run, or a directory with all that is in it.
    pub(crate) fn add(&mut self, path: &Path) -> Result<()> {
        let path = std::path::absolute(path).map_err(Error::at(path))?;
        let real = self.trace(&path, 0)?;
        if !self.seen.insert(real.clone()) {
            return Ok(());
        }
        if real.is_dir() {
            for entry in fs::read_dir(&real).map_err(Error::at(&real))? {
                let below = entry.map_err(Error::at(&real))?.path();
                match below.exists() {
                    true => self.add(&below)?,
                    false => self.link(&below)?,
                }
            }
            return Ok(());
        }
        program::needs(&real, self.arch)?.iter().try_for_each(|needed| self.add(needed))
    }

    /// Adds what is on the way along a path, with what it leads to, and returns that without links.
    fn trace(&mut self, path: &Path, depth: u32) -> Result<PathBuf> {
        let mut at = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::Normal(name) => at.push(name),
                Component::ParentDir => _ = at.pop(),
                _ => {}
            }
            let meta = fs::symlink_metadata(&at).map_err(Error::at(&at))?;
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_symlink() && depth < MAX_LINKS {
                self.link(&at)?;
                let target = fs::read_link(&at).map_err(Error::at(&at))?;
                let beside = at.parent().unwrap_or(Path::new("/")).join(target);
                at = self.trace(&beside, depth + 1)?;
            } else if meta.is_dir() {
                self.nodes.entry(at.clone()).or_insert(Node::Directory(mode));
            } else if meta.is_file() {
                self.nodes.insert(at.clone(), Node::Host(at.clone(), mode));
            } else {
                let why = "neither a file nor a directory".into();
                return Err(Error::Unfit { path: at.display().to_string(), why });
            }
        }
        Ok(at)
    }

    fn link(&mut self, path: &Path) -> Result<()> {
        let target = fs::read_link(path).map_err(Error::at(path))?.into_os_string();
        self.nodes.insert(path.into(), Node::Link(target));
        Ok(())
    }

    /// Writes all of it below `prefix`, which has no leading slash.
    pub(crate) fn write<W: Write>(&self, to: &mut cpio::Writer<W>, prefix: &str) -> Result<()> {
        for (path, node) in &self.nodes {
            let place = [prefix.as_bytes(), path.as_os_str().as_bytes()].concat();
            let place = place.strip_suffix(b"/").unwrap_or(&place);
            let written = match node {
                Node::Directory(mode) => to.entry(place, cpio::DIRECTORY | mode, &[]),
                Node::Link(target) => {
                    to.entry(place, cpio::SYMLINK | 0o777, &target.clone().into_vec())
                }
                Node::Bytes(bytes, mode) => to.entry(place, cpio::REGULAR | mode, bytes),
                Node::Host(path, mode) => {
                    fs::read(path).and_then(|bytes| to.entry(place, cpio::REGULAR | mode, &bytes))
                }
            };
            written.map_err(Error::at(path))?;
        }
        Ok(())
    }
}

/// Where a command is: a path as it stands, a bare name in `PATH`.
pub(crate) fn find(command: &OsString) -> Result<PathBuf> {
    let missing = || Error::NoProgram(command.display().to_string());
    let path = PathBuf::from(command);
    if command.as_bytes().contains(&b'/') {
        return std::path::absolute(&path).map_err(Error::at(&path));
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let runnable = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&dirs).map(|dir| dir.join(&path)).find(runnable).ok_or_else(missing)
}
