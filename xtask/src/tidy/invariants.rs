//! Every numbered invariant of ARCHITECTURE.md, and every claim of the agent's threat model, names tests that hold it,
//! and those exist.

use super::{Broken, Tidy};

const HEAD: &str = "## Invariants";
/// Each row of the tables below this head is a claim.
const CLAIMS: (&str, &str) = ("docs/agent-threat-model.md", "## Claims");

pub(super) fn check(tidy: &mut Tidy) -> Result<(), Broken> {
    let architecture = tidy.architecture.clone();
    let (_, rest) = architecture.split_once(HEAD).ok_or("ARCHITECTURE.md has no invariants")?;
    let section = rest.split("\n## ").next().unwrap_or_default();
    let mut invariants: Vec<(u32, String)> = Vec::new();
    for line in section.lines() {
        let number = line.split_once(". ").and_then(|(number, _)| number.parse::<u32>().ok());
        match (number, invariants.last_mut()) {
            (Some(number), _) => invariants.push((number, line.to_owned())),
            (None, Some((_, text))) => {
                text.push(' ');
                text.push_str(line);
            }
            (None, None) => {}
        }
    }
    let mut tests = 0;
    for (position, (number, text)) in invariants.iter().enumerate() {
        let place = format!("ARCHITECTURE.md, invariant {number}");
        if *number as usize != position + 1 {
            tidy.finding(&place, "the invariants are not numbered from 1 without gaps");
        }
        let named: Vec<&str> = text.split('`').filter(|part| part.contains(".rs::")).collect();
        if named.is_empty() && !text.contains("Not yet:") {
            tidy.finding(
                &place,
                "it names no test (`path.rs::function`), nor why there is none (Not yet: ...)",
            );
        }
        for test in named {
            tests += 1;
            if let Err(why) = find(tidy, test) {
                tidy.finding(&place, format_args!("{test}: {why}"));
            }
        }
    }
    if invariants.is_empty() {
        tidy.finding("ARCHITECTURE.md", "no invariant is numbered");
    }
    tidy.passed("invariants", format_args!("{} invariants, {tests} tests", invariants.len()));
    check_claims(tidy)
}

/// The threat model's claims.
fn check_claims(tidy: &mut Tidy) -> Result<(), Broken> {
    let (path, head) = CLAIMS;
    let page = tidy.read(path)?;
    let (_, rest) = page.split_once(head).ok_or("the threat model makes no claims")?;
    let section = rest.split("\n## ").next().unwrap_or_default();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| claim |");
    let (mut claims, mut tests) = (0, 0);
    for row in section.lines().filter(is_row) {
        claims += 1;
        let claim = row.split('|').nth(1).unwrap_or_default().trim();
        let place = format!("{path}, {claim:?}");
        let named: Vec<&str> = row.split('`').filter(|part| part.contains(".rs::")).collect();
        if named.is_empty() {
            tidy.finding(&place, "it names no test (`path.rs::function`)");
        }
        for test in named {
            tests += 1;
            if let Err(why) = find(tidy, test) {
                tidy.finding(&place, format_args!("{test}: {why}"));
            }
        }
    }
    if claims == 0 {
        tidy.finding(path, "there is no claim");
    }
    tidy.passed("claims", format_args!("{claims} claims, {tests} tests"));
    Ok(())
}

/// Looks for `path.rs::function`, which must be a test.
fn find(tidy: &Tidy, test: &str) -> Result<(), String> {
    let (path, function) = test.split_once("::").unwrap_or((test, ""));
    let text = tidy.read(path).map_err(|error| error.to_string())?;
    let head = format!("fn {function}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with(&head) || line.starts_with(&format!("async {head}")))
        .ok_or("there is no such function")?;
    let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with('#'));
    if attributes.clone().any(|line| line.contains("ignore")) {
        return Err("it is ignored".to_owned());
    }
    let property = text.contains("proptest!");
    match attributes.clone().any(|line| line.contains("test")) || property {
        true => Ok(()),
        false => Err("it is no test".to_owned()),
    }
}
