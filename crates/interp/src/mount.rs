//! The ops on mounts, with the calls of the new mount API alone: what is mounted is held by descriptors,
//! so no path of it is ever looked up twice.
//!
//! A new root is put together beside the old one. Both are mounted on a tmpfs that only holds the two, at `n`
//! and `o`, and the task's root is `o` meanwhile: so sources are found as they always were, and nothing lies on
//! either of the two that a `..` could step into.
//!
//! It must never touch a mount namespace that is not the task's own, nor look up a target in any other
//! way than below the root of the mounts.

use crate::ops::borrow;
use crate::world::World;
use core::ffi::CStr;
use embryo_plan::{MountFlags, MountOp, Spread, layers, limits};
use embryo_syscall::{self as sys, Errno, Held, MountAttr, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags};

const CLONE_NEWNS: u32 = 0x2_0000;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_RECURSIVE: u32 = 0x8000;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const IDMAP: u64 = 0x10_0000;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;
const UNBINDABLE: u64 = 1 << 17;
/// How often a lookup is tried again that somebody else's renaming got in the way of.
const TRIES: u32 = 64;
/// Permissions of directories that are made on the way to a target.
const ON_THE_WAY: u32 = 0o755;

/// Executes an op on mounts. `fd` is that of its slot.
pub(crate) fn apply(op: &MountOp<'_>, fd: i32, world: &mut World) -> Result<()> {
    world.demand(CLONE_NEWNS)?;
    // Permissions are those that the plan names.
    let mask = sys::umask(0)?;
    let done = one(op, fd, world);
    sys::umask(mask)?;
    done
}

fn one(op: &MountOp<'_>, fd: i32, world: &mut World) -> Result<()> {
    if !world.private && world.root < 0 {
        // What is mounted here is not to appear where this namespace was copied from.
        sys::mount_setattr(CWD, c"/", AT_RECURSIVE, &MountAttr { propagation: PRIVATE, ..NONE })?;
        world.private = true;
    }
    match *op {
        MountOp::NewRoot { size, mode, inodes } => new_root(world, size, mode, inodes),
        MountOp::Bind { source, target, flags } => bind_path(world, source, target, flags, None),
        MountOp::BindSlot { target, flags, .. } => {
            let tree = granted(borrow(fd)?, flags)?;
            bind(world, &tree, target, flags, None)?;
            settle(world, tree, target)
        }
        MountOp::BindMapped { source, target, flags, .. } => {
            bind_path(world, source, target, flags, Some(fd))
        }
        MountOp::Tmpfs { target, flags, size, mode, inodes } => {
            let flags = flags | MountFlags::NOSUID | MountFlags::NODEV;
            mount(world, tmpfs(size, mode, inodes, flags)?, target)
        }
        MountOp::Proc { target, flags, hidepid } => {
            let made = sys::fsopen(c"proc")?;
            if hidepid != 0 {
                number(&made, c"hidepid", hidepid.into(), 10)?;
            }
            if flags.contains(MountFlags::PROCESSES) {
                string(&made, c"subset", c"pid")?;
            }
            let flags = flags | MountFlags::ATTRIBUTES.difference(MountFlags::READ_ONLY);
            mount(world, finish(&made, flags)?, target)
        }
        MountOp::Devpts { target } => {
            let made = sys::fsopen(c"devpts")?;
            string(&made, c"mode", c"620")?;
            string(&made, c"ptmxmode", c"666")?;
            mount(world, finish(&made, MountFlags::NOSUID | MountFlags::NOEXEC)?, target)
        }
        MountOp::Mqueue { target } => {
            let flags = MountFlags::ATTRIBUTES.difference(MountFlags::READ_ONLY);
            mount(world, finish(&sys::fsopen(c"mqueue")?, flags)?, target)
        }
        MountOp::Overlay { layers, target, flags } => {
            let tree = overlay(world, layers, flags)?;
            mount(world, tree, target)
        }
        MountOp::Symlink { text, target } => symlink(world, text, target),
        MountOp::Directory { target, mode } => directory(world, target, mode).map(drop),
        MountOp::FileSlot { target, flags, mode, .. } => file(world, fd, target, flags, mode),
        MountOp::Chmod { target, mode } => chmod(&find(world, target)?, mode),
        MountOp::Propagation { target, flags, spread } => {
            let propagation = match spread {
                Spread::Private => PRIVATE,
                Spread::Slave => SLAVE,
                Spread::Shared => SHARED,
                Spread::Unbindable => UNBINDABLE,
            };
            change(&find(world, target)?, flags, &MountAttr { propagation, ..NONE })
        }
        MountOp::Attributes { target, flags, clear } => {
            let attr = MountAttr { set: kernel(flags), clear: kernel(clear), ..NONE };
            change(&find(world, target)?, flags, &attr)
        }
        MountOp::Unmount { target } => {
            if is_root(target) {
                return Err(Errno::BUSY);
            }
            let target = find(world, target)?;
            with_own_path(target.as_fd(), |path| {
                rustix::mount::unmount(path, UnmountFlags::DETACH).map_err(Errno::from)
            })
        }
        MountOp::EnterRoot => enter_root(world),
        _ => Err(Errno::NOSYS),
    }
}

