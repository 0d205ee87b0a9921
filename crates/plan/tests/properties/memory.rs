//! Ops on memory at random, and starts by registers.
//!
//! It must never make an op that the checker refuses: the properties are about plans.

use super::{Given, slot};
use embryo_plan::{FilterFlags, MapFlags, Op, Regset, X86Regs, limits};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ffi::CString;

/// Whole pages below the end of memory, and not at its beginning.
fn region() -> impl Strategy<Value = [u64; 2]> + Clone {
    let end = limits::ADDRESS_END / limits::PAGE;
    (1..end, 1..1u64 << 40)
        .prop_map(move |(at, len)| [at, len.min(end - at)].map(|pages| pages * limits::PAGE))
}

/// Some bytes below the end of memory.
fn stretch() -> impl Strategy<Value = [u64; 2]> + Clone {
    (0..limits::ADDRESS_END, 1..1u64 << 40)
        .prop_map(|(at, len)| [at, len.min(limits::ADDRESS_END - at)])
}

fn mapping() -> impl Strategy<Value = Given> {
    let flags = || (0..=MapFlags::all().bits()).prop_map(MapFlags::from_bits_retain);
    let addr = (region(), any::<bool>(), flags()).prop_map(|([addr, len], chosen, flags)| {
        let addr = if chosen || flags.contains(MapFlags::FIXED) { addr } else { 0 };
        ([addr, len.min(limits::ADDRESS_END - 2 * limits::PAGE)], flags)
    });
    let map = (addr.clone(), 0u32..8).prop_map(|(([addr, len], flags), prot)| Op::Map {
        addr,
        len,
        prot,
        flags,
    });
    let of_file = (addr, 0u32..8, slot(), 0u64..1 << 40).prop_map(
        |(([addr, len], flags), prot, slot, pages)| {
            let offset = pages * limits::PAGE;
            Op::MapSlot { slot, addr, len, prot, flags, offset }
        },
    );
    prop_oneof![map, of_file].prop_map(Given::Plain)
}

/// What is done to memory, but for mapping it.
fn on_memory() -> impl Strategy<Value = Given> {
    let numbers = (region(), 0u32..8).boxed();
    let files = (slot(), stretch(), 0u64..1 << 62).boxed();
    let set = any::<u64>().prop_map(|set| set & !(1 << 8 | 1 << 18));
    let address = || 0..limits::ADDRESS_END;
    let signal = (1u32..=64).prop_filter("it can be handled", |signal| ![9, 19].contains(signal));
    let name = vec(1u8.., 1..limits::REGION_NAME_BYTES_MAX)
        .prop_map(|bytes| CString::new(bytes).expect("no byte is NUL"));
    let plain = prop_oneof![
        region().prop_map(|[addr, len]| Op::Unmap { addr, len }),
        region().prop_map(|[addr, len]| Op::Lock { addr, len }),
        numbers.clone().prop_map(|([addr, len], prot)| Op::Protect { addr, len, prot }),
        numbers.prop_map(|([addr, len], advice)| Op::Advise { addr, len, advice }),
        (region(), region())
            .prop_map(|([addr, len], [to, to_len])| { Op::Remap { addr, len, to, to_len } }),
        files
            .clone()
            .prop_map(|(slot, [addr, len], offset)| { Op::WriteSlot { slot, addr, len, offset } }),
        files.prop_map(|(slot, [addr, len], offset)| Op::ReadSlot { slot, addr, len, offset }),
        (stretch(), any::<u8>()).prop_map(|([addr, len], byte)| Op::Fill { addr, len, byte }),
        (signal, any::<u32>(), address(), address(), set).prop_map(
            |(signal, flags, handler, restorer, mask)| {
                Op::SignalAction { signal, flags, handler, restorer, mask }
            }
        ),
        (region(), any::<bool>())
            .prop_map(|([to, _], chosen)| Op::MoveVdso { to: if chosen { to } else { 0 } }),
        Just(Op::DropVdso),
    ];
    prop_oneof![
        9 => plain.prop_map(Given::Plain),
        1 => (region(), name).prop_map(|(region, name)| Given::NameRegion(region, name)),
        1 => layout(),
        1 => (0..limits::ADDRESS_END - 64, vec(any::<u8>(), 1..64))
            .prop_map(|(addr, contents)| Given::Write(addr, contents)),
    ]
}

/// Where a program's parts are, each end behind its start, and perhaps a vector.
fn layout() -> impl Strategy<Value = Given> {
    let pair = || (0..limits::ADDRESS_END - 1, 0..limits::ADDRESS_END - 1);
    let code = pair().prop_map(|(a, b)| [a.min(b), a.max(b) + 1]);
    let ordered = || pair().prop_map(|(a, b)| [a.min(b), a.max(b)]);
    let words = (code, ordered(), ordered(), 0..limits::ADDRESS_END, ordered(), ordered());
    let auxv = vec(any::<[u64; 2]>(), 0..limits::AUXV_BYTES_MAX / 16);
    (words, auxv).prop_map(|((code, data, brk, stack, args, env), auxv)| {
        let words = [&code[..], &data, &brk, &[stack], &args, &env].concat();
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Given::MmLayout(bytes(&words), bytes(auxv.as_flattened()))
    })
}

