//! One resource limit as prlimit(1) writes it.
//!
//! It must never guess the half that is not given: that is the caller's own.

use std::str::FromStr;

/// A resource with its limits; `None` leaves one, `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rlimit {
    pub(crate) resource: u32,
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

impl FromStr for Rlimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limits) = text.split_once('=').ok_or("NAME=SOFT[:HARD] is needed")?;
        let resource = resource(name)
            .ok_or_else(|| format!("{name:?} is no resource; they are {}", names()))?;
        let (soft, hard) = match limits.split_once(':') {
            None => (Some(amount(limits)?), Some(amount(limits)?)),
            Some((soft, hard)) => (half(soft)?, half(hard)?),
        };
        match (soft, hard) {
            (None, None) => Err("a limit is needed".into()),
            (Some(soft), Some(hard)) if soft > hard => {
                Err("the soft limit is above the hard limit".into())
            }
            _ => Ok(Self { resource, soft, hard }),
        }
    }
}

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
    use super::Rlimit;
    use crate::value::check;

    #[test]
    fn a_limit_has_a_name_and_one_or_two_amounts() {
        let limit = |resource, soft, hard| Some(Rlimit { resource, soft, hard });
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
