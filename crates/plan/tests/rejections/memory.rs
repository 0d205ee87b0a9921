//! What is refused of the ops on memory and of the start by registers.
//!
//! A case must never break two rules: what it names would then depend on their order.

use super::{Cases, EXEC_TRUE, WHOLE, all_kept, at, of_ops};
use crate::raw::Raw;
use embryo_plan::{
    ArmRegs, FilterFlags, Layout, MapFlags, Op, OpCode, PlanBuilder, RawPlan, Reason, Regset, Slot,
    X86Regs, limits,
};

const PAGE: u64 = limits::PAGE;
const END: u64 = limits::ADDRESS_END;
const UNALIGNED: &str = "the address (it is not page-aligned)";
const RAGGED: &str = "the length (it is not a multiple of the page)";
const ZERO: &str = "the length (zero)";
const BEYOND: &str = "the address (beyond the end of the address space)";

pub(crate) fn cases(cases: &mut Cases) {
    regions(cases);
    mappings(cases);
    stretches(cases);
    actions(cases);
    layouts(cases);
    names(cases);
    registers(cases);
    starts(cases);
    vectors(cases);
    threads(cases);
    filters(cases);
}

/// Every op on whole pages, of this region.
fn on_pages(addr: u64, len: u64) -> [Op<'static>; 9] {
    let flags = MapFlags::empty();
    [
        Op::Map { addr, len, prot: 0, flags },
        Op::MapSlot { slot: Slot(0), addr, len, prot: 0, flags, offset: 0 },
        Op::Unmap { addr, len },
        Op::Protect { addr, len, prot: 0 },
        Op::Remap { addr, len, to: 0, to_len: PAGE },
        Op::Remap { addr: PAGE, len: PAGE, to: addr, to_len: len },
        Op::Advise { addr, len, advice: 0 },
        Op::Lock { addr, len },
        Op::NameRegion { addr, len, name: c"a" },
    ]
}

fn regions(cases: &mut Cases) {
    for op in on_pages(END - PAGE, PAGE) {
        assert!(of_ops(all_kept(), &[op, EXEC_TRUE]).build_in_order().is_ok(), "{op}");
    }
    for (addr, len, what) in [
        (PAGE + 1, PAGE, UNALIGNED),
        (PAGE, PAGE - 1, RAGGED),
        (PAGE, 0, ZERO),
        (END, PAGE, BEYOND),
        (PAGE, END, BEYOND),
        (PAGE, !(PAGE - 1), BEYOND),
        (!(PAGE - 1), PAGE, BEYOND),
    ] {
        for op in on_pages(addr, len) {
            cases.range(&op, what);
        }
    }
}

fn mappings(cases: &mut Cases) {
    let flags = MapFlags::FIXED;
    cases.range(&Op::Map { addr: 0, len: PAGE, prot: 0, flags }, "the address (fixed at 0)");
    let flags = MapFlags::empty();
    let of_file =
        |len, prot, flags, offset| Op::MapSlot { slot: Slot(0), addr: 0, len, prot, flags, offset };
    cases.range(&of_file(PAGE, 0, MapFlags::FIXED, 0), "the address (fixed at 0)");
    cases.range(&Op::Map { addr: 0, len: PAGE, prot: 8, flags }, "the protection");
    cases.range(&of_file(PAGE, 8, flags, 0), "the protection");
    cases.range(&Op::Protect { addr: PAGE, len: PAGE, prot: 8 }, "the protection");
    cases.range(&of_file(PAGE, 0, flags, 1), "the offset");
    cases.range(&of_file(PAGE, 0, flags, !(PAGE - 1)), "the offset");
    // A flag that no mapping has.
    let op = Op::Map { addr: 0, len: PAGE, prot: 0, flags };
    let mut raw = Raw::of(&of_ops(all_kept(), &[op, EXEC_TRUE]).build().expect("it is a plan"));
    raw.entries[0].flags = 32.into();
    cases.bytes(&raw.bytes(), at(0), Reason::UnknownFlags);
}

