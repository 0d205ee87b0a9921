//! The JSON Schema of a file, for editors and for programs that write one.
//!
//! It must never be stricter than what is read.

use crate::exact::Exact;
use crate::job::Job;
use schemars::JsonSchema;

/// A job, or a plan op by op.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
#[schemars(title = "A child process of embryo")]
enum File {
    Exact(Exact),
    Job(Box<Job>),
}

/// The schema, as indented JSON.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(File);
    // A schema is JSON, whose keys are strings.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