/// Some ops on memory, mostly on memory that nobody has.
pub(crate) fn memory() -> impl Strategy<Value = Vec<Given>> {
    vec(prop_oneof![mapping(), on_memory()], 0..6)
}

/// A filter out of instructions that are right wherever they stand, or strict mode.
pub(crate) fn filter() -> impl Strategy<Value = Vec<Given>> {
    let instruction = prop_oneof![
        // ld [k], ld #k, add #k, lsh #k, tax, st M[k].
        (0u64..16).prop_map(|k| (k * 4) << 32 | 0x20),
        any::<u32>().prop_map(|k| u64::from(k) << 32),
        any::<u32>().prop_map(|k| u64::from(k) << 32 | 0x04),
        (0u64..32).prop_map(|k| k << 32 | 0x64),
        Just(0x07),
        (0u64..16).prop_map(|k| k << 32 | 0x02),
        // jeq #k to the next one, either way; ret #k.
        any::<u32>().prop_map(|k| u64::from(k) << 32 | 0x15),
        any::<u32>().prop_map(|k| u64::from(k) << 32 | 0x06),
    ];
    let program = vec(instruction, 0..20).prop_map(|mut words| {
        words.push(0x06);
        // Whatever it does: it may let any call through, depending on where that is made.
        let may = [8 << 32 | 0x20, 7 << 32 | 1 << 24 | 0x15, 0x7fff_0000 << 32 | 6];
        words.splice(0..0, may);
        words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
    });
    let program = program.boxed();
    let flags = (0..=FilterFlags::all().bits()).prop_map(FilterFlags::from_bits_retain);
    let flags = flags.prop_map(|flags| match flags.contains(FilterFlags::LISTENER) {
        true => flags,
        false => flags - FilterFlags::WAIT_KILLABLE,
    });
    let several = (flags.clone(), vec(program.clone(), 1..4)).prop_map(|(flags, programs)| {
        let filter = |(index, program)| match index {
            0 => Given::Seccomp(flags, program),
            _ => Given::Seccomp(FilterFlags::LOG, program),
        };
        programs.into_iter().enumerate().map(filter).collect()
    });
    prop_oneof![
        several,
        Just(vec![]),
        Just(vec![Given::Plain(Op::SeccompStrict)]),
        (flags, program).prop_map(|(flags, program)| vec![Given::Seccomp(flags, program)]),
    ]
}

/// Some threads besides the first.
pub(crate) fn threads() -> impl Strategy<Value = Vec<Given>> {
    let set = any::<u64>().prop_map(|set| set & !(1 << 8 | 1 << 18));
    let thread = (set, 0..limits::ADDRESS_END, regset())
        .prop_map(|(mask, word, regset)| Given::Thread(mask, word & !3, regset));
    vec(thread, 0..4)
}

/// Registers of either machine, with or without the state of its vectors.
fn regset() -> impl Strategy<Value = Vec<u8>> {
    let address = || 0..limits::ADDRESS_END;
    let x86 = (any::<[u64; 4]>(), address(), address(), address(), address(), any::<u64>())
        .prop_map(|(plain, rip, rsp, fs, gs, flags)| {
            let [rax, rbx, r8, r15] = plain.map(Into::into);
            let (fs_base, gs_base) = (fs.into(), gs.into());
            let rflags = (flags & 0x5_0ed7).into();
            let at = X86Regs::at(rip, rsp);
            let regs = X86Regs { rax, rbx, r8, r15, fs_base, gs_base, rflags, ..at };
            Regset::X86(regs).as_bytes().to_vec()
        });
    let arm = (vec(any::<u64>(), 31), address(), address(), any::<u64>(), any::<u64>()).prop_map(
        |(mut words, sp, pc, pstate, tpidr)| {
            words.extend([sp, pc & !3, pstate & 0xf000_0000, tpidr]);
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        },
    );
    let vectors = |len: usize, zero: &'static [std::ops::Range<usize>]| {
        vec(any::<u8>(), len).prop_map(move |mut state| {
            zero.iter().for_each(|range| state[range.clone()].fill(0));
            state
        })
    };
    let x86_state = prop_oneof![
        Just(vec![]),
        vectors(512, &[26..28, 464..512]),
        vectors(1024, &[26..28, 464..512, 513..576]).prop_map(|mut state| {
            state[512] &= 0xe7;
            state
        }),
    ];
    let arm_state = prop_oneof![Just(vec![]), vectors(528, &[516..520, 524..528])];
    let with = |(regs, state): (Vec<u8>, Vec<u8>)| [regs, state].concat();
    prop_oneof![(x86, x86_state).prop_map(with), (arm, arm_state).prop_map(with)]
}

/// A start by registers, of either machine.
pub(crate) fn registers() -> impl Strategy<Value = Given> {
    let leave = vec(region(), 0..4).prop_map(|ranges| {
        ranges.iter().flatten().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
    });
    let page = prop_oneof![Just(0), region().prop_map(|[addr, _]| addr)];
    (page, regset(), leave).prop_map(|(page, regset, leave)| Given::StartRegs(page, regset, leave))
}
