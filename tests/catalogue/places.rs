//! Root, working directory and umask. It must never leave a directory behind: each belongs to its
//! draft.

use super::{Check, Failure, Sample, identity};
use crate::launch::{Draft, c_path};
use crate::refusal::Refusal;
use embryo::{Op, OpCode};
use embryo_tests::{Place, probe_path, tempdir};
use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;
use std::fs::{File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const UNSEARCHABLE: CapabilitySet =
    CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::ChrootPath, "a copy of what the probe needs", |draft| {
        let root = new_root(draft);
        draft.op(&Op::ChrootPath { path: &c_path(&root) }).op(&Op::ChdirPath { path: c"/inner" });
        rooted(root)
    })
    .with(CapabilitySet::SYS_CHROOT),
    Sample::new(OpCode::ChrootSlot, "a copy of what the probe needs", |draft| {
        let root = new_root(draft);
        let slot = draft.grant(directory(&root, OFlags::PATH));
        draft.op(&Op::ChrootSlot { slot }).op(&Op::ChdirPath { path: c"inner" });
        rooted(root)
    })
    .with(CapabilitySet::SYS_CHROOT),
    Sample::new(OpCode::ChdirPath, "absolute", |draft| {
        let (path, check) = new_cwd(draft);
        draft.op(&Op::ChdirPath { path: &c_path(&path) });
        check
    }),
    Sample::new(OpCode::ChdirPath, "relative", |draft| {
        draft.op(&Op::ChdirPath { path: c".." });
        Box::new(|child| {
            let parent = rustix::fs::stat("..").expect("every directory has one");
            let place = Place { dev: parent.st_dev, ino: parent.st_ino };
            assert_eq!(child.report.cwd_at, Some(place));
        })
    }),
    Sample::new(OpCode::ChdirSlot, "opened to read", |draft| {
        let (path, check) = new_cwd(draft);
        let slot = draft.grant(directory(&path, OFlags::RDONLY));
        draft.op(&Op::ChdirSlot { slot });
        check
    }),
    Sample::new(OpCode::ChdirSlot, "opened as a path", |draft| {
        let (path, check) = new_cwd(draft);
        let slot = draft.grant(directory(&path, OFlags::PATH));
        draft.op(&Op::ChdirSlot { slot });
        check
    }),
    Sample::new(OpCode::Umask, "odd", |draft| {
        draft.op(&Op::Umask { mode: 0o531 });
        Box::new(|child| {
            assert_eq!(child.report.umask, 0o531);
            assert_eq!(child.status("Umask"), "0531");
        })
    }),
    Sample::new(OpCode::Umask, "empty", |draft| {
        draft.op(&Op::Umask { mode: 0 });
        Box::new(|child| assert_eq!(child.report.umask, 0))
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::ChrootPath, "missing", libc::ENOENT, |draft| {
        draft.op(&Op::ChrootPath { path: c"/nowhere/to/be/found" });
        draft.op(&Op::ChdirPath { path: c"/" });
    })
    .names("/nowhere/to/be/found"),
    Failure::new(OpCode::ChrootPath, "a file", libc::ENOTDIR, |draft| {
        draft.op(&Op::ChrootPath { path: c"/dev/null" }).op(&Op::ChdirPath { path: c"/" });
    })
    .names("/dev/null"),
    Failure::new(OpCode::ChrootPath, "without the capability", libc::EPERM, |draft| {
        draft.op(&Op::ChrootPath { path: c"/" }).op(&Op::ChdirPath { path: c"/" });
    })
    .without(CapabilitySet::SYS_CHROOT)
    .names("/"),
    Failure::new(OpCode::ChrootSlot, "a file", libc::ENOTDIR, |draft| {
        let slot = draft.grant(File::open("/dev/null").expect("it is there"));
        draft.op(&Op::ChrootSlot { slot }).op(&Op::ChdirPath { path: c"/" });
    })
    .names("slot 0"),
    Failure::new(OpCode::ChrootSlot, "without the capability", libc::EPERM, |draft| {
        let slot = draft.grant(directory(Path::new("/"), OFlags::PATH));
        draft.op(&Op::ChrootSlot { slot }).op(&Op::ChdirPath { path: c"/" });
    })
    .without(CapabilitySet::SYS_CHROOT)
    .names("slot 0"),
    Failure::new(OpCode::ChdirPath, "missing", libc::ENOENT, |draft| {
        draft.op(&Op::ChdirPath { path: c"not/here" });
    })
    .names("not/here"),
    Failure::new(OpCode::ChdirPath, "a file", libc::ENOTDIR, |draft| {
        draft.op(&Op::ChdirPath { path: c"/dev/null" });
    })
    .names("/dev/null"),
    Failure::new(OpCode::ChdirPath, "closed to its owner", libc::EACCES, |draft| {
        let dir = closed(draft);
        draft.op(&Op::ChdirPath { path: &c_path(&dir) });
    })
    .without(UNSEARCHABLE)
    .names("/closed"),
    Failure::new(OpCode::ChdirPath, "closed to its new user", libc::EACCES, |draft| {
        let dir = closed(draft);
        draft.op(&Op::Uid { real: 1, effective: 1, saved: 1 });
        draft.op(&Op::ChdirPath { path: &c_path(&dir) });
    })
    .with(CapabilitySet::SETUID)
    .names("/closed"),
    Failure::new(OpCode::ChdirSlot, "a file", libc::ENOTDIR, |draft| {
        let slot = draft.grant(File::open("/dev/null").expect("it is there"));
        draft.op(&Op::ChdirSlot { slot });
    })
    .names("slot 0"),
    Failure::new(OpCode::ChdirSlot, "closed to its owner", libc::EACCES, |draft| {
        let dir = closed(draft);
        let slot = draft.grant(directory(&dir, OFlags::PATH));
        draft.op(&Op::ChdirSlot { slot });
    })
    .without(UNSEARCHABLE)
    .names("slot 0"),
    Failure::new(OpCode::Umask, "refused", libc::EPERM, |draft| {
        draft.op(&Op::Umask { mode: 0o22 });
    })
    .names("mode=0022")
    .refused(Refusal::always(libc::SYS_umask)),
];