fn stretches(cases: &mut Cases) {
    let slot = Slot(0);
    for (addr, len, what) in [(1, 0, ZERO), (END, 1, BEYOND), (1, END, BEYOND), (1, !0, BEYOND)] {
        cases.range(&Op::WriteSlot { slot, addr, len, offset: 0 }, what);
        cases.range(&Op::ReadSlot { slot, addr, len, offset: 0 }, what);
        cases.range(&Op::Fill { addr, len, byte: 0 }, what);
    }
    for offset in [1 << 63, (1 << 63) - 1, !0] {
        cases.range(&Op::WriteSlot { slot, addr: 0, len: 1, offset }, "the offset");
        cases.range(&Op::ReadSlot { slot, addr: 0, len: 1, offset }, "the offset");
    }
    cases.range(&Op::Write { addr: END, contents: b"x" }, BEYOND);
    cases.range(&Op::Write { addr: !0, contents: b"x" }, BEYOND);
    let nothing = of_ops(all_kept(), &[Op::Write { addr: 0, contents: b"" }, EXEC_TRUE]);
    cases.built(&nothing, at(0), Reason::Empty);
    // More than a byte, which would otherwise be a second encoding of its lowest part.
    let op = Op::Fill { addr: 0, len: 1, byte: 1 };
    let mut raw = Raw::of(&of_ops(all_kept(), &[op, EXEC_TRUE]).build().expect("it is a plan"));
    raw.entries[0].args[2] = 0x101.into();
    cases.bytes(&raw.bytes(), at(0), Reason::OutOfRange("a value"));
}

fn actions(cases: &mut Cases) {
    let action = |signal, handler, restorer, mask| Op::SignalAction {
        signal,
        flags: !0,
        handler,
        restorer,
        mask,
    };
    for signal in [0, 9, 19, 65, !0] {
        cases.range(&action(signal, 0, 0, 0), "the signal");
    }
    cases.range(&action(1, END, 0, 0), "an address");
    cases.range(&action(1, 0, !0, 0), "an address");
    cases.range(&action(1, 0, 0, 1 << 8), "the mask");
    cases.range(&action(1, 0, 0, 1 << 18), "the mask");
}

fn layouts(cases: &mut Cases) {
    let sound = Layout { end_code: 1.into(), ..Layout::default() };
    let of = |layout: &Layout, auxv: &[u8]| {
        of_ops(all_kept(), &[Op::MmLayout { layout: layout.as_bytes(), auxv }, EXEC_TRUE])
    };
    assert!(of(&sound, &[]).build_in_order().is_ok());
    let (one, two) = (1.into(), 2.into());
    for (layout, what) in [
        (Layout { end_code: 0.into(), ..sound }, "end_code (not above start_code)"),
        (Layout { start_code: two, ..sound }, "end_code (not above start_code)"),
        (Layout { start_data: one, ..sound }, "end_data (below start_data)"),
        (Layout { start_brk: one, ..sound }, "brk (below start_brk)"),
        (Layout { arg_start: one, ..sound }, "arg_end (below arg_start)"),
        (Layout { env_start: one, ..sound }, "env_end (below env_start)"),
    ] {
        cases.built(&of(&layout, &[]), at(0), Reason::OutOfRange(what));
    }
    // Each address on its own, behind those that may not lie above it.
    let (end, last) = (END.into(), (END - 1).into());
    let high = Layout { end_code: last, end_data: last, brk: last, arg_end: last, ..sound };
    let high = Layout { start_stack: last, env_end: last, ..high };
    assert!(of(&high, &[]).build_in_order().is_ok());
    let what = "an address (beyond the end of the address space)";
    for layout in [
        Layout { end_code: end, ..high },
        Layout { end_data: end, ..high },
        Layout { brk: end, ..high },
        Layout { start_stack: end, ..high },
        Layout { arg_end: end, ..high },
        Layout { env_end: u64::MAX.into(), ..high },
    ] {
        cases.built(&of(&layout, &[]), at(0), Reason::OutOfRange(what));
    }
    let pair = [1; 16];
    assert!(of(&sound, &pair.repeat(limits::AUXV_BYTES_MAX / 16)).build_in_order().is_ok());
    let more = pair.repeat(limits::AUXV_BYTES_MAX / 16 + 1);
    for auxv in [&pair[1..], &more] {
        cases.built(&of(&sound, auxv), at(0), Reason::DataLength);
    }
    for len in [1, 80, 87, 89, 96] {
        let layout = vec![0; len];
        let plan = of_ops(all_kept(), &[Op::MmLayout { layout: &layout, auxv: &[] }, EXEC_TRUE]);
        cases.built(&plan, at(0), Reason::DataLength);
    }
    let empty = of_ops(all_kept(), &[Op::MmLayout { layout: &[], auxv: &[] }, EXEC_TRUE]);
    cases.built(&empty, at(0), Reason::Empty);
    cases.range(&Op::MoveVdso { to: 1 }, UNALIGNED);
    cases.range(&Op::MoveVdso { to: END }, BEYOND);
    cases.range(&Op::MoveVdso { to: !(PAGE - 1) }, BEYOND);
}

