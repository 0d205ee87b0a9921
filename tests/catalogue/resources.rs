//! Limits, scheduling and priorities. It must never ask for more than its caller has, but where a
//! capability is said to be needed.

use super::{Failure, Sample};
use crate::refusal::Refusal;
use embryo::{Op, OpCode};
use rustix::thread::CapabilitySet;

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::OomScoreAdj, "raised", |draft| {
        draft.op(&Op::OomScoreAdj { value: 777 });
        Box::new(|child| {
            assert_eq!(child.report.oom_score_adj, Some(777));
            assert_eq!(child.text("oom_score_adj").trim(), "777");
        })
    }),
    Sample::new(OpCode::OomScoreAdj, "lowered", |draft| {
        draft.op(&Op::OomScoreAdj { value: -321 });
        Box::new(|child| {
            assert_eq!(child.report.oom_score_adj, Some(-321));
            assert_eq!(child.text("oom_score_adj").trim(), "-321");
        })
    })
    .with(CapabilitySet::SYS_RESOURCE),
    Sample::new(OpCode::Rlimit, "every resource", |draft| {
        let limits = lowered_limits();
        for (resource, (_, soft, hard)) in (0..).zip(&limits) {
            draft.op(&Op::Rlimit { resource, soft: *soft, hard: *hard });
        }
        Box::new(move |child| {
            for (name, soft, hard) in &limits {
                let limit = child.report.rlimit(name);
                let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
                assert_eq!((number(limit.soft), number(limit.hard)), (*soft, *hard), "{name}");
            }
            // The probe has raised its own soft limit meanwhile, so the hard one tells.
            let text = child.text("limits");
            let line = text.lines().find(|line| line.starts_with("Max open files"));
            let hard = line.and_then(|line| line.split_ascii_whitespace().nth(4));
            assert_eq!(hard, Some(&*limits[7].2.to_string()));
        })
    }),
    Sample::new(OpCode::Rlimit, "raised", |draft| {
        draft.op(&Op::Rlimit { resource: 13, soft: 40, hard: 40 });
        Box::new(|child| assert_eq!(child.report.rlimit("nice").hard, Some(40)))
    })
    .with(CapabilitySet::SYS_RESOURCE),
    Sample::new(OpCode::Sched, "batch, and its children not", |draft| {
        draft.op(&policy(libc::SCHED_BATCH, 0, 1));
        Box::new(|child| {
            let sched = child.report.sched.as_ref().expect("it has a policy");
            assert_eq!((sched.policy, sched.flags & 1), (libc::SCHED_BATCH as u32, 1));
            assert_eq!(child.stat(41), i64::from(libc::SCHED_BATCH));
        })
    }),
    Sample::new(OpCode::Sched, "idle", |draft| {
        draft.op(&policy(libc::SCHED_IDLE, 0, 0));
        Box::new(|child| assert_eq!(child.stat(41), i64::from(libc::SCHED_IDLE)))
    }),
    Sample::new(OpCode::Sched, "first in, first out", |draft| {
        draft.op(&policy(libc::SCHED_FIFO, 7, 0));
        Box::new(|child| {
            let sched = child.report.sched.as_ref().expect("it has a policy");
            assert_eq!((sched.policy, sched.priority), (libc::SCHED_FIFO as u32, 7));
            assert_eq!((child.stat(41), child.stat(40)), (libc::SCHED_FIFO.into(), 7));
        })
    })
    .with(CapabilitySet::SYS_NICE),
    Sample::new(OpCode::Sched, "round robin", |draft| {
        draft.op(&policy(libc::SCHED_RR, 99, 1));
        Box::new(|child| {
            let sched = child.report.sched.as_ref().expect("it has a policy");
            assert_eq!((sched.priority, sched.flags & 1), (99, 1));
            assert_eq!((child.stat(41), child.stat(40)), (libc::SCHED_RR.into(), 99));
        })
    })
    .with(CapabilitySet::SYS_NICE),
    Sample::new(OpCode::Sched, "deadline", |draft| {
        draft.op(&deadline(500_000, 100_000_000));
        Box::new(|child| {
            let sched = child.report.sched.as_ref().expect("it has a policy");
            let times = (sched.runtime_ns, sched.deadline_ns, sched.period_ns);
            assert_eq!(times, (500_000, 100_000_000, 100_000_000));
            assert_eq!(child.stat(41), i64::from(libc::SCHED_DEADLINE));
        })
    })
    .with(CapabilitySet::SYS_NICE),
    Sample::new(OpCode::Nice, "raised", |draft| {
        draft.op(&Op::Nice { value: 11 });
        Box::new(|child| assert_eq!((child.report.nice, child.stat(19)), (11, 11)))
    }),
    Sample::new(OpCode::Nice, "with a policy", |draft| {
        draft.op(&policy(libc::SCHED_BATCH, 0, 0)).op(&Op::Nice { value: 19 });
        Box::new(|child| {
            assert_eq!((child.report.nice, child.stat(19)), (19, 19));
            assert_eq!(child.stat(41), i64::from(libc::SCHED_BATCH));
        })
    }),
    Sample::new(OpCode::Nice, "lowered", |draft| {
        draft.op(&Op::Nice { value: -20 });
        Box::new(|child| assert_eq!((child.report.nice, child.stat(19)), (-20, -20)))
    })
    .with(CapabilitySet::SYS_NICE),
    Sample::new(OpCode::Affinity, "one cpu", |draft| {
        let own = rustix::thread::sched_getaffinity(None).expect("one has a mask");
        let allowed = |cpu: &usize| own.is_set(*cpu);
        let cpu =
            (0..rustix::thread::CpuSet::MAX_CPU).rev().find(allowed).expect("one runs somewhere");
        let mut mask = vec![0u8; (cpu / 8 + 1).next_multiple_of(8)];
        mask[cpu / 8] = 1 << (cpu % 8);
        draft.op(&Op::Affinity { mask: &mask });
        Box::new(move |child| {
            assert_eq!(child.report.affinity, [cpu]);
            assert_eq!(child.status("Cpus_allowed_list"), cpu.to_string());
        })
    }),
    Sample::new(OpCode::IoPriority, "best effort", |draft| {
        draft.op(&Op::IoPriority { value: 2 << 13 | 6 });
        Box::new(|child| {
            assert_eq!(child.report.ioprio, Some(2 << 13 | 6));
            assert_eq!(io_priority(child.pid()), 2 << 13 | 6);
        })
    }),
    Sample::new(OpCode::IoPriority, "idle", |draft| {
        draft.op(&Op::IoPriority { value: 3 << 13 });
        Box::new(|child| assert_eq!(io_priority(child.pid()), 3 << 13))
    }),
    Sample::new(OpCode::IoPriority, "real-time", |draft| {
        draft.op(&Op::IoPriority { value: 1 << 13 | 3 });
        Box::new(|child| assert_eq!(io_priority(child.pid()), 1 << 13 | 3))
    })
    .with(CapabilitySet::SYS_ADMIN),
    Sample::new(OpCode::TimerSlack, "longer", |draft| {
        draft.op(&Op::TimerSlack { ns: 123_456_789 });
        Box::new(|child| {
            assert_eq!(child.report.timer_slack_ns, Some(123_456_789));
            // Only CAP_SYS_NICE may look at somebody else's.
            if let Some(text) = child.try_text("timerslack_ns") {
                assert_eq!(text.trim(), "123456789");
            }
        })
    }),
    Sample::new(OpCode::TimerSlack, "the caller's", |draft| {
        draft.op(&Op::TimerSlack { ns: 0 });
        let own = embryo_tests::CallerState::capture().report.timer_slack_ns;
        Box::new(move |child| assert_eq!(child.report.timer_slack_ns, own))
    }),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::OomScoreAdj, "lowered", libc::EACCES, |draft| {
        draft.op(&Op::OomScoreAdj { value: -1000 });
    })
    .without(CapabilitySet::SYS_RESOURCE)
    .names("value=-1000"),
    Failure::new(OpCode::OomScoreAdj, "refused", libc::EPERM, |draft| {
        draft.op(&Op::OomScoreAdj { value: 1000 });
    })
    .names("value=1000")
    // The seed writes nothing else to a descriptor that it opened: number 0 is free there.
    .refused(Refusal::of(libc::SYS_write, 0)),
    Failure::new(OpCode::Rlimit, "more files than the kernel allows", libc::EPERM, |draft| {
        let text = std::fs::read_to_string("/proc/sys/fs/nr_open").expect("there is a /proc");
        let most: u64 = text.trim().parse().expect("it is a number");
        draft.op(&Op::Rlimit { resource: 7, soft: most + 1, hard: most + 1 });
    })
    .names("resource=NOFILE"),
    Failure::new(OpCode::Rlimit, "raised", libc::EPERM, |draft| {
        draft.op(&Op::Rlimit { resource: 13, soft: 40, hard: 40 });
    })
    .without(CapabilitySet::SYS_RESOURCE)
    .names("resource=NICE"),
    Failure::new(OpCode::Sched, "a period that the kernel does not take", libc::EINVAL, |draft| {
        draft.op(&deadline(1 << 20, 1 << 50));
    })
    .names("policy=DEADLINE"),
    Failure::new(OpCode::Sched, "real-time", libc::EPERM, |draft| {
        draft.op(&policy(libc::SCHED_FIFO, 1, 0));
    })
    .without(CapabilitySet::SYS_NICE)
    .names("policy=FIFO"),
    Failure::new(OpCode::Nice, "lowered", libc::EACCES, |draft| {
        draft.op(&Op::Nice { value: -1 });
    })
    .without(CapabilitySet::SYS_NICE)
    .names("value=-1"),
    Failure::new(OpCode::Nice, "refused", libc::EPERM, |draft| {
        draft.op(&Op::Nice { value: 1 });
    })
    .names("value=1")
    .refused(Refusal::always(libc::SYS_setpriority)),
    Failure::new(OpCode::Affinity, "no such cpu", libc::EINVAL, |draft| {
        let mut mask = [0u8; 1024];
        mask[1023] = 0x80;
        draft.op(&Op::Affinity { mask: &mask });
    })
    .names("cpus=8191"),
    Failure::new(OpCode::IoPriority, "no class, but a level", libc::EINVAL, |draft| {
        draft.op(&Op::IoPriority { value: 5 });
    })
    .names("class=none"),
    Failure::new(OpCode::IoPriority, "real-time", libc::EPERM, |draft| {
        draft.op(&Op::IoPriority { value: 1 << 13 });
    })
    .without(CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_NICE))
    .names("class=realtime"),
    Failure::new(OpCode::TimerSlack, "refused", libc::EPERM, |draft| {
        draft.op(&Op::TimerSlack { ns: 1 });
    })
    .names("ns=1")
    .refused(Refusal::of(libc::SYS_prctl, libc::PR_SET_TIMERSLACK as u32)),
];

