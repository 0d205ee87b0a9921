//! From bytes that somebody alleges to be a plan to a plan: everything is checked, once, before
//! anything happens.
//!
//! A plan has exactly one encoding: data stands in the order in which it is referred to, without
//! gaps or overlaps, and whatever is unused is zero. That makes the rules short and two plans
//! equal when their bytes are.

mod namespace;
mod privilege;

use crate::filter::check_filter;
use crate::following;
use crate::format::{
    DataRef, ENTRY_LEN, Entry, HEADER_LEN, Header, ListRef, MAGIC, PlanFlags, VERSION,
};
use crate::layout::Layout;
use crate::limits;
use crate::op::{
    ArgKind, DataKind, ExecFlags, IdRange, Keep, MapFlags, MountOp, NO_SLOT, Op, OpCode,
};
use crate::regset::{Regset, ranges, unsound_state};
use crate::view::Plan;
use core::ffi::CStr;
use core::fmt;
use zerocopy::FromBytes;

mod confine;
mod mount;

/// Bytes that are alleged to be a plan.
#[derive(Clone, Copy, Debug)]
pub struct RawPlan<'a>(pub &'a [u8]);

/// Why bytes are not a plan: the entry at fault, if it is one entry, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// Index of the entry; `None` for the plan as a whole.
    pub entry: Option<u32>,
    /// What the entry is, if its code is known.
    pub code: Option<OpCode>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Shorter than a header, or than the header says.
    Truncated,
    /// Longer than the header says.
    Overlong,
    /// Longer than [`limits::PLAN_BYTES_MAX`].
    TooLong,
    /// It does not begin with the magic bytes.
    NotAPlan,
    /// A version this code does not know.
    Version(u16),
    /// Flags this code does not know.
    UnknownFlags,
    /// `keep` bits this code does not know.
    UnknownKeep,
    /// Something unused is not zero.
    NotZero,
    /// More entries than [`limits::ENTRIES_MAX`].
    TooManyEntries,
    /// More slots than [`limits::SLOTS_MAX`].
    TooManySlots,
    /// A code this code does not know.
    UnknownOp(u16),
    /// The op needs a slot and has none, or the reverse.
    SlotUse,
    /// A slot that the plan does not have.
    BadSlot(u32),
    /// A number too large for its kind.
    NumberTooWide,
    /// A number outside its range; its name.
    OutOfRange(&'static str),
    /// Data reaches outside the data section.
    OutOfBounds,
    /// Data overlaps what stands before it or leaves a gap.
    Misplaced,
    /// Bytes of the data section that nothing refers to.
    UnusedData,
    /// A string without its final NUL.
    Unterminated,
    /// A NUL inside a string.
    NulInside,
    /// A path, name or argument list that must not be empty.
    Empty,
    /// A string longer than its limit.
    StringTooLong,
    /// argv and envp larger than the kernel takes.
    StringsTooLong,
    /// A string list that does not hold as many strings as it says.
    StringCount,
    /// Data whose length is not a multiple of its element, or too many elements.
    DataLength,
    /// The op must stand before the one in front of it; the name of that one.
    Order(OpCode),
    /// The op, or one that excludes it, stands in the plan already.
    Repeated,
    /// Descriptor numbers of `put-fd` and `open-null` must ascend.
    FdOrder,
    /// Resources of `rlimit` must ascend.
    ResourceOrder,
    /// The plan neither sets nor keeps this.
    Unsaid(&'static str),
    /// The plan both sets and keeps this.
    SaidTwice(&'static str),
    /// A process group needs a kept session: a session leader cannot change its group.
    PgidInNewSession,
    /// A controlling terminal needs a new session.
    TtyWithoutSession,
    /// A new root with the working directory outside it.
    RootWithoutCwd,
    /// No op starts an image, and the plan is no batch.
    NoStart,
    /// Something follows the op that starts the image.
    AfterStart,
    /// A batch holds an image or keeps something.
    BatchWithImage,
    /// A soft limit above the hard one.
    SoftAboveHard,
    /// Signals set to their default although the plan keeps none ignored, so that all are.
    DefaultAnyway,
    /// A start by registers with argv or envp, which only exec would hand over.
    StringsWithRegisters,
    /// A filter that the kernel would not take: the instruction, counted from 0, and why.
    Filter(u32, &'static str),
    /// An op that only a start by registers can do, with a start by exec.
    OnlyWithRegisters,
    /// An op that a start by registers could not follow.
    OnlyWithExec(OpCode),
    /// An op that is done at the start, in a batch, which has none.
    OnlyAtStart,
    /// More threads than [`limits::THREADS_MAX`].
    TooManyThreads,
    /// More filters than [`limits::FILTERS_MAX`].
    TooManyFilters,
    /// A filter that never lets a call through that has to be made after it: the call, and what the
    /// filter returns (`SECCOMP_RET_*`).
    FilterForbids(&'static str, u32),
    /// A second filter with a listener.
    TwoListeners,
    /// Several filters, or one with a listener, with a start by registers.
    FiltersOnlyWithExec,
    /// A rule for a ruleset that the plan does not enforce.
    RulesetUnused,
    /// A path of an op on mounts that does not begin at the root.
    Relative,
    /// A target with `..` in it, whose meaning depends on what is a link by then.
    DotDot,
    /// A new root that is never entered, or the reverse.
    RootHalf,
    /// The op is about a namespace that the plan neither makes nor joins; its kind.
    NeedsNamespace(&'static str),
    /// An id that the plan's user namespace does not map.
    NotMapped(u32),
    /// Groups in a user namespace that refuses setgroups(2).
    GroupsDenied,
    /// Ranges of an id map that have ids in common.
    OverlappingIds,
    /// More lines of an id map than [`limits::ID_RANGES_MAX`].
    TooManyRanges,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.entry, self.code) {
            (Some(entry), Some(code)) => write!(f, "entry {entry} ({}): ", code.name())?,
            (Some(entry), None) => write!(f, "entry {entry}: ")?,
            (None, _) => {}
        }
        self.reason.fmt(f)
    }
}

impl core::error::Error for PlanError {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Truncated => f.write_str("the plan is truncated"),
            Reason::Overlong => f.write_str("bytes follow the end of the plan"),
            Reason::TooLong => {
                write!(f, "the plan is longer than {} bytes", limits::PLAN_BYTES_MAX)
            }
            Reason::NotAPlan => f.write_str("these bytes are not an encoded plan (wrong magic)"),
            Reason::Version(found) => {
                write!(f, "the plan has version {found}; this is written for version {VERSION}")
            }
            Reason::UnknownFlags => f.write_str("unknown flags"),
            Reason::UnknownKeep => f.write_str("unknown keep bits"),
            Reason::NotZero => f.write_str("an unused field is not zero"),
            Reason::TooManyEntries => write!(f, "more than {} entries", limits::ENTRIES_MAX),
            Reason::TooManySlots => write!(f, "more than {} grant slots", limits::SLOTS_MAX),
            Reason::UnknownOp(code) => write!(f, "unknown op {code:#06x}"),
            Reason::SlotUse => f.write_str("a slot is missing, or given to an op that takes none"),
            Reason::BadSlot(slot) => write!(f, "the plan has no slot {slot}"),
            Reason::NumberTooWide => f.write_str("a number is too large for its kind"),
            Reason::OutOfRange(what) => write!(f, "{what} is out of range"),
            Reason::OutOfBounds => f.write_str("data lies outside the data section"),
            Reason::Misplaced => f.write_str("data overlaps other data or leaves a gap"),
            Reason::UnusedData => f.write_str("the data section holds bytes that nothing uses"),
            Reason::Unterminated => f.write_str("a string has no final NUL"),
            Reason::NulInside => f.write_str("a string has a NUL inside"),
            Reason::Empty => f.write_str("a required string or list is empty"),
            Reason::StringTooLong => f.write_str("a string is longer than the kernel takes"),
            Reason::StringsTooLong => write!(
                f,
                "argv and envp take more than {} bytes, the kernel's limit",
                limits::STRINGS_BYTES_MAX
            ),
            Reason::StringCount => f.write_str("a string list does not hold what its count says"),
            Reason::DataLength => f.write_str("data has a wrong length"),
            Reason::Order(before) => write!(f, "it must stand before {}", before.name()),
            Reason::Repeated => f.write_str("it, or an op that excludes it, stands there already"),
            Reason::FdOrder => f.write_str("descriptor numbers must ascend, each at most once"),
            Reason::ResourceOrder => f.write_str("resources must ascend, each at most once"),
            Reason::Unsaid(what) => write!(f, "the plan neither sets nor keeps the {what}"),
            Reason::SaidTwice(what) => write!(f, "the plan both sets and keeps the {what}"),
            Reason::PgidInNewSession => {
                f.write_str("a process group needs the session kept: a session leader has its own")
            }
            Reason::TtyWithoutSession => f.write_str("a controlling terminal needs set-sid"),
            Reason::RootWithoutCwd => {
                f.write_str("a new root needs a working directory set after it")
            }
            Reason::NoStart => f.write_str("no op starts an image"),
            Reason::AfterStart => f.write_str("nothing may follow the op that starts the image"),
            Reason::BatchWithImage => f.write_str("a batch has no image and keeps nothing"),
            Reason::DefaultAnyway => {
                f.write_str("every signal has its default action unless ignored ones are kept")
            }
            Reason::SoftAboveHard => f.write_str("the soft limit is above the hard limit"),
            Reason::StringsWithRegisters => f.write_str(
                "a start by registers takes no argv and no envp: what it finds is in the memory built",
            ),
            Reason::Filter(instruction, what) => {
                write!(f, "instruction {instruction} of the filter: {what}")
            }
            Reason::OnlyWithRegisters => {
                f.write_str("only a start by registers can do that: no exec would pass it")
            }
            Reason::OnlyWithExec(code) => {
                write!(
                    f,
                    "a start by registers cannot follow {}: it makes code of memory",
                    code.name()
                )
            }
            Reason::OnlyAtStart => f.write_str("it is done at the start, and a batch has none"),
            Reason::NeedsNamespace(kind) => {
                write!(f, "it needs a {kind} namespace that the plan makes or joins")
            }
            Reason::NotMapped(id) => write!(f, "the user namespace does not map id {id}"),
            Reason::GroupsDenied => f.write_str(
                "the user namespace refuses setgroups: a child that maps itself may not have it",
            ),
            Reason::OverlappingIds => f.write_str("ranges of ids overlap"),
            Reason::TooManyRanges => {
                write!(f, "more than {} lines in an id map", limits::ID_RANGES_MAX)
            }
            Reason::TooManyThreads => {
                write!(f, "more than {} threads besides the first", limits::THREADS_MAX)
            }
            Reason::TooManyFilters => write!(f, "more than {} filters", limits::FILTERS_MAX),
            Reason::FilterForbids(call, answer) => following::forbidden(f, call, *answer),
            Reason::TwoListeners => f.write_str("at most one filter has a listener"),
            Reason::FiltersOnlyWithExec => f.write_str(
                "a start by registers installs one filter, and hands over no listener",
            ),
            Reason::RulesetUnused => {
                f.write_str("the plan adds a rule to a ruleset that it does not enforce")
            }
            Reason::Relative => f.write_str("a path does not begin with /"),
            Reason::DotDot => f.write_str("the target has .. in it"),
            Reason::RootHalf => f.write_str("new-root and enter-root need each other"),
        }
    }
}

impl<'a> RawPlan<'a> {
    /// Checks everything: bounds, overlaps, strings, slots, order, numbers and limits.
    ///
    /// # Errors
    /// The first thing found wrong, with the entry in which it stands.
    pub fn check(self) -> Result<Plan<'a>, PlanError> {
        let whole = |reason| PlanError { entry: None, code: None, reason };
        let plan = self.frame().map_err(whole)?;
        let mut cursor = Cursor { next: 0 };
        let strings = check_strings(&plan, &mut cursor).map_err(whole)?;
        if strings > limits::STRINGS_BYTES_MAX {
            return Err(whole(Reason::StringsTooLong));
        }
        let mut seen = Seen::default();
        seen.spaces.batch = plan.is_batch();
        for (index, entry) in plan.entries().iter().enumerate() {
            let code = OpCode::from_number(entry.code.get());
            let fail = |reason| PlanError { entry: Some(index as u32), code, reason };
            let code = code.ok_or(fail(Reason::UnknownOp(entry.code.get())))?;
            check_shape(&plan, entry, code, &mut cursor).map_err(fail)?;
            let op = Op::decode(entry, &plan).ok_or(fail(Reason::OutOfRange("a value")))?;
            check_range(&op).map_err(fail)?;
            seen.admit(&op).map_err(fail)?;
        }
        if cursor.next != plan.header().data_len.get() as usize {
            return Err(whole(Reason::UnusedData));
        }
        seen.whole(&plan).map_err(whole)?;
        following::check(&plan)?;
        confine::check(&plan)?;
        Ok(plan)
    }

    /// Header and lengths.
    fn frame(self) -> Result<Plan<'a>, Reason> {
        let bytes = self.0;
        let magic = bytes.get(..8).ok_or(Reason::Truncated)?;
        if magic != MAGIC {
            return Err(Reason::NotAPlan);
        }
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Reason::Truncated)?;
        if header.version.get() != VERSION {
            return Err(Reason::Version(header.version.get()));
        }
        if bytes.len() > limits::PLAN_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        if PlanFlags::from_bits(header.flags.get()).is_none() {
            return Err(Reason::UnknownFlags);
        }
        if Keep::from_bits(header.keep.get()).is_none() {
            return Err(Reason::UnknownKeep);
        }
        if header.reserved.iter().any(|word| word.get() != 0) || header.reserved_tail.get() != 0 {
            return Err(Reason::NotZero);
        }
        if header.entries.get() > limits::ENTRIES_MAX {
            return Err(Reason::TooManyEntries);
        }
        if header.slots.get() > limits::SLOTS_MAX {
            return Err(Reason::TooManySlots);
        }
        // No term is above 2^32 and the count is small, so this cannot overflow.
        let says = HEADER_LEN as u64
            + u64::from(header.entries.get()) * ENTRY_LEN as u64
            + u64::from(header.data_len.get());
        if header.header_len.get() as usize != HEADER_LEN
            || u64::from(header.total_len.get()) != says
        {
            return Err(Reason::OutOfRange("a length in the header"));
        }
        match (bytes.len() as u64).cmp(&says) {
            core::cmp::Ordering::Less => Err(Reason::Truncated),
            core::cmp::Ordering::Greater => Err(Reason::Overlong),
            core::cmp::Ordering::Equal => Plan::split(bytes).ok_or(Reason::Truncated),
        }
    }
}

