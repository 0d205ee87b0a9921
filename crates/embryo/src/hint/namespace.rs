//! What is the matter with an op on namespaces: which knob forbids it, and what is missing.

use embryo_plan::NamespaceOp;
use embryo_syscall::Errno;

/// A hint for the answer to an op.
pub(super) fn hint(op: &NamespaceOp<'_>, errno: Errno) -> Option<String> {
    let text = match (op, errno) {
        (
            NamespaceOp::User { .. }
            | NamespaceOp::NestedUser { .. }
            | NamespaceOp::MappedUser { .. },
            _,
        ) => return users(op, errno),
        (NamespaceOp::Join { .. }, Errno::PERM) => {
            "joining needs CAP_SYS_ADMIN in the namespace's own user namespace, which a join of that \
             one, first, gives to whoever owns it"
        }
        (NamespaceOp::Join { .. }, Errno::INVAL) => {
            "the descriptor is no namespace of that kind, or the child is in that user namespace \
             already; a pidfd serves since Linux 5.8"
        }
        (NamespaceOp::Join { .. }, Errno::SRCH) => "the process of the pidfd has ended",
        (NamespaceOp::Unshare { .. }, Errno::PERM) => {
            "new namespaces need CAP_SYS_ADMIN, or a new user namespace in the same plan"
        }
        (NamespaceOp::Unshare { .. } | NamespaceOp::Pid { .. }, Errno::NOSPC) => {
            "as many namespaces as user.max_*_namespaces allows, or too deep: they nest 32 times"
        }
        (NamespaceOp::Unshare { .. }, Errno::INVAL) => {
            "the kernel lacks namespaces of one of these kinds; time takes Linux 5.6"
        }
        (NamespaceOp::ClockOffset { .. }, Errno::RANGE) => {
            "the clock would show a time before its beginning, or one that is too late"
        }
        (NamespaceOp::ClockOffset { .. }, Errno::PERM) => {
            "clock offsets need CAP_SYS_TIME in the user namespace"
        }
        (NamespaceOp::ClockOffset { .. }, Errno::ACCES) => {
            "a process is in the time namespace already"
        }
        (NamespaceOp::Pid { pid: 1.. }, Errno::NOSYS) => {
            "choosing a pid takes clone3(2), which this kernel, or a seccomp filter, refuses"
        }
        (NamespaceOp::Pid { pid: 1.. }, Errno::EXIST) => "another process has that pid",
        (NamespaceOp::Pid { pid: 1.. }, Errno::INVAL) => {
            "the pid is above kernel.pid_max; choosing one takes Linux 5.5"
        }
        (NamespaceOp::Pid { .. }, Errno::INVAL) => {
            "the child is itself the init of a pid namespace: whoever spawns has unshared pids"
        }
        (NamespaceOp::Pid { .. }, Errno::PERM) => {
            "a pid namespace, or a pid of choice in it, needs CAP_SYS_ADMIN, or a new user namespace \
             in the same plan"
        }
        (
            NamespaceOp::HostName { .. } | NamespaceOp::DomainName { .. } | NamespaceOp::Loopback,
            Errno::PERM,
        ) => "the namespace is not the child's own, or is not owned by its user namespace",
        _ => return None,
    };
    Some(text.to_owned())
}

/// What may forbid a user namespace.
fn users(op: &NamespaceOp<'_>, errno: Errno) -> Option<String> {
    if errno == Errno::NOSPC {
        return Some(
            "as many user namespaces as user.max_user_namespaces allows, or too deep: they nest 32 \
             times"
                .to_owned(),
        );
    }
    if errno != Errno::PERM && errno != Errno::ACCES {
        return None;
    }
    Some(forbidding().map_or_else(
        || match op {
            NamespaceOp::MappedUser { .. } => {
                "the maps need CAP_SETUID and CAP_SETGID, or lines for the caller in /etc/subuid and \
                 /etc/subgid"
                    .to_owned()
            }
            _ => "a seccomp filter or a security policy forbids it, as in a container, /proc is \
                  not mounted as a whole, or the caller has changed its root directory"
                .to_owned(),
        },
        str::to_owned,
    ))
}

/// The setting that forbids user namespaces, if it is one that can be read.
pub(crate) fn forbidding() -> Option<&'static str> {
    let is = |path: &str, value: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
    };
    [
        (
            "/proc/sys/user/max_user_namespaces",
            "0",
            "user.max_user_namespaces is 0: sysctl user.max_user_namespaces=15000 allows them",
        ),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone is 0: sysctl kernel.unprivileged_userns_clone=1 allows \
             them",
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns is 1: an AppArmor profile for this program \
             that has `userns,`, or setting it to 0, allows them",
        ),
    ]
    .into_iter()
    .find_map(|(path, value, hint)| is(path, value).then_some(hint))
}
