//! Encoded plans in files, and what fills their slots.
//!
//! It must never read more than a plan may have, nor fill a slot with what was not asked for.

use crate::describe::open;
use crate::failure::Failure;
use crate::inherited::Inherited;
use crate::launch::Launch;
use crate::value::SlotGrant;
use embryo::{Op, Plan, PlanError, Slot};
use rustix::fd::{AsFd, OwnedFd};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// What a file turned out to hold.
pub(crate) type Checked = Result<Plan, PlanError>;

/// Reads a file and checks it.
pub(crate) fn check(file: &Path) -> Result<Checked, Failure> {
    let bytes = bytes(file).map_err(|e| Failure::io("cannot read", file.display(), &e))?;
    Ok(Plan::from_bytes(bytes))
}

/// Reads a plan.
pub(crate) fn read(file: &Path) -> Result<Plan, Failure> {
    check(file)?.map_err(|error| refused(file, &error))
}

/// What to say of a file that holds no plan.
pub(crate) fn refused(file: &Path, error: &PlanError) -> Failure {
    Failure::new(format!("{}: {error}", file.display()))
}

fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    // One byte more than a plan may have is enough to tell that it has too many.
    let limit = embryo::limits::PLAN_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Writes a plan.
pub(crate) fn write(file: &Path, plan: &Plan) -> Result<(), Failure> {
    let written = match file == Path::new("-") {
        true => io::stdout().write_all(plan.as_bytes()),
        false => std::fs::write(file, plan.as_bytes()),
    };
    written.map_err(|error| Failure::io("cannot write", file.display(), &error))
}

/// Reads a plan and fills its slots.
pub(crate) fn load(
    file: &Path,
    grants: &[SlotGrant],
    inherited: &Inherited,
) -> Result<Launch, Failure> {
    let plan = read(file)?;
    let slots = plan.as_plan().slots();
    if let Some(grant) = grants.iter().find(|grant| grant.slot >= slots) {
        let count = if slots == 1 { "1 slot".into() } else { format!("{slots} slots") };
        return Err(Failure::new(format!("the plan has no slot {}: it has {count}", grant.slot)));
    }
    let filled = (0..slots).map(|slot| fill(&plan, slot, grants, inherited));
    let filled = filled.collect::<Result<_, _>>()?;
    Ok(Launch::Saved(plan, filled))
}

fn fill(
    plan: &Plan,
    slot: u32,
    grants: &[SlotGrant],
    inherited: &Inherited,
) -> Result<OwnedFd, Failure> {
    if let Some(grant) = grants.iter().rfind(|grant| grant.slot == slot) {
        return open(&grant.source, inherited);
    }
    let uses = uses(plan, slot);
    let own = uses.iter().find_map(|op| match op {
        Op::PutFd { fd: 0, .. } => Some(io::stdin().as_fd().try_clone_to_owned()),
        Op::PutFd { fd: 1, .. } => Some(io::stdout().as_fd().try_clone_to_owned()),
        Op::PutFd { fd: 2, .. } => Some(io::stderr().as_fd().try_clone_to_owned()),
        _ => None,
    });
    match own {
        Some(own) => own.map_err(|e| Failure::io("cannot duplicate", "a standard stream", &e)),
        None => Err(missing(slot, &uses)),
    }
}

fn missing(slot: u32, uses: &[Op<'_>]) -> Failure {
    let uses: Vec<String> = uses.iter().map(describe_use).collect();
    let uses = if uses.is_empty() {
        "the plan does not use it, but has it".to_owned()
    } else {
        format!("the plan needs it for {}", uses.join(" and "))
    };
    Failure::new(format!("slot {slot} has no grant: {uses}"))
        .hint(format!("--grant {slot}=FD, or --grant {slot}=PATH:MODE"))
}

/// The ops that use a slot.
pub(crate) fn uses(plan: &Plan, slot: u32) -> Vec<Op<'_>> {
    plan.as_plan().ops().flatten().filter(|op| slot_of(op) == Some(Slot(slot))).collect()
}

fn slot_of(op: &Op<'_>) -> Option<Slot> {
    match *op {
        Op::ControllingTty { slot }
        | Op::Foreground { slot }
        | Op::PutFd { slot, .. }
        | Op::ChrootSlot { slot }
        | Op::ChdirSlot { slot }
        | Op::MapSlot { slot, .. }
        | Op::WriteSlot { slot, .. }
        | Op::ReadSlot { slot, .. }
        | Op::ExecSlot { slot, .. } => Some(slot),
        Op::Mount(op) => op.slot(),
        _ => None,
    }
}

/// What a grant is for, in words.
pub(crate) fn describe_use(op: &Op<'_>) -> String {
    match op {
        Op::PutFd { fd, .. } => format!("descriptor {fd}"),
        Op::ControllingTty { .. } => "the controlling terminal".into(),
        Op::Foreground { .. } => "the terminal in whose foreground it runs".into(),
        Op::ChrootSlot { .. } => "the root directory".into(),
        Op::ChdirSlot { .. } => "the working directory".into(),
        Op::ExecSlot { .. } => "the program".into(),
        other => other.to_string(),
    }
}
