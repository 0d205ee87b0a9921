//! Namespaces. It must never leave one behind, nor change one that the test lives in.

use super::{Check, Failure, Sample, Who};
use crate::launch::{Draft, Watched};
use crate::refusal::Refusal;
use embryo::{IdRange, NamespaceOp, Namespaces, Op, OpCode, UserFlags};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// Where user namespaces can be made at all.
const USERS: Who = Who::Where("user namespaces", may_unshare);

fn may_unshare() -> bool {
    static TRIED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TRIED.get_or_init(|| {
        let mut draft = Draft::probe(&["exit", "0"]);
        let process = draft.op(&ROOT).spawn(crate::launch::Way::Seed);
        process.is_ok_and(|mut process| process.wait().is_ok_and(|status| status.success()))
    })
}

/// Whether clone3(2) is refused, as some containers do.
fn may_choose() -> bool {
    // SAFETY: arguments of no length are no arguments, whatever they are.
    unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) };
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

const ROOT: Op<'static> = Op::Namespace(NamespaceOp::User { uid: 0, gid: 0 });
const IDENTITY: u32 = 1_000_000;

fn unshare(kinds: Namespaces) -> Op<'static> {
    Op::Namespace(NamespaceOp::Unshare { kinds })
}

/// The caller alone, by a map that its owner writes.
fn own_ids() -> [Vec<u8>; 2] {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    [uid.as_raw(), gid.as_raw()]
        .map(|id| IdRange { inside: 0, outside: id, count: 1 }.to_bytes().to_vec())
}

/// The inode of a namespace, by its file in /proc.
fn inode(path: &str) -> u64 {
    std::fs::metadata(path).expect("it can be looked at").ino()
}

/// Whether the child is in another namespace than the test, as it says itself and from outside.
fn elsewhere(child: &Watched, name: &str) {
    let own = inode(&format!("/proc/self/ns/{name}"));
    let image = format!("/proc/{}/ns/{name}", child.process().image_id());
    if let Ok(theirs) = std::fs::metadata(image) {
        assert_ne!(theirs.ino(), own, "{name}");
    }
    let said = &child.report.namespaces[name];
    assert_ne!(said.to_string(), format!("{name}:[{own}]"));
}

const fn sample(code: OpCode, name: &'static str, add: fn(&mut Draft) -> Check) -> Sample {
    Sample { who: USERS, ..Sample::new(code, name, add) }
}

