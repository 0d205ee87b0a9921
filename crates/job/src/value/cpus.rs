//! A set of CPUs as taskset(1) writes it: `0,2-4,8-15:2`.
//!
//! It must never decide which CPUs exist; the kernel does.

use std::fmt;
use std::str::FromStr;

/// The largest number of a CPU that a plan can name.
const CPU_MAX: usize = embryo_plan::limits::CPU_MASK_BYTES_MAX * 8 - 1;

/// CPU numbers, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(pub Vec<usize>);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last, step) = range(part)
                .ok_or_else(|| format!("{part:?} is no CPU, range (2-4) or stride (0-30:2)"))?;
            if last > CPU_MAX {
                return Err(format!("CPU {last} is above {CPU_MAX}"));
            }
            cpus.extend((first..=last).step_by(step));
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let mut separator = "";
        while let Some(first) = rest.first() {
            let run = (1..=rest.len())
                .take_while(|len| rest.get(len - 1) == Some(&(first + len - 1)))
                .last()
                .unwrap_or(1);
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + run - 1)?,
            }
            separator = ",";
            rest = rest.get(run..).unwrap_or_default();
        }
        Ok(())
    }
}

super::textual!(Cpus: "CPUs, such as \"0,2-4\"", number, list);

/// Where memory comes from: a `MPOL_*` number, and nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// The mode.
    pub mode: u32,
    /// The nodes, in the order given.
    pub nodes: Vec<usize>,
}

impl FromStr for MemoryPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, list) = text.split_once(':').unwrap_or((text, ""));
        let names = || (0..).map_while(embryo_plan::memory_policy_name);
        let Some(mode) = names().position(|known| known == name) else {
            let names: Vec<&str> = names().collect();
            return Err(format!("{name:?} is none of {}", names.join(", ")));
        };
        let nodes = match text.contains(':') {
            true => list.parse::<Cpus>()?.0,
            false => Vec::new(),
        };
        match (name, nodes.is_empty()) {
            ("default" | "local", false) => return Err(format!("{name} takes no nodes")),
            ("default" | "local" | "preferred", _) | (_, false) => {}
            _ => return Err(format!("{name} needs nodes, such as {name}:0-1")),
        }
        let mode = mode as u32;
        Ok(Self { mode, nodes })
    }
}

impl fmt::Display for MemoryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(embryo_plan::memory_policy_name(self.mode).unwrap_or("?"))?;
        if self.nodes.is_empty() { Ok(()) } else { write!(f, ":{}", Cpus(self.nodes.clone())) }
    }
}

super::textual!(MemoryPolicy: "a policy, or \"POLICY:NODES\"");

fn range(part: &str) -> Option<(usize, usize, usize)> {
    let (range, step) = part.split_once(':').unwrap_or((part, "1"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last, step) = (first.parse().ok()?, last.parse().ok()?, step.parse().ok()?);
    (first <= last && step > 0).then_some((first, last, step))
}

#[cfg(test)]
mod tests {
    use super::Cpus;
    use crate::value::check;

    #[test]
    fn ranges_and_strides_are_those_of_taskset() {
        check("0", Some(Cpus(vec![0])));
        check("0,2-4", Some(Cpus(vec![0, 2, 3, 4])));
        check("0-7:3", Some(Cpus(vec![0, 3, 6])));
        check("8191", Some(Cpus(vec![8191])));
        for bad in ["", "x", "3-1", "1-", "0-4:0", "8192", "1,,2", "-1"] {
            check::<Cpus>(bad, None);
        }
    }
}