const NONE: MountAttr = MountAttr { set: 0, clear: 0, propagation: 0, userns: 0 };

/// Sets the stage, as the head of this file says.
fn new_root(world: &mut World, size: u64, mode: u32, inodes: u64) -> Result<()> {
    if world.root >= 0 {
        return Err(Errno::BUSY);
    }
    // Of a root directory that is no mount point this is EINVAL, before anything has happened.
    sys::mount_setattr(CWD, c"/", AT_RECURSIVE, &MountAttr { propagation: PRIVATE, ..NONE })?;
    world.private = true;
    let before = here()?;
    let old = sys::open_held(CWD, c"/", DIRECTORY.bits(), 0)?;
    let stage = tmpfs(0, ON_THE_WAY, 0, MountFlags::ATTRIBUTES.difference(MountFlags::READ_ONLY))?;
    for name in [c"n", c"o"] {
        rustix::fs::mkdirat(&stage, name, Mode::from_raw_mode(ON_THE_WAY))?;
    }
    let root = tmpfs(size, mode, inodes, MountFlags::NOSUID | MountFlags::NODEV)?;
    onto(&stage, CWD, c"/")?;
    onto(&root, stage.as_fd(), c"n")?;
    rustix::process::fchdir(&stage)?;
    match rustix::process::pivot_root(c".", c"o") {
        // The root of an initramfs cannot be moved, so a copy of all of it stands for it.
        Err(rustix::io::Errno::INVAL) => {
            rustix::process::fchdir(&old)?;
            let tree = sys::open_tree_clone(CWD, c".", AT_RECURSIVE)?;
            onto(&tree, stage.as_fd(), c"o")?;
            rustix::process::fchdir(&tree)?;
        }
        moved => {
            moved?;
            rustix::process::fchdir(&old)?;
        }
    }
    sys::chroot_here()?;
    rustix::process::fchdir(&before)?;
    world.root = kept(root)?;
    Ok(())
}

/// Makes the new root the root, and takes the old one with the stage away.
fn enter_root(world: &mut World) -> Result<()> {
    let root = borrow(world.root)?;
    rustix::process::fchdir(root)?;
    // The stage: it alone is above both.
    rustix::process::chdir(c"..")?;
    sys::chroot_here()?;
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    let _ = sys::close(world.root);
    world.root = -1;
    Ok(())
}

const PATH: OFlags = OFlags::PATH;
const DIRECTORY: OFlags = PATH.union(OFlags::DIRECTORY);

/// The working directory.
fn here() -> Result<Held> {
    sys::open_held(CWD, c".", DIRECTORY.bits(), 0)
}

/// Where targets are looked up.
fn base(world: &World) -> Result<(BorrowedFd<'_>, ResolveFlags)> {
    if world.root < 0 {
        return Ok((CWD, ResolveFlags::NO_MAGICLINKS));
    }
    Ok((borrow(world.root)?, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS))
}

