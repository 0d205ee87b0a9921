//! The reference is right: every example in it is what it says, every key has one, and the schema
//! takes them all.
//!
//! It must never leave an example out because it cannot be started here.

use embryo_job::{Callers, Content, Document, Error};
use serde_json::{Value, json};
use std::path::Path;

/// The blocks of TOML in the reference.
fn examples() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/toml.md");
    let text = std::fs::read_to_string(path).expect("there is a reference");
    let blocks = text.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn schema() -> Value {
    serde_json::from_str(&embryo_job::schema()).expect("a schema is JSON")
}

fn read(text: &str) -> Document {
    let document = Document::parse("example.toml", text.as_bytes().to_vec(), None);
    document.unwrap_or_else(|error| panic!("{error}\n{}\n{text}", error.excerpt()))
}

#[test]
fn every_example_is_a_plan() {
    assert!(examples().len() > 20);
    for text in examples() {
        let document = read(&text);
        let planned = match document.content() {
            Content::Exact(exact) => exact.plan().map(drop),
            Content::Job(job) => planned(job),
        };
        // What is not there, or not the user's to have, is no mistake of the example's.
        let elsewhere = |error: &Error| {
            let text = error.to_string();
            ["ENOENT", "No such file", "is a terminal", "no user", "no group", "filter"]
                .iter()
                .any(|part| text.contains(part))
        };
        if let Err(error) = planned
            && !elsewhere(&error)
        {
            let error = document.locate(&error);
            panic!("{error}\n{}\n{text}", error.excerpt());
        }
    }
}

fn planned(job: &embryo_job::Job) -> Result<(), Error> {
    let callers = Callers::take_open(job.descriptors())?;
    job.command_with(&callers)?.plan()?;
    Ok(())
}

#[test]
fn every_key_has_an_example() {
    let schema = schema();
    let mut all = String::new();
    for text in examples() {
        all.push_str(&text);
    }
    let job = resolve(&schema, &schema["$defs"]["Job"]);
    let keys = job["properties"].as_object().expect("a job has keys");
    assert!(keys.len() > 40);
    for key in
        keys.keys().chain(["clear", "inherit", "keep", "unset", "set"].map(str::to_owned).iter())
    {
        let has = |line: &str| {
            let line = line.trim_start_matches('[');
            line.split(['=', ']', '#']).any(|part| part.trim().ends_with(key.as_str()))
        };
        assert!(all.lines().any(has), "no example has {key}");
    }
}

#[test]
fn the_schema_takes_every_example_and_no_mistake() {
    let schema = schema();
    let takes = |value: &Value| valid(&schema, &schema, value);
    for text in examples() {
        let value: toml::Value = toml::from_str(&text).expect("it is TOML");
        let value = serde_json::to_value(value).expect("TOML is JSON");
        for (key, value) in value.as_object().expect("a table") {
            let one = json!({ "program": "x", key: value });
            assert!(text.contains("[[op]]") || takes(&one), "{one}");
        }
        assert!(takes(&value), "{text}");
        // And what is written of it.
        let written = read(&text).content().to_json().expect("it can be said");
        assert!(takes(&serde_json::from_str(&written).expect("it is JSON")), "{written}");
    }
    for wrong in [
        json!({ "program": "x", "nise": 5 }),
        json!({ "program": 5 }),
        json!({ "program": "x", "env": { "sets": {} } }),
        json!({ "op": [{ "op": "nise" }] }),
        json!({ "op": [{ "op": "nice" }] }),
        json!({ "op": [{ "op": "nice", "value": 1, "other": 2 }] }),
    ] {
        assert!(!takes(&wrong), "{wrong}");
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(at) => root.pointer(at.trim_start_matches('#')).expect("it refers to something"),
        None => schema,
    }
}

/// As much of JSON Schema as the schema uses; anything else in it is a panic.
fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(rules) = schema.as_object() else { return schema.as_bool().expect("true or false") };
    let all = |schemas: &Value| schemas.as_array().expect("a list").clone();
    rules.iter().all(|(rule, wanted)| match rule.as_str() {
        "$schema" | "title" | "description" | "default" | "format" | "uniqueItems" | "$defs" => {
            true
        }
        "$ref" => valid(root, resolve(root, schema), value),
        "const" => value == wanted,
        "enum" => all(wanted).contains(value),
        "anyOf" => all(wanted).iter().any(|schema| valid(root, schema, value)),
        "oneOf" => all(wanted).iter().filter(|schema| valid(root, schema, value)).count() == 1,
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|name| is(name, value)),
            name => is(name, value),
        },
        "minimum" => value.as_f64().is_none_or(|n| n >= wanted.as_f64().expect("a number")),
        "maximum" => value.as_f64().is_none_or(|n| n <= wanted.as_f64().expect("a number")),
        "items" => {
            value.as_array().is_none_or(|items| items.iter().all(|i| valid(root, wanted, i)))
        }
        "required" => value.as_object().is_none_or(|object| {
            all(wanted).iter().all(|key| object.contains_key(key.as_str().expect("a name")))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object
                .iter()
                .all(|(key, value)| wanted.get(key).is_none_or(|schema| valid(root, schema, value)))
        }),
        // Numbers as keys are the only pattern that there is.
        "patternProperties" => value.as_object().is_none_or(|object| {
            let schema = wanted.get(r"^\d+$").expect("that pattern");
            object.iter().all(|(key, value)| !is_number(key) || valid(root, schema, value))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = |key: &String| {
                rules.get("properties").is_some_and(|p| p.get(key).is_some())
                    || rules.contains_key("patternProperties") && is_number(key)
            };
            object.iter().all(|(key, value)| known(key) || valid(root, wanted, value))
        }),
        other => panic!("the schema has a {other}"),
    })
}

fn is_number(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("the name of a type") {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the schema has a type {other}"),
    }
}