/// Where the next piece of data has to begin.
struct Cursor {
    next: usize,
}

impl Cursor {
    fn take<'a>(&mut self, plan: &Plan<'a>, at: DataRef) -> Result<&'a [u8], Reason> {
        let bytes = plan.data(at).ok_or(Reason::OutOfBounds)?;
        if at.offset.get() as usize != self.next {
            return Err(Reason::Misplaced);
        }
        // Within bounds, hence no overflow.
        self.next += bytes.len();
        Ok(bytes)
    }
}

fn check_strings(plan: &Plan<'_>, cursor: &mut Cursor) -> Result<usize, Reason> {
    let header = plan.header();
    let mut total = 0usize;
    for list in [header.argv, header.envp] {
        total += check_list(plan, list, cursor)?;
    }
    Ok(total)
}

fn check_list(plan: &Plan<'_>, list: ListRef, cursor: &mut Cursor) -> Result<usize, Reason> {
    if list.data.len.get() == 0 {
        return match (list.count.get(), list.data.offset.get()) {
            (0, 0) => Ok(0),
            (0, _) => Err(Reason::NotZero),
            _ => Err(Reason::StringCount),
        };
    }
    if list.count.get() > limits::STRINGS_MAX {
        return Err(Reason::StringsTooLong);
    }
    let bytes = cursor.take(plan, list.data)?;
    let mut rest = bytes;
    let mut found = 0u32;
    while !rest.is_empty() {
        let string = CStr::from_bytes_until_nul(rest).map_err(|_| Reason::Unterminated)?;
        let len = string.to_bytes_with_nul().len();
        if len > limits::STRING_BYTES_MAX {
            return Err(Reason::StringTooLong);
        }
        rest = rest.get(len..).ok_or(Reason::Unterminated)?;
        found += 1;
    }
    if found != list.count.get() {
        return Err(Reason::StringCount);
    }
    Ok(bytes.len() + found as usize * 8)
}

