//! Promise: no op changes the caller. Its dumpable flag, MDWE, THP, dispositions, mask, descriptors,
//! working directory, credentials and all the rest are the same before and after each op, on each
//! route, whether it succeeds or fails, and while the child lives.
//!
//! It must never look at less than all of it: what is compared is the whole of [`CallerState`], of
//! the thread that spawns and of another one.

mod before;
mod caller;
mod catalogue;
mod filter;
mod launch;
mod on_memory;
mod refusal;

use before::caller_state;
use catalogue::{Failure, Sample, failures, samples};
use embryo::{ExecFlags, MapFlags, Op, OpCode, Regset, X86Regs};
use embryo_tests::{CallerState, alone, is_root, rerun_as_nobody, skip};
use launch::{Draft, Way, c_path};
use refusal::Refusal;

#[test]
fn by_ops_that_succeed() {
    alone!();
    watched_from_another_thread(succeed_with_all);
}

#[test]
fn by_ops_that_fail() {
    alone!();
    watched_from_another_thread(fail_with_all);
}

/// The ops on memory are in no catalogue, since an image shows nothing of them: here they are all
/// together, in front of each kind of start, and in front of a fault.
#[test]
fn by_ops_on_memory() {
    alone!();
    watched_from_another_thread(|| {
        for round in 0..20 {
            let mut draft = every_op_on_memory();
            let path = c_path(&embryo_tests::probe_path());
            draft.op(&Op::ExecPath { path: &path, flags: ExecFlags::empty() });
            ["embryo-probe", "exit", "42"].iter().for_each(|arg| draft.arg(arg));
            spawned(&draft, &format!("memory and exec, round {round}"), Ok(42));

            let mut draft = every_op_on_memory();
            draft.op(&Op::Unmap { addr: STACK, len: PAGE }).op(&Op::Fail { errno: 99 });
            let regs = Regset::X86(X86Regs::at(CODE, STACK + PAGE));
            let start = Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] };
            draft.op(&start);
            spawned(&draft, &format!("memory and a fault, round {round}"), Err(99));
            if cfg!(target_arch = "x86_64") {
                let mut draft = every_op_on_memory();
                draft.op(&start);
                spawned(&draft, &format!("memory and registers, round {round}"), Ok(42));
            }
        }
    });
}

const PAGE: u64 = 4096;
const CODE: u64 = 0x1000_0000;
const STACK: u64 = 0x2000_0000;

/// A plan without a start that has every op on memory but `name-region` and, where
/// the kernel lacks it, `mm-layout`.
fn every_op_on_memory() -> Draft {
    // mov edi, 42; mov eax, 60; syscall.
    const EXIT_42: [u8; 12] = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    const MADV_WILLNEED: u32 = 3;
    let (moved, fixed) = (0x3000_0000, MapFlags::FIXED);
    let file = tempfile::tempfile().expect("a file can be made");
    file.set_len(2 * PAGE).expect("it is a file");
    let mut draft = Draft::bare();
    let slot = draft.grant(file);
    draft
        .op(&Op::Map { addr: CODE, len: PAGE, prot: 3, flags: fixed })
        .op(&Op::Write { addr: CODE, contents: &EXIT_42 })
        .op(&Op::Protect { addr: CODE, len: PAGE, prot: 5 })
        .op(&Op::Map { addr: STACK, len: PAGE, prot: 3, flags: fixed })
        .op(&Op::Fill { addr: STACK, len: 100, byte: 1 })
        .op(&Op::WriteSlot { slot, addr: STACK, len: 8, offset: 0 })
        .op(&Op::ReadSlot { slot, addr: STACK, len: 8, offset: 8 })
        .op(&Op::MapSlot { slot, addr: 0, len: PAGE, prot: 1, flags: MapFlags::SHARED, offset: 0 })
        .op(&Op::Map { addr: moved + PAGE, len: PAGE, prot: 3, flags: fixed })
        .op(&Op::Remap { addr: moved + PAGE, len: PAGE, to: moved, to_len: PAGE })
        .op(&Op::Lock { addr: moved, len: PAGE })
        .op(&Op::Advise { addr: moved, len: PAGE, advice: MADV_WILLNEED })
        .op(&Op::Unmap { addr: moved, len: PAGE })
        .op(&Op::MoveVdso { to: 0x6000_0000 })
        .op(&Op::DropVdso)
        .op(&Op::SignalAction { signal: 10, flags: 0, handler: CODE, restorer: CODE, mask: 1 });
    if let Some(layout) = on_memory::layout(CODE, STACK) {
        draft.op(&Op::MmLayout { layout: layout.as_bytes(), auxv: &[1; 16] });
    }
    draft
}

/// Spawns as any caller does, and looks at the caller while the child runs and after it.
fn spawned(draft: &Draft, what: &str, expected: Result<i32, i32>) {
    let before = caller_state();
    let outcome = embryo::spawn(&draft.build(), &launch::borrow(draft.grants()));
    let outcome = outcome.map(|mut process| {
        let mut changes = before.diff(&caller_state());
        changes.retain(|change| !change.starts_with("report.fds"));
        assert!(changes.is_empty(), "{what}: while the child runs: {changes:?}");
        process.wait().expect("it ends").code()
    });
    match (outcome, expected) {
        (Ok(code), Ok(expected)) => assert_eq!(code, Some(expected), "{what}"),
        (Err(error), Err(errno)) => {
            assert_eq!(error.raw_os_error(), Some(errno), "{what}: {error}")
        }
        (outcome, _) => panic!("{what}: {outcome:?}"),
    }
    unchanged(&before, what);
}