fn look(world: &World, path: &CStr, flags: OFlags) -> Result<Held> {
    let (base, resolve) = base(world)?;
    let mut tries = 0u32;
    loop {
        match sys::openat2(base, path, flags.bits().into(), resolve.bits()) {
            Err(Errno::AGAIN) if tries < TRIES => tries = tries.wrapping_add(1),
            found => return found,
        }
    }
}

/// A target that is there.
fn find(world: &World, path: &CStr) -> Result<Held> {
    look(world, path, PATH)
}

/// Whether a path is that of the root itself.
fn is_root(path: &CStr) -> bool {
    path.to_bytes().split(|byte| *byte == b'/').all(|part| part.is_empty() || part == b".")
}

/// Makes the directories that lead to a target. Answers the last of them, and the name in it.
fn lead<'a>(world: &World, path: &CStr, room: &'a mut Room) -> Result<(Held, &'a CStr)> {
    let bytes = path.to_bytes_with_nul();
    room.get_mut(..bytes.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(bytes);
    let mut parent = look(world, c"/", DIRECTORY)?;
    let (mut from, mut end) = next(room, 0).ok_or(Errno::EXIST)?;
    while let Some((after, after_end)) = next(room, end) {
        let slash = room.get_mut(end).ok_or(Errno::INVAL)?;
        *slash = 0;
        let so_far = text(room, 0)?;
        parent = match look(world, so_far, DIRECTORY) {
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(ON_THE_WAY);
                rustix::fs::mkdirat(&parent, text(room, from)?, mode)?;
                look(world, so_far, DIRECTORY)?
            }
            found => found?,
        };
        *room.get_mut(end).ok_or(Errno::INVAL)? = b'/';
        (from, end) = (after, after_end);
    }
    *room.get_mut(end).ok_or(Errno::INVAL)? = 0;
    Ok((parent, text(room, from)?))
}

type Room = [u8; limits::PATH_BYTES_MAX];

/// The next part of a path from `at` on: where it begins and ends.
fn next(room: &Room, at: usize) -> Option<(usize, usize)> {
    let mut from = at;
    loop {
        match room.get(from) {
            Some(b'/') => from = from.wrapping_add(1),
            None | Some(0) => return None,
            Some(_) => break,
        }
    }
    let mut end = from;
    while room.get(end).is_some_and(|byte| *byte != b'/' && *byte != 0) {
        end = end.wrapping_add(1);
    }
    Some((from, end))
}

fn text(room: &Room, from: usize) -> Result<&CStr> {
    CStr::from_bytes_until_nul(room.get(from..).unwrap_or(&[])).map_err(|_| Errno::NAMETOOLONG)
}

/// A directory, which is made if it is missing.
fn directory(world: &World, path: &CStr, mode: u32) -> Result<Held> {
    match look(world, path, DIRECTORY) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let mut room = [0; limits::PATH_BYTES_MAX];
    let (parent, name) = lead(world, path, &mut room)?;
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode))?;
    sys::open_held(parent.as_fd(), name, (PATH | OFlags::NOFOLLOW).bits(), 0)
}

/// A place for a file to be mounted on, which is made if it is missing.
fn place_of_file(world: &World, path: &CStr) -> Result<Held> {
    match find(world, path) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let mut room = [0; limits::PATH_BYTES_MAX];
    let (parent, name) = lead(world, path, &mut room)?;
    drop(created(&parent, name, 0o444)?);
    sys::open_held(parent.as_fd(), name, (PATH | OFlags::NOFOLLOW).bits(), 0)
}

/// A new file, open for writing.
fn created(dir: &Held, name: &CStr, mode: u32) -> Result<Held> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
    sys::open_held(dir.as_fd(), name, flags.bits(), mode)
}

/// Attaches what was mounted to a directory.
fn mount(world: &mut World, tree: Held, target: &CStr) -> Result<()> {
    let place = directory(world, target, ON_THE_WAY)?;
    attach(world, &tree, &place, target)?;
    settle(world, tree, target)
}

/// What a path of the old root names.
fn bind_path(
    world: &mut World,
    source: &CStr,
    target: &CStr,
    flags: MountFlags,
    userns: Option<i32>,
) -> Result<()> {
    let tree = match sys::open_tree_clone(CWD, source, below(flags)) {
        Err(Errno::NOENT) if flags.contains(MountFlags::OPTIONAL) => return Ok(()),
        tree => tree?,
    };
    bind(world, &tree, target, flags, userns)?;
    settle(world, tree, target)
}

