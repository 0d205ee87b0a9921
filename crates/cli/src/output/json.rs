//! The same for programs. Strings need not be UTF-8: one that is not is a list of its bytes.
//!
//! It must never print anything but one object on one line.

use crate::failure::Failure;
use crate::saved;
use embryo::{ArgText, Cause, Load, OpCode, Plan, PlanError, Route, Slot, TraceRecord};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Prints an object on standard output.
pub(super) fn print(object: &impl Serialize) -> Result<(), Failure> {
    super::line(&encode(object)?)
}

/// An object on one line.
pub(super) fn encode(object: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(object).map_err(|e| Failure::new(format!("cannot encode JSON: {e}")))
}

/// Bytes that are most often UTF-8.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(&self.0),
        }
    }
}

impl From<&CStr> for Bytes {
    fn from(text: &CStr) -> Self {
        Self(text.to_bytes().to_vec())
    }
}

/// A whole plan.
#[derive(Serialize)]
pub(super) struct PlanJson {
    bytes: usize,
    route: &'static str,
    slots: u32,
    keep: Vec<&'static str>,
    ops: Vec<OpJson>,
    argv: Vec<Bytes>,
    envp: Vec<Bytes>,
    grants: Vec<GrantJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<LoadJson>,
}

/// The program that is loaded where the plan has an exec.
#[derive(Serialize)]
struct LoadJson {
    path: Bytes,
    interpreter: Option<Bytes>,
    position_independent: bool,
}

impl LoadJson {
    fn of(load: &Load) -> Self {
        let bytes = |path: &Path| Bytes(path.as_os_str().as_bytes().to_vec());
        Self {
            path: bytes(load.path()),
            interpreter: load.interpreter().map(bytes),
            position_independent: load.is_position_independent(),
        }
    }
}

#[derive(Serialize)]
struct OpJson {
    index: usize,
    op: &'static str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

#[derive(Serialize)]
struct GrantJson {
    slot: u32,
    uses: Vec<String>,
    object: Option<Bytes>,
}

impl PlanJson {
    pub(super) fn of(plan: &Plan, objects: &[Option<PathBuf>], load: Option<&Load>) -> Self {
        let view = plan.as_plan();
        let grant = |slot: u32| GrantJson {
            slot,
            uses: saved::uses(plan, slot).iter().map(saved::describe_use).collect(),
            object: objects
                .get(slot as usize)
                .and_then(Option::as_ref)
                .map(|path| Bytes(path.as_os_str().as_bytes().to_vec())),
        };
        let op = |(index, op): (usize, Option<embryo::Op<'_>>)| {
            let op = op.filter(|op| load.is_none() || !op.is_start())?;
            let mut fields = Map::new();
            op.fields(&mut |name, value| {
                fields.insert(name.to_owned(), field(value));
            });
            Some(OpJson { index, op: op.code().name(), fields })
        };
        Self {
            bytes: plan.as_bytes().len(),
            route: if load.is_some() { "embryo" } else { route(view.route()) },
            slots: view.slots(),
            keep: view.keep().names().collect(),
            ops: view.ops().enumerate().filter_map(op).collect(),
            argv: view.argv().map(Bytes::from).collect(),
            envp: view.envp().map(Bytes::from).collect(),
            grants: (0..view.slots()).map(grant).collect(),
            load: load.map(LoadJson::of),
        }
    }
}

/// Numbers as numbers, sets and lists as lists, everything else as it is printed.
fn field(value: ArgText<'_>) -> Value {
    match value {
        ArgText::Number(number) => number.into(),
        ArgText::Limit(limit) if limit != u64::MAX => limit.into(),
        ArgText::Slot(Slot(slot)) => slot.into(),
        ArgText::Text(text) => json!(Bytes::from(text)),
        ArgText::Signals(0) => json!([]),
        ArgText::Ids([]) | ArgText::Capabilities(0) | ArgText::Securebits(0) => json!([]),
        ArgText::Signals(_)
        | ArgText::Cpus(_)
        | ArgText::Ids(_)
        | ArgText::Capabilities(_)
        | ArgText::Securebits(_) => {
            let text = value.to_string();
            let item = |item: &str| item.parse::<u32>().map_or_else(|_| item.into(), Value::from);
            text.split(',').map(item).collect()
        }
        other => other.to_string().into(),
    }
}

pub(super) fn route(route: Route) -> &'static str {
    match route {
        Route::Direct => "direct",
        Route::Seed => "seed",
    }
}

/// One executed op or step.
pub(super) fn record(record: &TraceRecord) -> Value {
    json!({
        "index": record.index,
        "op": record.name,
        "errno": record.errno,
        "errno_name": embryo::errno_name(record.errno.into()),
        "took_ns": u64::try_from(record.took.as_nanos()).unwrap_or(u64::MAX),
    })
}

/// Why there is no program.
pub(super) fn failure(failure: &Failure) -> Value {
    let mut object = json!({
        "message": failure.message(),
        "hint": failure.hint_text(),
        "status": failure.status(),
    });
    if let (Some(error), Some(object)) = (failure.spawn(), object.as_object_mut()) {
        let (cause, signal) = match error.cause {
            Cause::Killed(signal) => ("killed", signal),
            Cause::TimedOut => ("timed-out", None),
            _ => ("refused", None),
        };
        let more = [
            ("index", json!(error.index())),
            ("op", json!(error.op())),
            ("errno", json!(error.fault.errno)),
            ("errno_name", json!(embryo::errno_name(error.fault.errno.into()))),
            ("cause", json!(cause)),
            ("signal", json!(signal)),
            ("object", json!(error.object)),
            ("detail", json!(error.detail)),
        ];
        object.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    object
}

/// Prints a failure on standard error.
pub(crate) fn json_failure(error: &Failure) {
    anstream::eprintln!("{}", json!({ "error": failure(error) }));
}

/// Prints that a file holds what it should.
pub(crate) fn valid(kind: &str, plan: &Plan) -> Result<(), Failure> {
    print(&json!({
        "valid": true,
        "kind": kind,
        "bytes": plan.as_bytes().len(),
        "ops": plan.as_plan().entries().len(),
        "slots": plan.as_plan().slots(),
        "route": route(plan.as_plan().route()),
    }))
}

/// Prints one.
pub(crate) fn object(object: &Value) -> Result<(), Failure> {
    print(object)
}

/// What the checker says of an encoded plan.
pub(crate) fn invalid_plan(error: &PlanError) -> Value {
    json!({
        "valid": false,
        "entry": error.entry,
        "op": error.code.map(OpCode::name),
        "reason": error.reason.to_string(),
    })
}

/// What is wrong with a text.
pub(crate) fn invalid(failure: &Failure) -> Value {
    json!({
        "valid": false,
        "line": failure.at().map(|at| at.0),
        "column": failure.at().map(|at| at.1),
        "reason": failure.message(),
        "hint": failure.hint_text(),
    })
}
