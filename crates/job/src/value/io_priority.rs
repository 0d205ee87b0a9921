//! I/O priority as ionice(1) writes it, class and level in one.
//!
//! It must never give a level to the idle class, which has none.

use std::fmt;
use std::str::FromStr;

/// Class (1 real-time, 2 best-effort, 3 idle, 0 none) and level, 0 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoPriority {
    /// Class.
    pub class: u32,
    /// Level.
    pub level: u32,
}

impl fmt::Display for IoPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            1 => write!(f, "realtime:{}", self.level),
            2 => write!(f, "best-effort:{}", self.level),
            3 => f.write_str("idle"),
            _ => f.write_str("none"),
        }
    }
}

super::textual!(IoPriority: "realtime, best-effort or idle, the first two with \":LEVEL\"");

/// What the kernel gives to a class without a level.
const LEVEL: u32 = 4;

impl FromStr for IoPriority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (class, level) = text.split_once(':').map_or((text, None), |(c, l)| (c, Some(l)));
        let class = match class {
            "none" | "0" => 0,
            "realtime" | "1" => 1,
            "best-effort" | "2" => 2,
            "idle" | "3" => 3,
            _ => return Err("the class is none, realtime, best-effort or idle".into()),
        };
        let has_levels = class == 1 || class == 2;
        let level = match level.map(str::parse) {
            None => u32::from(has_levels) * LEVEL,
            Some(Ok(level @ 0..=7)) if has_levels => level,
            Some(_) if has_levels => return Err("the level is 0 (first) to 7".into()),
            Some(_) => return Err("only realtime and best-effort have a level".into()),
        };
        Ok(Self { class, level })
    }
}

#[cfg(test)]
mod tests {
    use super::IoPriority;
    use crate::value::check;

    #[test]
    fn a_class_may_have_a_level() {
        check("idle", Some(IoPriority { class: 3, level: 0 }));
        check("best-effort", Some(IoPriority { class: 2, level: 4 }));
        check("realtime:0", Some(IoPriority { class: 1, level: 0 }));
        check("2:7", Some(IoPriority { class: 2, level: 7 }));
        for bad in ["", "fast", "idle:1", "2:8", "2:", "4"] {
            check::<IoPriority>(bad, None);
        }
    }
}
