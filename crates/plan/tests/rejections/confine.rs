//! Why plans are refused that confine their image.

use super::memory::{RETURN, seccomp};
use super::{Cases, EXEC_TRUE, WHOLE, all_kept, at, of_ops};
use embryo_plan::{
    ConfineOp, ExecFlags, FilterFlags, FilterOutcome, LANDLOCK_RIGHTS, LandlockFlags, Op,
    PlanBuilder, Reason, Regset, Slot, X86Regs, filter_outcome, limits,
};

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL: u32 = 0x8000_0000;

fn instruction(code: u16, if_true: u8, if_false: u8, k: u32) -> [u8; 8] {
    let ([a, b], [c, d, e, f]) = (code.to_le_bytes(), k.to_le_bytes());
    [a, b, if_true, if_false, c, d, e, f]
}

/// Answers these calls so, and all others otherwise.
fn filter(calls: &[u32], special: u32, general: u32) -> Vec<u8> {
    let mut program = vec![instruction(0x20, 0, 0, 0)];
    for call in calls {
        program.push(instruction(0x15, 0, 1, *call));
        program.push(instruction(6, 0, 0, special));
    }
    program.push(instruction(6, 0, 0, general));
    program.concat()
}

/// execve, execveat, rt_sigreturn, seccomp, sendmsg.
const CALLS: [u32; 5] =
    if cfg!(target_arch = "aarch64") { [221, 281, 139, 277, 211] } else { [59, 322, 15, 317, 46] };

fn listening(program: &[u8]) -> Op<'_> {
    Op::Seccomp { flags: FilterFlags::LISTENER, program }
}

pub(super) fn cases(cases: &mut Cases) {
    landlock(cases);
    following(cases);
    numbers_of_filters(cases);
    flags(cases);
    outcomes();
}

fn landlock(cases: &mut Cases) {
    let path = |slot, access| {
        Op::Confine(ConfineOp::LandlockPath { slot: Slot(slot), path: c"/", access })
    };
    let enforce =
        |slot| Op::Confine(ConfineOp::Landlock { slot: Slot(slot), flags: LandlockFlags::all() });
    let good = of_ops(all_kept(), &[path(0, 1), path(0, 4), enforce(0), EXEC_TRUE]);
    good.build_in_order().expect("a plan");
    for access in [0, 1 << LANDLOCK_RIGHTS.len(), u64::MAX] {
        cases.range(&path(0, access), "the access");
    }
    cases.built(&of_ops(all_kept(), &[path(0, 1), EXEC_TRUE]), at(0), Reason::RulesetUnused);
    let mut two = of_ops(all_kept(), &[path(0, 1), path(1, 1), enforce(0), EXEC_TRUE]);
    two.slot();
    cases.built(&two, at(1), Reason::RulesetUnused);
    let order = of_ops(all_kept(), &[enforce(0), path(0, 1), EXEC_TRUE]);
    cases.built(&order, at(1), Reason::Order(enforce(0).code()));
    cases.built(&of_ops(all_kept(), &[enforce(0), enforce(0), EXEC_TRUE]), at(1), Reason::Repeated);
    let late = of_ops(all_kept(), &[enforce(0), Op::NoNewPrivs, EXEC_TRUE]);
    cases.built(&late, at(1), Reason::Order(enforce(0).code()));
    let mut batch = PlanBuilder::batch();
    batch.slot();
    batch.op(&path(0, 1)).build().expect("it may be enforced by another one");
}

