//! The options on namespaces, named as bubblewrap and unshare(1) name them.
//!
//! It must never hold an option that does not end up in the plan.

/// Kinds of namespaces by their names.
pub(crate) const KINDS: [&str; 8] = ["user", "pid", "mount", "net", "ipc", "uts", "cgroup", "time"];

/// One line of an id map: the first id inside, what it is outside, how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range(pub(crate) [u32; 3]);

/// A kind of namespace, as an index into [`KINDS`], and a descriptor of the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined(pub(crate) usize, pub(crate) u32);

/// What of its surroundings the child is to have for itself.
#[derive(Debug, clap::Args)]
#[group(id = "NamespaceArgs")]
pub(crate) struct NamespaceArgs {
    /// Run in a sandbox: new namespaces, a read-only system, a private /tmp, and nothing of the caller's
    ///
    /// Neither network nor home directory, no capability, no_new_privs, the default profile of
    /// system calls, and Landlock. The working directory is there, read-only. Other options open it
    /// again: --share-net, --bind, --env and the rest. docs/sandbox.md says what is in it.
    #[arg(long, conflicts_with_all = ["load", "root", "root_fd", "map_auto"], help_heading = "Namespaces")]
    pub(crate) sandbox: bool,

    /// A new user namespace: the caller alone, under its own ids or those of --uid and --gid
    ///
    /// An ordinary user needs one for any other namespace, and gets it without asking.
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_user: bool,

    /// A new pid namespace, with an init that reaps, forwards signals and ends with the program
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_pid: bool,

    /// A new network namespace, with nothing but a loopback device
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_net: bool,

    /// A new IPC namespace
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_ipc: bool,

    /// A new UTS namespace; see --hostname and --domainname
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_uts: bool,

    /// A new cgroup namespace
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_cgroup: bool,

    /// A new time namespace; see --monotonic and --boottime
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_time: bool,

    /// A new mount namespace
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_mount: bool,

    /// A new namespace of every kind, but for time
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) unshare_all: bool,

    /// Keep the caller's network, in spite of --unshare-all or --sandbox
    #[arg(long, help_heading = "Namespaces")]
    pub(crate) share_net: bool,

    /// Join the user namespace that is the caller's descriptor FD
    #[arg(long, value_name = "FD", help_heading = "Namespaces")]
    pub(crate) userns: Option<u32>,

    /// Join the pid namespace that is the caller's descriptor FD
    #[arg(long, value_name = "FD", conflicts_with = "unshare_pid", help_heading = "Namespaces")]
    pub(crate) pidns: Option<u32>,

    /// Join the namespace that is the caller's descriptor FD; may be repeated
    ///
    /// KIND is one of user, pid, mount, net, ipc, uts, cgroup, time.
    #[arg(long, value_name = "KIND=FD", value_parser = joined, help_heading = "Namespaces")]
    pub(crate) join_namespace: Vec<Joined>,

    /// The caller is root in the new user namespace, which this asks for
    #[arg(long, conflicts_with_all = ["userns"], help_heading = "Namespaces")]
    pub(crate) map_root_user: bool,

    /// The caller is root in the new user namespace, and the ids from 1 on are its subordinate ones
    ///
    /// They are those of /etc/subuid and /etc/subgid, and are mapped by newuidmap(1) and newgidmap(1).
    #[arg(
        long,
        conflicts_with_all = ["userns", "map_root_user", "map_users", "map_groups"],
        help_heading = "Namespaces"
    )]
    pub(crate) map_auto: bool,

    /// Map COUNT uids from INNER on in the new user namespace to those from OUTER on; may be repeated
    #[arg(
        long,
        value_name = "INNER:OUTER:COUNT",
        value_parser = range,
        requires = "map_groups",
        conflicts_with_all = ["userns", "map_root_user"],
        help_heading = "Namespaces"
    )]
    pub(crate) map_users: Vec<Range>,

    /// The same of gids
    #[arg(
        long,
        value_name = "INNER:OUTER:COUNT",
        value_parser = range,
        requires = "map_users",
        help_heading = "Namespaces"
    )]
    pub(crate) map_groups: Vec<Range>,

    /// Host name, in a UTS namespace of its own
    #[arg(long, value_name = "NAME", help_heading = "Namespaces")]
    pub(crate) hostname: Option<String>,

    /// NIS domain name, in a UTS namespace of its own
    #[arg(long, value_name = "NAME", help_heading = "Namespaces")]
    pub(crate) domainname: Option<String>,

    /// Seconds that the monotonic clock shows more, in a time namespace of its own
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, help_heading = "Namespaces")]
    pub(crate) monotonic: Option<i64>,

    /// Seconds that the clock since the boot shows more, in a time namespace of its own
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, help_heading = "Namespaces")]
    pub(crate) boottime: Option<i64>,

    /// The program's pid in its new pid namespace, which this asks for
    #[arg(
        long,
        value_name = "PID",
        value_parser = clap::value_parser!(u32).range(2..),
        conflicts_with = "pidns",
        help_heading = "Namespaces"
    )]
    pub(crate) set_tid: Option<u32>,
}

fn joined(text: &str) -> Result<Joined, String> {
    let (kind, fd) = text.split_once('=').ok_or("it is to be KIND=FD")?;
    let known = KINDS.iter().position(|known| *known == kind);
    let known = known.ok_or_else(|| format!("there is no namespace of the kind {kind}"))?;
    Ok(Joined(known, fd.parse().map_err(|error| format!("{fd}: {error}"))?))
}

fn range(text: &str) -> Result<Range, String> {
    let numbers: Vec<u32> = text
        .split(':')
        .map(|part| part.parse().map_err(|error| format!("{part}: {error}")))
        .collect::<Result<_, _>>()?;
    let numbers = numbers.try_into().map_err(|_| "it is to be INNER:OUTER:COUNT".to_owned())?;
    Ok(Range(numbers))
}