fn check_shape(
    plan: &Plan<'_>,
    entry: &Entry,
    code: OpCode,
    cursor: &mut Cursor,
) -> Result<(), Reason> {
    let shape = code.shape();
    if entry.reserved.get() != 0 {
        return Err(Reason::NotZero);
    }
    if entry.flags.get() & !shape.flags != 0 {
        return Err(Reason::UnknownFlags);
    }
    match (shape.slot, entry.slot.get()) {
        (false, NO_SLOT) => {}
        (true, slot) if slot < plan.slots() => {}
        (true, slot) if slot != NO_SLOT => return Err(Reason::BadSlot(slot)),
        _ => return Err(Reason::SlotUse),
    }
    for (kind, arg) in shape.args.iter().zip(entry.args) {
        let arg = arg.get();
        match kind {
            ArgKind::Zero if arg != 0 => return Err(Reason::NotZero),
            ArgKind::U32 if arg > u64::from(u32::MAX) => return Err(Reason::NumberTooWide),
            ArgKind::I32 if i64::from(arg as i32) as u64 != arg => {
                return Err(Reason::NumberTooWide);
            }
            _ => {}
        }
    }
    for (kind, at) in shape.data.iter().zip(entry.data) {
        check_data(plan, *kind, at, cursor)?;
    }
    Ok(())
}

