//! Cgroups, and ties to a guardian, in whose place the test answers.

use super::{Failure, Sample};
use embryo::{CgroupOp, Op, OpCode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A cgroup that is removed on drop.
struct Made(PathBuf);

impl Made {
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("embryo-joined-{}-{number}", std::process::id());
        let path = PathBuf::from(mount.split(' ').nth(1)?).join(own).join(name);
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // A child that has been waited for is out of it.
        let _ = embryo_tests::wait_for(std::time::Duration::from_secs(5), || {
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// Whether this user can make one, and move into it.
fn can_join() -> bool {
    rustix::process::geteuid().is_root() && Made::new().is_some()
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("it can be made")
}

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::CgroupJoin, "one of its own", |draft| {
        let made = Made::new().expect("one could be made just now");
        let slot = draft.grant(File::open(&made.0).expect("it is there"));
        draft.op(&Op::Cgroup(CgroupOp::Join { slot }));
        let name = made.0.file_name().expect("it has a name").to_string_lossy().into_owned();
        draft.hold(made);
        Box::new(move |child| {
            let seen = child.text("cgroup");
            assert!(
                seen.lines().any(|line| line.starts_with("0::") && line.ends_with(&name)),
                "{seen}"
            );
            let told = child.report.cgroup.as_ref().expect("it may look");
            assert!(format!("{told:?}").contains(&name));
        })
    })
    .when(can_join),
    Sample::new(OpCode::Tie, "to whoever answers", |draft| {
        let (ours, theirs) = pair();
        let slot = draft.grant(theirs);
        draft.op(&Op::Cgroup(CgroupOp::Tie { slot }));
        // The answer lies there before it is asked for.
        let flags = rustix::net::SendFlags::NOSIGNAL;
        rustix::net::send(&ours, &[1], flags).expect("there is room");
        let ours = std::rc::Rc::new(ours);
        draft.hold(std::rc::Rc::clone(&ours));
        Box::new(move |child| assert_eq!(tied(&ours), child.pid().to_string()))
    }),
];

/// The pid of whoever tied itself.
fn tied(socket: &OwnedFd) -> String {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut order = [0u8; 1];
    let mut into = [std::io::IoSliceMut::new(&mut order)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut into, &mut control, flags).expect("it has been sent");
    assert_eq!(order, [1]);
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let pidfd = fds.flatten().next().expect("a descriptor came with it");
    let info = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let info = std::fs::read_to_string(info).expect("it is open");
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("it is a pidfd");
    pid.trim().to_owned()
}

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::CgroupJoin, "no cgroup", libc::ENOENT, |draft| {
        let slot = draft.grant(File::open("/").expect("it is there"));
        draft.op(&Op::Cgroup(CgroupOp::Join { slot }));
    })
    .names("slot 0"),
    Failure::new(OpCode::CgroupJoin, "no directory", libc::ENOTDIR, |draft| {
        let slot = draft.grant(File::open("/dev/null").expect("it is there"));
        draft.op(&Op::Cgroup(CgroupOp::Join { slot }));
    }),
    Failure::new(OpCode::CgroupJoin, "removed", libc::ENOENT, |draft| {
        let made = Made::new().expect("one could be made just now");
        let slot = draft.grant(File::open(&made.0).expect("it is there"));
        draft.op(&Op::Cgroup(CgroupOp::Join { slot }));
    })
    .when(can_join),
    Failure::new(OpCode::Tie, "to nobody", libc::EPIPE, |draft| {
        let (_, theirs) = pair();
        let slot = draft.grant(theirs);
        draft.op(&Op::Cgroup(CgroupOp::Tie { slot }));
    })
    .names("slot 0"),
    Failure::new(OpCode::Tie, "to what is no socket", libc::ENOTSOCK, |draft| {
        let slot = draft.grant(File::open("/").expect("it is there"));
        draft.op(&Op::Cgroup(CgroupOp::Tie { slot }));
    }),
];
