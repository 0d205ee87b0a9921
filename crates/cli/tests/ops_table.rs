//! `docs/ops.md` is made from the code: this makes it, and compares. `EMBRYO_BLESS=1`, or `cargo xtask
//! ops-table`, writes it anew.
//!
//! It must never have a row of its own: each cell is found where it is defined, and an op for which one
//! is missing fails.

mod support;

use embryo::{OpCode, Plan, Route};
use embryo_job::{Surface, fields_of, surface};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use support::embryo;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = project().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a directory of the project, with their names from the project's root.
fn files(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(project().join(folder)).expect("it can be read") {
        let entry = entry.expect("it can be read");
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().expect("it has one").is_dir() {
            true => found.extend(files(&name, end)),
            false if name.ends_with(end) => found.push(name),
            false => {}
        }
    }
    found.sort();
    found
}

/// What `explain` prints of each op, in the golden vectors.
fn lines() -> BTreeMap<OpCode, String> {
    let mut lines = BTreeMap::new();
    for file in files("docs/vectors", ".hex") {
        let text = read(&file);
        let code = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let byte = |word: &str| u8::from_str_radix(word, 16).expect("two digits make a byte");
        let bytes: Vec<u8> = code.flat_map(str::split_ascii_whitespace).map(byte).collect();
        let plan = Plan::from_bytes(bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
        for op in plan.as_plan().ops().flatten() {
            lines.entry(op.code()).or_insert_with(|| op.to_string());
        }
    }
    lines
}

/// The system call and the kernel that has it, of each op, in PLATFORM.md.
fn kernels() -> BTreeMap<String, String> {
    let text = read("PLATFORM.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    // It is nobody's call.
    let mut kernels = BTreeMap::from([("fail".to_owned(), "none".to_owned())]);
    for (ops, rest) in rows {
        let call = rest.split(" | ").next().unwrap_or_default();
        for op in ops.split(", ") {
            kernels.entry(op.trim().to_owned()).or_insert_with(|| call.to_owned());
        }
    }
    kernels
}

/// Where each op's effect and fault are tested: as `tests/every_op.rs` and the tests that it leaves some to
/// say.
fn tests() -> BTreeMap<String, String> {
    let mut tests = BTreeMap::new();
    let every = read("tests/every_op.rs");
    let list = every.split("every_op! {").nth(1).expect("it has a list").split('}').next();
    for row in list.expect("it ends").lines() {
        let Some((name, code)) = row.trim().trim_end_matches(',').split_once(" = ") else {
            continue;
        };
        let test = format!("`every_op.rs`: `{name}::takes_effect`, `{name}::fails_as_it_should`");
        tests.insert(code.to_owned(), test);
    }
    // Others have whole files of tests; that they name the op is what can be seen from here.
    for (file, mut text) in
        files("tests", ".rs").into_iter().map(|file| (file.clone(), read(&file)))
    {
        if file.contains("catalogue") || file.ends_with("every_op.rs") {
            continue;
        }
        text.retain(|c| !c.is_whitespace());
        for code in OpCode::ALL {
            let name = format!("{code:?}");
            let end = |after: Option<char>| after.is_none_or(|c| !c.is_alphanumeric());
            let used = ["Op::", "OpCode::"].iter().any(|of| {
                let word = format!("{of}{name}");
                text.match_indices(&word).any(|(at, _)| end(text[at + word.len()..].chars().next()))
            });
            if used {
                let file = file.trim_start_matches("tests/");
                tests.entry(name).or_insert_with(|| format!("`{file}`"));
            }
        }
    }
    tests
}

fn list(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn table() -> String {
    let (lines, kernels, tests) = (lines(), kernels(), tests());
    let mut out = String::from(
        "# Operations\n\n\
         Made from the code by `cargo xtask ops-table`: the table of ops in `crates/plan`, what `crates/job` says of \
         keys, options and methods, the golden vectors, PLATFORM.md, and the tests. A test compares.\n\n\
         An op without a key can be said op by op, as `docs/toml.md` describes, in a plan that the library \
         builds, and to an embryo. The line is what `embryo explain` prints of it in one of `docs/vectors`. \
         *Seed* is an op that needs a process with its own memory.\n\n\
         | op | key of a job | op by op | option | `Command` | explained | call, since | tests |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut missing = Vec::new();
    for code in OpCode::ALL {
        let name = code.name();
        let Surface { keys, options, methods } = surface(*code);
        let mut found = |what: &str, found: Option<&String>| {
            found.cloned().unwrap_or_else(|| {
                missing.push(format!("{name} has no {what}"));
                String::new()
            })
        };
        let line = found("line in docs/vectors", lines.get(code)).replace('|', "\\|");
        let kernel = found("row in PLATFORM.md", kernels.get(name));
        let test = found("test", tests.get(&format!("{code:?}")));
        let seed = if code.route() == Route::Seed { ", seed" } else { "" };
        let _ = writeln!(
            out,
            "| `{name}`{seed} | {} | {} | {} | {} | `{}` | {kernel} | {test} |",
            list(keys),
            list(fields_of(*code)),
            list(options.iter().map(|option| format!("--{option}"))),
            list(methods),
            line.replace('`', "'"),
        );
    }
    assert!(missing.is_empty(), "{missing:#?}");
    out
}

#[test]
fn the_table_of_ops_is_what_the_code_says() {
    let path = project().join("docs/ops.md");
    let made = table();
    if std::env::var_os("EMBRYO_BLESS").is_some() {
        std::fs::write(&path, &made).expect("the table can be written");
    }
    let stored = std::fs::read_to_string(&path).expect("there is a table");
    assert!(
        stored == made,
        "docs/ops.md is not what the code says: `cargo xtask ops-table` writes it"
    );
}

#[test]
fn what_the_table_names_is_there() {
    let schema: serde_json::Value = serde_json::from_str(&embryo(&["schema"]).ok()).unwrap();
    let keys = schema["$defs"]["Job"]["properties"].as_object().expect("a job has keys");
    let help = embryo(&["run", "--help"]).ok();
    let words: BTreeSet<&str> =
        help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    let mut methods = String::new();
    for file in files("crates/embryo/src", ".rs").iter().filter(|file| file.contains("/command")) {
        methods.push_str(&read(file));
    }
    let (mut all_keys, mut all_options) = (BTreeSet::new(), BTreeSet::new());
    for code in OpCode::ALL {
        let surface = surface(*code);
        for key in surface.keys {
            assert!(keys.contains_key(*key), "{}: there is no key {key}", code.name());
            all_keys.insert(*key);
        }
        for option in surface.options {
            let option = format!("--{option}");
            assert!(words.contains(option.as_str()), "{}: there is no {option}", code.name());
            all_options.insert(option);
        }
        for method in surface.methods {
            let head = [format!("pub fn {method}("), format!("pub fn {method}<")];
            let there = head.iter().any(|head| methods.contains(head));
            assert!(there, "{}: Command has no {method}", code.name());
        }
    }
    // What is no op of its own.
    let besides = [
        "args",
        "argv0",
        "path",
        "shell-fallback",
        "keep-image-open",
        "load",
        "sandbox",
        "env",
        "keep-signal-mask",
        "keep-ignored-signals",
    ];
    let unsaid: Vec<&String> = keys
        .keys()
        .filter(|key| !all_keys.contains(key.as_str()) && !besides.contains(&key.as_str()))
        .collect();
    assert!(unsaid.is_empty(), "no op is said to be asked for by {unsaid:?}");
}