fn check_data(
    plan: &Plan<'_>,
    kind: DataKind,
    at: DataRef,
    cursor: &mut Cursor,
) -> Result<(), Reason> {
    if kind == DataKind::Absent {
        return if at == DataRef::default() { Ok(()) } else { Err(Reason::NotZero) };
    }
    if matches!(kind, DataKind::Groups | DataKind::Ranges | DataKind::Auxv | DataKind::Nodes)
        && at == DataRef::default()
    {
        return Ok(());
    }
    if at.len.get() == 0 {
        return Err(Reason::Empty);
    }
    let bytes = cursor.take(plan, at)?;
    match kind {
        DataKind::Path => check_text(bytes, limits::PATH_BYTES_MAX, true),
        DataKind::Absolute => {
            check_text(bytes, limits::PATH_BYTES_MAX, true)?;
            if bytes.first() == Some(&b'/') { Ok(()) } else { Err(Reason::Relative) }
        }
        DataKind::Layers => mount::check_layers(bytes),
        DataKind::Search => check_text(bytes, limits::SEARCH_BYTES_MAX, false),
        DataKind::Groups if bytes.len() % 4 != 0 || bytes.len() / 4 > limits::GROUPS_MAX => {
            Err(Reason::DataLength)
        }
        DataKind::CpuMask if bytes.len() % 8 != 0 || bytes.len() > limits::CPU_MASK_BYTES_MAX => {
            Err(Reason::DataLength)
        }
        DataKind::Name => check_text(bytes, limits::REGION_NAME_BYTES_MAX, true),
        DataKind::Regset if Regset::read(bytes).is_none() => Err(Reason::DataLength),
        DataKind::Ranges if bytes.len() % 16 != 0 || bytes.len() / 16 > limits::RANGES_MAX => {
            Err(Reason::DataLength)
        }
        DataKind::Layout if Layout::read(bytes).is_none() => Err(Reason::DataLength),
        DataKind::Auxv if bytes.len() % 16 != 0 || bytes.len() > limits::AUXV_BYTES_MAX => {
            Err(Reason::DataLength)
        }
        DataKind::Filter => check_filter(bytes),
        DataKind::IdMap if !bytes.len().is_multiple_of(IdRange::BYTES) => Err(Reason::DataLength),
        DataKind::IdMap if bytes.len() / IdRange::BYTES > limits::ID_RANGES_MAX => {
            Err(Reason::TooManyRanges)
        }
        DataKind::HostName => check_text(bytes, limits::HOST_NAME_BYTES_MAX, true),
        DataKind::Keyring => check_text(bytes, limits::KEYRING_NAME_BYTES_MAX, false),
        DataKind::Nodes if bytes.len() % 8 != 0 || bytes.len() > limits::NODE_MASK_BYTES_MAX => {
            Err(Reason::DataLength)
        }
        DataKind::CpuMask | DataKind::Nodes if bytes.iter().all(|byte| *byte == 0) => {
            Err(Reason::Empty)
        }
        _ => Ok(()),
    }
}

