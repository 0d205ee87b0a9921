//! What the kernel answers when it refuses: a number, and names for those that are acted upon.
//!
//! rustix has such a type too. Making one of its values from a number asserts that the number is
//! in range, and an assertion is a panic path, of which code in a child may have none.

use linux_raw_sys::errno as raw;

/// An errno, 1 to 4095.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(u16);

impl Errno {
    /// The errno with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

macro_rules! names {
    ($($name:ident = $raw:ident)*) => {
        /// Names as in errno(3), without the `E`.
        #[allow(missing_docs, reason = "errno(3) says what each means")]
        impl Errno {
            $(pub const $name: Self = Self(raw::$raw as u16);)*
        }
    };
}

names! {
    ACCES = EACCES
    AGAIN = EAGAIN
    BADF = EBADF
    BADMSG = EBADMSG
    BUSY = EBUSY
    CHILD = ECHILD
    CONNRESET = ECONNRESET
    EXIST = EEXIST
    FAULT = EFAULT
    FBIG = EFBIG
    INTR = EINTR
    INVAL = EINVAL
    ISDIR = EISDIR
    LOOP = ELOOP
    MFILE = EMFILE
    MSGSIZE = EMSGSIZE
    NAMETOOLONG = ENAMETOOLONG
    NODATA = ENODATA
    NODEV = ENODEV
    NOENT = ENOENT
    NOEXEC = ENOEXEC
    NOMEM = ENOMEM
    NOSPC = ENOSPC
    NOSYS = ENOSYS
    NOTDIR = ENOTDIR
    NOTTY = ENOTTY
    OPNOTSUPP = EOPNOTSUPP
    PERM = EPERM
    PIPE = EPIPE
    RANGE = ERANGE
    ROFS = EROFS
    SPIPE = ESPIPE
    SRCH = ESRCH
    STALE = ESTALE
    TIMEDOUT = ETIMEDOUT
    TOOBIG = E2BIG
    TOOMANYREFS = ETOOMANYREFS
    TXTBSY = ETXTBSY
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error() as u16)
    }
}

impl core::fmt::Debug for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "errno {}", self.0)
    }
}
