//! Images by path, by name and by descriptor. It must never rely on a program of the machine but
//! the probe; the rules of the search are tested in `exec_rules.rs`.

use super::{Failure, Sample, identity};
use crate::launch::{Draft, Way, c_path};
use embryo::{ExecFlags, Op, OpCode};
use embryo_tests::{probe_path, tempdir};
use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;
use std::ffi::CString;
use std::os::fd::OwnedFd;

const NO_FLAGS: ExecFlags = ExecFlags::empty();

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::ExecPath, "arguments and environment", |draft| {
        let path = c_path(&probe_path());
        draft.env("ONE", "1");
        draft.env("EMPTY", "");
        draft.op(&Op::ExecPath { path: &path, flags: NO_FLAGS });
        Box::new(move |child| {
            assert_eq!(
                child.report.execfn.as_ref().map(|name| name.as_bytes()),
                Some(path.to_bytes())
            );
            assert_eq!(child.report.argv[0], "embryo-probe");
            assert_eq!(child.report.envp, ["ONE=1", "EMPTY="]);
            assert_eq!(child.link("exe"), probe_path());
            assert_eq!(child.text("cmdline"), "embryo-probe\0report\0then\0hold\x000\0");
            if let Some(text) = child.try_text("environ") {
                assert_eq!(text, "ONE=1\0EMPTY=\0");
            }
        })
    }),
    Sample::new(OpCode::ExecSlot, "opened as a path", |draft| {
        let slot = draft.grant(open_probe(OFlags::PATH));
        draft.op(&Op::ExecSlot { slot, flags: NO_FLAGS });
        Box::new(|child| {
            assert_eq!(child.link("exe"), probe_path());
            assert_eq!(child.report.fd_numbers(), [0, 1]);
        })
    }),
    Sample::new(OpCode::ExecSlot, "left open", |draft| {
        let file = open_probe(OFlags::RDONLY);
        let (_, ino) = identity(&file);
        let slot = draft.grant(file);
        draft.op(&Op::ExecSlot { slot, flags: ExecFlags::KEEP_OPEN });
        Box::new(move |child| {
            let [zero, one, image] = &child.report.fds[..] else {
                panic!("{:?}", child.report.fd_numbers())
            };
            assert_eq!((zero.fd, one.fd, image.ino), (0, 1, ino));
        })
    }),
    Sample::new(OpCode::ExecName, "found", |draft| {
        let probe = probe_path();
        let search = format!("/nowhere:{}", probe.parent().expect("it has one").display());
        let search = CString::new(search).expect("no NUL");
        draft.op(&Op::ExecName { name: c"embryo-probe", search: &search, flags: NO_FLAGS });
        Box::new(|child| assert_eq!(child.link("exe"), probe_path()))
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::ExecPath, "missing", libc::ENOENT, |draft| {
        draft.op(&Op::ExecPath { path: c"/no/such/program", flags: NO_FLAGS });
    })
    .names("/no/such/program"),
    Failure::new(OpCode::ExecPath, "not executable", libc::EACCES, |draft| {
        draft.op(&Op::ExecPath { path: c"/proc/self/status", flags: NO_FLAGS });
    })
    .names("/proc/self/status"),
    Failure::new(OpCode::ExecPath, "an argument too many", libc::E2BIG, |draft| {
        // Within what a plan may hold, and beyond what a stack of 1 MiB allows.
        draft.op(&Op::Rlimit { resource: 3, soft: 1 << 20, hard: 1 << 20 });
        (0..1 << 10).for_each(|_| draft.arg([b'x'; 1 << 10]));
    })
    .names("embryo-probe"),
    Failure::new(OpCode::ExecPath, "too many processes", libc::EAGAIN, |draft| {
        let uid = Op::Uid { real: 54_321, effective: 54_321, saved: 54_321 };
        let mut other = Draft::watched();
        other.op(&uid);
        draft.hold(other.watch(Way::Seed));
        draft.op(&Op::Rlimit { resource: 6, soft: 0, hard: 0 }).op(&uid);
    })
    .with(CapabilitySet::SETUID)
    .names("embryo-probe"),
    Failure::new(OpCode::ExecSlot, "a directory", libc::EACCES, |draft| {
        let slot = draft.grant(std::fs::File::open("/").expect("there is one"));
        draft.op(&Op::ExecSlot { slot, flags: NO_FLAGS });
    })
    .names("slot 0"),
    Failure::new(OpCode::ExecSlot, "a pipe", libc::EACCES, |draft| {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        draft.hold(writer);
        let slot = draft.grant(reader);
        draft.op(&Op::ExecSlot { slot, flags: NO_FLAGS });
    })
    .names("slot 0"),
    Failure::new(OpCode::ExecName, "nowhere", libc::ENOENT, |draft| {
        draft.op(&Op::ExecName {
            name: c"embryo-nothing",
            search: c"/bin:/nowhere",
            flags: NO_FLAGS,
        });
    })
    .names("embryo-nothing"),
    Failure::new(OpCode::ExecName, "no program", libc::ENOEXEC, |draft| {
        let dir = tempdir();
        executable(&dir.path().join("empty"), b"");
        draft.op(&Op::ExecName { name: c"empty", search: &c_path(dir.path()), flags: NO_FLAGS });
        draft.hold(dir);
    })
    .names("empty"),
];

fn open_probe(how: OFlags) -> OwnedFd {
    rustix::fs::open(probe_path(), how | OFlags::CLOEXEC, Mode::empty()).expect("it is there")
}

/// Writes a file that may be executed. No descriptor of it is open when this returns.
pub(crate) fn executable(path: &std::path::Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, content).expect("it can be written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("it is one's own");
}
