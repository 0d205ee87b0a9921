//! How each op is asked for: the key of a job, the option of `embryo run`, the method of
//! [`embryo::Command`].
//!
//! An op that is missing here does not compile; what is named here and is not there fails the test
//! that makes `docs/ops.md` of it. It must never name what does something else as well and not this.

use embryo::OpCode;

/// Where people find an op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// Keys of a job.
    pub keys: &'static [&'static str],
    /// Options of `embryo run`, without their dashes.
    pub options: &'static [&'static str],
    /// Methods of `Command`.
    pub methods: &'static [&'static str],
}

const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];

/// Of the names that are the same in all three.
const fn same(names: &'static [&'static str]) -> Surface {
    Surface { keys: names, options: names, methods: names }
}

const fn surface_of(
    keys: &'static [&'static str],
    options: &'static [&'static str],
    methods: &'static [&'static str],
) -> Surface {
    Surface { keys, options, methods }
}

/// With the same key and option.
const fn named(names: &'static [&'static str], methods: &'static [&'static str]) -> Surface {
    Surface { keys: names, options: names, methods }
}

/// How an op is asked for. One that nothing stands for can be said op by op alone.
#[must_use]
pub const fn surface(code: OpCode) -> Surface {
    match code {
        OpCode::SetSid => same(&["setsid"]),
        OpCode::SetPgid => named(&["pgid"], &["process_group"]),
        OpCode::ControllingTty => named(&["ctty"], &["controlling_tty"]),
        OpCode::Foreground => same(&["foreground"]),
        OpCode::PutFd => same(&["fd", STREAMS[0], STREAMS[1], STREAMS[2]]),
        OpCode::OpenNull => {
            named(&["null", "stdin", "stdout", "stderr"], &["null_fd", "stdin", "stdout", "stderr"])
        }
        OpCode::OomScoreAdj => named(&["oom-score-adj"], &["oom_score_adj"]),
        OpCode::Rlimit => same(&["rlimit"]),
        OpCode::Sched => {
            named(&["sched", "deadline", "reset-on-fork"], &["sched", "sched_deadline"])
        }
        OpCode::Nice => same(&["nice"]),
        OpCode::Affinity => named(&["cpus"], &["cpu_affinity"]),
        OpCode::IoPriority => named(&["ioprio"], &["io_priority"]),
        OpCode::TimerSlack => named(&["timer-slack"], &["timer_slack"]),
        OpCode::ChrootPath => named(&["root"], &["chroot"]),
        OpCode::ChrootSlot => named(&["root-fd"], &["chroot_fd"]),
        OpCode::ChdirPath => named(&["chdir"], &["current_dir"]),
        OpCode::ChdirSlot => named(&["chdir-fd"], &["current_dir_fd"]),
        OpCode::Umask => same(&["umask"]),
        OpCode::Groups => named(&["groups", "keep-groups", "user"], &["groups"]),
        OpCode::Gid => named(&["gid", "user"], &["gid", "resgid"]),
        OpCode::Uid => named(&["uid", "user"], &["uid", "resuid"]),
        OpCode::DeathSignal => named(&["pdeathsig"], &["death_signal"]),
        OpCode::Subreaper => named(&["subreaper"], &["child_subreaper"]),
        OpCode::Personality => named(&["personality", "no-aslr"], &["personality"]),
        OpCode::NoNewPrivs => named(&["no-new-privs"], &["no_new_privs"]),
        OpCode::Seccomp => surface_of(
            &["seccomp", "seccomp-policy"],
            &["seccomp", "seccomp-profile", "seccomp-policy"],
            &["seccomp", "seccomp_policy"],
        ),
        OpCode::SignalIgnore => named(&["ignore-signal"], &["ignore_signals"]),
        OpCode::SignalMask => named(&["signal-mask"], &["signal_mask"]),
        OpCode::SignalDefault => named(&["default-signal"], &["default_signals"]),
        OpCode::ExecPath | OpCode::ExecName => surface_of(&["program"], &["path"], &["new"]),
        OpCode::ExecSlot => named(&["exec-fd"], &["from_fd"]),
        OpCode::NewRoot | OpCode::EnterRoot => surface_of(&["new-root"], &[], &["new_root"]),
        OpCode::Bind => surface_of(&["mount"], &["bind", "ro-bind", "dev-bind", "dev"], &["mount"]),
        OpCode::BindSlot => surface_of(&["mount"], &["bind-fd", "ro-bind-fd"], &["mount_fd"]),
        OpCode::BindMapped => surface_of(&["mount"], &["bind-idmapped"], &["mount_fd"]),
        OpCode::Tmpfs => surface_of(&["mount"], &["tmpfs", "perms", "size"], &["mount"]),
        OpCode::Proc => surface_of(&["mount"], &["proc"], &["mount"]),
        OpCode::Devpts => surface_of(&["mount"], &["dev"], &["mount"]),
        OpCode::Mqueue => surface_of(&["mount"], &["mqueue"], &["mount"]),
        OpCode::Overlay => {
            surface_of(&["mount"], &["overlay", "tmp-overlay", "ro-overlay"], &["mount"])
        }
        OpCode::Symlink => surface_of(&["mount"], &["symlink"], &["mount"]),
        OpCode::Directory => surface_of(&["mount"], &["dir"], &["mount"]),
        OpCode::FileSlot => {
            surface_of(&["mount"], &["file", "bind-data", "ro-bind-data"], &["mount_fd"])
        }
        OpCode::Chmod => surface_of(&["mount"], &["chmod"], &["mount"]),
        OpCode::Propagation => surface_of(&["mount"], &["mount-propagation"], &["mount"]),
        OpCode::Attributes => surface_of(&["mount"], &["remount-ro"], &["mount"]),
        OpCode::Unmount => surface_of(&["mount"], &["unmount"], &["mount"]),
        OpCode::JoinNamespace => surface_of(
            &["namespaces"],
            &["join-namespace", "userns", "pidns"],
            &["join_namespace", "join_namespaces_of"],
        ),
        OpCode::UserNamespace => surface_of(
            &["namespaces"],
            &["unshare-user", "unshare-all", "map-root-user", "sandbox"],
            &["user_namespace", "unshare", "sandbox"],
        ),
        OpCode::MappedUserNamespace => surface_of(
            &["namespaces"],
            &["map-auto", "map-users", "map-groups"],
            &["user_namespace"],
        ),
        OpCode::NestedUserNamespace => surface_of(&["namespaces"], &[], &["nested_user_namespace"]),
        OpCode::Unshare => surface_of(
            &["namespaces"],
            &[
                "unshare-all",
                "unshare-mount",
                "unshare-net",
                "unshare-ipc",
                "unshare-uts",
                "unshare-cgroup",
                "unshare-time",
                "share-net",
                "sandbox",
            ],
            &["unshare", "sandbox"],
        ),
        OpCode::ClockOffset => {
            surface_of(&["namespaces"], &["monotonic", "boottime"], &["clock_offset"])
        }
        OpCode::PidNamespace => surface_of(
            &["namespaces"],
            &["unshare-pid", "unshare-all", "set-tid", "sandbox"],
            &["pid_namespace", "set_tid", "sandbox"],
        ),
        OpCode::HostName => surface_of(&["namespaces"], &["hostname"], &["hostname"]),
        OpCode::DomainName => surface_of(&["namespaces"], &["domainname"], &["domainname"]),
        OpCode::Loopback => {
            surface_of(&["namespaces"], &["unshare-net", "unshare-all"], &["loopback"])
        }
        OpCode::CoreScheduling => {
            surface_of(&["core-scheduling"], &["core-sched"], &["core_scheduling"])
        }
        OpCode::MemoryPolicy => surface_of(&["memory-policy"], &["mempolicy"], &["memory_policy"]),
        OpCode::BoundingSet => surface_of(
            &["privileges"],
            &["bounding-set", "cap-add", "cap-drop"],
            &["capability_bounding_set"],
        ),
        OpCode::Securebits => surface_of(&["privileges"], &["securebits"], &["securebits"]),
        OpCode::KeepCapabilities => surface_of(&["privileges"], &[], &["privileges"]),
        OpCode::Capabilities => surface_of(
            &["privileges"],
            &["cap-add", "cap-drop", "inh-caps"],
            &["privileges", "inheritable_capabilities"],
        ),
        OpCode::Ambient => surface_of(
            &["privileges"],
            &["ambient-caps", "cap-add", "cap-drop"],
            &["ambient_capabilities"],
        ),
        OpCode::SessionKeyring => {
            surface_of(&["privileges"], &["new-session-keyring"], &["session_keyring"])
        }
        OpCode::Mdwe => surface_of(&["privileges"], &["mdwe"], &["mdwe"]),
        OpCode::ThpDisable => surface_of(&["privileges"], &["no-thp"], &["thp_disable"]),
        OpCode::Landlock => surface_of(
            &["landlock"],
            &["landlock-bind", "landlock-connect", "landlock-scope"],
            &["landlock", "landlock_ruleset"],
        ),
        OpCode::LandlockPath => surface_of(&["landlock"], &["landlock-inside"], &["landlock"]),
        OpCode::CgroupJoin => surface_of(
            &["cgroup", "cgroup-fd", "transient-cgroup"],
            &["cgroup", "cgroup-parent"],
            &["cgroup", "cgroup_fd", "transient_cgroup"],
        ),
        OpCode::Tie => surface_of(&["die-with-handle"], &["die-with-parent"], &["die_with_handle"]),
        // For an embryo and its loader, and for trying things out.
        OpCode::Fail
        | OpCode::SeccompStrict
        | OpCode::Map
        | OpCode::MapSlot
        | OpCode::Unmap
        | OpCode::Protect
        | OpCode::Remap
        | OpCode::Advise
        | OpCode::Lock
        | OpCode::NameRegion
        | OpCode::Write
        | OpCode::WriteSlot
        | OpCode::ReadSlot
        | OpCode::Fill
        | OpCode::SignalAction
        | OpCode::MmLayout
        | OpCode::MoveVdso
        | OpCode::DropVdso
        | OpCode::StartRegs
        | OpCode::Thread => surface_of(&[], &[], &[]),
    }
}