fn policy(policy: i32, priority: u32, flags: u16) -> Op<'static> {
    let policy = policy as u32;
    Op::Sched { policy, priority, flags, runtime_ns: 0, deadline_ns: 0, period_ns: 0 }
}

fn deadline(runtime_ns: u64, deadline_ns: u64) -> Op<'static> {
    let policy = libc::SCHED_DEADLINE as u32;
    Op::Sched { policy, priority: 0, flags: 0, runtime_ns, deadline_ns, period_ns: deadline_ns }
}

/// A name, a soft and a hard limit for each resource by number: what the caller has, lowered to
/// something that tells it from what the caller has and lets a program start.
fn lowered_limits() -> Vec<(&'static str, u64, u64)> {
    let wanted: [(&str, u64); 16] = [
        ("cpu", 3_333),
        ("fsize", 1 << 33),
        ("data", 1 << 34),
        ("stack", 3 << 20),
        ("core", 4_096),
        ("rss", 1 << 35),
        ("nproc", 11_111),
        ("nofile", 555),
        ("memlock", 12_288),
        ("as", 1 << 36),
        ("locks", 99),
        ("sigpending", 77),
        ("msgqueue", 8_192),
        ("nice", 5),
        ("rtprio", 3),
        ("rttime", 9_999),
    ];
    let own = embryo_tests::CallerState::capture().report.rlimits;
    let bounded = wanted.map(|(name, wanted)| {
        let hard = own[name].hard.unwrap_or(u64::MAX).min(wanted);
        (name, hard / 3 * 2, hard)
    });
    bounded.to_vec()
}

fn io_priority(pid: i32) -> i64 {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: the call takes numbers only and changes nothing.
    unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, pid) }
}
