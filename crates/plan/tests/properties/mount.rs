//! Ops on mounts at random. It must never make one that the checker refuses.

use super::{Given, slot};
use embryo_plan::{MountFlags, MountOp, NamespaceOp, Namespaces, Op, Slot, Spread};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use std::ffi::CString;

/// A mount op that owns its data: which, and what it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    which: u8,
    slot: Slot,
    flags: u16,
    numbers: [u64; 2],
    mode: u32,
    paths: [CString; 2],
    layers: Vec<u8>,
}

impl Mounted {
    pub(crate) fn op(&self) -> Op<'_> {
        let (slot, mode, [size, inodes]) = (self.slot, self.mode, self.numbers);
        let [source, target] = [&self.paths[0], &self.paths[1]].map(CString::as_c_str);
        let flags = |known: u16| MountFlags::from_bits_retain(self.flags & known);
        Op::Mount(match self.which {
            0 => MountOp::Bind { source, target, flags: flags(63) },
            1 => MountOp::BindSlot { slot, target, flags: flags(47) },
            2 => MountOp::BindMapped { slot, source, target, flags: flags(63) },
            3 => MountOp::Tmpfs { target, flags: flags(15), size, mode, inodes },
            4 => MountOp::Proc {
                target,
                flags: flags(1025),
                hidepid: [0, 1, 2, 4][mode as usize % 4],
            },
            5 => MountOp::Devpts { target },
            6 => MountOp::Mqueue { target },
            7 => {
                let upper = [0, 64, 128][mode as usize % 3];
                let flags = flags(271) | MountFlags::from_bits_retain(upper);
                MountOp::Overlay { layers: &self.layers, target, flags }
            }
            8 => MountOp::Symlink { text: source, target },
            9 => MountOp::Directory { target, mode },
            10 => {
                let flags =
                    if mode % 2 == 0 { MountFlags::empty() } else { flags(15) | MountFlags::OVER };
                MountOp::FileSlot { slot, target, flags, mode }
            }
            11 => MountOp::Chmod { target, mode },
            12 => {
                let all = [Spread::Private, Spread::Slave, Spread::Shared, Spread::Unbindable];
                MountOp::Propagation { target, flags: flags(32), spread: all[mode as usize % 4] }
            }
            13 => {
                let set = flags(47) | MountFlags::NODEV;
                let clear = MountFlags::from_bits_retain(mode as u16 & 15).difference(set);
                MountOp::Attributes { target, flags: set, clear }
            }
            _ => MountOp::Unmount { target },
        })
    }
}

fn absolute() -> impl Strategy<Value = CString> {
    let bytes = vec(1u8.., 0..40).prop_filter("no part is ..", |bytes| {
        !bytes.split(|byte| *byte == b'/').any(|part| part == b"..")
    });
    bytes.prop_map(|bytes| CString::new([b"/", &bytes[..]].concat()).expect("no byte is NUL"))
}

fn one() -> impl Strategy<Value = Given> {
    let layers = vec(absolute(), 3..6).prop_map(|layers| {
        layers.iter().flat_map(|layer| layer.as_bytes_with_nul().to_vec()).collect()
    });
    let paths = (absolute(), absolute()).prop_map(Into::into);
    (0u8..15, slot(), any::<u16>(), any::<[u64; 2]>(), 0u32..=0o7777, paths, layers).prop_map(
        |(which, slot, flags, numbers, mode, paths, layers)| {
            Given::Mount(Mounted { which, slot, flags, numbers, mode, paths, layers })
        },
    )
}

/// Some, with a root that is made and entered or without.
pub(crate) fn mounts() -> impl Strategy<Value = (Vec<Given>, bool)> {
    let root = (select(vec![0u64, 1 << 20]), 0u32..=0o7777);
    (vec(one(), 0..4), of(root)).prop_map(|(mut ops, root)| {
        if let Some((size, mode)) = root {
            ops.push(Given::Plain(Op::Mount(MountOp::NewRoot { size, mode, inodes: 0 })));
            ops.push(Given::Plain(Op::Mount(MountOp::EnterRoot)));
        }
        (ops, root.is_some())
    })
}

/// Gives them the namespace that they have to have; to be called when all else is there.
pub(crate) fn settle(ops: &mut Vec<Given>) {
    if ops.iter().any(|op| matches!(op.op(), Op::Mount(_))) {
        ops.retain(|op| !matches!(op.op(), Op::Namespace(NamespaceOp::Unshare { .. })));
        let kinds = Namespaces::UNSHARED;
        ops.push(Given::Plain(Op::Namespace(NamespaceOp::Unshare { kinds })));
    }
}