/// Attaches a copied tree to a place of its kind.
fn bind(
    world: &World,
    tree: &Held,
    target: &CStr,
    flags: MountFlags,
    userns: Option<i32>,
) -> Result<()> {
    let mut attr = MountAttr { set: kernel(flags), ..NONE };
    if let Some(fd) = userns {
        borrow(fd)?;
        (attr.set, attr.userns) = (attr.set | IDMAP, fd as u64);
    }
    if attr.set != 0 {
        change(tree, flags, &attr)?;
    }
    if is_directory(tree)? {
        return attach(world, tree, &directory(world, target, ON_THE_WAY)?, target);
    }
    let place = place_of_file(world, target)?;
    if is_directory(&place)? {
        return Err(Errno::ISDIR);
    }
    attach(world, tree, &place, target)
}

fn is_directory(fd: &Held) -> Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

fn attach(world: &World, tree: &Held, place: &Held, target: &CStr) -> Result<()> {
    if world.root < 0 && is_root(target) {
        // The task's root would not be what is mounted there.
        return Err(Errno::BUSY);
    }
    onto(tree, place.as_fd(), c"")
}

fn onto(tree: &Held, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let to = MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let flags = if name.is_empty() { from | to } else { from };
    Ok(rustix::mount::move_mount(tree, c"", dir, name, flags)?)
}

/// What is mounted on the new root itself is the new root from then on.
fn settle(world: &mut World, tree: Held, target: &CStr) -> Result<()> {
    if is_root(target) && world.root >= 0 {
        let root = kept(tree)?;
        let _ = sys::close(world.root);
        world.root = root;
    }
    Ok(())
}

/// A descriptor of the executor's, out of the way of stdio.
fn kept(fd: Held) -> Result<i32> {
    let moved = sys::dupfd_cloexec(fd.as_fd().as_raw_fd(), 3);
    drop(fd);
    moved
}

/// How much of what is below a mount is meant.
fn below(flags: MountFlags) -> u32 {
    if flags.contains(MountFlags::FLAT) { 0 } else { AT_RECURSIVE }
}

/// A copy of what a grant is. A grant of another mount namespace cannot be copied, so the same file is
/// looked for here, at the path that it has there.
fn granted(fd: BorrowedFd<'_>, flags: MountFlags) -> Result<Held> {
    match sys::open_tree_clone(fd, c"", below(flags) | AT_EMPTY_PATH) {
        Err(Errno::INVAL) => {}
        tree => return tree,
    }
    let mut room = [0; limits::PATH_BYTES_MAX];
    let tree = with_own_path(fd, |link| {
        rustix::fs::readlinkat_raw(CWD, link, &mut room[..])?;
        // A path that fills all of it has no NUL.
        let path = text(&room, 0)?;
        if !path.to_bytes().starts_with(b"/") {
            // It has none, as a pipe or a socket.
            return Err(Errno::INVAL);
        }
        sys::open_tree_clone(CWD, path, below(flags) | AT_SYMLINK_NOFOLLOW)
    })?;
    let (found, meant) = (rustix::fs::fstat(&tree)?, rustix::fs::fstat(fd)?);
    if (found.st_dev, found.st_ino) == (meant.st_dev, meant.st_ino) {
        Ok(tree)
    } else {
        Err(Errno::STALE)
    }
}

/// Calls `act` with the path that names a descriptor of the task's.
fn with_own_path<T>(fd: BorrowedFd<'_>, act: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    const HEAD: &[u8] = b"/proc/self/fd/";
    let mut digits = [0; DIGITS];
    let digits = decimal(fd.as_raw_fd() as u64, 10, &mut digits)?;
    let mut room = [0u8; 48];
    let end = HEAD.len().wrapping_add(digits.to_bytes().len());
    room.get_mut(..HEAD.len()).ok_or(Errno::INVAL)?.copy_from_slice(HEAD);
    room.get_mut(HEAD.len()..end).ok_or(Errno::INVAL)?.copy_from_slice(digits.to_bytes());
    act(CStr::from_bytes_until_nul(&room).map_err(|_| Errno::INVAL)?)
}

