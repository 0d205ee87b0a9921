//! `embryo explain`, `embryo check` and `embryo doctor`: looking, and running no program.
//!
//! It must never say of bytes that were refused what they would do.

use crate::args::{CheckArgs, DoctorArgs, ExplainArgs};
use crate::failure::Failure;
use crate::launch::Launch;
use crate::saved::{self, Found, Wrong};
use crate::{output, run};
use embryo::{Doctor, Plan};
use embryo_job::{Callers, Document, Job};
use rustix::fd::OwnedFd;

/// What `check`, `explain` and `doctor` exit with for a "no".
pub(crate) const NO: u8 = 1;

/// Prints what a job or a plan does.
pub(crate) fn explain(args: &ExplainArgs) -> Result<u8, Failure> {
    let found = saved::check(&args.file)?;
    match found.map_err(|wrong| saved::refused(&args.file, wrong).with_status(NO))? {
        Found::Plan(plan) => output::explain(&plan, &[], None, args.json)?,
        Found::Job(job, document) => {
            let (launch, plan, grants) =
                planned(&job, &document).map_err(|failure| failure.with_status(NO))?;
            run::explain(&launch, &plan, &grants, args.json)?;
        }
    }
    Ok(0)
}

/// What a job would be now; descriptors that it names need not be there.
pub(crate) fn planned(
    job: &Job,
    document: &Document,
) -> Result<(Launch, Plan, Vec<OwnedFd>), Failure> {
    let planned = Callers::take_open(job.descriptors()).and_then(|callers| {
        let command = job.command_with(&callers)?;
        let (plan, grants) = command.plan()?;
        Ok((Launch::Described(Box::new(command), Box::new(job.clone())), plan, grants))
    });
    planned.map_err(|error| document.locate(&error).into())
}

/// Says whether a file is a job or a plan.
pub(crate) fn check(args: &CheckArgs) -> Result<u8, Failure> {
    let (kind, plan) = match saved::check(&args.file)? {
        Ok(Found::Plan(plan)) => ("plan", plan),
        Ok(Found::Job(job, document)) => match planned(&job, &document) {
            Ok((_, plan, _)) => ("job", plan),
            Err(failure) if args.json => return no(&output::invalid(&failure)),
            Err(failure) => return Err(failure.with_status(NO)),
        },
        Err(Wrong::Plan(error)) if args.json => return no(&output::invalid_plan(&error)),
        Err(wrong) if args.json => return no(&output::invalid(&saved::refused(&args.file, wrong))),
        Err(wrong) => return Err(saved::refused(&args.file, wrong).with_status(NO)),
    };
    if args.json {
        output::valid(kind, &plan)?;
        return Ok(0);
    }
    let view = plan.as_plan();
    let name = args.file.display();
    let what = if kind == "job" { "a job whose plan has" } else { "a plan of" };
    output::line(&format!(
        "{name}: {what} {} bytes with {} ops and {} grant slots",
        plan.as_bytes().len(),
        view.entries().len(),
        view.slots()
    ))?;
    Ok(0)
}

fn no(object: &serde_json::Value) -> Result<u8, Failure> {
    output::object(object)?;
    Ok(NO)
}

/// Lists what can be done here.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let doctor = Doctor::examine();
    output::doctor(&doctor, args.json)?;
    Ok(if doctor.can_spawn() { 0 } else { NO })
}
