//! One of each op on mounts.

use embryo_plan::{MountFlags, MountOp, OpCode, Slot, Spread};

pub(crate) fn sample(code: OpCode) -> MountOp<'static> {
    let (slot, source, target, flags) = (Slot(0), c"/a", c"/b", MountFlags::empty());
    let (size, mode, inodes) = (1, 1, 1);
    match code {
        OpCode::NewRoot => MountOp::NewRoot { size, mode, inodes },
        OpCode::Bind => MountOp::Bind { source, target, flags },
        OpCode::BindSlot => MountOp::BindSlot { slot, target, flags },
        OpCode::BindMapped => MountOp::BindMapped { slot, source, target, flags },
        OpCode::Tmpfs => MountOp::Tmpfs { target, flags, size, mode, inodes },
        OpCode::Proc => MountOp::Proc { target, flags, hidepid: 1 },
        OpCode::Devpts => MountOp::Devpts { target },
        OpCode::Mqueue => MountOp::Mqueue { target },
        OpCode::Overlay => MountOp::Overlay { layers: b"/a\0/b\0", target, flags },
        OpCode::Symlink => MountOp::Symlink { text: c"a", target },
        OpCode::Directory => MountOp::Directory { target, mode },
        OpCode::FileSlot => MountOp::FileSlot { slot, target, flags: MountFlags::OVER, mode },
        OpCode::Chmod => MountOp::Chmod { target, mode },
        OpCode::Propagation => MountOp::Propagation { target, flags, spread: Spread::Slave },
        OpCode::Attributes => {
            MountOp::Attributes { target, flags: MountFlags::NODEV, clear: MountFlags::READ_ONLY }
        }
        OpCode::Unmount => MountOp::Unmount { target },
        OpCode::EnterRoot => MountOp::EnterRoot,
        _ => panic!("{} is no op on mounts", code.name()),
    }
}