fn kernel(flags: MountFlags) -> u64 {
    // The first four bits are the kernel's own.
    flags.intersection(MountFlags::ATTRIBUTES).bits().into()
}

fn change(tree: &Held, flags: MountFlags, attr: &MountAttr) -> Result<()> {
    sys::mount_setattr(tree.as_fd(), c"", AT_EMPTY_PATH | below(flags), attr)
}

fn string(made: &Held, key: &CStr, value: &CStr) -> Result<()> {
    Ok(rustix::mount::fsconfig_set_string(made, key, value)?)
}

fn number(made: &Held, key: &CStr, value: u64, radix: u64) -> Result<()> {
    string(made, key, decimal(value, radix, &mut [0; DIGITS])?)
}

fn finish(made: &Held, flags: MountFlags) -> Result<Held> {
    rustix::mount::fsconfig_create(made)?;
    sys::fsmount(made.as_fd(), kernel(flags) as u32)
}

fn tmpfs(size: u64, mode: u32, inodes: u64, flags: MountFlags) -> Result<Held> {
    let made = sys::fsopen(c"tmpfs")?;
    number(&made, c"mode", mode.into(), 8)?;
    if size != 0 {
        number(&made, c"size", size, 10)?;
    }
    if inodes != 0 {
        number(&made, c"nr_inodes", inodes, 10)?;
    }
    finish(&made, flags)
}

const DIGITS: usize = 24;

/// A number as text, with its NUL.
fn decimal(value: u64, radix: u64, room: &mut [u8; DIGITS]) -> Result<&CStr> {
    let mut rest = value;
    let mut from = DIGITS.wrapping_sub(1);
    while from > 0 {
        from = from.wrapping_sub(1);
        let digit = rest.checked_rem(radix).unwrap_or(0);
        rest = rest.checked_div(radix).unwrap_or(0);
        if let Some(byte) = room.get_mut(from) {
            *byte = b'0'.wrapping_add(digit as u8);
        }
        if rest == 0 {
            break;
        }
    }
    CStr::from_bytes_until_nul(room.get(from..).unwrap_or(&[])).map_err(|_| Errno::INVAL)
}

/// Calls `act` in an empty tmpfs that goes away afterwards; what it has mounted of it stays.
fn in_scratch<T>(world: &World, act: impl FnOnce(&Held) -> Result<T>) -> Result<T> {
    let before = here()?;
    let scratch = tmpfs(0, ON_THE_WAY, 0, MountFlags::NOSUID | MountFlags::NODEV)?;
    // Nothing is looked up there as long as it lies on it.
    let root = look(world, c"/", DIRECTORY)?;
    onto(&scratch, root.as_fd(), c"")?;
    let entered = rustix::process::fchdir(&scratch);
    let outcome = entered.map_err(Errno::from).and_then(|()| act(&scratch));
    let gone = rustix::mount::unmount(c".", UnmountFlags::DETACH);
    rustix::process::fchdir(&before)?;
    gone?;
    outcome
}

fn overlay(world: &World, bytes: &[u8], flags: MountFlags) -> Result<Held> {
    let made = sys::fsopen(c"overlay")?;
    let count = layers(bytes).count();
    let lower = if flags.contains(MountFlags::UPPER) { count.wrapping_sub(2) } else { count };
    lower_layers(&made, bytes, lower)?;
    for (key, layer) in [c"upperdir", c"workdir"].into_iter().zip(layers(bytes).skip(lower)) {
        string(&made, key, layer)?;
    }
    if flags.contains(MountFlags::USERXATTR) {
        rustix::mount::fsconfig_set_flag(&made, c"userxattr")?;
    }
    if !flags.contains(MountFlags::THROWAWAY) {
        return finish(&made, flags);
    }
    in_scratch(world, |scratch| {
        for (key, name) in [(c"upperdir", c"upper"), (c"workdir", c"work")] {
            rustix::fs::mkdirat(scratch, name, Mode::from_raw_mode(ON_THE_WAY))?;
            string(&made, key, name)?;
        }
        finish(&made, flags)
    })
}

