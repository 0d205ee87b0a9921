//! The ops that confine an image, in words.

use super::ArgText;
use crate::op::{ConfineOp, LANDLOCK_RIGHTS, LandlockFlags};

pub(super) fn fields<'a>(op: &ConfineOp<'a>, field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
    match *op {
        ConfineOp::LandlockPath { slot, path, access } => {
            field("path", ArgText::Text(path));
            field("access", ArgText::Bits(access, LANDLOCK_RIGHTS));
            field("slot", ArgText::Slot(slot));
        }
        ConfineOp::Landlock { slot, flags } => {
            field("slot", ArgText::Slot(slot));
            for (flag, word) in [
                (LandlockFlags::QUIET_IMAGE, "quiet-image"),
                (LandlockFlags::LOG_NEW_EXEC, "log-new-exec"),
                (LandlockFlags::QUIET_SUBDOMAINS, "quiet-subdomains"),
            ] {
                if flags.contains(flag) {
                    field("how", ArgText::Word(word));
                }
            }
        }
    }
}
