//! Where memory comes from: `bind:0,2-3`.

use std::str::FromStr;

/// The largest number of a node that a plan can name.
const NODE_MAX: usize = embryo_plan::limits::NODE_MASK_BYTES_MAX * 8 - 1;

/// A mode of set_mempolicy(2), and nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    pub(crate) mode: u32,
    pub(crate) nodes: Vec<usize>,
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
        let mut nodes = Vec::new();
        for part in list.split(',').filter(|_| text.contains(':')) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<usize>(), last.parse::<usize>()) {
                (Ok(first), Ok(last)) if first <= last && last <= NODE_MAX => {
                    nodes.extend(first..=last);
                }
                _ => return Err(format!("{part:?} is no memory node or range, such as 0 or 2-3")),
            }
        }
        match (name, nodes.is_empty()) {
            ("default" | "local", false) => Err(format!("{name} takes no nodes")),
            ("default" | "local" | "preferred", _) | (_, false) => {
                Ok(Self { mode: mode as u32, nodes })
            }
            _ => Err(format!("{name} needs nodes, such as {name}:0-1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::check;

    #[test]
    fn a_mode_with_its_nodes() {
        let some = |mode, nodes: &[usize]| Some(MemoryPolicy { mode, nodes: nodes.to_vec() });
        check("local", some(4, &[]));
        check("preferred", some(1, &[]));
        check("bind:0,2-3", some(2, &[0, 2, 3]));
        check("weighted-interleave:1", some(6, &[1]));
        for bad in ["", "bind", "bind:", "local:0", "bind:x", "bind:3-2", "bind:1024", "strict:0"] {
            check::<MemoryPolicy>(bad, None);
        }
    }
}
