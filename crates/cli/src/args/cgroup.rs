//! Options on cgroups, named as the files of cgroup v2, and on what ends a program.

use clap::ValueHint;
use std::path::PathBuf;

const HEADING: &str = "Cgroup and lifetime";

/// Where the program belongs, and what it ends with.
#[derive(Debug, clap::Args)]
pub(crate) struct CgroupArgs {
    /// Start in this cgroup (version 2)
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "cgroup_parent",
        help_heading = HEADING,
        value_hint = ValueHint::DirPath
    )]
    pub(crate) cgroup: Option<PathBuf>,

    /// Start in a cgroup of its own, made in this one (version 2)
    ///
    /// When the program or embryo ends, by whatever means, everybody in it is killed and it is
    /// removed. DIR has to be delegated to the user, and embryo to run in a cgroup that the user may
    /// move processes out of; `embryo doctor` says where. The limits below need it.
    #[arg(long, value_name = "DIR", help_heading = HEADING, value_hint = ValueHint::DirPath)]
    pub(crate) cgroup_parent: Option<PathBuf>,

    /// Enable in --cgroup-parent the controllers that the limits need, for good
    #[arg(long, requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) cgroup_enable: bool,

    /// Most memory, with K, M, G or T; who needs more is killed
    #[arg(long, value_name = "BYTES", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) memory_max: Option<String>,

    /// Memory beyond which the program is slowed down
    #[arg(long, value_name = "BYTES", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) memory_high: Option<String>,

    /// Memory that is taken away last
    #[arg(long, value_name = "BYTES", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) memory_low: Option<String>,

    /// Most swap
    #[arg(long, value_name = "BYTES", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) memory_swap_max: Option<String>,

    /// CPU time: 50% of one CPU, or QUOTA/PERIOD in microseconds
    #[arg(long, value_name = "SHARE", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) cpu_max: Option<String>,

    /// Share of CPU time among its neighbours, 1 to 10000; 100 is usual
    #[arg(long, value_name = "N", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) cpu_weight: Option<u32>,

    /// Most processes and threads
    #[arg(long, value_name = "N", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) pids_max: Option<String>,

    /// Limits of a block device, such as `8:0 rbps=1M wiops=120`; may be repeated
    #[arg(
        long,
        value_name = "MAJ:MIN KEY=N...",
        requires = "cgroup_parent",
        help_heading = HEADING
    )]
    pub(crate) io_max: Vec<String>,

    /// Share of input and output among its neighbours, 1 to 10000; 100 is usual
    #[arg(long, value_name = "N", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) io_weight: Option<u32>,

    /// The CPUs that everybody in it may run on, such as 0,2-4
    #[arg(long, value_name = "LIST", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) cpuset_cpus: Option<String>,

    /// The memory nodes that everybody in it may use
    #[arg(long, value_name = "LIST", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) cpuset_mems: Option<String>,

    /// Write to any other file of the cgroup, such as hugetlb.2MB.max; may be repeated
    #[arg(long, value_name = "FILE=VALUE", requires = "cgroup_parent", help_heading = HEADING)]
    pub(crate) cgroup_set: Vec<String>,

    /// Kill the program when embryo ends, by whatever means, or embryo's parent does
    ///
    /// Unlike --pdeathsig nothing that the program does takes it back. Its own children are killed
    /// only with --cgroup-parent.
    #[arg(long, help_heading = HEADING)]
    pub(crate) die_with_parent: bool,
}
