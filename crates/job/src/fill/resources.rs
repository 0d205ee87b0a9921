//! How much the child may use, and with which priority.
//!
//! It must never set a half of a limit that was not given to anything but what it is.

use crate::error::Error;
use crate::job::Job;
use crate::value::{Limits, Resource as Number};
use embryo::Command;
use rustix::process::Resource;

impl Job {
    /// Says which limits and priorities it has.
    pub(super) fn add_resources(&self, command: &mut Command) -> Result<(), Error> {
        for (resource, limits) in &self.rlimit {
            let (soft, hard) = both(*resource, *limits).map_err(|error| error.at("rlimit"))?;
            command.rlimit(resource.0, soft, hard);
        }
        if let Some(policy) = self.sched {
            command.sched(policy.policy, policy.priority);
        }
        if let Some(times) = self.deadline {
            command.sched_deadline(times.runtime, times.deadline, times.period);
        }
        if self.reset_on_fork {
            if self.sched.is_none() && self.deadline.is_none() {
                return Err(Error::new("reset-on-fork needs sched or deadline")
                    .with_hint("the policy \"other\" is the usual one")
                    .at("reset-on-fork"));
            }
            command.sched_reset_on_fork(true);
        }
        if let Some(nice) = self.nice {
            command.nice(nice.0);
        }
        if let Some(cpus) = &self.cpus {
            command.cpu_affinity(cpus.0.iter().copied());
        }
        if let Some(priority) = self.ioprio {
            command.io_priority(priority.class, priority.level);
        }
        if let Some(value) = self.oom_score_adj {
            command.oom_score_adj(value.0);
        }
        if let Some(slack) = self.timer_slack {
            command.timer_slack(slack.0);
        }
        Ok(())
    }
}

/// Soft and hard limit, what was not given being the caller's.
fn both(number: Number, limit: Limits) -> Result<(u64, u64), Error> {
    let resource = resource(number.0).ok_or(Error::new("unknown resource"))?;
    let own = rustix::process::getrlimit(resource);
    let own = (own.current.unwrap_or(u64::MAX), own.maximum.unwrap_or(u64::MAX));
    let (soft, hard) = (limit.soft.unwrap_or(own.0), limit.hard.unwrap_or(own.1));
    if soft <= hard {
        return Ok((soft, hard));
    }
    let name = number;
    Err(Error::new(format!("the soft limit {soft} of {name} is above its hard limit {hard}"))
        .with_hint("give both: SOFT:HARD"))
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
