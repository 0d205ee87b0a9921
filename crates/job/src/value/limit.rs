//! One resource limit as prlimit(1) writes it.
//!
//! It must never guess the half that is not given: that is the caller's own.

use std::fmt;
use std::str::FromStr;

/// A resource with its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// Which.
    pub resource: Resource,
    /// How much.
    pub limits: Limits,
}

/// `RLIMIT_*` by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource(pub u32);

/// Soft and hard limit; `None` leaves one, `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What is enforced.
    pub soft: Option<u64>,
    /// How far the soft one may be raised.
    pub hard: Option<u64>,
}

impl FromStr for Rlimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limits) = text.split_once('=').ok_or("NAME=SOFT[:HARD] is needed")?;
        Ok(Self { resource: name.parse()?, limits: limits.parse()? })
    }
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let resource = resource(name)
            .ok_or_else(|| format!("{name:?} is no resource; they are {}", names()))?;
        Ok(Self(resource))
    }
}

impl FromStr for Limits {
    type Err = String;

    fn from_str(limits: &str) -> Result<Self, String> {
        let (soft, hard) = match limits.split_once(':') {
            None => (Some(amount(limits)?), Some(amount(limits)?)),
            Some((soft, hard)) => (half(soft)?, half(hard)?),
        };
        match (soft, hard) {
            (None, None) => Err("a limit is needed".into()),
            (Some(soft), Some(hard)) if soft > hard => {
                Err("the soft limit is above the hard limit".into())
            }
            _ => Ok(Self { soft, hard }),
        }
    }
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.resource, self.limits)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = embryo_plan::resource_name(self.0).unwrap_or("?");
        f.write_str(&name.to_ascii_lowercase())
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |limit: Option<u64>| match limit {
            None => String::new(),
            Some(u64::MAX) => "unlimited".into(),
            Some(limit) => limit.to_string(),
        };
        if self.soft == self.hard {
            return f.write_str(&text(self.soft));
        }
        write!(f, "{}:{}", text(self.soft), text(self.hard))
    }
}

super::textual!(Resource: "the name of a resource");
super::textual!(Limits: "\"SOFT:HARD\", or one limit for both: a number, or \"unlimited\"", number);

fn half(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() { Ok(None) } else { amount(text).map(Some) }
}

fn amount(text: &str) -> Result<u64, String> {
    if ["unlimited", "infinity", "-1"].contains(&text) {
        return Ok(u64::MAX);
    }
    let number = text.trim_end_matches(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']);
    let shift = match text.get(number.len()..).unwrap_or_default() {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(format!("{text:?} has more than one unit")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|amount| *amount != u64::MAX)
        .ok_or_else(|| format!("{text:?} is no limit: a number (with K, M, G or T), or unlimited"))
}

fn resource(name: &str) -> Option<u32> {
    let name = name.get(.."RLIMIT_".len()).map_or(name, |prefix| {
        if prefix.eq_ignore_ascii_case("RLIMIT_") { &name[prefix.len()..] } else { name }
    });
    all().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| number)
}

fn all() -> impl Iterator<Item = (u32, &'static str)> {
    let named = |number| embryo_plan::resource_name(number).map(|name| (number, name));
    (0..embryo_plan::limits::RESOURCES_MAX).filter_map(named)
}

fn names() -> String {
    let mut names: Vec<String> = all().map(|(_, name)| name.to_ascii_lowercase()).collect();
    names.sort();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Limits, Resource, Rlimit};
    use crate::value::check;

    #[test]
    fn a_limit_has_a_name_and_one_or_two_amounts() {
        let limit = |resource, soft, hard| {
            Some(Rlimit { resource: Resource(resource), limits: Limits { soft, hard } })
        };
        check("nofile=256", limit(7, Some(256), Some(256)));
        check("RLIMIT_NOFILE=1:2", limit(7, Some(1), Some(2)));
        check("as=2G:unlimited", limit(9, Some(2 << 30), Some(u64::MAX)));
        check("core=0:", limit(4, Some(0), None));
        check("Stack=:8M", limit(3, None, Some(8 << 20)));
        for bad in [
            "nofile",
            "nofile=",
            "nofile=:",
            "files=1",
            "core=2:1",
            "core=1X",
            "core=1KK",
            "core=99999999999G",
            "core=18446744073709551615",
            "rlimit=1",
            "é=1",
        ] {
            check::<Rlimit>(bad, None);
        }
    }
}
