//! For fuzz targets and tests alone: both ends of an embryo's socket, so that either can misbehave.
//!
//! It must never be relied on by a program: it is hidden, and may change with any release.

use crate::live::Embryo;
use std::os::fd::OwnedFd;
use std::time::Duration;
use zerocopy::IntoBytes;

pub use embryo_seed::{
    CONTROL_FD, GRANTS_PER_MESSAGE, INLINE_PLAN_MAX, REPLY_LEN, REQUEST_LEN, Reply, ReplyKind,
    Request, RequestFlags, RequestKind, SEED_NAME,
};

/// The seed's executable. It expects its socket at [`CONTROL_FD`], and every signal blocked.
#[must_use]
pub fn seed_image() -> &'static [u8] {
    crate::seeded::SEED
}

/// A request's head as it travels.
#[must_use]
pub fn request_bytes(request: &Request) -> &[u8] {
    request.as_bytes()
}

/// A reply's head as it travels.
#[must_use]
pub fn reply_bytes(reply: &Reply) -> &[u8] {
    reply.as_bytes()
}

/// Puts another socket in the place of the owner's: whoever holds the other end of that one answers
/// instead of the process. Returns the one that leads there.
pub fn answer_instead(embryo: &mut Embryo, socket: OwnedFd) -> OwnedFd {
    embryo.replace_socket(socket)
}

/// How long the embryo's next answers are waited for.
pub fn set_timeout(embryo: &mut Embryo, timeout: Duration) {
    embryo.set_timeout(timeout);
}
