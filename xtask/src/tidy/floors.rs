//! Who uses whom: the edges that cargo knows against those that ARCHITECTURE.md lists.
//!
//! Edges to crates from outside count too: a new one is a decision, and this is where it shows.
//! What only tests use does not: no child runs it.

use super::{Broken, Tidy, output};
use std::collections::{BTreeMap, BTreeSet};

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(serde::Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(serde::Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// One row of the table.
struct Floor {
    number: u8,
    uses: BTreeSet<String>,
}

const HEAD: &str = "| crate | floor | uses | from outside |";

pub(super) fn check(tidy: &mut Tidy) -> Result<(), Broken> {
    let mut floors = BTreeMap::new();
    for row in tidy.table(HEAD)? {
        let [name, number, uses, outside, ..] = row.as_slice() else {
            return Err(format!("a row of the table of floors is too short: {row:?}").into());
        };
        let names = |cell: &str| -> Vec<String> {
            cell.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect()
        };
        let uses = names(uses).into_iter().chain(names(outside)).collect();
        floors.insert(name.clone(), Floor { number: number.parse()?, uses });
    }
    let json = output(tidy.cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Metadata = serde_json::from_str(&json)?;
    let packages: BTreeSet<_> = metadata.packages.iter().map(|p| p.name.clone()).collect();
    let mut edges = 0;
    for package in &metadata.packages {
        let Some(floor) = floors.get(&package.name) else {
            continue;
        };
        let used = package.dependencies.iter().filter(|used| used.kind.as_deref() != Some("dev"));
        let used: BTreeSet<String> = used.map(|used| used.name.clone()).collect();
        edges += used.len();
        for name in used.symmetric_difference(&floor.uses) {
            let what = if used.contains(name) {
                "is used, and the table of floors does not say so"
            } else {
                "stands in the table of floors and is not used"
            };
            tidy.finding(format_args!("{} -> {name}", package.name), what);
        }
        for name in used.intersection(&packages) {
            match floors.get(name) {
                Some(below) if below.number < floor.number => {}
                Some(_) => tidy.finding(&package.name, format_args!("{name} is no lower floor")),
                None => tidy.finding(&package.name, format_args!("{name} stands on no floor")),
            }
        }
    }
    for name in floors.keys().filter(|name| !packages.contains(*name)) {
        tidy.finding("ARCHITECTURE.md", format_args!("there is no crate {name}"));
    }
    tidy.passed("floors", format_args!("{} crates, {edges} edges, all downwards", floors.len()));
    Ok(())
}
