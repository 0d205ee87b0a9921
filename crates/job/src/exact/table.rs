//! Where each field of an op lies in its entry, and how it is written.
//!
//! The names are those that `embryo explain` prints. An op without a row does not compile; a field
//! that is forgotten makes a plan that does not come back as it was, which the tests see.

use super::field::{Kind, Place};
use embryo_plan::{
    LANDLOCK_RIGHTS, Namespaces, OpCode, capability_name, errno_name, memory_policy_name,
    resource_name, sched_policy_name, securebit_name, signal_name,
};

/// One field of an op.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    /// Whether it is left out if it is nothing.
    pub(crate) optional: bool,
}

const fn field(name: &'static str, place: Place, kind: Kind) -> Field {
    Field { name, place, kind, optional: false }
}

impl Field {
    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

const fn arg(name: &'static str, index: usize, kind: Kind) -> Field {
    field(name, Place::Arg(index), kind)
}

const fn data(name: &'static str, index: usize, kind: Kind) -> Field {
    field(name, Place::Data(index), kind)
}

const SLOT: Field = field("slot", Place::Slot, Kind::Number);
const PATH: Field = data("path", 0, Kind::Text);
const VALUE: Field = arg("value", 0, Kind::Signed);
const SIGNALS: Field = arg("signals", 0, Kind::Signals);
const ADDRESS: Field = arg("address", 0, Kind::Hex);
const LENGTH: Field = arg("length", 1, Kind::Hex);
const PROTECTION: Field = arg("protection", 2, Kind::Protection);
const MAP: Field = field(
    "how",
    Place::Flags,
    Kind::Flags(&["fixed", "shared", "populate", "growsdown", "noreserve"]),
)
.optional();
const EXEC: Field =
    field("how", Place::Flags, Kind::Flags(&["otherwise-sh", "stays-open"])).optional();
const REGISTERS: Field = data("registers", 0, Kind::Bytes);
const IDS: &[Field] =
    &[arg("real", 0, Kind::Id), arg("effective", 1, Kind::Id), arg("saved", 2, Kind::Id)];

const TARGET: Field = data("target", 0, Kind::Text);
const ONTO: Field = data("target", 1, Kind::Text);
const MODE: Field = arg("mode", 0, Kind::Octal);
const SIZE: Field = arg("size", 0, Kind::Limit).optional();
const ROOM_MODE: Field = arg("mode", 1, Kind::Octal);
const INODES: Field = arg("inodes", 2, Kind::Limit).optional();
const MOUNT_FLAGS: &[&str] = &[
    "read-only",
    "nosuid",
    "nodev",
    "noexec",
    "optional",
    "flat",
    "upper",
    "throwaway",
    "userxattr",
    "over",
    "processes",
];
const HOW: Field = field("how", Place::Flags, Kind::Flags(MOUNT_FLAGS)).optional();
const SPREADS: &[&str] = &["private", "slave", "shared", "unbindable"];
const SETS: &[&str] = &["effective", "permitted", "inheritable"];

/// The kind of namespace that a bit stands for.
fn namespace_name(bit: u32) -> Option<&'static str> {
    Namespaces::from_bits_truncate(1u32.checked_shl(bit)?).names().next()
}

fn clock_name(clock: u32) -> Option<&'static str> {
    match clock {
        1 => Some("monotonic"),
        7 => Some("boottime"),
        _ => None,
    }
}

