//! Descriptors, one op at a time; what they do together is in `descriptors.rs` of the tests.
//! It must never grant a descriptor that is closed: how that fails depends on its number.

use super::{Failure, Sample, identity};
use embryo::{Access, Op, OpCode};
use rustix::process::{Resource, getrlimit};

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::Fail, "of the next op, which is not there", |_| Box::new(|_| ())),
    Sample::new(OpCode::PutFd, "close-on-exec here, open there", |draft| {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let (dev, ino) = identity(&writer);
        draft.hold(reader);
        let slot = draft.grant(writer);
        draft.op(&Op::PutFd { slot, fd: 9 });
        Box::new(move |child| {
            let fd = child.report.fd(9);
            assert_eq!((fd.dev, fd.ino, fd.cloexec), (dev, ino, false));
            assert_eq!(fd.flags & libc::O_ACCMODE as u32, libc::O_WRONLY as u32);
            assert_eq!(child.report.fd_numbers(), [0, 1, 9]);
            assert_eq!(child.link("fd/9").to_str(), Some(&*format!("pipe:[{ino}]")));
        })
    }),
    Sample::new(OpCode::OpenNull, "to read, to write, and for both", |draft| {
        for (fd, access) in [(2, Access::Write), (7, Access::Read), (8, Access::ReadWrite)] {
            draft.op(&Op::OpenNull { fd, access });
        }
        Box::new(|child| {
            let null = rustix::fs::stat("/dev/null").expect("there is a /dev/null");
            let modes = [(2, libc::O_WRONLY), (7, libc::O_RDONLY), (8, libc::O_RDWR)];
            for (number, mode) in modes {
                let fd = child.report.fd(number);
                assert_eq!((fd.rdev, fd.cloexec), (null.st_rdev, false));
                assert_eq!(fd.flags & libc::O_ACCMODE as u32, mode as u32, "{number}");
                assert_eq!(child.link(&format!("fd/{number}")).to_str(), Some("/dev/null"));
            }
            assert_eq!(child.report.fd_numbers(), [0, 1, 2, 7, 8]);
        })
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::Fail, "an errno with a name", libc::EAGAIN, |draft| {
        draft.op(&Op::Fail { errno: 11 });
    })
    .names("errno=EAGAIN"),
    Failure::new(OpCode::Fail, "the largest errno", 4095, |draft| {
        draft.op(&Op::Fail { errno: 4095 });
    })
    .names("errno=4095"),
    Failure::new(OpCode::PutFd, "beyond RLIMIT_NOFILE", libc::EBADF, |draft| {
        let slot = draft.grant(std::fs::File::open("/dev/null").expect("it is there"));
        draft.op(&Op::PutFd { slot, fd: first_impossible() });
    })
    .names("slot 0"),
    Failure::new(OpCode::OpenNull, "beyond RLIMIT_NOFILE", libc::EBADF, |draft| {
        draft.op(&Op::OpenNull { fd: first_impossible(), access: Access::Read });
    })
    .names("access=r"),
];

/// The lowest number that no descriptor can have here.
pub(crate) fn first_impossible() -> u32 {
    let limit = getrlimit(Resource::Nofile).current.expect("the kernel bounds it");
    u32::try_from(limit).expect("the kernel bounds it")
}