fn names(cases: &mut Cases) {
    let plan = |name: &[u8]| {
        let name = std::ffi::CString::new(name).expect("no NUL inside");
        of_ops(all_kept(), &[Op::NameRegion { addr: PAGE, len: PAGE, name: &name }, EXEC_TRUE])
    };
    assert!(plan(&[b'a'; limits::REGION_NAME_BYTES_MAX - 1]).build_in_order().is_ok());
    cases.built(&plan(&[b'a'; limits::REGION_NAME_BYTES_MAX]), at(0), Reason::StringTooLong);
    cases.built(&plan(b""), at(0), Reason::Empty);
}

fn started(page: u64, regset: &[u8], leave: &[u8]) -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    plan.keep(all_kept()).op(&Op::StartRegs { page, regset, leave });
    plan
}

fn registers(cases: &mut Cases) {
    let x86 = X86Regs::at(PAGE, PAGE);
    let wide = END.into();
    for (regs, what) in [
        (X86Regs { rip: wide, ..x86 }, "the instruction pointer"),
        (X86Regs { rsp: wide, ..x86 }, "the stack pointer"),
        (X86Regs { fs_base: wide, ..x86 }, "fs_base"),
        (X86Regs { gs_base: u64::MAX.into(), ..x86 }, "gs_base"),
        // Trap, I/O privilege, virtual-8086, and what no processor has.
        (X86Regs { rflags: (1 << 8).into(), ..x86 }, "rflags"),
        (X86Regs { rflags: (3 << 12).into(), ..x86 }, "rflags"),
        (X86Regs { rflags: (1 << 17).into(), ..x86 }, "rflags"),
        (X86Regs { rflags: (1 << 63).into(), ..x86 }, "rflags"),
    ] {
        let plan = started(0, Regset::X86(regs).as_bytes(), &[]);
        cases.built(&plan, at(0), Reason::OutOfRange(what));
    }
    let Some(Regset::Arm(arm)) = Regset::read(&[0; 280]) else { panic!("it is a set of aarch64") };
    for (regs, what) in [
        (ArmRegs { pc: (1 << 48).into(), ..arm }, "the program counter"),
        (ArmRegs { pc: 2.into(), ..arm }, "the program counter"),
        (ArmRegs { sp: (1 << 48).into(), ..arm }, "the stack pointer"),
        (ArmRegs { pstate: 1.into(), ..arm }, "pstate"),
    ] {
        let plan = started(0, Regset::Arm(regs).as_bytes(), &[]);
        cases.built(&plan, at(0), Reason::OutOfRange(what));
    }
    for len in [1, 159, 161, 168, 279, 281, 671, 673, 735, 737, 807, 809, 4257, 4320] {
        cases.built(&started(0, &vec![0; len], &[]), at(0), Reason::DataLength);
    }
    cases.built(&started(0, &[], &[]), at(0), Reason::Empty);
}