/// The fields of an op, in the order in which `explain` prints them.
#[must_use]
pub(crate) fn fields(code: OpCode) -> Vec<Field> {
    match code {
        OpCode::SetSid
        | OpCode::Subreaper
        | OpCode::NoNewPrivs
        | OpCode::SeccompStrict
        | OpCode::DropVdso => vec![],
        OpCode::KeepCapabilities | OpCode::Mdwe | OpCode::CoreScheduling | OpCode::EnterRoot => {
            vec![]
        }
        OpCode::CgroupJoin | OpCode::Tie => vec![SLOT],
        OpCode::MemoryPolicy => vec![
            field(
                "mode",
                Place::Bits { arg: 0, shift: 0, width: 13 },
                Kind::Name(memory_policy_name),
            ),
            // Already where they belong: they are above the mode.
            field("flags", Place::Bits { arg: 0, shift: 13, width: 19 }, Kind::Number).optional(),
            data("nodes", 0, Kind::Cpus).optional(),
        ],
        OpCode::BoundingSet => vec![arg("keep", 0, Kind::Set(capability_name))],
        OpCode::Securebits => vec![arg("bits", 0, Kind::Set(securebit_name))],
        OpCode::Capabilities => vec![
            field("given", Place::Flags, Kind::Flags(SETS)),
            arg("effective", 0, Kind::Set(capability_name)).optional(),
            arg("permitted", 1, Kind::Set(capability_name)).optional(),
            arg("inheritable", 2, Kind::Set(capability_name)).optional(),
        ],
        OpCode::Ambient => vec![arg("set", 0, Kind::Set(capability_name))],
        OpCode::SessionKeyring => vec![data("name", 0, Kind::Text)],
        OpCode::ThpDisable => {
            vec![field("except", Place::Flags, Kind::Flags(&["advised"])).optional()]
        }
        OpCode::Landlock => vec![
            SLOT,
            field(
                "how",
                Place::Flags,
                Kind::Flags(&["quiet-image", "log-new-exec", "quiet-subdomains"]),
            )
            .optional(),
        ],
        OpCode::LandlockPath => vec![PATH, arg("access", 0, Kind::Rights(LANDLOCK_RIGHTS)), SLOT],
        OpCode::NewRoot => vec![ROOM_MODE, SIZE, INODES],
        OpCode::Bind => vec![data("source", 0, Kind::Text), ONTO, HOW],
        OpCode::BindMapped => vec![data("source", 0, Kind::Text), SLOT, ONTO, HOW],
        OpCode::BindSlot => vec![SLOT, TARGET, HOW],
        OpCode::Tmpfs => vec![TARGET, HOW, ROOM_MODE, SIZE, INODES],
        OpCode::Proc => vec![TARGET, HOW, arg("hidepid", 0, Kind::Number).optional()],
        OpCode::Devpts | OpCode::Mqueue | OpCode::Unmount => vec![TARGET],
        OpCode::Overlay => vec![data("layers", 0, Kind::Strings), ONTO, HOW],
        OpCode::Symlink => vec![data("text", 0, Kind::Text), ONTO],
        OpCode::Directory | OpCode::Chmod => vec![TARGET, MODE],
        OpCode::FileSlot => vec![SLOT, TARGET, HOW, MODE],
        OpCode::Propagation => vec![TARGET, arg("spread", 0, Kind::Word(SPREADS)), HOW],
        OpCode::Attributes => vec![
            TARGET,
            field("set", Place::Flags, Kind::Flags(MOUNT_FLAGS)).optional(),
            arg("clear", 0, Kind::Flags(MOUNT_FLAGS)).optional(),
        ],
        OpCode::JoinNamespace => vec![arg("kind", 0, Kind::Set(namespace_name)), SLOT],
        OpCode::UserNamespace | OpCode::NestedUserNamespace => {
            vec![arg("uid", 0, Kind::Number), arg("gid", 1, Kind::Number)]
        }
        OpCode::MappedUserNamespace => vec![
            data("uids", 0, Kind::Ranges),
            data("gids", 1, Kind::Ranges),
            field("setgroups", Place::Flags, Kind::Word(&["allow", "deny"])),
        ],
        OpCode::Unshare => vec![arg("kind", 0, Kind::Set(namespace_name))],
        OpCode::ClockOffset => vec![
            arg("clock", 0, Kind::Name(clock_name)),
            arg("seconds", 1, Kind::Signed),
            arg("nanoseconds", 2, Kind::Number),
        ],
        OpCode::PidNamespace => vec![arg("pid", 0, Kind::Number).optional()],
        OpCode::HostName | OpCode::DomainName => vec![data("name", 0, Kind::Text)],
        OpCode::Loopback => vec![],
        OpCode::Fail => vec![arg("errno", 0, Kind::Name(errno_name))],
        OpCode::SetPgid => vec![arg("pgid", 0, Kind::Pgid)],
        OpCode::ControllingTty | OpCode::Foreground | OpCode::ChrootSlot | OpCode::ChdirSlot => {
            vec![SLOT]
        }
        OpCode::PutFd => vec![arg("fd", 0, Kind::Number), SLOT],
        OpCode::OpenNull => {
            vec![arg("fd", 0, Kind::Number), arg("access", 1, Kind::Word(&["r", "w", "rw"]))]
        }
        OpCode::OomScoreAdj | OpCode::Nice => vec![VALUE],
        OpCode::Rlimit => vec![
            arg("resource", 0, Kind::Name(resource_name)),
            arg("soft", 1, Kind::Limit),
            arg("hard", 2, Kind::Limit),
        ],
        OpCode::Sched => vec![
            field("policy", Place::Low(0), Kind::Name(sched_policy_name)),
            field("priority", Place::High(0), Kind::Number),
            field("flags", Place::Flags, Kind::Hex).optional(),
            arg("runtime_ns", 1, Kind::Limit).optional(),
            arg("deadline_ns", 2, Kind::Limit).optional(),
            arg("period_ns", 3, Kind::Limit).optional(),
        ],
        OpCode::Affinity => vec![data("cpus", 0, Kind::Cpus)],
        OpCode::IoPriority => vec![
            field(
                "class",
                Place::Bits { arg: 0, shift: 13, width: 19 },
                Kind::Word(&["none", "realtime", "best-effort", "idle"]),
            ),
            field("level", Place::Bits { arg: 0, shift: 0, width: 13 }, Kind::Number),
        ],
        OpCode::TimerSlack => vec![arg("ns", 0, Kind::Limit)],
        OpCode::ChrootPath | OpCode::ChdirPath => vec![PATH],
        OpCode::Umask => vec![arg("mode", 0, Kind::Octal)],
        OpCode::Groups => vec![data("gids", 0, Kind::Ids)],
        OpCode::Gid | OpCode::Uid => IDS.to_vec(),
        OpCode::DeathSignal => vec![arg("signal", 0, Kind::Name(signal_name))],
        OpCode::Personality => vec![arg("persona", 0, Kind::Hex)],
        OpCode::Seccomp => vec![
            data("program", 0, Kind::Bytes),
            field(
                "how",
                Place::Flags,
                Kind::Flags(&["log", "spec-allow", "listener", "wait-killable"]),
            )
            .optional(),
        ],
        OpCode::SignalIgnore | OpCode::SignalMask | OpCode::SignalDefault => vec![SIGNALS],
        OpCode::Map => vec![ADDRESS, LENGTH, PROTECTION, MAP],
        OpCode::MapSlot => {
            vec![SLOT, ADDRESS, LENGTH, PROTECTION, arg("offset", 3, Kind::Hex), MAP]
        }
        OpCode::Unmap | OpCode::Lock => vec![ADDRESS, LENGTH],
        OpCode::Protect => vec![ADDRESS, LENGTH, PROTECTION],
        OpCode::Remap => {
            vec![ADDRESS, LENGTH, arg("to", 2, Kind::Hex), arg("to_length", 3, Kind::Hex)]
        }
        OpCode::Advise => vec![ADDRESS, LENGTH, arg("advice", 2, Kind::Number)],
        OpCode::NameRegion => vec![ADDRESS, LENGTH, data("name", 0, Kind::Text)],
        OpCode::Write => vec![ADDRESS, data("contents", 0, Kind::Bytes)],
        OpCode::WriteSlot | OpCode::ReadSlot => {
            vec![SLOT, ADDRESS, LENGTH, arg("offset", 2, Kind::Hex)]
        }
        OpCode::Fill => vec![ADDRESS, LENGTH, arg("byte", 2, Kind::Hex)],
        OpCode::SignalAction => vec![
            field("signals", Place::Low(0), Kind::Name(signal_name)),
            field("flags", Place::High(0), Kind::Hex),
            arg("handler", 1, Kind::Hex),
            arg("restorer", 2, Kind::Hex),
            arg("mask", 3, Kind::Signals),
        ],
        OpCode::MmLayout => {
            vec![data("layout", 0, Kind::Bytes), data("auxv", 1, Kind::Bytes).optional()]
        }
        OpCode::MoveVdso => vec![arg("to", 0, Kind::Hex)],
        OpCode::StartRegs => {
            vec![REGISTERS, arg("page", 0, Kind::Hex), data("leave", 1, Kind::Bytes).optional()]
        }
        OpCode::Thread => {
            vec![
                REGISTERS,
                arg("mask", 0, Kind::Signals),
                arg("clear_tid", 1, Kind::Hex).optional(),
            ]
        }
        OpCode::ExecPath => vec![PATH, EXEC],
        OpCode::ExecSlot => vec![SLOT, EXEC],
        OpCode::ExecName => vec![data("name", 0, Kind::Text), data("search", 1, Kind::Text), EXEC],
    }
}
