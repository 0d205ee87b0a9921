//! A plan in readable lines, as the library prints it, and what its slots stand for.
//!
//! It must never leave out a line of the library's.

use super::json::PlanJson;
use crate::failure::Failure;
use crate::saved;
use anstyle::{AnsiColor, Style};
use embryo::{Explained, Load, Plan};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const HEAD: Style = Style::new().bold();
const LABEL: Style = AnsiColor::Cyan.on_default();
const NAME: Style = AnsiColor::Green.on_default().bold();

/// Prints a plan; `objects` are what its slots stand for, as far as that is known, and `load` is
/// the program that is loaded where the plan has an exec.
pub(crate) fn explain(
    plan: &Plan,
    objects: &[Option<PathBuf>],
    load: Option<&Load>,
    json: bool,
) -> Result<(), Failure> {
    if json {
        return super::json::print(&PlanJson::of(plan, objects, load));
    }
    let mut text = String::new();
    for line in Explained(plan.as_plan()).to_string().lines() {
        let line = load.map_or(line.to_owned(), |load| without_exec(line, plan, load));
        text.push_str(&coloured(&line));
        text.push('\n');
    }
    for slot in 0..plan.as_plan().slots() {
        let uses: Vec<String> = saved::uses(plan, slot).iter().map(saved::describe_use).collect();
        let uses = if uses.is_empty() { "nothing".into() } else { uses.join(" and ") };
        let object = objects.get(slot as usize).and_then(Option::as_ref);
        let object = object.map_or("to be granted".into(), |object| quoted(object));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {LABEL}slot {slot}{LABEL:#}  {object}, for {uses}");
    }
    super::text(&text)
}

/// A line of a plan whose program is loaded: the first and that of the exec say so.
fn without_exec(line: &str, plan: &Plan, load: &Load) -> String {
    let ops = plan.as_plan().entries().len();
    if line.starts_with("plan: ") {
        let slots = plan.as_plan().slots();
        return format!(
            "load: {ops} ops, {slots} grant slots, executed in an embryo, without exec"
        );
    }
    let exec = ops - 1;
    if !line.starts_with(&format!("  {exec:4}  ")) {
        return line.to_owned();
    }
    let place = if load.is_position_independent() { "random" } else { "as in the file" };
    let interpreter = load.interpreter().map_or("none".into(), quoted);
    let path = quoted(load.path());
    format!("  {exec:4}  load path={path} interpreter={interpreter} address={}", place)
}

fn quoted(path: &Path) -> String {
    match std::ffi::CString::new(path.as_os_str().as_bytes()) {
        Ok(path) => embryo::ArgText::Text(&path).to_string(),
        Err(_) => "?".into(),
    }
}

/// The label of a line, and the name of an op, in colour. What follows is as the library wrote it.
fn coloured(line: &str) -> String {
    let Some(body) = line.strip_prefix("  ") else { return format!("{HEAD}{line}{HEAD:#}") };
    let indent = body.len() - body.trim_start().len();
    let (indent, rest) = body.split_at(indent);
    let (label, rest) = rest.split_once("  ").unwrap_or((rest, ""));
    if label.bytes().all(|byte| byte.is_ascii_digit()) {
        let (name, fields) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        return format!("  {indent}{label}  {NAME}{name}{NAME:#}{fields}");
    }
    format!("  {indent}{LABEL}{label}{LABEL:#}  {rest}")
}

#[cfg(test)]
mod tests {
    use super::coloured;

    #[test]
    fn colours_change_no_character() {
        for line in [
            "plan: 12 bytes, 1 ops, 0 grant slots, executed direct",
            "  keep  working directory",
            "     0  set-sid",
            "    12  put-fd fd=0 slot=0",
            "  argv[0]  \"a  b\"",
            "  envp[0]  A=",
        ] {
            assert_eq!(anstream::adapter::strip_str(&coloured(line)).to_string(), line);
        }
    }
}
