//! Ops on namespaces out of arbitrary numbers and texts.

use embryo::{IdRange, NamespaceOp, Namespaces, OpCode, Slot, UserFlags};
use std::ffi::{CStr, CString};

/// Every id as itself.
const EVERYBODY: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

/// What ops on namespaces hold.
#[derive(Debug)]
pub(crate) struct Texts {
    name: CString,
    maps: [Vec<u8>; 2],
}

impl Texts {
    pub(crate) fn of(name: &CStr, maps: [&[u8]; 2], tame: bool) -> Self {
        let bytes = name.to_bytes();
        let name = match (tame, bytes.len()) {
            (true, 0) => CString::from(c"a"),
            (true, _) => CString::new(&bytes[..bytes.len().min(64)]).unwrap_or_default(),
            (false, _) => name.to_owned(),
        };
        let map = |bytes: &[u8]| match tame {
            true => EVERYBODY.to_vec(),
            false => bytes[..bytes.len() / IdRange::BYTES * IdRange::BYTES].to_vec(),
        };
        Self { name, maps: maps.map(map) }
    }
}

/// The op with this code.
pub(crate) fn wild(
    code: OpCode,
    slot: Slot,
    flags: u16,
    [a, b, c, _]: [u64; 4],
    texts: &Texts,
    tame: bool,
) -> NamespaceOp<'_> {
    let id = |id: u64| if tame { id as u32 >> 1 } else { id as u32 };
    let (uid, gid, name) = (id(a), id(b), texts.name.as_c_str());
    let [uids, gids] = &texts.maps;
    let kinds = Namespaces::from_bits_truncate(a as u32);
    match code {
        OpCode::JoinNamespace if tame => NamespaceOp::Join { slot, kinds: Namespaces::CGROUP },
        OpCode::JoinNamespace => NamespaceOp::Join { slot, kinds },
        OpCode::UserNamespace => NamespaceOp::User { uid, gid },
        OpCode::MappedUserNamespace => {
            NamespaceOp::MappedUser { flags: UserFlags::from_bits_truncate(flags), uids, gids }
        }
        OpCode::Unshare if tame => NamespaceOp::Unshare { kinds: Namespaces::UNSHARED },
        OpCode::Unshare => NamespaceOp::Unshare { kinds },
        OpCode::ClockOffset => NamespaceOp::ClockOffset {
            clock: if tame { [1, 7][a as usize % 2] } else { a as u32 },
            seconds: if tame { b as i64 >> 32 } else { b as i64 },
            nanoseconds: if tame { c as u32 % 1_000_000_000 } else { c as u32 },
        },
        OpCode::PidNamespace if tame => NamespaceOp::Pid { pid: [0, 2, 300][a as usize % 3] },
        OpCode::PidNamespace => NamespaceOp::Pid { pid: a as u32 },
        OpCode::HostName => NamespaceOp::HostName { name },
        OpCode::DomainName => NamespaceOp::DomainName { name },
        OpCode::NestedUserNamespace => NamespaceOp::NestedUser { uid, gid },
        _ => NamespaceOp::Loopback,
    }
}

/// The same for a child that becomes nobody, in whose user namespace nobody is therefore mapped; and
/// without the help of another program.
pub(crate) fn tamed(op: NamespaceOp<'_>, nobody: u32) -> NamespaceOp<'_> {
    match op {
        NamespaceOp::User { .. } | NamespaceOp::MappedUser { .. } => {
            NamespaceOp::User { uid: nobody, gid: nobody }
        }
        NamespaceOp::NestedUser { .. } => NamespaceOp::NestedUser { uid: nobody, gid: nobody },
        other => other,
    }
}
