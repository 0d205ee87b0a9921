//! `embryo explain`, `embryo check` and `embryo doctor`: looking, and running no program.
//!
//! It must never say of bytes that were refused what they would do.

use crate::args::{CheckArgs, DoctorArgs, ExplainArgs};
use crate::failure::Failure;
use crate::{output, saved};
use embryo::Doctor;

/// What `check`, `explain` and `doctor` exit with for a "no".
const NO: u8 = 1;

/// Prints what a plan does.
pub(crate) fn explain(args: &ExplainArgs) -> Result<u8, Failure> {
    let plan = saved::check(&args.file)?
        .map_err(|error| saved::refused(&args.file, &error).with_status(NO))?;
    output::explain(&plan, &[], None, args.json)?;
    Ok(0)
}

/// Says whether a file is a plan.
pub(crate) fn check(args: &CheckArgs) -> Result<u8, Failure> {
    let checked = saved::check(&args.file)?;
    if args.json {
        output::check_json(&checked)?;
        return Ok(if checked.is_ok() { 0 } else { NO });
    }
    let plan = checked.map_err(|error| saved::refused(&args.file, &error).with_status(NO))?;
    let view = plan.as_plan();
    output::line(&format!(
        "{}: a plan of {} bytes with {} ops and {} grant slots",
        args.file.display(),
        plan.as_bytes().len(),
        view.entries().len(),
        view.slots()
    ))?;
    Ok(0)
}

/// Lists what can be done here.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let doctor = Doctor::examine();
    output::doctor(&doctor, args.json)?;
    Ok(if doctor.can_spawn() { 0 } else { NO })
}