fn check_text(bytes: &[u8], limit: usize, required: bool) -> Result<(), Reason> {
    if bytes.last() != Some(&0) {
        return Err(Reason::Unterminated);
    }
    let text = CStr::from_bytes_with_nul(bytes).map_err(|_| Reason::NulInside)?;
    if required && text.is_empty() {
        return Err(Reason::Empty);
    }
    if bytes.len() > limit {
        return Err(Reason::StringTooLong);
    }
    Ok(())
}

fn check_range(op: &Op<'_>) -> Result<(), Reason> {
    let within = |good: bool, what| if good { Ok(()) } else { Err(Reason::OutOfRange(what)) };
    let unblockable: u64 = 1 << 8 | 1 << 18;
    match *op {
        Op::Fail { errno } => within((1..=4095).contains(&errno), "the errno"),
        Op::SetPgid { pgid } => within(pgid <= limits::PID_MAX, "the process group"),
        Op::PutFd { fd, .. } | Op::OpenNull { fd, .. } => {
            within(fd <= limits::FD_MAX, "the descriptor number")
        }
        Op::OomScoreAdj { value } => within((-1000..=1000).contains(&value), "the value"),
        Op::Rlimit { resource, soft, hard } => {
            within(resource < limits::RESOURCES_MAX, "the resource")?;
            if soft > hard { Err(Reason::SoftAboveHard) } else { Ok(()) }
        }
        Op::Nice { value } => within((-20..=19).contains(&value), "the nice value"),
        Op::Sched { policy, priority, runtime_ns, deadline_ns, period_ns, .. } => {
            check_sched(policy, priority, [runtime_ns, deadline_ns, period_ns])
        }
        Op::IoPriority { value } => {
            within(value >> 13 <= 3 && value & 0x1fff <= 7, "the I/O priority")
        }
        Op::MemoryPolicy { mode, nodes } => privilege::check_policy(mode, nodes),
        Op::Privilege(op) => privilege::check(&op),
        // All ones asks for the persona and sets none.
        Op::Personality { persona } => within(persona != u32::MAX, "the persona"),
        Op::Umask { mode } => within(mode <= 0o777, "the mode"),
        Op::DeathSignal { signal } => {
            within((1..=limits::SIGNAL_MAX).contains(&signal), "the signal")
        }
        Op::SignalIgnore { set } => {
            within(set & unblockable == 0, "the set (SIGKILL and SIGSTOP cannot be ignored)")
        }
        Op::SignalMask { set } => {
            within(set & unblockable == 0, "the set (SIGKILL and SIGSTOP cannot be blocked)")
        }
        Op::Map { addr, len, prot, flags } => check_map(addr, len, prot, flags),
        Op::MapSlot { addr, len, prot, flags, offset, .. } => {
            check_map(addr, len, prot, flags)?;
            within(offset % limits::PAGE == 0 && offset.checked_add(len).is_some(), "the offset")
        }
        Op::Unmap { addr, len }
        | Op::Lock { addr, len }
        | Op::Advise { addr, len, .. }
        | Op::NameRegion { addr, len, .. } => check_pages(addr, len),
        Op::Protect { addr, len, prot } => {
            check_pages(addr, len)?;
            within(prot <= 7, "the protection")
        }
        Op::Remap { addr, len, to, to_len } => {
            check_pages(addr, len)?;
            check_pages(if to == 0 { limits::PAGE } else { to }, to_len)
        }
        Op::Write { addr, contents } => check_bytes(addr, contents.len() as u64),
        Op::WriteSlot { addr, len, offset, .. } | Op::ReadSlot { addr, len, offset, .. } => {
            check_bytes(addr, len)?;
            within(offset.checked_add(len).is_some_and(|end| end >> 63 == 0), "the offset")
        }
        Op::Fill { addr, len, .. } => check_bytes(addr, len),
        Op::SignalAction { signal, handler, restorer, mask, .. } => {
            let sound = (1..=limits::SIGNAL_MAX).contains(&signal) && signal != 9 && signal != 19;
            within(sound, "the signal")?;
            within(handler < limits::ADDRESS_END && restorer < limits::ADDRESS_END, "an address")?;
            within(mask & unblockable == 0, "the mask")
        }
        Op::MmLayout { layout, .. } => {
            let layout = Layout::read(layout).ok_or(Reason::DataLength)?;
            layout.unsound().map_or(Ok(()), |what| Err(Reason::OutOfRange(what)))
        }
        Op::MoveVdso { to } => check_pages(if to == 0 { limits::PAGE } else { to }, limits::PAGE),
        Op::Thread { mask, clear_tid, regset } => {
            check_regset(regset)?;
            within(clear_tid < limits::ADDRESS_END && clear_tid % 4 == 0, "the word to clear")?;
            within(mask & unblockable == 0, "the mask")
        }
        Op::Seccomp { flags, .. } => confine::check_filter_flags(flags),
        Op::Confine(op) => confine::check_range(&op),
        Op::Mount(ref op) => mount::check_range(op),
        Op::Namespace(op) => namespace::check_range(&op),
        Op::StartRegs { page, regset, leave } => {
            check_regset(regset)?;
            within(page % limits::PAGE == 0 && page < limits::ADDRESS_END, "the page")?;
            ranges(leave).try_for_each(|[addr, len]| check_pages(addr, len))
        }
        _ => Ok(()),
    }
}

