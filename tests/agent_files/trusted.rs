//! What a rule names by path is found by nobody's leave but its owners'.

use embryo::{ExecFlags, Op, Plan, spawn};
use embryo_agent::files::trusted::{Directory, Reason, Status, Untrusted};
use embryo_tests::{require_root, skip};
use rustix::fs::{Mode, OFlags, XattrFlags};
use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A directory with `bin/cc` in it, which belong to whoever runs the test.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o755);
    fs::create_dir(dir.path().join("bin")).unwrap();
    mode(&dir.path().join("bin"), 0o755);
    fs::write(dir.path().join("bin/cc"), "a compiler").unwrap();
    mode(&dir.path().join("bin/cc"), 0o755);
    dir
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn own() -> [u32; 1] {
    [rustix::process::geteuid().as_raw()]
}

fn open(path: &Path) -> Result<Directory, Untrusted> {
    Directory::open(path, &own())
}

fn wrong(path: PathBuf, reason: Reason) -> Untrusted {
    Untrusted { path, reason }
}

#[test]
fn what_is_found_is_the_file() {
    let dir = tree();
    let rule = open(dir.path()).unwrap();
    let found = rule.file(Path::new("bin/cc")).unwrap();
    let there = fs::metadata(dir.path().join("bin/cc")).unwrap();
    assert_eq!((found.status.inode, found.status.size), (there.ino(), there.size()));
    assert!(rustix::fs::fcntl_getfl(&found.handle).unwrap().contains(OFlags::PATH));
    let found = rule.directory(Path::new("bin")).unwrap();
    assert_eq!(found.status.inode, fs::metadata(dir.path().join("bin")).unwrap().ino());
    let found = rule.directory(Path::new("")).unwrap();
    assert_eq!(found.status.inode, fs::metadata(dir.path()).unwrap().ino());
    assert_eq!(rule.any(Path::new("bin/cc")).unwrap().status.size, 10);
}

#[test]
fn every_name_on_the_way_is_checked() {
    let dir = tree();
    let [top, bin, cc] = [dir.path().into(), dir.path().join("bin"), dir.path().join("bin/cc")];
    let rule = open(&top).unwrap();
    for (bit, reason) in [(0o020, Reason::Group), (0o002, Reason::Everybody)] {
        for at in [&top, &bin, &cc] {
            mode(at, 0o755 | bit);
            let refused = rule.file(Path::new("bin/cc")).unwrap_err();
            assert_eq!(refused, wrong(at.clone(), reason.clone()));
            mode(at, 0o755);
        }
    }
    rule.file(Path::new("bin/cc")).unwrap();
    // The sticky bit is of no help where something is looked up that need not be there yet.
    mode(&bin, 0o1777);
    let refused = rule.file(Path::new("bin/cc")).unwrap_err();
    assert_eq!(refused, wrong(bin.clone(), Reason::Everybody));
    assert_eq!(open(&bin).unwrap_err(), wrong(bin.clone(), Reason::Everybody));
    let text = refused.to_string();
    assert_eq!(text, format!("{} is writable by everybody", bin.display()));
}

#[test]
fn above_the_rule_a_sticky_directory_will_do() {
    let dir = tree();
    let bin = dir.path().join("bin");
    mode(dir.path(), 0o1777);
    open(&bin).unwrap().file(Path::new("cc")).unwrap();
    mode(dir.path(), 0o777);
    assert_eq!(open(&bin).unwrap_err(), wrong(dir.path().into(), Reason::Everybody));
    mode(dir.path(), 0o775);
    assert_eq!(open(&bin).unwrap_err(), wrong(dir.path().into(), Reason::Group));
}

