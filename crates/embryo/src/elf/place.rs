//! Where things go: random places in what is free, and the ops that map a program there.

use super::error::NotLoadable;
use super::file::{Executable, Segment, io, page_ceil};
use crate::maps::MapsEntry;
use embryo_plan::limits::{ADDRESS_END, PAGE};
use embryo_plan::{MapFlags, Op, PlanBuilder, Slot};
use rustix::rand::{GetRandomFlags, getrandom};
use std::ops::Range;

/// Where the kernel puts a program that may lie anywhere, and how far it strews it: two thirds of
/// the address space and 28 bits of pages.
pub(super) const PROGRAM_ZONE: Range<u64> = 0x5555_5555_4000..0x5655_5555_4000;
/// Where interpreters go: below what the kernel chooses for mappings, which it takes from at
/// most 1 TiB below the stack downwards.
pub(super) const INTERPRETER_ZONE: Range<u64> = 0x7d00_0000_0000..0x7e00_0000_0000;
/// How far the kernel strews stacks below the end of the address space: 22 bits of pages.
const STACK_ZONE: u64 = 16 << 30;
/// What stays free around a stack: the kernel's `stack_guard_gap`.
const STACK_GUARD: u64 = 256 * PAGE;
/// What the seed counts as its own below its stack.
const SEED_STACK: u64 = 256 << 10;
/// What a stack is given to grow, whatever its limit: the kernel keeps 128 MiB clear of mappings.
const STACK_GROWTH: Range<u64> = 8 << 20..64 << 20;

/// How far the kernel strews heaps, since Linux 6.9; before, it was 32 MiB.
const HEAP_STREWN: u64 = 1 << 30;

const TRIES: usize = 64;

/// What is taken in an address space.
pub(super) struct Room {
    taken: Vec<(Range<u64>, String)>,
    /// Where the seed's stack begins, which is about to go.
    seed_stack: u64,
}

impl Room {
    pub(super) fn new(maps: &[MapsEntry]) -> Self {
        let mut room = Self { taken: Vec::new(), seed_stack: ADDRESS_END };
        for entry in maps {
            let Range { start, end } = entry.range;
            let mut what = entry.name.clone();
            let mut from = start;
            if what == "[stack]" {
                from = start.saturating_sub(SEED_STACK + STACK_GUARD);
                // That of aarch64 lies above whatever a plan can name, with 48 bits.
                room.seed_stack = from.min(ADDRESS_END);
                what = "the embryo's own stack".into();
            } else if what.is_empty() {
                what = "something else".into();
            }
            room.taken.push((from..end, what));
        }
        room
    }

    /// Who is in a range.
    fn occupant(&self, range: &Range<u64>) -> Option<&str> {
        let meets = |taken: &Range<u64>| taken.start < range.end && range.start < taken.end;
        self.taken.iter().find(|(taken, _)| meets(taken)).map(|(_, what)| what.as_str())
    }

    /// Finds the place of a program: how far it is moved. `lowest` is the lowest address that
    /// the kernel lets anybody map.
    pub(super) fn place(
        &mut self,
        program: &Executable,
        zone: &Range<u64>,
        lowest: u64,
    ) -> Result<u64, NotLoadable> {
        let (first, end) = program.span();
        let len = end - first;
        let moved = if program.movable {
            // The move is what has to be aligned.
            let within = first & (program.align - 1);
            let at = self.somewhere(zone, within + len, program.align)?;
            at.wrapping_add(within).wrapping_sub(first)
        } else {
            if first < lowest {
                let what = "the kernel lets nobody map memory (vm.mmap_min_addr)".to_owned();
                return Err(NotLoadable::Occupied { from: first, to: end, what });
            }
            if let Some(what) = self.occupant(&(first..end)) {
                let what = what.to_owned();
                return Err(NotLoadable::Occupied { from: first, to: end, what });
            }
            0
        };
        let range = first.wrapping_add(moved)..end.wrapping_add(moved);
        self.taken.push((range, "the program".into()));
        Ok(moved)
    }

    /// A random free place.
    fn somewhere(&self, zone: &Range<u64>, len: u64, align: u64) -> Result<u64, NotLoadable> {
        let start = zone.start.next_multiple_of(align);
        let last = zone.end.checked_sub(len).filter(|last| *last >= start);
        let last = last.ok_or(NotLoadable::NoRoom(len))?;
        for _ in 0..TRIES {
            let at = start + random()? % ((last - start) / align + 1) * align;
            if self.occupant(&(at..at + len)).is_none() {
                return Ok(at);
            }
        }
        Err(NotLoadable::NoRoom(len))
    }

    /// The top of a new stack of `len` bytes, with room to grow to `limit`.
    ///
    /// The kernel strews stacks over the last 16 GiB and puts mappings below those; the seed's
    /// stack lies somewhere in them. The new one goes to the larger part, below or above it.
    pub(super) fn stack(&mut self, len: u64, limit: u64) -> Result<u64, NotLoadable> {
        let growth = limit.clamp(STACK_GROWTH.start, STACK_GROWTH.end);
        let need = len.max(page_ceil(growth)) + 2 * STACK_GUARD;
        let floor = ADDRESS_END - STACK_ZONE;
        let gaps = self.gaps(floor);
        let gap = gaps.into_iter().max_by_key(|gap| gap.end - gap.start);
        let gap = gap.ok_or(NotLoadable::NoRoom(need))?;
        let at = self.somewhere(&gap, need, PAGE)?;
        let top = at + need - STACK_GUARD;
        self.taken.push((at..at + need, "the stack".into()));
        Ok(top)
    }

