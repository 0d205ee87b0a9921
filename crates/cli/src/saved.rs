//! Files that hold a job or a plan, and what fills a plan's slots.
//!
//! It must never read more than a plan may have, nor fill a slot with what was not asked for.

use crate::failure::Failure;
use crate::launch::Launch;
use crate::value::SlotGrant;
use embryo::{ArgText, Op, Plan, PlanError, Slot};
use embryo_job::{Callers, Content, Document, DocumentError, Job, open};
use rustix::fd::{AsFd, OwnedFd};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// What a file turned out to hold.
pub(crate) enum Found {
    /// A plan, encoded or op by op.
    Plan(Plan),
    /// A job, and the file to show its mistakes in.
    Job(Box<Job>, Box<Document>),
}

/// Why it holds neither.
pub(crate) enum Wrong {
    /// Encoded, and no plan.
    Plan(PlanError),
    /// A mistake in a text.
    Text(DocumentError),
}

/// What a file holds, or why nothing.
pub(crate) type Checked = Result<Found, Wrong>;

/// Reads a file and looks what it holds.
pub(crate) fn check(file: &Path) -> Result<Checked, Failure> {
    let bytes = bytes(file).map_err(|e| Failure::io("cannot read", file.display(), &e))?;
    if is_encoded(&bytes) {
        return Ok(Plan::from_bytes(bytes).map(Found::Plan).map_err(Wrong::Plan));
    }
    let document = Document::parse(file.to_string_lossy(), bytes, None);
    Ok(document.map_err(Wrong::Text).and_then(|document| match document.content() {
        Content::Job(job) => Ok(Found::Job(job.clone(), Box::new(document))),
        Content::Exact(exact) => {
            let plan = exact.plan().map_err(|error| Wrong::Text(document.locate(&error)));
            plan.map(Found::Plan)
        }
    }))
}

/// Reads a job or a plan.
pub(crate) fn read(file: &Path) -> Result<Found, Failure> {
    check(file)?.map_err(|wrong| refused(file, wrong))
}

/// What to say of a file that holds neither.
pub(crate) fn refused(file: &Path, wrong: Wrong) -> Failure {
    match wrong {
        Wrong::Plan(error) => Failure::new(format!("{}: {error}", file.display())),
        Wrong::Text(error) => error.into(),
    }
}

/// No text has a NUL, and an encoded plan begins with few others than its magic.
fn is_encoded(bytes: &[u8]) -> bool {
    let magic = embryo_plan::MAGIC;
    let begun = !bytes.is_empty() && magic.starts_with(&bytes[..bytes.len().min(magic.len())]);
    begun || bytes.starts_with(&magic) || bytes.contains(&0)
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

/// Writes a file; `-` is standard output.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = match file == Path::new("-") {
        true => io::stdout().write_all(bytes),
        false => std::fs::write(file, bytes),
    };
    written.map_err(|error| Failure::io("cannot write", file.display(), &error))
}

/// Fills the slots of a plan.
pub(crate) fn load(plan: Plan, grants: &[SlotGrant], callers: &Callers) -> Result<Launch, Failure> {
    let slots = plan.as_plan().slots();
    if let Some(grant) = grants.iter().find(|grant| grant.slot >= slots) {
        let count = if slots == 1 { "1 slot".into() } else { format!("{slots} slots") };
        return Err(Failure::new(format!("the plan has no slot {}: it has {count}", grant.slot)));
    }
    let filled = (0..slots).map(|slot| fill(&plan, slot, grants, callers));
    let filled = filled.collect::<Result<_, _>>()?;
    Ok(Launch::Saved(plan, filled, None))
}

fn fill(
    plan: &Plan,
    slot: u32,
    grants: &[SlotGrant],
    callers: &Callers,
) -> Result<OwnedFd, Failure> {
    if let Some(grant) = grants.iter().rfind(|grant| grant.slot == slot) {
        return Ok(open(&grant.source, callers)?);
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
    let mut slot = None;
    op.fields(&mut |_, value| {
        if let ArgText::Slot(used) = value {
            slot = Some(used);
        }
    });
    slot
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
