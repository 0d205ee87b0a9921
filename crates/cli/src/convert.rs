//! `embryo convert`, `embryo import` and `embryo schema`: the same description in another form.
//!
//! It must never write a plan that was not checked.

use crate::args::{ConvertArgs, Form, ImportArgs};
use crate::examine::{NO, planned};
use crate::failure::Failure;
use crate::output;
use crate::saved::{self, Found};
use embryo_job::{Callers, Content, Error, Exact, Job, Surroundings};
use std::io::Read;
use std::path::Path;

/// Writes a job or a plan in the form that is asked for.
pub(crate) fn convert(args: &ConvertArgs) -> Result<u8, Failure> {
    let found = saved::check(&args.file)?;
    let found = found.map_err(|wrong| saved::refused(&args.file, wrong).with_status(NO))?;
    let bytes = match (args.to, found) {
        (Form::Plan, Found::Plan(plan)) => plan.as_bytes().to_vec(),
        (Form::Plan, Found::Job(job, document)) => {
            let (_, plan, _) =
                planned(&job, &document).map_err(|failure| failure.with_status(NO))?;
            plan.as_bytes().to_vec()
        }
        (form, Found::Plan(plan)) => text(form, &Content::Exact(Exact::of(&plan)))?,
        (form, Found::Job(job, _)) => text(form, &Content::Job(job))?,
    };
    saved::write(args.output.as_deref().unwrap_or(Path::new("-")), &bytes)?;
    Ok(0)
}

fn text(form: Form, content: &Content) -> Result<Vec<u8>, Failure> {
    let text = if form == Form::Json { content.to_json() } else { content.to_toml() };
    Ok(text?.into_bytes())
}

/// Prints the schema.
pub(crate) fn schema() -> Result<u8, Failure> {
    output::text(&embryo_job::schema())?;
    Ok(0)
}

/// Bytes that options may be read from a descriptor: more than bubblewrap takes arguments.
const ARGS_BYTES_MAX: u64 = 8 << 20;

/// Prints the job that equals another program's command line.
pub(crate) fn import(args: &ImportArgs) -> Result<u8, Failure> {
    let mut read = |fd: u32| -> Result<Vec<u8>, Error> {
        let file = std::fs::File::from(Callers::take([fd])?.get(fd)?);
        let mut bytes = Vec::new();
        file.take(ARGS_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("cannot read", format!("descriptor {fd}"), &error))?;
        Ok(bytes)
    };
    let around = Surroundings::of_this_process()?;
    let job = Job::from_bwrap(args.args.iter().cloned(), &around, &mut read)?;
    let form = if args.json { Form::Json } else { Form::Toml };
    saved::write(Path::new("-"), &text(form, &Content::Job(Box::new(job)))?)?;
    Ok(0)
}
