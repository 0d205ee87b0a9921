//! Users, groups and process groups: by number, or by a name that is looked up later.
//!
//! It must never take a number for a name: `0` is always uid 0.

use std::fmt;
use std::str::FromStr;

/// One id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// It stays what it is.
    Keep,
    /// This one.
    Number(u32),
    /// The one that the user database gives for a name.
    Name(String),
}

/// Real, effective and saved id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids(pub [Id; 3]);

/// Supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups(pub Vec<Id>);

/// A process group: a new one is 0, as setpgid(2) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pgid(pub u32);

/// `u32::MAX` is what the system calls take for "leave it".
fn id(text: &str) -> Result<Id, String> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Id::Name(text.to_owned()));
    }
    match text.parse() {
        Ok(u32::MAX) | Err(_) => Err(format!("{text:?} is no id: they are below {}", u32::MAX)),
        Ok(number) => Ok(Id::Number(number)),
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Keep => Ok(()),
            Id::Number(number) => number.fmt(f),
            Id::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [real, effective, saved] = &self.0;
        if real == effective && effective == saved {
            return real.fmt(f);
        }
        write!(f, "{real}:{effective}:{saved}")
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(Id::to_string).collect();
        f.write_str(if ids.is_empty() { "none" } else { "" })?;
        f.write_str(&ids.join(","))
    }
}

impl fmt::Display for Pgid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("new") } else { self.0.fmt(f) }
    }
}

super::textual!(Ids: "an id or a name, or \"REAL:EFFECTIVE:SAVED\"", number);
super::textual!(Groups: "groups by id or name, or \"none\"", number, list);
super::textual!(Pgid: "\"new\", or the number of a process group", number);

impl FromStr for Ids {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let part = |text: &str| if text.is_empty() { Ok(Id::Keep) } else { id(text) };
        let ids = match parts[..] {
            [all] if !all.is_empty() => {
                let all = id(all)?;
                [all.clone(), all.clone(), all]
            }
            [real, effective, saved] => [part(real)?, part(effective)?, part(saved)?],
            _ => return Err("one id, or REAL:EFFECTIVE:SAVED, is needed".into()),
        };
        if ids == [Id::Keep, Id::Keep, Id::Keep] {
            return Err("at least one id has to be given".into());
        }
        Ok(Self(ids))
    }
}

impl FromStr for Groups {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let group = |text: &str| match text {
            "" => Err("a list of groups with commas, or `none`, is needed".to_owned()),
            text => id(text),
        };
        Ok(Self(text.split(',').map(group).collect::<Result<_, _>>()?))
    }
}

impl FromStr for Pgid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "new" => Ok(Self(0)),
            Ok(pgid @ 1..=embryo_plan::limits::PID_MAX) => Ok(Self(pgid)),
            _ => Err("`new`, or the number of a process group, is needed".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::check;

    #[test]
    fn one_id_is_for_all_three() {
        let number = |n| Id::Number(n);
        check("7", Some(Ids([number(7), number(7), number(7)])));
        check("1::3", Some(Ids([number(1), Id::Keep, number(3)])));
        check("::x", Some(Ids([Id::Keep, Id::Keep, Id::Name("x".into())])));
        for bad in ["", "::", "1:2", "1:2:3:4", "4294967295", "99999999999"] {
            check::<Ids>(bad, None);
        }
    }

    #[test]
    fn groups_are_a_list_or_none() {
        check("none", Some(Groups(vec![])));
        check("0,tty", Some(Groups(vec![Id::Number(0), Id::Name("tty".into())])));
        check::<Groups>("", None);
        check::<Groups>("1,,2", None);
    }

    #[test]
    fn a_process_group_is_new_or_a_pid() {
        check("new", Some(Pgid(0)));
        check("1", Some(Pgid(1)));
        for bad in ["0", "-1", "", "4194305"] {
            check::<Pgid>(bad, None);
        }
    }
}
