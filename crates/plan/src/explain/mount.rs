//! The ops on mounts in words.

use super::ArgText;
use crate::op::{MountFlags, MountOp, layers};

type Field<'a, 'f> = &'f mut dyn FnMut(&'static str, ArgText<'a>);

pub(super) fn fields<'a>(op: &MountOp<'a>, field: Field<'a, '_>) {
    use ArgText::{Number, Octal, Text, Word};
    match *op {
        MountOp::NewRoot { size, mode, inodes } => room(size, mode, inodes, field),
        MountOp::Bind { source, flags, .. } | MountOp::BindMapped { source, flags, .. } => {
            field("source", Text(source));
            target(op, field);
            how("how", flags, field);
        }
        MountOp::BindSlot { flags, .. } => {
            target(op, field);
            how("how", flags, field);
        }
        MountOp::Tmpfs { flags, size, mode, inodes, .. } => {
            target(op, field);
            how("how", flags, field);
            room(size, mode, inodes, field);
        }
        MountOp::Proc { flags, hidepid, .. } => {
            target(op, field);
            how("how", flags, field);
            if hidepid != 0 {
                field("hidepid", Number(hidepid.into()));
            }
        }
        MountOp::Overlay { layers: bytes, flags, .. } => {
            let count = layers(bytes).count();
            let lower =
                if flags.contains(MountFlags::UPPER) { count.saturating_sub(2) } else { count };
            for (index, layer) in layers(bytes).enumerate() {
                let name = match index.checked_sub(lower) {
                    None => "lower",
                    Some(0) => "upper",
                    Some(_) => "work",
                };
                field(name, Text(layer));
            }
            target(op, field);
            how("how", flags.difference(MountFlags::UPPER), field);
        }
        MountOp::Symlink { text, .. } => {
            field("text", Text(text));
            target(op, field);
        }
        MountOp::Directory { mode, .. } | MountOp::Chmod { mode, .. } => {
            target(op, field);
            field("mode", Octal(mode));
        }
        MountOp::FileSlot { flags, mode, .. } => {
            target(op, field);
            how("how", flags, field);
            field("mode", Octal(mode));
        }
        MountOp::Propagation { flags, spread, .. } => {
            target(op, field);
            field("spread", Word(["private", "slave", "shared", "unbindable"][spread as usize]));
            how("how", flags, field);
        }
        MountOp::Attributes { flags, clear, .. } => {
            target(op, field);
            how("set", flags, field);
            how("clear", clear, field);
        }
        MountOp::Devpts { .. } | MountOp::Mqueue { .. } | MountOp::Unmount { .. } => {
            target(op, field);
        }
        MountOp::EnterRoot => {}
    }
}

fn target<'a>(op: &MountOp<'a>, field: Field<'a, '_>) {
    if let Some(slot) = op.slot() {
        field("slot", ArgText::Slot(slot));
    }
    if let Some(target) = op.target() {
        field("target", ArgText::Text(target));
    }
}

fn room<'a>(size: u64, mode: u32, inodes: u64, field: Field<'a, '_>) {
    field("mode", ArgText::Octal(mode));
    for (name, number) in [("size", size), ("inodes", inodes)] {
        if number != 0 {
            field(name, ArgText::Limit(number));
        }
    }
}

fn how<'a>(name: &'static str, flags: MountFlags, field: Field<'a, '_>) {
    for (flag, word) in [
        (MountFlags::READ_ONLY, "read-only"),
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::OPTIONAL, "optional"),
        (MountFlags::FLAT, "flat"),
        (MountFlags::THROWAWAY, "throwaway"),
        (MountFlags::USERXATTR, "userxattr"),
        (MountFlags::OVER, "over"),
        (MountFlags::PROCESSES, "processes"),
    ] {
        if flags.contains(flag) {
            field(name, ArgText::Word(word));
        }
    }
}
