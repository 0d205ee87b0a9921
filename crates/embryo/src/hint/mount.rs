//! What is the matter with an op on mounts: which of its paths, and why.

use super::{printable, to_path};
use embryo_plan::{MountFlags, MountOp, Op, Plan, layers};
use embryo_syscall::Errno;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// Detail and hint for the answer to an op.
pub(super) fn explain(op: &MountOp<'_>, errno: Errno) -> (Option<String>, Option<String>) {
    let detail = detail(op, errno);
    (detail, hint(op, errno).map(str::to_owned))
}

/// Which path it was, if that can be told: a source that fails for the caller in the same way, and otherwise,
/// where it is an answer to a path, the target.
fn detail(op: &MountOp<'_>, errno: Errno) -> Option<String> {
    let about_paths = [Errno::NOENT, Errno::NOTDIR, Errno::ACCES, Errno::LOOP, Errno::NAMETOOLONG];
    if !about_paths.contains(&errno) {
        return None;
    }
    let sources: Vec<(&str, &CStr)> = match *op {
        MountOp::Bind { source, .. } | MountOp::BindMapped { source, .. } => {
            vec![("source", source)]
        }
        MountOp::Overlay { layers: bytes, flags, .. } => {
            let count = layers(bytes).count();
            let upper = if flags.contains(MountFlags::UPPER) { 2 } else { 0 };
            let name = |index| match count.saturating_sub(upper).cmp(&index) {
                std::cmp::Ordering::Greater => "layer",
                std::cmp::Ordering::Equal => "upper directory",
                std::cmp::Ordering::Less => "work directory",
            };
            layers(bytes).enumerate().map(|(index, layer)| (name(index), layer)).collect()
        }
        _ => Vec::new(),
    };
    for (name, path) in sources {
        let path = path.to_bytes();
        let met = to_path(path).metadata().err().and_then(|error| error.raw_os_error());
        if met == Some(i32::from(errno.number())) {
            let path = printable(path);
            return Some(match errno {
                Errno::NOENT => format!("the {name} {path} does not exist"),
                Errno::ACCES => {
                    format!("the {name} {path} cannot be reached by the uid that tries")
                }
                Errno::NOTDIR => {
                    format!("something on the way to the {name} {path} is no directory")
                }
                _ => format!("the {name} {path} cannot be followed"),
            });
        }
    }
    let target = printable(op.target()?.to_bytes());
    Some(match errno {
        Errno::NOENT => {
            format!("the target {target} does not exist, or is a link that leads nowhere")
        }
        Errno::NOTDIR => {
            format!("the target {target}, or something on the way to it, is no directory")
        }
        Errno::ACCES => {
            format!("the target {target} cannot be made or reached by the uid that tries")
        }
        Errno::LOOP => format!("the target {target} leads through a magic link, or too many links"),
        _ => format!("the target {target} has too long a name"),
    })
}

/// What a path in the plan's new root is of the caller's, as far as it is bound from there. A path to
/// nothing if nothing stands there; `None` if what stands there is nobody else's.
pub(super) fn source(plan: &Plan<'_>, path: &[u8]) -> Option<PathBuf> {
    let mut path = Path::new("/").join(to_path(path));
    // As many as the kernel follows.
    for _ in 0..40 {
        match step(plan, &path)? {
            Found::There(source) => return Some(source),
            Found::Elsewhere(next) => path = next,
        }
    }
    None
}

enum Found {
    There(PathBuf),
    /// A link leads there.
    Elsewhere(PathBuf),
}

fn step(plan: &Plan<'_>, path: &Path) -> Option<Found> {
    let ops: Vec<Op<'_>> = plan.ops().flatten().collect();
    for op in ops.iter().rev() {
        let Op::Mount(op) = op else { continue };
        let Some(target) = op.target() else { continue };
        let target = to_path(target.to_bytes());
        let Ok(rest) = path.strip_prefix(&target) else { continue };
        match *op {
            MountOp::Bind { source, .. } | MountOp::BindMapped { source, .. } => {
                let source = to_path(source.to_bytes());
                let bare = rest.as_os_str().is_empty();
                return Some(Found::There(if bare { source } else { source.join(rest) }));
            }
            MountOp::Symlink { text, .. } => {
                let dir = target.parent().unwrap_or(Path::new("/"));
                return Some(Found::Elsewhere(dir.join(to_path(text.to_bytes())).join(rest)));
            }
            MountOp::Directory { .. } | MountOp::Chmod { .. } => {}
            MountOp::Propagation { .. } | MountOp::Attributes { .. } => {}
            _ => return None,
        }
    }
    Some(Found::There(PathBuf::from("/proc/self/nothing-stands-there")))
}

