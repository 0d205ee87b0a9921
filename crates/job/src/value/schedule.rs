//! Scheduling policies as chrt(1) names them.
//!
//! It must never leave a real-time policy without a priority: the kernel has no default for one.

use super::{Span, nanoseconds};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A policy by its `SCHED_*` number, and its static priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `SCHED_*`.
    pub policy: u32,
    /// 1 to 99 for FIFO and RR, else 0.
    pub priority: u32,
}

/// The times of `SCHED_DEADLINE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Of each period.
    pub runtime: Duration,
    /// From the start of a period.
    pub deadline: Duration,
    /// How long one is.
    pub period: Duration,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, priority) = text.split_once(':').map_or((text, None), |(n, p)| (n, Some(p)));
        let realtime = ["fifo", "rr"].contains(&name);
        let policy = match name {
            "other" => 0,
            "fifo" => 1,
            "rr" => 2,
            "batch" => 3,
            "idle" => 5,
            "deadline" => return Err("use --deadline RUNTIME:DEADLINE:PERIOD".into()),
            _ => return Err("the policy is other, batch, idle, fifo:PRIO or rr:PRIO".into()),
        };
        let priority = match priority.map(str::parse) {
            None if realtime => return Err(format!("{name} needs a priority: {name}:1 to 99")),
            None | Some(Ok(0)) if !realtime => 0,
            Some(Ok(priority @ 1..=99)) if realtime => priority,
            _ if realtime => return Err("the priority is 1 to 99".into()),
            _ => return Err("only fifo and rr have a priority".into()),
        };
        Ok(Self { policy, priority })
    }
}

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [runtime, deadline, period] = parts[..] else {
            return Err("RUNTIME:DEADLINE:PERIOD is needed".into());
        };
        Ok(Self {
            runtime: nanoseconds(runtime)?,
            deadline: nanoseconds(deadline)?,
            period: nanoseconds(period)?,
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = embryo_plan::sched_policy_name(self.policy).unwrap_or("?");
        f.write_str(&name.to_ascii_lowercase())?;
        if self.priority == 0 { Ok(()) } else { write!(f, ":{}", self.priority) }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runtime, deadline, period } = *self;
        write!(f, "{}:{}:{}", Span(runtime), Span(deadline), Span(period))
    }
}

super::textual!(Policy: "other, batch, idle, \"fifo:PRIO\" or \"rr:PRIO\"");
super::textual!(Deadline: "\"RUNTIME:DEADLINE:PERIOD\"");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::check;

    #[test]
    fn real_time_policies_have_a_priority_and_others_do_not() {
        check("idle", Some(Policy { policy: 5, priority: 0 }));
        check("other:0", Some(Policy { policy: 0, priority: 0 }));
        check("fifo:99", Some(Policy { policy: 1, priority: 99 }));
        for bad in ["", "fifo", "rr:0", "rr:100", "batch:1", "deadline", "nice"] {
            check::<Policy>(bad, None);
        }
    }

    #[test]
    fn a_deadline_has_three_times() {
        let ms = Duration::from_millis;
        let deadline = Deadline { runtime: ms(1), deadline: ms(10), period: ms(20) };
        check("1ms:10ms:20ms", Some(deadline));
        check("1000000:10000000:20ms", Some(deadline));
        check::<Deadline>("1ms:2ms", None);
        check::<Deadline>("1ms:2ms:x", None);
    }
}
