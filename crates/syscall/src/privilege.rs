//! What the calling task may do, and may become: capabilities(7), securebits, keyrings(7), and
//! what its memory allows.
//!
//! Sets are u64s with bit n for capability n: a plan holds any of them, and the kernel says which it
//! knows.

use crate::Result;
use crate::raw::syscall;
use core::ffi::CStr;
use linux_raw_sys::general::{__NR_capset, __NR_keyctl, __NR_prctl, __NR_set_mempolicy};

/// A `prctl(2)` that sets something of the calling task and takes numbers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// `PR_SET_KEEPCAPS`.
    KeepCapabilities,
    /// `PR_SET_SECUREBITS` to these bits.
    Securebits(u32),
    /// `PR_CAPBSET_DROP` of this capability.
    DropBounding(u32),
    /// `PR_CAP_AMBIENT` `PR_CAP_AMBIENT_RAISE` of this capability. Since Linux 4.3.
    RaiseAmbient(u32),
    /// `PR_CAP_AMBIENT` `PR_CAP_AMBIENT_CLEAR_ALL`. Since Linux 4.3.
    ClearAmbient,
    /// `PR_SET_MDWE` `PR_MDWE_REFUSE_EXEC_GAIN`. Since Linux 6.3.
    Mdwe,
    /// `PR_SET_THP_DISABLE`; with `true` but for memory that asks for them, since Linux 6.18.
    ThpDisable(bool),
    /// `PR_SCHED_CORE` `PR_SCHED_CORE_CREATE` for the calling process. Since Linux 5.14.
    CoreCookie,
}

/// `prctl(2)` on the calling task.
pub fn set(what: Set) -> Result<()> {
    const PR_SET_KEEPCAPS: u32 = 8;
    const PR_CAPBSET_DROP: u32 = 24;
    const PR_SET_SECUREBITS: u32 = 28;
    const PR_SET_THP_DISABLE: u32 = 41;
    const PR_CAP_AMBIENT: u32 = 47;
    const PR_SCHED_CORE: u32 = 62;
    const PR_SET_MDWE: u32 = 65;
    let (option, [a, b, c]) = match what {
        Set::KeepCapabilities => (PR_SET_KEEPCAPS, [1, 0, 0]),
        Set::Securebits(bits) => (PR_SET_SECUREBITS, [bits, 0, 0]),
        Set::DropBounding(capability) => (PR_CAPBSET_DROP, [capability, 0, 0]),
        Set::RaiseAmbient(capability) => (PR_CAP_AMBIENT, [2, capability, 0]),
        Set::ClearAmbient => (PR_CAP_AMBIENT, [4, 0, 0]),
        Set::Mdwe => (PR_SET_MDWE, [1, 0, 0]),
        Set::ThpDisable(except_advised) => {
            (PR_SET_THP_DISABLE, [1, if except_advised { 2 } else { 0 }, 0])
        }
        // Of pid 0, the caller, and with PIDTYPE_TGID.
        Set::CoreCookie => (PR_SCHED_CORE, [1, 0, 1]),
    };
    // SAFETY: these options take no pointer.
    unsafe { syscall!(__NR_prctl, option, a, b, c) }.map(drop)
}

/// `prctl(2)` `PR_CAPBSET_READ`: whether a capability is in the bounding set of the calling task;
/// EINVAL for one that the kernel does not know.
pub fn in_bounding_set(capability: u32) -> Result<bool> {
    const PR_CAPBSET_READ: u32 = 23;
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_prctl, PR_CAPBSET_READ, capability) }.map(|set| set == 1)
}

/// `prctl(2)` `PR_CAP_AMBIENT` `PR_CAP_AMBIENT_IS_SET`; EINVAL for one that the kernel does not know.
pub fn in_ambient_set(capability: u32) -> Result<bool> {
    const PR_CAP_AMBIENT: u32 = 47;
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_prctl, PR_CAP_AMBIENT, 1usize, capability) }.map(|set| set == 1)
}

/// `capset(2)` of the calling task: effective, permitted and inheritable.
pub fn capset([effective, permitted, inheritable]: [u64; 3]) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let low = [effective as u32, permitted as u32, inheritable as u32];
    let high = [effective, permitted, inheritable].map(|set| (set >> 32) as u32);
    let data = [low, high];
    // SAFETY: the kernel reads a header of two u32s, and the two structures of three u32s that
    // this version has.
    unsafe { syscall!(__NR_capset, &raw const header, &raw const data) }.map(drop)
}

/// `keyctl(2)` `KEYCTL_JOIN_SESSION_KEYRING`: a new anonymous one without a name.
pub fn join_session_keyring(name: Option<&CStr>) -> Result<()> {
    const JOIN: usize = 1;
    let name = name.map_or(core::ptr::null(), CStr::as_ptr);
    // SAFETY: NULL, or a C string by its type.
    unsafe { syscall!(__NR_keyctl, JOIN, name) }.map(drop)
}

/// `set_mempolicy(2)` of the calling task. Bit n of `nodes`, little-endian, is node n; its length is
/// a multiple of 8.
pub fn set_mempolicy(mode: u32, nodes: &[u8]) -> Result<()> {
    let at = if nodes.is_empty() { core::ptr::null() } else { nodes.as_ptr() };
    // The kernel takes one off.
    let bits = nodes.len().wrapping_mul(8).wrapping_add(1);
    // SAFETY: the kernel reads that many bits less one, in whole words, all within `nodes`, at
    // any alignment.
    unsafe { syscall!(__NR_set_mempolicy, mode, at, bits) }.map(drop)
}
