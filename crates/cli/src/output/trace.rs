//! How a launch went, op by op, with what each took.
//!
//! It must never write to the child's own streams other than standard error, which both have.

use super::json;
use crate::failure::Failure;
use crate::launch::Launch;
use anstyle::{AnsiColor, Style};
use embryo::{LaunchReport, Plan, Process, TraceRecord};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const NAME: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
/// Columns of an op's text before its result.
const WIDTH: usize = 52;

/// A trace to be printed when the launch is over.
pub(crate) struct Trace {
    file: Option<File>,
    json: bool,
    plan: Plan,
}

impl Trace {
    /// Opens the file, if it is to go to one: that may fail, and nothing has happened yet.
    pub(crate) fn new(file: Option<&Path>, json: bool, launch: &Launch) -> Result<Self, Failure> {
        let open = |path: &Path| {
            File::create(path).map_err(|e| Failure::io("cannot write", path.display(), &e))
        };
        Ok(Self { file: file.map(open).transpose()?, json, plan: launch.plan()?.0 })
    }

    /// Prints how it went; returns the process, or why there is none.
    pub(crate) fn finish(
        mut self,
        spawned: Result<Process, embryo::Error>,
        took: Duration,
    ) -> Result<Process, Failure> {
        let text = match &spawned {
            Ok(process) if self.json => started_json(process, took)?,
            Ok(process) => self.started(process, took),
            Err(error) => {
                let records = error.as_spawn().map_or(&[][..], |error| &error.trace);
                if self.json {
                    return Err(self.failed_json(spawned));
                }
                self.failed(records, error)
            }
        };
        self.write(&text)?;
        Ok(spawned?)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = match &mut self.file {
            Some(file) => anstream::StripStream::new(file).write_all(text.as_bytes()),
            None => anstream::stderr().write_all(text.as_bytes()),
        };
        written.map_err(|error| Failure::io("cannot write", "the trace", &error))
    }

    fn failed_json(&mut self, spawned: Result<Process, embryo::Error>) -> Failure {
        let failure = match spawned {
            Err(error) => Failure::from(error),
            Ok(_) => return Failure::new("the launch did not fail"),
        };
        let records = failure.spawn().map_or(&[][..], |error| &error.trace);
        let object = json!({
            "result": "failed",
            "error": json::failure(&failure),
            "trace": records.iter().map(json::record).collect::<Vec<_>>(),
        });
        match self.write(&format!("{object}\n")) {
            // On standard error it has been reported with that.
            Ok(()) if self.file.is_none() => failure.reported(),
            _ => failure,
        }
    }

    fn started(&self, process: &Process, took: Duration) -> String {
        let report = process.report();
        let lines: String = report.trace.iter().map(|record| self.line(record)).collect();
        let how = how(report);
        let took = time(took);
        format!("{lines}started pid {} {how}, in {took} as the caller sees it\n", process.id())
    }

    fn failed(&self, records: &[TraceRecord], error: &embryo::Error) -> String {
        let mut lines: String = records.iter().map(|record| self.line(record)).collect();
        // The start is not recorded: one that succeeds does not come back.
        if let Some(error) = error.as_spawn()
            && records.last().is_none_or(|last| last.errno == 0)
        {
            let name = embryo::errno_name(error.fault.errno.into()).unwrap_or("failed");
            lines.push_str(&self.columns(error.index(), error.op(), &bad(name), ""));
        }
        lines
    }

    fn line(&self, record: &TraceRecord) -> String {
        let result = match record.errno {
            0 => "ok".to_owned(),
            errno => match embryo::errno_name(errno.into()) {
                Some(name) => bad(name),
                None => bad(&errno.to_string()),
            },
        };
        self.columns(record.index, record.name, &result, &time(record.took))
    }

    fn columns(&self, index: Option<u32>, name: &str, result: &str, took: &str) -> String {
        let number = index.map_or(String::new(), |index| index.to_string());
        let op = index.and_then(|index| self.plan.as_plan().op(index));
        let text = op.map_or(name.to_owned(), |op| op.to_string());
        let fields = text.strip_prefix(name).unwrap_or_default();
        let room = WIDTH.saturating_sub(name.len());
        format!("{number:>4}  {NAME}{name}{NAME:#}{fields:room$}  {result}  {took}\n")
    }
}

fn bad(text: &str) -> String {
    format!("{BAD}{text}{BAD:#}")
}

/// By which way, and what was out of the ordinary.
fn how(report: &LaunchReport) -> String {
    let mut how = match report.route {
        embryo::Route::Direct => "directly".to_owned(),
        embryo::Route::Seed => "through the seed".to_owned(),
    };
    if report.cut_raised {
        how.push_str(", with descriptors up to the highest grant copied");
    }
    if report.legacy_clone {
        how.push_str(", with clone(2) since clone3(2) is refused");
    }
    how
}

fn started_json(process: &Process, took: Duration) -> Result<String, Failure> {
    let report = process.report();
    let object = json!({
        "result": "started",
        "pid": process.id(),
        "route": json::route(report.route),
        "cut": report.cut,
        "cut_raised": report.cut_raised,
        "legacy_clone": report.legacy_clone,
        "took_ns": u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        "trace": report.trace.iter().map(json::record).collect::<Vec<_>>(),
    });
    Ok(json::encode(&object)? + "\n")
}

fn time(took: Duration) -> String {
    format!("{:.1} us", took.as_nanos() as f64 / 1000.0)
}