fn starts(cases: &mut Cases) {
    let regs = Regset::X86(X86Regs::at(PAGE, PAGE));
    let regset = regs.as_bytes();
    for page in [1, END, !(PAGE - 1)] {
        cases.built(&started(page, regset, &[]), at(0), Reason::OutOfRange("the page"));
    }
    let range = |addr: u64, len: u64| [addr.to_le_bytes(), len.to_le_bytes()].concat();
    for (addr, len, what) in [
        (1, PAGE, UNALIGNED),
        (PAGE, 1, RAGGED),
        (PAGE, 0, ZERO),
        (END, PAGE, BEYOND),
        (PAGE, !(PAGE - 1), BEYOND),
    ] {
        // Behind a sound one: each of them is looked at.
        let leave = [range(PAGE, PAGE), range(addr, len)].concat();
        cases.built(&started(0, regset, &leave), at(0), Reason::OutOfRange(what));
    }
    let most = range(PAGE, PAGE).repeat(limits::RANGES_MAX);
    assert!(started(0, regset, &most).build_in_order().is_ok());
    let more = range(PAGE, PAGE).repeat(limits::RANGES_MAX + 1);
    cases.built(&started(0, regset, &more), at(0), Reason::DataLength);
    cases.built(&started(0, regset, &most[1..]), at(0), Reason::DataLength);

    let mut plan = started(0, regset, &[]);
    cases.built(plan.arg(""), WHOLE, Reason::StringsWithRegisters);
    let mut plan = started(0, regset, &[]);
    cases.built(plan.env("A", "1"), WHOLE, Reason::StringsWithRegisters);
    let mut plan = started(0, regset, &[]);
    cases.built(plan.op(&EXEC_TRUE), at(1), Reason::AfterStart);
    let mut batch = PlanBuilder::batch();
    batch.op(&Op::StartRegs { page: 0, regset, leave: &[] });
    cases.built(&batch, WHOLE, Reason::BatchWithImage);

    // The ops on memory come after what is said of the process, and before its signals.
    let unmap = Op::Unmap { addr: PAGE, len: PAGE };
    let action = Op::SignalAction { signal: 1, flags: 0, handler: 0, restorer: 0, mask: 0 };
    let early = [unmap, Op::NoNewPrivs, EXEC_TRUE];
    cases.built(&of_ops(all_kept(), &early), at(1), Reason::Order(OpCode::Unmap));
    let late = [action, unmap, EXEC_TRUE];
    cases.built(&of_ops(all_kept(), &late), at(1), Reason::Order(OpCode::SignalAction));
    let again = of_ops(all_kept(), &[unmap, unmap, action, action, EXEC_TRUE]);
    let again = again.build_in_order().expect("they may be repeated");
    assert!(RawPlan(again.as_bytes()).check().is_ok());
}

/// Vector state behind the registers.
fn vectors(cases: &mut Cases) {
    let with = |general: usize, len: usize, at: usize, byte: u8| {
        let mut regset = vec![0; general + len];
        regset[general + at] = byte;
        started(0, &regset, &[])
    };
    for len in [512, 576, 832, 4096] {
        assert!(with(160, len, 0, 1).build_in_order().is_ok(), "{len}");
    }
    assert!(with(280, 528, 512, 1).build_in_order().is_ok());
    for (general, len, at, what) in [
        (160, 512, 26, "a reserved bit of mxcsr"),
        (160, 576, 27, "a reserved bit of mxcsr"),
        (160, 512, 464, "what stands at 464 of the state"),
        (160, 576, 511, "what stands at 464 of the state"),
        // Components 8, 10 and 17 (AMX), and those that there are not.
        (160, 576, 514, "a component of the state"),
        (160, 576, 519, "a component of the state"),
        (160, 576, 520, "the header of the state"),
        (160, 576, 527, "the header of the state"),
        (160, 832, 575, "the header of the state"),
        (280, 528, 516, "fpsr"),
        (280, 528, 527, "fpcr"),
    ] {
        cases.built(&with(general, len, at, 0x80), at_start(), Reason::OutOfRange(what));
    }
    cases.built(
        &with(160, 576, 513, 1),
        at_start(),
        Reason::OutOfRange("a component of the state"),
    );
    cases.built(
        &with(160, 576, 512, 8),
        at_start(),
        Reason::OutOfRange("a component of the state"),
    );
}

fn at_start() -> Option<u32> {
    at(0)
}

fn threads(cases: &mut Cases) {
    let regs = Regset::X86(X86Regs::at(PAGE, PAGE));
    let regset = regs.as_bytes();
    let start = Op::StartRegs { page: 0, regset, leave: &[] };
    let plan = |ops: &[Op<'_>]| {
        let mut plan = PlanBuilder::new();
        plan.keep(all_kept());
        ops.iter().for_each(|op| _ = plan.op(op));
        plan
    };
    let thread = |mask, clear_tid| Op::Thread { mask, clear_tid, regset };
    for (op, what) in [
        (thread(1 << 8, 0), "the mask"),
        (thread(1 << 18, 0), "the mask"),
        (thread(0, 2), "the word to clear"),
        (thread(0, END), "the word to clear"),
    ] {
        cases.built(&plan(&[op, start]), at(0), Reason::OutOfRange(what));
    }
    let wide = Regset::X86(X86Regs { rip: (1 << 47).into(), ..X86Regs::at(0, 0) });
    let op = Op::Thread { mask: 0, clear_tid: 0, regset: wide.as_bytes() };
    cases.built(&plan(&[op, start]), at(0), Reason::OutOfRange("the instruction pointer"));
    let most = limits::THREADS_MAX as usize;
    let mut ops = vec![thread(0, 0); most];
    ops.push(start);
    assert!(plan(&ops).build_in_order().is_ok());
    ops.insert(0, thread(0, 0));
    cases.built(&plan(&ops), at(most), Reason::TooManyThreads);

    // With an exec, or in a batch, there is nothing for them to start in.
    cases.built(&of_ops(all_kept(), &[thread(0, 0), EXEC_TRUE]), at(1), Reason::OnlyWithRegisters);
    cases.built(
        &of_ops(all_kept(), &[Op::SeccompStrict, EXEC_TRUE]),
        at(1),
        Reason::OnlyWithRegisters,
    );
    for op in [thread(0, 0), Op::SeccompStrict, seccomp(&RETURN)] {
        let mut batch = PlanBuilder::batch();
        batch.op(&op);
        cases.built(&batch, WHOLE, Reason::OnlyAtStart);
    }
    cases.built(
        &plan(&[Op::SeccompStrict, thread(0, 0), start]),
        at(1),
        Reason::Order(OpCode::SeccompStrict),
    );
    cases.built(&plan(&[Op::SeccompStrict, seccomp(&RETURN), start]), at(1), Reason::Repeated);
    cases.built(
        &of_ops(all_kept(), &[seccomp(&RETURN), Op::NoNewPrivs, EXEC_TRUE]),
        at(1),
        Reason::Order(OpCode::Seccomp),
    );
}

