//! Where the program belongs, and what it ends with.

use crate::args::ChildArgs;
use crate::failure::Failure;
use embryo::{CgroupLimits, TransientCgroup};
use embryo_job::Job;
use embryo_job::value::Text;
use std::fmt::Display;
use std::str::FromStr;

/// Says in which cgroup it is: that of the options takes the place of the job's.
pub(super) fn overlay(args: &ChildArgs, job: &mut Job) -> Result<(), Failure> {
    let options = &args.cgroup;
    job.die_with_handle |= options.die_with_parent;
    if let Some(dir) = &options.cgroup {
        job.cgroup = Some(Text::from(dir));
        (job.cgroup_fd, job.transient_cgroup) = (None, None);
    }
    let Some(parent) = &options.cgroup_parent else { return Ok(()) };
    let io_max = options.io_max.iter().map(|line| read("--io-max", line));
    let other = options.cgroup_set.iter().map(|pair| {
        let pair = pair.split_once('=').map(|(file, value)| (file.to_owned(), value.to_owned()));
        pair.ok_or(Failure::new("--cgroup-set: FILE=VALUE is needed"))
    });
    let limits = CgroupLimits {
        memory_max: optional("--memory-max", options.memory_max.as_deref())?,
        memory_high: optional("--memory-high", options.memory_high.as_deref())?,
        memory_low: optional("--memory-low", options.memory_low.as_deref())?,
        memory_swap_max: optional("--memory-swap-max", options.memory_swap_max.as_deref())?,
        cpu_max: optional("--cpu-max", options.cpu_max.as_deref())?,
        cpu_weight: options.cpu_weight,
        pids_max: optional("--pids-max", options.pids_max.as_deref())?,
        io_max: io_max.collect::<Result<_, _>>()?,
        io_weight: options.io_weight,
        cpuset_cpus: options.cpuset_cpus.clone(),
        cpuset_mems: options.cpuset_mems.clone(),
        other: other.collect::<Result<_, _>>()?,
        ..CgroupLimits::default()
    };
    let enable_controllers = options.cgroup_enable;
    (job.cgroup, job.cgroup_fd) = (None, None);
    job.transient_cgroup =
        Some(TransientCgroup { parent: parent.clone(), limits, enable_controllers });
    Ok(())
}

fn optional<T: FromStr<Err: Display>>(
    option: &str,
    text: Option<&str>,
) -> Result<Option<T>, Failure> {
    text.map(|text| read(option, text)).transpose()
}

fn read<T: FromStr<Err: Display>>(option: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::new(format!("{option}: {error}")))
}
