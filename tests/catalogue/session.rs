//! Session, process group and terminal. It must never touch the terminal that the tests run on.

use super::{Failure, Sample, terminal};
use crate::launch::{Draft, Way};
use crate::refusal::Refusal;
use embryo::{Op, OpCode, Slot};
use embryo_tests::Report;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::SetSid, "a session of its own", |draft| {
        draft.op(&Op::SetSid);
        Box::new(|child| {
            let Report { pid, sid, pgid, .. } = child.report;
            assert_eq!((sid, pgid, &child.report.tty), (pid, pid, &None));
            assert_eq!((child.stat(5), child.stat(6), child.stat(7)), (pid.into(), pid.into(), 0));
        })
    }),
    Sample::new(OpCode::SetPgid, "a new group", |draft| {
        draft.op(&Op::SetPgid { pgid: 0 });
        Box::new(|child| {
            let here = embryo_tests::session();
            let Report { pid, sid, pgid, .. } = child.report;
            assert_eq!((sid, pgid), (here, pid));
            assert_eq!((child.stat(5), child.stat(6)), (pid.into(), here.into()));
        })
    }),
    Sample::new(OpCode::SetPgid, "a group that exists", |draft| {
        let leader = Leader::start();
        let group = leader.0.id();
        draft.op(&Op::SetPgid { pgid: group });
        draft.hold(leader);
        Box::new(move |child| {
            assert_eq!(child.report.pgid, group.cast_signed());
            assert_eq!(child.stat(5), i64::from(group));
        })
    }),
    Sample::new(OpCode::ControllingTty, "of a new session", |draft| {
        let (_, device) = tty(draft);
        Box::new(move |child| {
            let tty = child.report.tty.as_ref().expect("it has a controlling terminal");
            assert_eq!(tty.device, Some(device));
            assert_eq!(child.stat(7).cast_unsigned(), device);
        })
    }),
    Sample::new(OpCode::Foreground, "of a new session", |draft| {
        let (slot, _) = tty(draft);
        draft.op(&Op::Foreground { slot });
        Box::new(move |child| {
            let tty = child.report.tty.as_ref().expect("it has a controlling terminal");
            assert_eq!(tty.foreground, Some(child.report.pid));
            assert_eq!(child.stat(8), i64::from(child.report.pid));
        })
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::SetSid, "refused", libc::EPERM, |draft| {
        draft.op(&Op::SetSid);
    })
    .refused(Refusal::always(libc::SYS_setsid)),
    Failure::new(OpCode::SetPgid, "no such group", libc::EPERM, |draft| {
        draft.op(&Op::SetPgid { pgid: embryo::limits::PID_MAX });
    })
    .names("pgid=4194304"),
    Failure::new(OpCode::SetPgid, "a group of another session", libc::EPERM, |draft| {
        let mut other = Draft::watched();
        other.op(&Op::SetSid);
        let other = other.watch(Way::AsRouted);
        draft.op(&Op::SetPgid { pgid: other.process().id() });
        draft.hold(other);
    })
    .names("pgid="),
    Failure::new(OpCode::ControllingTty, "no terminal", libc::ENOTTY, |draft| {
        let slot = null(draft);
        draft.op(&Op::SetSid).op(&Op::ControllingTty { slot });
    })
    .names("slot 0"),
    Failure::new(OpCode::ControllingTty, "another session's", libc::EPERM, |draft| {
        let mut other = Draft::watched();
        let (slot, _) = tty(&mut other);
        let terminal = other.grants()[slot.0 as usize];
        draft.hold(other.watch(Way::AsRouted));
        draft.hold(other);
        let slot = draft.grant_number(terminal);
        draft.op(&Op::SetSid).op(&Op::ControllingTty { slot });
    })
    .names("slot 0"),
    Failure::new(OpCode::Foreground, "no terminal", libc::ENOTTY, |draft| {
        let slot = null(draft);
        draft.op(&Op::Foreground { slot });
    })
    .names("slot 0"),
    Failure::new(OpCode::Foreground, "not the controlling terminal", libc::ENOTTY, |draft| {
        let (controller, terminal) = terminal();
        draft.hold(controller);
        let slot = draft.grant(terminal);
        draft.op(&Op::SetSid).op(&Op::Foreground { slot });
    })
    .names("slot 0"),
];

/// Adds a new terminal as the controlling one of a new session; tells its slot and device.
fn tty(draft: &mut Draft) -> (Slot, u64) {
    let (controller, terminal) = terminal();
    let device = rustix::fs::fstat(&terminal).expect("it is open").st_rdev;
    draft.hold(controller);
    let slot = draft.grant(terminal);
    draft.op(&Op::SetSid).op(&Op::ControllingTty { slot });
    (slot, device)
}

fn null(draft: &mut Draft) -> Slot {
    draft.grant(std::fs::File::open("/dev/null").expect("there is a /dev/null"))
}

/// A process that leads a group of its own in this session.
struct Leader(Child);

impl Leader {
    fn start() -> Self {
        let mut command = Command::new(embryo_tests::probe_path());
        command.args(["hold", "0"]).stdin(Stdio::piped()).process_group(0);
        Self(command.spawn().expect("the probe can be started"))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