fn check_regset(bytes: &[u8]) -> Result<(), Reason> {
    let regset = Regset::read(bytes).ok_or(Reason::DataLength)?;
    match regset.unsound().or_else(|| unsound_state(&regset, bytes)) {
        Some(register) => Err(Reason::OutOfRange(register)),
        None => Ok(()),
    }
}

fn check_map(addr: u64, len: u64, prot: u32, flags: MapFlags) -> Result<(), Reason> {
    if addr == 0 && flags.contains(MapFlags::FIXED) {
        return Err(Reason::OutOfRange("the address (fixed at 0)"));
    }
    check_pages(if addr == 0 { limits::PAGE } else { addr }, len)?;
    if prot <= 7 { Ok(()) } else { Err(Reason::OutOfRange("the protection")) }
}

/// Whole pages below the end of the address space.
fn check_pages(addr: u64, len: u64) -> Result<(), Reason> {
    if !addr.is_multiple_of(limits::PAGE) {
        return Err(Reason::OutOfRange("the address (it is not page-aligned)"));
    }
    if !len.is_multiple_of(limits::PAGE) {
        return Err(Reason::OutOfRange("the length (it is not a multiple of the page)"));
    }
    check_bytes(addr, len)
}

/// Some bytes below the end of the address space.
fn check_bytes(addr: u64, len: u64) -> Result<(), Reason> {
    if len == 0 {
        return Err(Reason::OutOfRange("the length (zero)"));
    }
    match addr.checked_add(len) {
        Some(end) if end <= limits::ADDRESS_END => Ok(()),
        _ => Err(Reason::OutOfRange("the address (beyond the end of the address space)")),
    }
}