/// Where clone(2) has to serve, which leaves the caller's handlers in the child at first.
#[test]
fn where_clone3_is_refused() {
    alone!();
    watched_from_another_thread(|| {
        Refusal::always(libc::SYS_clone3).with(libc::ENOSYS).enforce();
        succeed_with_all();
        fail_with_all();
    });
}

/// A handler that ran in a child would run in the caller's memory. Here signals rain on the whole group
/// while children are made, with and without clone3(2) to take the handlers from them.
#[test]
fn no_handler_of_the_callers_runs_in_a_child() {
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
    static CALLER: AtomicI32 = AtomicI32::new(0);
    static HERE: AtomicU32 = AtomicU32::new(0);
    static ELSEWHERE: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: libc::c_int) {
        // SAFETY: the call takes nothing and changes nothing. It asks the kernel, not a cache.
        let own = unsafe { libc::syscall(libc::SYS_getpid) };
        let here = own == libc::c_long::from(CALLER.load(Ordering::Relaxed));
        let counter = if here { &HERE } else { &ELSEWHERE };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    alone!();
    CALLER.store(std::process::id().cast_signed(), Ordering::Relaxed);
    rustix::process::setpgid(None, None).expect("a child may lead a group");
    // SAFETY: the handler asks for a number and counts, which may be done anywhere.
    let before = unsafe { libc::signal(libc::SIGUSR1, count as *const () as libc::sighandler_t) };
    assert_ne!(before, libc::SIG_ERR);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the call takes numbers; the signal is handled.
                unsafe { libc::kill(0, libc::SIGUSR1) };
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        });
        for legacy in [false, true] {
            if legacy {
                Refusal::always(libc::SYS_clone3).with(libc::ENOSYS).enforce();
            }
            for _ in 0..300 {
                // The signal's default action is to end the child, before or after it starts.
                if let Ok(mut child) = Draft::probe(&["exit", "0"]).spawn(Way::AsRouted) {
                    assert_eq!(child.report().legacy_clone, legacy);
                    child.wait().expect("it ends");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(HERE.load(Ordering::Relaxed) > 100, "it did not rain");
    assert_eq!(ELSEWHERE.load(Ordering::Relaxed), 0, "a handler ran in a child");
}

fn succeed_with_all() {
    let samples = OpCode::ALL.iter().flat_map(|code| samples(*code));
    let launches: usize = samples.map(|sample| succeed(&sample)).sum();
    assert!(launches > OpCode::ALL.len(), "only {launches} launches");
}

fn fail_with_all() {
    // What is refused once stays refused, so those come last.
    let all = OpCode::ALL.iter().flat_map(|code| failures(*code));
    let (refused, natural): (Vec<_>, Vec<_>) = all.partition(|f| f.refusal.is_some());
    let launches: usize = natural.iter().chain(&refused).map(fail).sum();
    assert!(launches > OpCode::ALL.len(), "only {launches} launches");
}

#[test]
fn by_ops_of_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    rerun_as_nobody("by_ops_that_succeed");
    rerun_as_nobody("by_ops_that_fail");
    rerun_as_nobody("by_ops_on_memory");
    rerun_as_nobody("where_clone3_is_refused");
    rerun_as_nobody("no_handler_of_the_callers_runs_in_a_child");
}

/// Runs `spawns` on a thread of its own and checks that this thread, too, is what it was.
fn watched_from_another_thread(spawns: fn()) {
    // A caller with nothing particular about it could lose nothing. Two samples need a working
    // directory that exists.
    let caller = caller::stand_out();
    std::env::set_current_dir("/usr").expect("there is a /usr");
    let caller = CallerState { report: CallerState::capture().report, ..caller };
    before::warm_up();
    let before = caller_state();
    let differs = caller.diff(&before);
    assert!(differs.iter().all(|line| line.starts_with("report.fds")), "{differs:?}");
    let outcome = std::thread::spawn(spawns).join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    unchanged(&before, "something");
}

fn succeed(sample: &Sample) -> usize {
    if !sample.who.is_me() {
        return 0;
    }
    let mut draft = Draft::watched();
    let _ = (sample.add)(&mut draft);
    for way in draft.ways() {
        let mut draft = Draft::watched();
        let _ = (sample.add)(&mut draft);
        let what = format!("{}, {}, {way:?}", sample.code.name(), sample.name);
        let before = caller_state();
        let child = draft.watch(*way);
        // The pipes and the pidfd are there, and nothing else is new.
        let mut changes = before.diff(&caller_state());
        changes.retain(|change| !change.starts_with("report.fds"));
        assert!(changes.is_empty(), "{what}: while the child runs: {changes:?}");
        child.end();
        unchanged(&before, &what);
    }
    draft.ways().len()
}

fn fail(failure: &Failure) -> usize {
    if !failure.who.is_me() {
        return 0;
    }
    if let Some(refusal) = failure.refusal {
        refusal.enforce();
    }
    let mut draft = Draft::probe(&["exit", "0"]);
    (failure.add)(&mut draft);
    let ways: Vec<Way> = failure.ways(&draft);
    for way in &ways {
        let what = format!("{}, {}, {way:?}", failure.code.name(), failure.name);
        let before = caller_state();
        let error = draft.spawn(*way).err().unwrap_or_else(|| panic!("{what}: it did not fail"));
        assert_eq!(error.raw_os_error(), Some(failure.errno), "{what}: {error}");
        unchanged(&before, &what);
    }
    ways.len()
}

fn unchanged(before: &CallerState, what: &str) {
    let changes = before.diff(&caller_state());
    assert!(changes.is_empty(), "{what} changed the caller:\n  {}", changes.join("\n  "));
}
