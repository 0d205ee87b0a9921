//! How much the child may use, and with which priority.
//!
//! It must never set a half of a limit that was not given to anything but what it is.

use crate::args::ChildArgs;
use crate::failure::Failure;
use crate::value::Rlimit;
use embryo::Command;
use rustix::process::Resource;

/// Says which limits and priorities it has.
pub(super) fn apply(args: &ChildArgs, command: &mut Command) -> Result<(), Failure> {
    for limit in &args.rlimit {
        let (soft, hard) = both(*limit)?;
        command.rlimit(limit.resource, soft, hard);
    }
    if let Some(policy) = args.sched {
        command.sched(policy.policy, policy.priority);
    }
    if let Some(times) = args.deadline {
        command.sched_deadline(times.runtime, times.deadline, times.period);
    }
    if args.reset_on_fork {
        if args.sched.is_none() && args.deadline.is_none() {
            return Err(Failure::new("--reset-on-fork needs --sched or --deadline")
                .hint("--sched other is the usual policy"));
        }
        command.sched_reset_on_fork(true);
    }
    if let Some(nice) = args.nice {
        command.nice(nice);
    }
    if let Some(cpus) = &args.cpus {
        command.cpu_affinity(cpus.0.iter().copied());
    }
    if let Some(priority) = args.ioprio {
        command.io_priority(priority.class, priority.level);
    }
    if let Some(value) = args.oom_score_adj {
        command.oom_score_adj(value);
    }
    if let Some(slack) = args.timer_slack {
        command.timer_slack(slack);
    }
    Ok(())
}

/// Soft and hard limit, what was not given being the caller's.
fn both(limit: Rlimit) -> Result<(u64, u64), Failure> {
    let resource = resource(limit.resource).ok_or(Failure::new("unknown resource"))?;
    let own = rustix::process::getrlimit(resource);
    let own = (own.current.unwrap_or(u64::MAX), own.maximum.unwrap_or(u64::MAX));
    let (soft, hard) = (limit.soft.unwrap_or(own.0), limit.hard.unwrap_or(own.1));
    if soft <= hard {
        return Ok((soft, hard));
    }
    let name = embryo::resource_name(limit.resource).unwrap_or("it").to_ascii_lowercase();
    Err(Failure::new(format!("the soft limit {soft} of {name} is above its hard limit {hard}"))
        .hint("give both: SOFT:HARD"))
}

fn resource(number: u32) -> Option<Resource> {
    Some(match number {
        0 => Resource::Cpu,
        1 => Resource::Fsize,
        2 => Resource::Data,
        3 => Resource::Stack,
        4 => Resource::Core,
        5 => Resource::Rss,
        6 => Resource::Nproc,
        7 => Resource::Nofile,
        8 => Resource::Memlock,
        9 => Resource::As,
        10 => Resource::Locks,
        11 => Resource::Sigpending,
        12 => Resource::Msgqueue,
        13 => Resource::Nice,
        14 => Resource::Rtprio,
        15 => Resource::Rttime,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::resource;

    #[test]
    fn every_resource_has_its_number() {
        for number in 0..16 {
            assert_eq!(resource(number).map(|resource| resource as u32), Some(number));
        }
        assert_eq!(resource(16), None);
    }
}