/// Which call, and what the filter does.
fn following(cases: &mut Cases) {
    let [execve, execveat, sigreturn, seccomp_number, sendmsg] = CALLS;
    let by_name = Op::ExecName { name: c"a", search: c"/", flags: ExecFlags::SHELL };
    let by_slot = Op::ExecSlot { slot: Slot(0), flags: ExecFlags::empty() };
    for answer in [ERRNO | 1, KILL, 0, 0x0003_0000, NOTIFY, 0x1234_5678] {
        let program = filter(&[execve], answer, ALLOW);
        for start in [EXEC_TRUE, by_name] {
            let plan = of_ops(all_kept(), &[seccomp(&program), start]);
            cases.built(&plan, at(0), Reason::FilterForbids("execve", answer));
        }
        of_ops(all_kept(), &[seccomp(&program), by_slot]).build().expect("another call");
        let program = filter(&[execveat], answer, ALLOW);
        let plan = of_ops(all_kept(), &[seccomp(&program), by_slot]);
        cases.built(&plan, at(0), Reason::FilterForbids("execveat", answer));
        of_ops(all_kept(), &[seccomp(&program), EXEC_TRUE]).build().expect("another call");
    }
    // Whatever is not named.
    let program = filter(&[sigreturn], ALLOW, KILL);
    let plan = of_ops(all_kept(), &[seccomp(&program), EXEC_TRUE]);
    cases.built(&plan, at(0), Reason::FilterForbids("execve", KILL));
    let regset = Regset::X86(X86Regs::at(0x1000, 0x2000));
    let regs = Op::StartRegs { page: 0, regset: regset.as_bytes(), leave: &[] };
    let by_registers = |ops: &[Op<'_>]| {
        let mut plan = PlanBuilder::new();
        plan.keep(all_kept());
        ops.iter().for_each(|op| _ = plan.op(op));
        plan.op(&regs);
        plan
    };
    by_registers(&[seccomp(&program)]).build().expect("its own call is let through");
    let program = filter(&[execve], ALLOW, KILL);
    let plan = by_registers(&[seccomp(&program)]);
    cases.built(&plan, at(0), Reason::FilterForbids("rt_sigreturn", KILL));
    // What depends on an argument, or on where it is called from, is not known.
    for offset in [8, 12, 16, 20, 60] {
        let depends = [
            instruction(0x20, 0, 0, offset),
            instruction(0x15, 0, 1, 7),
            instruction(6, 0, 0, ALLOW),
            instruction(6, 0, 0, KILL),
        ];
        of_ops(all_kept(), &[seccomp(&depends.concat()), EXEC_TRUE]).build().expect("may be");
    }
    // Between several.
    let program = filter(&[seccomp_number], ERRNO | 1, ALLOW);
    of_ops(all_kept(), &[seccomp(&RETURN), seccomp(&program), EXEC_TRUE]).build().expect("last");
    let plan = of_ops(all_kept(), &[seccomp(&program), seccomp(&RETURN), EXEC_TRUE]);
    cases.built(&plan, at(0), Reason::FilterForbids("seccomp", ERRNO | 1));
    let second = filter(&[execve], KILL, ALLOW);
    let plan = of_ops(all_kept(), &[seccomp(&RETURN), seccomp(&second), EXEC_TRUE]);
    cases.built(&plan, at(1), Reason::FilterForbids("execve", KILL));
    // A listener is handed over by a message, before which nobody can answer.
    for answer in [ERRNO | 1, NOTIFY] {
        let program = filter(&[sendmsg], answer, ALLOW);
        let plan = of_ops(all_kept(), &[listening(&program), EXEC_TRUE]);
        cases.built(&plan, at(0), Reason::FilterForbids("sendmsg", answer));
        // The same of a filter that is there already, and not of one that comes later.
        let quiet = of_ops(all_kept(), &[seccomp(&program), listening(&RETURN), EXEC_TRUE]);
        cases.built(&quiet, at(0), Reason::FilterForbids("sendmsg", answer));
        let program = filter(&[sendmsg], ERRNO | 1, ALLOW);
        of_ops(all_kept(), &[listening(&RETURN), seccomp(&program), EXEC_TRUE])
            .build()
            .expect("handed over before");
    }
    let program = filter(&[execve], NOTIFY, ALLOW);
    let plan = of_ops(all_kept(), &[listening(&program), EXEC_TRUE]).build().expect("answered");
    assert!(plan.as_plan().has_listener() && plan.as_plan().start_is_notified());
    let plan = of_ops(all_kept(), &[listening(&RETURN), EXEC_TRUE]).build().expect("a plan");
    assert!(plan.as_plan().has_listener() && !plan.as_plan().start_is_notified());
    for answer in [KILL, ERRNO | 1, ERRNO | 4000, 0x0003_0000, NOTIFY] {
        let text = Reason::FilterForbids("execve", answer).to_string();
        assert!(text.contains("execve(2)"), "{text}");
    }
}