fn hint(op: &MountOp<'_>, errno: Errno) -> Option<&'static str> {
    const EXDEV: Errno = Errno::new(18);
    Some(match (op, errno) {
        (MountOp::Proc { .. }, Errno::PERM) => {
            "in a user namespace /proc can be mounted by who has a pid namespace of its own, and where the \
             caller's own /proc has nothing mounted over a part of it"
        }
        (MountOp::BindMapped { .. }, Errno::PERM) => {
            "idmapped mounts take CAP_SYS_ADMIN where the file system was mounted, and a user namespace \
             that is not the initial one"
        }
        (MountOp::Attributes { .. }, Errno::PERM) => {
            "the mount comes from a namespace of more privilege, so what it does not allow stays so"
        }
        (MountOp::Overlay { .. }, Errno::PERM) => {
            "an ordinary user's overlay takes Linux 5.11, and CAP_SYS_ADMIN in the user namespace of the \
             mount namespace"
        }
        (_, Errno::PERM) => {
            "it takes a mount namespace of its own, and CAP_SYS_ADMIN in the user namespace of that"
        }
        (MountOp::NewRoot { .. }, Errno::INVAL) => {
            "the caller's root directory is no mount point, as after a chroot: bind it onto itself first, or \
             the size or the mode is none that a tmpfs takes"
        }
        (MountOp::BindMapped { .. }, Errno::INVAL) => {
            "this file system cannot be idmapped, or the descriptor is no user namespace with maps"
        }
        (MountOp::Bind { .. } | MountOp::BindSlot { .. }, Errno::INVAL) => {
            "the source is unbindable; or it is bound flat in a user namespace, and something mounted below it \
             would be uncovered"
        }
        (MountOp::Overlay { .. }, Errno::INVAL) => {
            "upper and work directory are of different file systems or not fit for it, a layer has a name that \
             takes Linux 6.7, or there are more layers than a string of 255 bytes holds, which takes it too; \
             dmesg says more"
        }
        (MountOp::Overlay { .. }, EXDEV) => {
            "upper and work directory are of different file systems"
        }
        (MountOp::Overlay { .. }, Errno::BUSY) => {
            "another overlay uses the upper or work directory"
        }
        (
            MountOp::Attributes { .. } | MountOp::Propagation { .. } | MountOp::Unmount { .. },
            Errno::INVAL,
        ) => "nothing is mounted right there, or it is locked by a namespace of more privilege",
        (MountOp::BindSlot { .. }, Errno::STALE) => {
            "the granted file is not what its path names where the child is"
        }
        (MountOp::Unmount { target }, Errno::BUSY) if target.to_bytes() == b"/" => {
            "the root itself is not unmounted"
        }
        (_, Errno::BUSY) => "what is mounted on / is seen by nobody without a new root",
        (MountOp::Symlink { .. } | MountOp::FileSlot { .. }, Errno::EXIST) => {
            "something else is there already"
        }
        (_, Errno::ISDIR) => "a file cannot be mounted on a directory",
        (_, Errno::EXIST) => "a symbolic link that leads nowhere stands in the way",
        (MountOp::FileSlot { .. }, Errno::FBIG) => "what is read has no end below the limit",
        (_, Errno::ROFS) => {
            "what is missing at the target cannot be made: the file system there is read-only"
        }
        (_, Errno::NOSPC) => {
            "the file system that it would stand in is full, or there are more mounts than fs.mount-max"
        }
        (_, Errno::NODEV) => "this kernel does not have the file system",
        (_, Errno::NOSYS) => {
            "mount_setattr(2) takes Linux 5.12, and a seccomp filter may refuse it"
        }
        _ => return None,
    })
}