/// `ret ALLOW`.
pub(crate) const RETURN: [u8; 8] = [6, 0, 0, 0, 0, 0, 0xff, 0x7f];

pub(crate) fn seccomp(program: &[u8]) -> Op<'_> {
    Op::Seccomp { flags: FilterFlags::empty(), program }
}

fn filters(cases: &mut Cases) {
    let plan = |program: &[u8]| of_ops(all_kept(), &[seccomp(program), EXEC_TRUE]);
    let of = |code: u16, branches: u16, k: u32| {
        (u64::from(code) | u64::from(branches) << 16 | u64::from(k) << 32).to_le_bytes()
    };
    assert!(plan(&RETURN.repeat(4096)).build_in_order().is_ok());
    cases.built(&plan(&RETURN.repeat(4097)), at(0), Reason::DataLength);
    for len in [1, 7, 9] {
        cases.built(&plan(&RETURN.repeat(2)[..len]), at(0), Reason::DataLength);
    }
    cases.built(&plan(&[]), at(0), Reason::Empty);
    let (behind, looks) =
        ("it jumps behind the end", "it looks outside struct seccomp_data, or between its words");
    let unstored = "it loads scratch memory that is not stored to on every way there";
    for (code, branches, k, what) in [
        // mod, ldb, ldh [k], ld [x+k], and no code at all.
        (0x94, 0, 1, "a filter has no such instruction"),
        (0x30, 0, 0, "a filter has no such instruction"),
        (0x28, 0, 0, "a filter has no such instruction"),
        (0x40, 0, 0, "a filter has no such instruction"),
        (0xffff, 0, 0, "a filter has no such instruction"),
        (0x34, 0, 0, "it divides by zero"),
        (0x64, 0, 32, "it shifts by 32 or more"),
        (0x74, 0, u32::MAX, "it shifts by 32 or more"),
        (0x20, 0, 64, looks),
        (0x20, 0, 2, looks),
        (0x20, 0, u32::MAX, looks),
        (0x02, 0, 16, "scratch memory has 16 words"),
        (0x61, 0, u32::MAX, "scratch memory has 16 words"),
        (0x60, 0, 0, unstored),
        (0x05, 0, 1, behind),
        (0x05, 0, u32::MAX, behind),
        (0x15, 1, 0, behind),
        (0x15, 0x0100, 0, behind),
    ] {
        let program = [of(0, 0, 0), of(code, branches, k), RETURN].concat();
        cases.built(&plan(&program), at(0), Reason::Filter(1, what));
    }
    // Stored on one of two ways only: jeq skips the store.
    let program = [of(0x15, 1, 0), of(0x02, 0, 3), of(0x60, 0, 3), RETURN].concat();
    cases.built(&plan(&program), at(0), Reason::Filter(2, unstored));
    cases.built(
        &plan(&[RETURN, of(0, 0, 0)].concat()),
        at(0),
        Reason::Filter(1, "the last one does not return"),
    );
    let mut raw = Raw::of(&plan(&RETURN).build().expect("it is a plan"));
    // TSYNC has no bit here.
    raw.entries[0].flags = 16.into();
    cases.bytes(&raw.bytes(), at(0), Reason::UnknownFlags);
}