fn check_sched(policy: u32, priority: u32, times: [u64; 3]) -> Result<(), Reason> {
    let within = |good: bool, what| if good { Ok(()) } else { Err(Reason::OutOfRange(what)) };
    let [runtime, deadline, period] = times;
    match policy {
        // OTHER, BATCH, IDLE.
        0 | 3 | 5 => {
            within(priority == 0, "the priority")?;
            within(times == [0; 3], "a deadline parameter")
        }
        // FIFO, RR.
        1 | 2 => {
            within((1..=99).contains(&priority), "the priority")?;
            within(times == [0; 3], "a deadline parameter")
        }
        // DEADLINE: the kernel's own condition, with a period of 0 meaning the deadline.
        6 => {
            within(priority == 0, "the priority")?;
            let sound =
                runtime >= 1024 && runtime <= deadline && (period == 0 || deadline <= period);
            within(sound && deadline.max(period) < 1 << 63, "a deadline parameter")
        }
        _ => Err(Reason::OutOfRange("the policy")),
    }
}

/// What stood in the plan so far.
#[derive(Default)]
struct Seen<'a> {
    last: Option<OpCode>,
    high: u8,
    fd: Option<u32>,
    resource: Option<u32>,
    kinds: u128,
    threads: u32,
    filters: confine::Filters,
    strict: bool,
    enters: bool,
    spaces: namespace::Spaces<'a>,
}

/// Ops of one kind exclude each other; `None` may be repeated.
fn kind_bit(code: OpCode) -> Option<u128> {
    let same_as = match code {
        OpCode::Fail
        | OpCode::PutFd
        | OpCode::OpenNull
        | OpCode::Rlimit
        | OpCode::Thread
        | OpCode::Seccomp
        | OpCode::LandlockPath
        | OpCode::JoinNamespace
        | OpCode::ClockOffset => return None,
        OpCode::MappedUserNamespace => OpCode::UserNamespace,
        OpCode::ChrootSlot | OpCode::EnterRoot => OpCode::ChrootPath,
        OpCode::ChdirSlot => OpCode::ChdirPath,
        other => other,
    };
    if (0x0701..=0x0710).contains(&(code as u16)) || (0x0802..=0x0810).contains(&(code as u16)) {
        return None;
    }
    let position = OpCode::ALL.iter().position(|code| *code == same_as)?;
    Some(1 << position)
}

impl<'a> Seen<'a> {
    fn has(&self, code: OpCode) -> bool {
        kind_bit(code).is_some_and(|bit| self.kinds & bit != 0)
    }