/// As one string, which every kernel takes, if that is long enough for all; else one by one, which
/// Linux 6.7 does.
fn lower_layers(made: &Held, bytes: &[u8], count: usize) -> Result<()> {
    let mut room = [0u8; limits::LAYER_BYTES_MAX];
    if joined(bytes, count, &mut room).is_some() {
        let text = CStr::from_bytes_until_nul(&room).map_err(|_| Errno::INVAL)?;
        return string(made, c"lowerdir", text);
    }
    layers(bytes).take(count).try_for_each(|layer| string(made, c"lowerdir+", layer))
}

fn joined(bytes: &[u8], count: usize, room: &mut [u8]) -> Option<()> {
    let mut at = 0usize;
    for layer in layers(bytes).take(count) {
        let layer = layer.to_bytes();
        // These have a meaning in the string.
        if layer.iter().any(|byte| matches!(byte, b':' | b'\\' | b',')) {
            return None;
        }
        if at != 0 {
            *room.get_mut(at)? = b':';
            at = at.wrapping_add(1);
        }
        let end = at.wrapping_add(layer.len());
        room.get_mut(at..end)?.copy_from_slice(layer);
        at = end;
    }
    // There has to be room for the NUL.
    room.get(at).map(|_| ())
}

fn symlink(world: &World, link: &CStr, target: &CStr) -> Result<()> {
    let mut room = [0; limits::PATH_BYTES_MAX];
    let (parent, name) = lead(world, target, &mut room)?;
    match rustix::fs::symlinkat(link, &parent, name) {
        Err(rustix::io::Errno::EXIST) => {
            let mut said = [0; limits::PATH_BYTES_MAX];
            let same = rustix::fs::readlinkat_raw(&parent, name, &mut said[..]).is_ok()
                && text(&said, 0) == Ok(link);
            if same { Ok(()) } else { Err(Errno::EXIST) }
        }
        made => Ok(made?),
    }
}

fn file(world: &mut World, from: i32, target: &CStr, flags: MountFlags, mode: u32) -> Result<()> {
    let from = borrow(from)?;
    if flags.contains(MountFlags::OVER) {
        let tree = in_scratch(world, |scratch| {
            copy(from, &created(scratch, c"f", mode)?)?;
            sys::open_tree_clone(scratch.as_fd(), c"f", 0)
        })?;
        return bind(world, &tree, target, flags, None);
    }
    let mut room = [0; limits::PATH_BYTES_MAX];
    let (parent, name) = lead(world, target, &mut room)?;
    let to = created(&parent, name, mode)?;
    let done = copy(from, &to);
    if done.is_err() {
        let _ = rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty());
    }
    done
}

/// From the beginning where there is one, so that the next child finds the same.
fn copy(from: BorrowedFd<'_>, to: &Held) -> Result<()> {
    let mut room = [0u8; 4096];
    let mut at = 0u64;
    let mut seekable = true;
    loop {
        let read = if seekable {
            match rustix::io::pread(from, &mut room, at) {
                Err(rustix::io::Errno::SPIPE) => {
                    seekable = false;
                    continue;
                }
                read => read,
            }
        } else {
            rustix::io::read(from, &mut room)
        };
        let mut rest = match read {
            Err(rustix::io::Errno::INTR) => continue,
            read => room.get(..read?).unwrap_or(&[]),
        };
        if rest.is_empty() {
            return Ok(());
        }
        at = at.wrapping_add(rest.len() as u64);
        if at > limits::FILE_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        while !rest.is_empty() {
            let written = rustix::io::write(to, rest)?;
            rest = rest.get(written..).unwrap_or(&[]);
        }
    }
}

fn chmod(file: &Held, mode: u32) -> Result<()> {
    match sys::fchmodat2(file.as_fd(), c"", mode, AT_EMPTY_PATH) {
        // Before Linux 6.6.
        Err(Errno::NOSYS) => {}
        done => return done,
    }
    with_own_path(file.as_fd(), |path| {
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::chmodat(CWD, path, mode, rustix::fs::AtFlags::empty())?)
    })
}
