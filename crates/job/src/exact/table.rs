//! Where each field of an op lies in its entry, and how it is written.
//!
//! The names are those that `embryo explain` prints. An op without a row does not compile; a field
//! that is forgotten makes a plan that does not come back as it was, which the tests see.

use super::field::{Kind, Place};
use embryo_plan::OpCode;

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

/// The fields of an op, in the order in which `explain` prints them.
#[must_use]
pub(crate) fn fields(code: OpCode) -> Vec<Field> {
    match code {
        OpCode::SetSid
        | OpCode::Subreaper
        | OpCode::NoNewPrivs
        | OpCode::SeccompStrict
        | OpCode::DropVdso => vec![],
        OpCode::Fail => vec![arg("errno", 0, Kind::Errno)],
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
            arg("resource", 0, Kind::Resource),
            arg("soft", 1, Kind::Limit),
            arg("hard", 2, Kind::Limit),
        ],
        OpCode::Sched => vec![
            field("policy", Place::Low(0), Kind::Policy),
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
        OpCode::DeathSignal => vec![arg("signal", 0, Kind::Signal)],
        OpCode::Personality => vec![arg("persona", 0, Kind::Hex)],
        OpCode::Seccomp => vec![
            data("program", 0, Kind::Bytes),
            field("how", Place::Flags, Kind::Flags(&["log", "spec-allow"])).optional(),
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
            field("signals", Place::Low(0), Kind::Signal),
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
