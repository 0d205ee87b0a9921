//! The owner's account of what is mapped in an embryo, kept from the ops that were applied.

use embryo_plan::{MapFlags, Op, Plan};
use std::collections::BTreeMap;

/// One mapped range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Region {
    /// Where it begins.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// `PROT_*` bits.
    pub prot: u32,
    /// Whether changes reach a file or another process.
    pub shared: bool,
    /// Whether a granted file is mapped, rather than fresh memory.
    pub file: bool,
}

/// Regions by address, without overlaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regions(BTreeMap<u64, Region>);

impl Regions {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.0.values()
    }

    /// Takes in a batch that was applied, with what its ops told.
    pub(crate) fn apply(&mut self, batch: &Plan<'_>, results: &[u64]) {
        for (op, result) in batch.ops().flatten().zip(results) {
            self.take(&op, *result);
        }
    }

    /// Takes in the first ops of a batch, whose answers are not known.
    pub(crate) fn apply_until(&mut self, batch: &Plan<'_>, index: u32) {
        for op in batch.ops().flatten().take(index as usize) {
            match op {
                Op::Map { addr, flags, .. } | Op::MapSlot { addr, flags, .. } => {
                    if flags.contains(MapFlags::FIXED) {
                        self.take(&op, addr);
                    }
                }
                Op::Remap { to, .. } => self.take(&op, to),
                _ => self.take(&op, 0),
            }
        }
    }

    fn take(&mut self, op: &Op<'_>, at: u64) {
        match *op {
            Op::Map { len, prot, flags, .. } => self.add(mapped(at, len, prot, flags, false)),
            Op::MapSlot { len, prot, flags, .. } => self.add(mapped(at, len, prot, flags, true)),
            Op::Unmap { addr, len } => drop(self.cut(addr, len)),
            Op::Protect { addr, len, prot } => {
                for part in self.cut(addr, len) {
                    self.0.insert(part.addr, Region { prot, ..part });
                }
            }
            Op::Remap { addr, len, to_len, .. } => {
                let moved = self.cut(addr, len).into_iter().next();
                if let Some(region) = moved.filter(|_| at != 0) {
                    self.add(Region { addr: at, len: to_len, ..region });
                }
            }
            _ => {}
        }
    }

    /// Adds one where the embryo says that it is. An address that is none, because the embryo lies,
    /// is not taken down.
    fn add(&mut self, region: Region) {
        if region.addr.checked_add(region.len).is_some() {
            self.cut(region.addr, region.len);
            self.0.insert(region.addr, region);
        }
    }

    /// Cuts a range out and returns what lay in it.
    fn cut(&mut self, addr: u64, len: u64) -> Vec<Region> {
        let end = addr.saturating_add(len);
        // They do not overlap, so from the last that begins before the end backwards their ends
        // descend, too: what lies below all that is touched is never looked at.
        let mut touched: Vec<Region> = self
            .0
            .range(..end)
            .rev()
            .map(|(_, region)| *region)
            .take_while(|region| region.addr + region.len > addr)
            .collect();
        touched.reverse();
        let mut inside = Vec::new();
        for region in touched {
            self.0.remove(&region.addr);
            let region_end = region.addr + region.len;
            if region.addr < addr {
                self.0.insert(region.addr, Region { len: addr - region.addr, ..region });
            }
            if region_end > end {
                self.0.insert(end, Region { addr: end, len: region_end - end, ..region });
            }
            let from = region.addr.max(addr);
            inside.push(Region { addr: from, len: region_end.min(end) - from, ..region });
        }
        inside
    }
}

fn mapped(addr: u64, len: u64, prot: u32, flags: MapFlags, file: bool) -> Region {
    Region { addr, len, prot, shared: flags.contains(MapFlags::SHARED), file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embryo_that_lies_about_addresses_leaves_no_overlap_and_no_overflow() {
        let mut regions = Regions::default();
        for addr in [u64::MAX, u64::MAX - 0xfff, 0x1000, 0x2000, 0x1800, 0] {
            regions.add(mapped(addr, 0x1000, 3, MapFlags::empty(), false));
        }
        let left: Vec<_> = regions.iter().map(|region| (region.addr, region.len)).collect();
        assert_eq!(left, [(0, 0x1000), (0x1000, 0x800), (0x1800, 0x1000), (0x2800, 0x800)]);
    }

    #[test]
    fn a_cut_leaves_both_sides() {
        let mut regions = Regions::default();
        regions.add(mapped(0x1000, 0x5000, 3, MapFlags::empty(), false));
        let inside = regions.cut(0x2000, 0x1000);
        assert_eq!((inside[0].addr, inside[0].len), (0x2000, 0x1000));
        let left: Vec<_> = regions.iter().map(|region| (region.addr, region.len)).collect();
        assert_eq!(left, [(0x1000, 0x1000), (0x3000, 0x3000)]);
    }
}
