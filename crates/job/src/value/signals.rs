//! Signals by name or number, alone and as sets.
//!
//! It must never take SIGRTMIN for the kernel's 32: the C library keeps two for itself, and
//! everybody counts from 34.

use embryo_plan::limits::SIGNAL_MAX;
use std::fmt;
use std::str::FromStr;

const RTMIN: u32 = 34;
const SIGKILL: u32 = 9;
const SIGSTOP: u32 = 19;

/// The number of a signal, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u32);

/// A set of signals; bit n-1 is signal n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let valid = |number: &u32| (1..=SIGNAL_MAX).contains(number);
        let named = || {
            (1..=SIGNAL_MAX).find(|number| embryo_plan::signal_name(*number) == Some(name)).or(
                match name {
                    "POLL" => Some(29),
                    "CLD" => Some(17),
                    "IOT" => Some(6),
                    _ => None,
                },
            )
        };
        text.parse()
            .ok()
            .or_else(named)
            .or_else(|| realtime(name))
            .filter(valid)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no signal: TERM, SIGTERM, 15 and RTMIN+1 would be"))
    }
}

fn realtime(name: &str) -> Option<u32> {
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let above = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        return RTMIN.checked_add(above);
    }
    let rest = name.strip_prefix("RTMAX")?;
    let below = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse().ok()? };
    SIGNAL_MAX.checked_sub(below).filter(|number| *number >= RTMIN)
}

impl FromStr for SignalSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bit = |signal: u32| 1u64 << (signal - 1);
        match text {
            "none" => return Ok(Self(0)),
            "all" => return Ok(Self(!(bit(SIGKILL) | bit(SIGSTOP)))),
            _ => {}
        }
        let mut set = 0;
        for part in text.split(',') {
            let Signal(signal) = part.parse()?;
            if signal == SIGKILL || signal == SIGSTOP {
                return Err("SIGKILL and SIGSTOP can be neither blocked nor ignored".into());
            }
            set |= bit(signal);
        }
        Ok(Self(set))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match embryo_plan::signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Display for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = !(1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1));
        match self.0 {
            0 => return f.write_str("none"),
            set if set == all => return f.write_str("all"),
            _ => {}
        }
        let signals = (1..=SIGNAL_MAX).filter(|signal| self.0 >> (signal - 1) & 1 == 1);
        let names: Vec<String> = signals.map(|signal| Signal(signal).to_string()).collect();
        f.write_str(&names.join(","))
    }
}

super::textual!(Signal: "a signal by name or number", number);
super::textual!(SignalSet: "signals by name or number, \"all\" or \"none\"", number, list);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::check;

    #[test]
    fn a_signal_has_many_names() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            check(text, Some(Signal(15)));
        }
        check("RTMIN", Some(Signal(34)));
        check("SIGRTMIN+2", Some(Signal(36)));
        check("RTMAX-1", Some(Signal(63)));
        for bad in ["", "0", "65", "SIG", "TERMINATE", "RTMIN-1", "RTMAX+1", "RTMAX-31", "RTMIN+"] {
            check::<Signal>(bad, None);
        }
    }

    #[test]
    fn a_set_is_a_list() {
        check("none", Some(SignalSet(0)));
        check("INT,TERM", Some(SignalSet(1 << 1 | 1 << 14)));
        check("all", Some(SignalSet(!(1 << 8 | 1 << 18))));
        for bad in ["", "KILL", "INT,STOP", "INT,"] {
            check::<SignalSet>(bad, None);
        }
    }
}
