//! What an op on mounts may hold. It must never judge whether a path is there.

use super::{Reason, check_text};
use crate::limits;
use crate::op::{MountFlags, MountOp, layers};
use core::ffi::CStr;

pub(super) fn check_range(op: &MountOp<'_>) -> Result<(), Reason> {
    let within = |good: bool, what| if good { Ok(()) } else { Err(Reason::OutOfRange(what)) };
    if let Some(target) = op.target()
        && target.to_bytes().split(|byte| *byte == b'/').any(|part| part == b"..")
    {
        return Err(Reason::DotDot);
    }
    match *op {
        MountOp::NewRoot { mode, .. }
        | MountOp::Tmpfs { mode, .. }
        | MountOp::Directory { mode, .. }
        | MountOp::Chmod { mode, .. } => within(mode <= 0o7777, "the mode"),
        MountOp::FileSlot { mode, flags, .. } => {
            within(mode <= 0o7777, "the mode")?;
            let over = flags.contains(MountFlags::OVER);
            within(over || flags.is_empty(), "the flags (only what is mounted has attributes)")
        }
        MountOp::Proc { hidepid, .. } => within(matches!(hidepid, 0..=2 | 4), "hidepid"),
        MountOp::Overlay { layers: bytes, flags, .. } => {
            let (upper, throwaway) = (MountFlags::UPPER, MountFlags::THROWAWAY);
            within(!flags.contains(upper | throwaway), "the flags (two upper directories)")?;
            let count = layers(bytes).count();
            let least = if flags.contains(upper) {
                3
            } else if flags.contains(throwaway) {
                1
            } else {
                2
            };
            within(count >= least, "the number of layers")
        }
        MountOp::Attributes { flags, clear, .. } => {
            let known = MountFlags::ATTRIBUTES.contains(clear);
            within(known && !clear.intersects(flags), "the attributes to clear")?;
            within(!(clear | flags.intersection(MountFlags::ATTRIBUTES)).is_empty(), "nothing")
        }
        _ => Ok(()),
    }
}

/// Absolute paths, each with its NUL.
pub(super) fn check_layers(bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = bytes;
    let mut count = 0usize;
    while !rest.is_empty() {
        let layer = CStr::from_bytes_until_nul(rest).map_err(|_| Reason::Unterminated)?;
        let len = layer.to_bytes_with_nul().len();
        let (first, others) = rest.split_at(len);
        check_text(first, limits::LAYER_BYTES_MAX, true)?;
        if first.first() != Some(&b'/') {
            return Err(Reason::Relative);
        }
        rest = others;
        count += 1;
    }
    if count > limits::LAYERS_MAX { Err(Reason::DataLength) } else { Ok(()) }
}