fn directory(path: &Path, how: OFlags) -> OwnedFd {
    let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).expect("a directory can be opened")
}

/// A new directory, and how to see that a child works in it.
fn new_cwd(draft: &mut Draft) -> (PathBuf, Check) {
    let dir = tempdir();
    let path = dir.path().to_owned();
    draft.hold(dir);
    let (dev, ino) = identity(directory(&path, OFlags::PATH));
    let seen = path.clone();
    let check: Check = Box::new(move |child| {
        assert_eq!(child.report.cwd_at, Some(Place { dev, ino }));
        assert_eq!(child.link("cwd"), seen);
    });
    (path, check)
}

/// A directory that nobody may enter.
fn closed(draft: &mut Draft) -> PathBuf {
    /// Opens it again: an ordinary user could not remove it otherwise.
    struct Reopen(PathBuf);
    impl Drop for Reopen {
        fn drop(&mut self) {
            let _ = std::fs::set_permissions(&self.0, Permissions::from_mode(0o755));
        }
    }
    let dir = tempdir();
    let path = dir.path().join("closed");
    std::fs::create_dir(&path).expect("one may write there");
    std::fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("it is one's own");
    // In the order in which they are dropped.
    draft.hold(Reopen(path.clone()));
    draft.hold(dir);
    path
}

/// A directory in which the probe can run as if it were the root: its libraries lie in it under
/// the paths that they have here.
fn new_root(draft: &mut Draft) -> PathBuf {
    let dir = tempdir();
    let root = dir.path().to_owned();
    draft.hold(dir);
    // A test of this package is linked as the probe is.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("there is a /proc");
    let libraries = maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5));
    let libraries = libraries.filter(|path| path.starts_with('/') && path.contains(".so"));
    let probe = probe_path();
    for file in libraries.map(PathBuf::from).chain(loaders()).chain([probe]) {
        let copy = root.join(file.strip_prefix("/").expect("it is absolute"));
        std::fs::create_dir_all(copy.parent().expect("it has a directory")).expect("it is made");
        std::fs::copy(&file, &copy).expect("it can be copied");
    }
    std::fs::create_dir(root.join("inner")).expect("it can be made");
    root
}

/// The dynamic loader under the names that programs know it by, which are links.
fn loaders() -> impl Iterator<Item = PathBuf> {
    let names = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    names.into_iter().map(PathBuf::from).filter(|path| path.exists())
}

fn rooted(root: PathBuf) -> Check {
    let (dev, ino) = identity(directory(&root, OFlags::PATH));
    let inner = identity(directory(&root.join("inner"), OFlags::PATH));
    Box::new(move |child| {
        assert_eq!(child.report.root_at, Some(Place { dev, ino }));
        assert_eq!(child.report.cwd_at, Some(Place { dev: inner.0, ino: inner.1 }));
        assert_eq!(child.link("root"), root);
        assert_eq!(child.link("cwd"), root.join("inner"));
    })
}