const fn failure(code: OpCode, name: &'static str, errno: i32, add: fn(&mut Draft)) -> Failure {
    Failure { who: USERS, ..Failure::new(code, name, errno, add) }
}

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::JoinNamespace, "the caller's own", |draft| {
        let slot = draft.grant(File::open("/proc/self/ns/uts").expect("it is there"));
        draft.op(&Op::Namespace(NamespaceOp::Join { slot, kinds: Namespaces::UTS }));
        Box::new(|child| {
            assert_eq!(inode("/proc/self/ns/uts"), inode(&child.proc("ns/uts").to_string_lossy()));
        })
    })
    .with(CapabilitySet::SYS_ADMIN),
    sample(OpCode::UserNamespace, "as root", |draft| {
        draft.op(&ROOT);
        Box::new(|child| {
            elsewhere(child, "user");
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            let map = |id: u32| format!("0 {id} 1");
            let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(child.text("uid_map")), map(uid.as_raw()));
            assert_eq!(words(child.text("gid_map")), map(gid.as_raw()));
            assert_eq!(child.text("setgroups").trim(), "deny");
            assert_eq!(child.report.uids.effective, 0);
            assert_eq!(child.report.gids.effective, 0);
        })
    }),
    sample(OpCode::UserNamespace, "as somebody else", |draft| {
        draft.op(&Op::Namespace(NamespaceOp::User { uid: IDENTITY, gid: IDENTITY + 1 }));
        Box::new(|child| {
            assert_eq!(child.report.uids.effective, IDENTITY);
            assert_eq!(child.report.gids.effective, IDENTITY + 1);
        })
    }),
    sample(OpCode::MappedUserNamespace, "the caller alone", |draft| {
        let [uids, gids] = own_ids();
        let flags = UserFlags::DENY_SETGROUPS;
        draft.op(&Op::Namespace(NamespaceOp::MappedUser { flags, uids: &uids, gids: &gids }));
        Box::new(|child| {
            elsewhere(child, "user");
            assert_eq!(child.report.uids.effective, 0);
            assert_eq!(child.text("setgroups").trim(), "deny");
        })
    }),
    Sample::new(OpCode::MappedUserNamespace, "ranges", |draft| {
        let map = [
            IdRange { inside: 0, outside: 100_000, count: 10 },
            IdRange { inside: 10, outside: 0, count: 1 },
        ];
        let map = map.map(IdRange::to_bytes).concat();
        let flags = UserFlags::empty();
        draft
            .op(&Op::Namespace(NamespaceOp::MappedUser { flags, uids: &map, gids: &map }))
            .op(&Op::Groups { list: &[3, 0, 0, 0] })
            .op(&Op::Uid { real: 7, effective: 7, saved: 7 });
        Box::new(|child| {
            assert_eq!(child.report.uids.effective, 7);
            assert_eq!(child.report.groups, [3]);
            assert_eq!(child.status("Uid"), ["100007"; 4].join(" "));
            assert_eq!(child.status("Groups"), "100003");
        })
    })
    .with(CapabilitySet::SETUID),
    sample(OpCode::Unshare, "of every kind", |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::UNSHARED));
        Box::new(|child| {
            for name in ["mnt", "net", "ipc", "uts", "cgroup", "time"] {
                elsewhere(child, name);
            }
        })
    }),
    sample(OpCode::ClockOffset, "both", |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::TIME));
        for (clock, seconds) in [(1, 1_000_000), (7, 2_000_000)] {
            draft.op(&Op::Namespace(NamespaceOp::ClockOffset {
                clock,
                seconds,
                nanoseconds: 500_000_000,
            }));
        }
        Box::new(|child| {
            let text = child.text("timens_offsets");
            let lines: Vec<Vec<&str>> =
                text.lines().map(|line| line.split_whitespace().collect()).collect();
            assert_eq!(lines[0], ["monotonic", "1000000", "500000000"], "{text}");
            assert_eq!(lines[1], ["boottime", "2000000", "500000000"], "{text}");
        })
    }),
    sample(OpCode::PidNamespace, "below an init", |draft| {
        draft.op(&ROOT).op(&Op::Namespace(NamespaceOp::Pid { pid: 0 }));
        Box::new(|child| {
            assert_eq!((child.report.pid, child.report.ppid), (2, 1));
            let image = child.process().image_id();
            assert_ne!(image, child.process().id());
            let status = std::fs::read_to_string(format!("/proc/{image}/status"));
            let status = status.expect("it is there");
            assert!(status.contains(&format!("PPid:\t{}\n", child.process().id())), "{status}");
            assert_eq!(child.status("Name"), "embryo:init");
        })
    }),
    Sample {
        who: Who::Where("user namespaces and clone3", || may_unshare() && may_choose()),
        ..Sample::new(OpCode::PidNamespace, "with a pid of its own choice", |draft| {
            draft.op(&ROOT).op(&Op::Namespace(NamespaceOp::Pid { pid: 77 }));
            Box::new(|child| assert_eq!((child.report.pid, child.report.ppid), (77, 1)))
        })
    },
    sample(OpCode::HostName, "in a namespace of its own", |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::UTS));
        draft.op(&Op::Namespace(NamespaceOp::HostName { name: c"embryo-test" }));
        Box::new(|child| {
            assert_eq!(child.report.hostname, "embryo-test");
            let own = rustix::system::uname();
            assert_ne!(own.nodename(), c"embryo-test");
        })
    }),
    sample(OpCode::DomainName, "in a namespace of its own", |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::UTS));
        draft.op(&Op::Namespace(NamespaceOp::DomainName { name: c"embryo-test" }));
        Box::new(|child| {
            elsewhere(child, "uts");
            let own = rustix::system::uname();
            assert_ne!(own.domainname(), c"embryo-test");
        })
    }),
    sample(OpCode::Loopback, "comes up", |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::NET));
        draft.op(&Op::Namespace(NamespaceOp::Loopback));
        Box::new(|child| {
            elsewhere(child, "net");
            // Only a device that is up has a route to itself.
            let local = child.text("net/fib_trie");
            assert!(local.contains("127.0.0.1"), "{local}");
        })
    }),
    sample(OpCode::NestedUserNamespace, "back to the caller's ids", |draft| {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let (uid, gid) = (uid.as_raw(), gid.as_raw());
        draft.op(&ROOT).op(&unshare(Namespaces::MOUNT));
        draft.op(&Op::Namespace(NamespaceOp::NestedUser { uid, gid }));
        Box::new(move |child| {
            assert_eq!(child.report.uids.effective, uid);
            assert_eq!(child.report.gids.effective, gid);
            // As it sees it, its map is that of the namespace around it.
            let map = child.report.uid_map.as_ref().expect("it can be read").to_string();
            let map = map.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(map, format!("{uid} 0 1"));
        })
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::JoinNamespace, "a file", libc::EINVAL, |draft| {
        let slot = draft.grant(File::open("/dev/null").expect("it is there"));
        draft.op(&Op::Namespace(NamespaceOp::Join { slot, kinds: Namespaces::NET }));
    })
    .names("slot 0"),
    Failure::new(OpCode::JoinNamespace, "another kind", libc::EINVAL, |draft| {
        let slot = draft.grant(File::open("/proc/self/ns/uts").expect("it is there"));
        draft.op(&Op::Namespace(NamespaceOp::Join { slot, kinds: Namespaces::NET }));
    })
    .names("slot 0"),
    Failure::new(OpCode::JoinNamespace, "without the capability", libc::EPERM, |draft| {
        let slot = draft.grant(File::open("/proc/self/ns/uts").expect("it is there"));
        draft.op(&Op::Namespace(NamespaceOp::Join { slot, kinds: Namespaces::UTS }));
    })
    .without(CapabilitySet::SYS_ADMIN)
    .names("slot 0"),
    Failure::new(OpCode::UserNamespace, "refused", libc::EPERM, |draft| {
        draft.op(&ROOT);
    })
    .refused(Refusal::of(libc::SYS_unshare, Namespaces::USER.bits()))
    .names("uid=0"),
    Failure::new(
        OpCode::MappedUserNamespace,
        "an id that is not the caller's",
        libc::EPERM,
        |draft| {
            let map = IdRange { inside: 0, outside: 4_000_000_000, count: 1 }.to_bytes();
            let flags = UserFlags::empty();
            draft.op(&Op::Namespace(NamespaceOp::MappedUser { flags, uids: &map, gids: &map }));
        },
    )
    .without(CapabilitySet::SETUID)
    .names("0:4000000000:1"),
    Failure::new(OpCode::MappedUserNamespace, "refused", libc::EPERM, |draft| {
        let map = IdRange { inside: 0, outside: 0, count: 1 }.to_bytes();
        let flags = UserFlags::empty();
        draft.op(&Op::Namespace(NamespaceOp::MappedUser { flags, uids: &map, gids: &map }));
    })
    .refused(Refusal::of(libc::SYS_unshare, Namespaces::USER.bits())),
    Failure::new(OpCode::Unshare, "without the capability", libc::EPERM, |draft| {
        draft.op(&unshare(Namespaces::NET));
    })
    .without(CapabilitySet::SYS_ADMIN)
    .names("net"),
    Failure::new(OpCode::Unshare, "refused", libc::EPERM, |draft| {
        draft.op(&unshare(Namespaces::NET | Namespaces::IPC));
    })
    .refused(Refusal::of(libc::SYS_unshare, Namespaces::NET.union(Namespaces::IPC).bits())),
    failure(OpCode::ClockOffset, "before the boot", libc::ERANGE, |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::TIME));
        draft.op(&Op::Namespace(NamespaceOp::ClockOffset {
            clock: 1,
            seconds: -4_000_000_000,
            nanoseconds: 0,
        }));
    })
    .names("monotonic"),
    Failure::new(OpCode::PidNamespace, "without the capability", libc::EPERM, |draft| {
        draft.op(&Op::Namespace(NamespaceOp::Pid { pid: 0 }));
    })
    .without(CapabilitySet::SYS_ADMIN),
    Failure {
        who: Who::Where("user namespaces and clone3", || may_unshare() && may_choose()),
        ..Failure::new(OpCode::PidNamespace, "a pid beyond pid_max", libc::EINVAL, |draft| {
            draft.op(&ROOT).op(&Op::Namespace(NamespaceOp::Pid { pid: 1 << 22 }));
        })
        .names("4194304")
    },
    failure(OpCode::HostName, "refused", libc::EPERM, |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::UTS));
        draft.op(&Op::Namespace(NamespaceOp::HostName { name: c"a" }));
    })
    .refused(Refusal::always(libc::SYS_sethostname)),
    failure(OpCode::DomainName, "refused", libc::EPERM, |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::UTS));
        draft.op(&Op::Namespace(NamespaceOp::DomainName { name: c"a" }));
    })
    .refused(Refusal::always(libc::SYS_setdomainname)),
    failure(OpCode::Loopback, "refused", libc::EPERM, |draft| {
        draft.op(&ROOT).op(&unshare(Namespaces::NET));
        draft.op(&Op::Namespace(NamespaceOp::Loopback));
    })
    .refused(Refusal::of(libc::SYS_socket, libc::AF_INET as u32)),
    failure(OpCode::NestedUserNamespace, "refused", libc::EPERM, |draft| {
        draft.op(&Op::Namespace(NamespaceOp::NestedUser { uid: 0, gid: 0 }));
    })
    .refused(Refusal::of(libc::SYS_unshare, Namespaces::USER.bits())),
];