    /// Takes the next op in, if it may follow those before it.
    fn admit(&mut self, op: &Op<'a>) -> Result<(), Reason> {
        let code = op.code();
        if self.high == 100 {
            return Err(Reason::AfterStart);
        }
        if let Some(bit) = kind_bit(code) {
            if self.kinds & bit != 0 {
                return Err(Reason::Repeated);
            }
            self.kinds |= bit;
        }
        let place = code.place();
        if let Some(last) = self.last
            && place.last < self.high
        {
            return Err(Reason::Order(last));
        }
        if place.first > self.high {
            self.high = place.first;
            self.last = Some(code);
        }
        match *op {
            Op::PutFd { fd, .. } | Op::OpenNull { fd, .. } => {
                if self.fd.is_some_and(|before| before >= fd) {
                    return Err(Reason::FdOrder);
                }
                self.fd = Some(fd);
            }
            Op::Rlimit { resource, .. } => {
                if self.resource.is_some_and(|before| before >= resource) {
                    return Err(Reason::ResourceOrder);
                }
                self.resource = Some(resource);
            }
            Op::SetSid | Op::SetPgid { .. }
                if self.has(OpCode::SetSid) && self.has(OpCode::SetPgid) =>
            {
                return Err(Reason::PgidInNewSession);
            }
            Op::Thread { .. } if self.threads == limits::THREADS_MAX => {
                return Err(Reason::TooManyThreads);
            }
            Op::Thread { .. } => self.threads += 1,
            Op::Seccomp { .. } if self.strict => return Err(Reason::Repeated),
            Op::Seccomp { flags, .. } => self.filters.admit(flags)?,
            Op::SeccompStrict if self.filters.any() => return Err(Reason::Repeated),
            Op::SeccompStrict => self.strict = true,
            Op::StartRegs { .. } if self.filters.need_exec() => {
                return Err(Reason::FiltersOnlyWithExec);
            }
            Op::Mount(MountOp::EnterRoot) => self.enters = true,
            Op::ExecPath { .. } | Op::ExecSlot { .. } | Op::ExecName { .. }
                if self.strict || self.threads > 0 =>
            {
                return Err(Reason::OnlyWithRegisters);
            }
            Op::StartRegs { .. } if self.has(OpCode::Mdwe) => {
                return Err(Reason::OnlyWithExec(OpCode::Mdwe));
            }
            Op::ControllingTty { .. } if !self.has(OpCode::SetSid) => {
                return Err(Reason::TtyWithoutSession);
            }
            _ => {}
        }
        self.spaces.admit(op)
    }

    /// What only the whole plan can say.
    fn whole(&self, plan: &Plan<'_>) -> Result<(), Reason> {
        let keep = plan.keep();
        let starts = self.high == 100;
        if plan.is_batch() {
            let bare = !starts && keep.is_empty() && plan.argv().count() == 0;
            let bare = bare && plan.envp().count() == 0;
            if self.threads > 0 || self.strict || self.filters.any() {
                return Err(Reason::OnlyAtStart);
            }
            return if bare { Ok(()) } else { Err(Reason::BatchWithImage) };
        }
        if !starts {
            return Err(Reason::NoStart);
        }
        if self.has(OpCode::NewRoot) != self.enters {
            return Err(Reason::RootHalf);
        }
        let by_registers = self.last == Some(OpCode::StartRegs);
        if by_registers && (plan.argv().next().is_some() || plan.envp().next().is_some()) {
            return Err(Reason::StringsWithRegisters);
        }
        if plan.argv().count() == 0 && !by_registers {
            // Since Linux 5.18 the kernel puts an empty string there; older ones start a program
            // with argc 0, which many cannot bear.
            return Err(Reason::Empty);
        }
        for (what, set, kept) in [
            ("working directory", self.has(OpCode::ChdirPath), keep.contains(Keep::CWD)),
            ("umask", self.has(OpCode::Umask), keep.contains(Keep::UMASK)),
            ("session", self.has(OpCode::SetSid), keep.contains(Keep::SESSION)),
        ] {
            let moved = self.has(OpCode::ChrootPath) || self.spaces.moved_root();
            if what == "working directory" && moved && !set {
                return Err(Reason::RootWithoutCwd);
            }
            match (set, kept) {
                (false, false) => return Err(Reason::Unsaid(what)),
                (true, true) => return Err(Reason::SaidTwice(what)),
                _ => {}
            }
        }
        if self.has(OpCode::SignalDefault) && !keep.contains(Keep::IGNORED_SIGNALS) {
            return Err(Reason::DefaultAnyway);
        }
        for (what, set, kept) in [
            ("signal mask", OpCode::SignalMask, Keep::SIGNAL_MASK),
            ("ignored signals", OpCode::SignalIgnore, Keep::IGNORED_SIGNALS),
        ] {
            if self.has(set) && keep.contains(kept) {
                return Err(Reason::SaidTwice(what));
            }
        }
        Ok(())
    }
}

const _: () = assert!(OpCode::ALL.len() <= 128, "kinds are bits of a u128");
const _: () = assert!(ExecFlags::all().bits() == 3);