#[test]
fn an_access_control_list_shows() {
    // Version 2; u::rwx, u:1234:rwx, g::r-x, m::rwx, o::r-x; `struct posix_acl_xattr_entry`.
    let mut acl = 2u32.to_le_bytes().to_vec();
    let any = u32::MAX;
    for (tag, permissions, id) in
        [(1u16, 7u16, any), (2, 7, 1234), (4, 5, any), (0x10, 7, any), (0x20, 5, any)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let dir = tree();
    let cc = dir.path().join("bin/cc");
    let set = rustix::fs::setxattr(&cc, "system.posix_acl_access", &acl, XattrFlags::empty());
    if let Err(errno) = set {
        skip!("no access control lists here: {errno}");
    }
    let refused = open(dir.path()).unwrap().file(Path::new("bin/cc")).unwrap_err();
    assert_eq!(refused, wrong(cc, Reason::Group));
}

#[test]
fn somebody_elses_is_not_trusted() {
    require_root!();
    let dir = tree();
    let [bin, cc] = [dir.path().join("bin"), dir.path().join("bin/cc")];
    let rule = open(dir.path()).unwrap();
    let named = Directory::open(dir.path(), &[1234]).unwrap();
    for at in [&cc, &bin] {
        std::os::unix::fs::chown(at, Some(1234), None).unwrap();
        let refused = rule.file(Path::new("bin/cc")).unwrap_err();
        assert_eq!(refused, wrong(at.clone(), Reason::Owner(1234)));
        named.file(Path::new("bin/cc")).unwrap();
    }
    assert_eq!(open(&bin).unwrap_err(), wrong(bin, Reason::Owner(1234)));
}

#[test]
fn no_link_is_followed() {
    let dir = tree();
    let rule = open(dir.path()).unwrap();
    symlink("bin/cc", dir.path().join("link")).unwrap();
    symlink("bin", dir.path().join("sbin")).unwrap();
    let link = |name: &str| wrong(dir.path().join(name), Reason::Link);
    assert_eq!(rule.file(Path::new("link")).unwrap_err(), link("link"));
    assert_eq!(rule.any(Path::new("link")).unwrap_err(), link("link"));
    assert_eq!(rule.file(Path::new("sbin/cc")).unwrap_err(), link("sbin"));
    assert_eq!(rule.directory(Path::new("sbin")).unwrap_err(), link("sbin"));
    assert_eq!(open(&dir.path().join("sbin")).unwrap_err(), link("sbin"));
}

#[test]
fn a_path_stays_below() {
    let dir = tree();
    let rule = open(&dir.path().join("bin")).unwrap();
    for path in ["../bin/cc", "/etc/passwd", "..", "x/../cc"] {
        assert_eq!(rule.any(Path::new(path)).unwrap_err().reason, Reason::NotBelow, "{path}");
    }
    let deep: PathBuf = std::iter::repeat_n("x", 65).collect();
    assert_eq!(rule.any(&deep).unwrap_err().reason, Reason::TooDeep);
    assert_eq!(open(Path::new("bin")).unwrap_err().reason, Reason::NotAbsolute);
    assert_eq!(open(Path::new("/usr/../usr")).unwrap_err().reason, Reason::NotAbsolute);
}

#[test]
fn only_files_are_files() {
    let dir = tree();
    let rule = open(dir.path()).unwrap();
    let fifo = dir.path().join("bin/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    for path in ["", "bin", "bin/fifo"] {
        assert_eq!(rule.file(Path::new(path)).unwrap_err().reason, Reason::NotFile, "{path}");
    }
    let refused = rule.directory(Path::new("bin/cc")).unwrap_err();
    assert_eq!(refused, wrong(dir.path().join("bin/cc"), Reason::NotDirectory));
    let gone = rule.file(Path::new("bin/ld")).unwrap_err();
    assert_eq!(gone.reason, Reason::Errno(rustix::io::Errno::NOENT));
    assert_eq!(gone.path, dir.path().join("bin/ld"));
}

#[test]
fn procfs_is_refused() {
    let refused = open(Path::new("/proc")).unwrap_err();
    assert_eq!(refused.to_string(), "/proc is on proc, which is not trusted");
    let refused = open(Path::new("/proc/self/cwd")).unwrap_err();
    assert_eq!(refused.path, Path::new("/proc"));
}

#[test]
fn nothing_is_crossed_into() {
    require_root!();
    let dir = tree();
    // In a namespace of this thread's own, so that it goes with the thread.
    let done = std::thread::spawn(move || {
        let private = rustix::mount::MountPropagationFlags::PRIVATE
            | rustix::mount::MountPropagationFlags::REC;
        embryo_syscall::unshare(0x0002_0000).unwrap();
        rustix::mount::mount_change("/", private).unwrap();
        let bin = dir.path().join("bin");
        let rule = open(dir.path()).unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &bin, "tmpfs", none, Some(c"mode=755")).unwrap();
        assert_eq!(rule.any(Path::new("bin")).unwrap_err(), wrong(bin.clone(), Reason::Mount));
        assert_eq!(rule.file(Path::new("bin/cc")).unwrap_err(), wrong(bin, Reason::Mount));
    });
    done.join().unwrap();
}

#[test]
fn a_handle_is_what_runs() {
    let rule = Directory::open(Path::new("/usr/bin"), &[]).unwrap();
    let found = match rule.file(Path::new("true")) {
        Ok(found) => found,
        Err(untrusted) => skip!("{untrusted}"),
    };
    assert_eq!(Status::of(found.handle.as_fd()).unwrap(), found.status);
    let mut plan = Plan::builder();
    let image = plan.slot();
    plan.op(&Op::ChdirPath { path: c"/" }).op(&Op::Umask { mode: 0o022 }).op(&Op::SetSid);
    plan.op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() }).arg("true");
    let mut child = spawn(&plan.build().unwrap(), &[found.handle.as_fd()]).unwrap();
    assert!(child.wait().unwrap().success());
}
