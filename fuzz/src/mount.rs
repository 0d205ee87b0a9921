//! Ops on mounts out of arbitrary numbers and texts.

use embryo::{MountFlags, MountOp, OpCode, Slot, Spread};
use std::ffi::{CStr, CString};

/// Strings of which ops on mounts are made: absolute and without `..` for tame ones.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) paths: [CString; 2],
    pub(crate) layers: Vec<u8>,
}

impl Texts {
    pub(crate) fn of(texts: [&CStr; 2], tame: bool) -> Self {
        let path = |text: &CStr| {
            let text = text.to_bytes();
            if !tame {
                return CString::new(text).unwrap_or_default();
            }
            let dots = text.windows(2).any(|two| two == b"..");
            let text = if dots { &b"a"[..] } else { text };
            CString::new([b"/", text].concat()).unwrap_or_default()
        };
        let paths = texts.map(path);
        let layers = [0, 1, 0, 1].map(|at: usize| paths[at].as_bytes_with_nul()).concat();
        Self { paths, layers }
    }
}

/// The op with this code.
pub(crate) fn wild(
    code: OpCode,
    slot: Slot,
    flags: u16,
    [size, mode, inodes, _]: [u64; 4],
    texts: &Texts,
    tame: bool,
) -> MountOp<'_> {
    let [source, target] = texts.paths.each_ref().map(CString::as_c_str);
    let mode = if tame { mode as u32 & 0o7777 } else { mode as u32 };
    let some = |known: u16| MountFlags::from_bits_retain(if tame { flags & known } else { flags });
    match code {
        OpCode::NewRoot => MountOp::NewRoot { size, mode, inodes },
        OpCode::Bind => MountOp::Bind { source, target, flags: some(63) },
        OpCode::BindSlot => MountOp::BindSlot { slot, target, flags: some(47) },
        OpCode::BindMapped => MountOp::BindMapped { slot, source, target, flags: some(63) },
        OpCode::Tmpfs => MountOp::Tmpfs { target, flags: some(15), size, mode, inodes },
        OpCode::Proc => MountOp::Proc { target, flags: some(1025), hidepid: mode % 3 },
        OpCode::Devpts => MountOp::Devpts { target },
        OpCode::Mqueue => MountOp::Mqueue { target },
        OpCode::Overlay => {
            MountOp::Overlay { layers: &texts.layers, target, flags: some(463 - 128) }
        }
        OpCode::Symlink => MountOp::Symlink { text: source, target },
        OpCode::Directory => MountOp::Directory { target, mode },
        OpCode::FileSlot => {
            MountOp::FileSlot { slot, target, flags: some(15) | MountFlags::OVER, mode }
        }
        OpCode::Chmod => MountOp::Chmod { target, mode },
        OpCode::Propagation => {
            let all = [Spread::Private, Spread::Slave, Spread::Shared, Spread::Unbindable];
            MountOp::Propagation { target, flags: some(32), spread: all[mode as usize % 4] }
        }
        OpCode::Attributes => {
            let set = some(47) | MountFlags::NODEV;
            MountOp::Attributes { target, flags: set, clear: MountFlags::empty() }
        }
        OpCode::Unmount => MountOp::Unmount { target },
        _ => MountOp::EnterRoot,
    }
}

/// The same at a place where it changes nothing that is anybody else's: a directory that is empty.
pub(crate) fn tamed<'a>(op: MountOp<'a>, target: &'a CStr) -> MountOp<'a> {
    use MountOp::{
        Attributes, Bind, BindMapped, BindSlot, Chmod, Devpts, Directory, FileSlot, Mqueue,
        Overlay, Proc, Propagation, Symlink, Tmpfs, Unmount,
    };
    match op {
        Bind { source, flags, .. } => Bind { source, target, flags },
        BindSlot { slot, flags, .. } => BindSlot { slot, target, flags },
        BindMapped { slot, source, flags, .. } => BindMapped { slot, source, target, flags },
        Tmpfs { flags, size, mode, inodes, .. } => Tmpfs { target, flags, size, mode, inodes },
        Proc { flags, hidepid, .. } => Proc { target, flags, hidepid },
        Devpts { .. } => Devpts { target },
        Mqueue { .. } => Mqueue { target },
        // Of an upper directory it would make something.
        Overlay { layers, flags, .. } => {
            Overlay { layers, target, flags: flags.difference(MountFlags::UPPER) }
        }
        Symlink { text, .. } => Symlink { text, target },
        Directory { mode, .. } => Directory { target, mode },
        FileSlot { slot, flags, mode, .. } => FileSlot { slot, target, flags, mode },
        Chmod { .. } => Chmod { target, mode: 0o755 },
        Propagation { flags, spread, .. } => Propagation { target, flags, spread },
        Attributes { flags, clear, .. } => Attributes { target, flags, clear },
        Unmount { .. } => Unmount { target },
        other => other,
    }
}