fn numbers_of_filters(cases: &mut Cases) {
    let mut ops = vec![seccomp(&RETURN); limits::FILTERS_MAX as usize];
    ops.push(EXEC_TRUE);
    of_ops(all_kept(), &ops).build_in_order().expect("as many as there may be");
    ops.insert(0, seccomp(&RETURN));
    let last = limits::FILTERS_MAX as usize;
    cases.built(&of_ops(all_kept(), &ops), at(last), Reason::TooManyFilters);
    let two = of_ops(all_kept(), &[listening(&RETURN), listening(&RETURN), EXEC_TRUE]);
    cases.built(&two, at(1), Reason::TwoListeners);
    let regset = Regset::X86(X86Regs::at(0x1000, 0x2000));
    let start = Op::StartRegs { page: 0, regset: regset.as_bytes(), leave: &[] };
    for ops in [vec![seccomp(&RETURN); 2], vec![listening(&RETURN)]] {
        let mut plan = PlanBuilder::new();
        plan.keep(all_kept());
        ops.iter().for_each(|op| _ = plan.op(op));
        plan.op(&start);
        cases.built(&plan, at(ops.len()), Reason::FiltersOnlyWithExec);
    }
    let strict = of_ops(all_kept(), &[seccomp(&RETURN), Op::SeccompStrict, EXEC_TRUE]);
    cases.built(&strict, at(1), Reason::Repeated);
    let mut batch = PlanBuilder::batch();
    batch.op(&seccomp(&RETURN));
    cases.built(&batch, WHOLE, Reason::OnlyAtStart);
}

fn flags(cases: &mut Cases) {
    let alone = Op::Seccomp { flags: FilterFlags::WAIT_KILLABLE, program: &RETURN };
    cases.range(&alone, "a flag (wait-killable without a listener)");
}

/// What a program does, where arguments are known and where they are not.
fn outcomes() {
    let check = |program: &[[u8; 8]], args: [Option<u64>; 6], expected: FilterOutcome| {
        let program = program.concat();
        embryo_plan::check_filter(&program).expect("a program");
        assert_eq!(filter_outcome(&program, 1, 2, &args), expected, "{program:x?}");
    };
    let ret = |k| instruction(6, 0, 0, k);
    let load = |offset| instruction(0x20, 0, 0, offset);
    let unknown = [None; 6];
    check(&[ret(ALLOW)], unknown, FilterOutcome::Allowed);
    check(&[ret(0x7ffc_0000)], unknown, FilterOutcome::Allowed);
    check(&[ret(NOTIFY)], unknown, FilterOutcome::Notified);
    check(&[ret(0x7ff0_0000)], unknown, FilterOutcome::Depends);
    check(&[ret(ERRNO | 5)], unknown, FilterOutcome::Refused(ERRNO | 5));
    // Number and architecture.
    for (offset, value) in [(0, 2), (4, 1)] {
        let program = [load(offset), instruction(0x15, 0, 1, value), ret(ALLOW), ret(KILL)];
        check(&program, unknown, FilterOutcome::Allowed);
    }
    // Both halves of an argument, and one that does not matter to the end.
    let args = [None, Some(0x5_0000_0006), None, None, None, None];
    for (offset, value) in [(24, 6), (28, 5)] {
        let program = [load(offset), instruction(0x15, 0, 1, value), ret(ALLOW), ret(KILL)];
        check(&program, args, FilterOutcome::Allowed);
        check(&program, unknown, FilterOutcome::Depends);
    }
    let both = [load(16), instruction(0x15, 0, 1, 3), ret(ERRNO | 1), ret(KILL)];
    check(&both, unknown, FilterOutcome::Refused(KILL));
    // Arithmetic, scratch memory and the other register: (2 * 3 + 1) ^ 2 = 5, kept, and compared.
    let program = [
        load(0),
        instruction(0x24, 0, 0, 3),
        instruction(0x04, 0, 0, 1),
        instruction(0xa4, 0, 0, 2),
        instruction(0x02, 0, 0, 7),
        instruction(0x00, 0, 0, 0),
        instruction(0x61, 0, 0, 7),
        instruction(0x87, 0, 0, 0),
        instruction(0x1d, 0, 2, 0),
        instruction(0x25, 0, 1, 4),
        instruction(0x45, 0, 1, 1),
        ret(KILL),
        ret(ALLOW),
    ];
    check(&program, unknown, FilterOutcome::Refused(KILL));
    // Division by a register that is zero ends the program.
    let program = [instruction(0x01, 0, 0, 0), instruction(0x3c, 0, 0, 0), ret(ALLOW)];
    check(&program, unknown, FilterOutcome::Depends);
    // A return by register.
    check(
        &[instruction(0x00, 0, 0, ALLOW), instruction(0x16, 0, 0, 0)],
        unknown,
        FilterOutcome::Allowed,
    );
    check(&[load(16), instruction(0x16, 0, 0, 0)], unknown, FilterOutcome::Depends);
    // So many branches that nobody would come to an end of them.
    let mut many = vec![load(16)];
    for value in 0..2000 {
        many.push(instruction(0x15, 1, 0, value));
        many.push(instruction(0x00, 0, 0, 0));
        many.push(load(16));
    }
    many.truncate(4000);
    many.push(ret(KILL));
    check(&many, unknown, FilterOutcome::Depends);
}