    /// Where the heap of brk(2) begins: a random distance behind a program that ends at `end`, as
    /// the kernel chooses it, and with most of what is free there before it.
    pub(super) fn heap(&self, end: u64) -> Result<u64, NotLoadable> {
        let above = self.taken.iter().map(|(taken, _)| taken.start).filter(|start| *start >= end);
        let free = above.min().unwrap_or(ADDRESS_END) - end;
        let strewn = HEAP_STREWN.min(free / 4) / PAGE;
        // Linux before 5.15 wants it to be above the data, not behind it.
        let least = PAGE.min(free);
        Ok(end + if strewn == 0 { least } else { least + random()? % strewn * PAGE })
    }

    /// What is free from `floor` up, or from the highest thing below the seed's stack if that is
    /// higher: where addresses are not randomised, mappings begin there.
    fn gaps(&self, floor: u64) -> Vec<Range<u64>> {
        let below = self.taken.iter().filter(|(taken, _)| taken.end <= self.seed_stack);
        let mut from = below.map(|(taken, _)| taken.end).fold(floor, u64::max);
        let mut above: Vec<&Range<u64>> = self.taken.iter().map(|(taken, _)| taken).collect();
        above.retain(|taken| taken.start >= from && taken.start < ADDRESS_END);
        above.sort_by_key(|taken| taken.start);
        let mut gaps = Vec::new();
        for taken in above {
            gaps.push(from..taken.start);
            from = taken.end.max(from);
        }
        gaps.push(from..ADDRESS_END.max(from));
        gaps
    }
}

/// Eight random bytes.
pub(super) fn random() -> Result<u64, NotLoadable> {
    let mut bytes = [0; 8];
    let mut done = 0;
    while done < bytes.len() {
        done += getrandom(&mut bytes[done..], GetRandomFlags::empty()).map_err(io)?;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// Adds the ops that map a program, moved by so much.
pub(super) fn map(batch: &mut PlanBuilder, program: &Executable, slot: Slot, moved: u64) {
    let flags = MapFlags::FIXED;
    for segment in &program.segments {
        let Segment { addr, mem_len, offset, file_len, prot } = *segment;
        let first = segment.first().wrapping_add(moved);
        let end = segment.end().wrapping_add(moved);
        let file_end = addr.wrapping_add(file_len).wrapping_add(moved);
        // Where fresh memory begins.
        let mut fresh = first;
        if file_len != 0 {
            fresh = page_ceil(file_end);
            let offset = offset - addr % PAGE;
            batch.op(&Op::MapSlot { slot, addr: first, len: fresh - first, prot, flags, offset });
            // The rest of the file's last page is somebody else's bytes. Where the program may not
            // write, the kernel leaves them too.
            let rest = fresh.min(addr.wrapping_add(mem_len).wrapping_add(moved)) - file_end;
            if rest != 0 && prot & 2 != 0 {
                batch.op(&Op::Fill { addr: file_end, len: fresh - file_end, byte: 0 });
            }
        }
        if fresh < end {
            batch.op(&Op::Map { addr: fresh, len: end - fresh, prot, flags });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(range: Range<u64>, name: &str) -> MapsEntry {
        MapsEntry { range, prot: 3, shared: false, offset: 0, name: name.into() }
    }

    #[test]
    fn a_stack_goes_to_the_larger_side_of_the_seeds() {
        let end = ADDRESS_END;
        for (seed, below) in [(end - (14 << 30), false), (end - (2 << 30), true)] {
            let mut room = Room::new(&[
                entry(0x20_0000..0x21_0000, "/memfd:seed"),
                entry(seed..seed + 0x2_1000, "[stack]"),
                entry(seed + 0x3_0000..seed + 0x3_2000, "[vdso]"),
            ]);
            let top = room.stack(0x3_0000, 8 << 20).expect("there is room");
            assert_eq!(top < seed, below, "{top:#x} {seed:#x}");
            assert!(top > end - STACK_ZONE && top + STACK_GUARD <= end && top.is_multiple_of(PAGE));
            assert!(room.occupant(&(top - PAGE..top)).is_some());
        }
    }

    #[test]
    fn a_heap_lies_behind_its_program_and_before_what_follows() {
        let end = 0x41_0000;
        for (next, most) in [(end, 0), (end + PAGE, PAGE), (end + (64 << 20), 17 << 20)] {
            let room = Room::new(&[entry(0x40_0000..end, "program"), entry(next..1 << 46, "next")]);
            for _ in 0..20 {
                let heap = room.heap(end).expect("random bytes are to be had");
                assert!(
                    heap.is_multiple_of(PAGE) && (end..=end + most).contains(&heap),
                    "{heap:#x}"
                );
            }
        }
        let room = Room::new(&[entry(0x40_0000..end, "program")]);
        let heaps = [0; 20].map(|_| room.heap(end).expect("random bytes are to be had"));
        assert!(heaps.iter().all(|heap| *heap > end && *heap <= end + HEAP_STREWN));
        assert!(heaps.iter().any(|heap| *heap != heaps[0]), "{heaps:x?}");
    }

    #[test]
    fn without_randomisation_a_stack_stays_above_the_mappings() {
        let vdso = ADDRESS_END - (128 << 20) - 0x4000;
        let stack = ADDRESS_END - 0x2_1000;
        let mut room = Room::new(&[
            entry(vdso..vdso + 0x2000, "[vdso]"),
            entry(stack..ADDRESS_END, "[stack]"),
        ]);
        let top = room.stack(0x3_0000, 8 << 20).expect("there is room");
        assert!(top - (8 << 20) > vdso + 0x2000 && top < stack, "{top:#x}");
        assert!(room.stack(1 << 40, 8 << 20).is_err());
    }
}
