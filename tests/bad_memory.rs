//! Promise: whatever is wrong with an embryo's memory, or lacking for one, is a clear error for its
//! owner, never a hang; the embryo goes on, and when it is dropped nothing is left.
//!
//! What no plan may say is refused where plans are made (`crates/plan/tests/rejections/memory.rs`)
//! and, before anything happens, in `live_embryo.rs`. It must never wait longer than a launch may.

use embryo::{
    Embryo, Error, Keep, MapFlags, Op, Plan, PlanBuilder, Process, Regset, Slot, SpawnError,
    SpawnOptions, Step, X86Regs,
};
use embryo_tests::{
    Leftovers, alone, assert_nothing_left, is_root, rerun_as_nobody, skip, wait_for,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const PAGE: u64 = 4096;
const R: u32 = 1;
const RW: u32 = 3;
const RX: u32 = 5;
const EPERM: i32 = 1;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EFAULT: i32 = 14;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;
const PATIENCE: Duration = Duration::from_secs(60);

fn embryo() -> Embryo {
    Embryo::create_with(SpawnOptions::new().timeout(PATIENCE)).expect("an embryo can be made")
}

/// Fresh pages at an address of the kernel's choice, between two that nobody may touch.
fn pages(embryo: &mut Embryo, count: u64) -> u64 {
    let len = (count + 2) * PAGE;
    let op = Op::Map { addr: 0, len, prot: 0, flags: MapFlags::empty() };
    let at = embryo.apply(&op, &[]).expect("memory can be mapped") + PAGE;
    embryo.apply(&Op::Protect { addr: at, len: count * PAGE, prot: RW }, &[]).expect("mapped");
    at
}

#[track_caller]
fn refused(outcome: Result<u64, Error>, errno: i32) -> SpawnError {
    match outcome {
        Err(Error::Spawn(error)) => {
            assert_eq!(i32::from(error.fault.errno), errno, "{error}");
            *error
        }
        outcome => panic!("{outcome:?}"),
    }
}

/// That it takes ops as if nothing had happened.
#[track_caller]
fn goes_on(embryo: &mut Embryo) {
    let at = pages(embryo, 1);
    embryo.write(at, b"still here").expect("it can be written");
    assert_eq!(embryo.read(at, 10).expect("it can be read"), b"still here");
}

fn shared(len: u64) -> File {
    let file = tempfile::tempfile().expect("a file can be made");
    file.set_len(len).expect("it is a file");
    file
}

fn start_at(instruction: u64, stack: u64) -> Plan {
    let regs = Regset::X86(X86Regs::at(instruction, stack));
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
    plan.build().expect("it is a plan")
}

#[test]
fn contents_longer_than_their_region_are_a_fault() {
    alone!();
    let mut embryo = embryo();
    let at = pages(&mut embryo, 2);
    let two = 2 * PAGE as usize;
    // In the message, and in a file, as longer ones travel; each a byte too long.
    let error = embryo.write(at + 1, &vec![7; two]).expect_err("there is no room for the last");
    refused(Err(error), EFAULT);
    let error = embryo.write(at, &vec![7; 1 << 20]).expect_err("there is room for two pages");
    refused(Err(error), EFAULT);
    let op = Op::WriteSlot { slot: Slot(0), addr: at, len: 3 * PAGE, offset: 0 };
    refused(embryo.apply(&op, &[shared(4 * PAGE).as_fd()]), EFAULT);
    refused(embryo.apply(&Op::Fill { addr: at, len: 2 * PAGE + 1, byte: 9 }, &[]), EFAULT);
    let file = shared(0);
    let op = Op::ReadSlot { slot: Slot(0), addr: at, len: 2 * PAGE + 1, offset: 0 };
    refused(embryo.apply(&op, &[file.as_fd()]), EFAULT);
    let error = embryo.read(at + PAGE, two).expect_err("the second page is the last");
    refused(Err(error), EFAULT);
    embryo.write(at, &vec![1; two]).expect("exactly as long as the region");
    goes_on(&mut embryo);
}

#[test]
fn a_file_that_shrinks_under_its_mapping_is_a_fault_and_not_a_signal() {
    alone!();
    for flags in [MapFlags::SHARED, MapFlags::empty()] {
        let mut embryo = embryo();
        let file = shared(2 * PAGE);
        let op = Op::MapSlot { slot: Slot(0), addr: 0, len: 2 * PAGE, prot: RW, flags, offset: 0 };
        let at = embryo.apply(&op, &[file.as_fd()]).expect("it can be mapped");
        file.set_len(PAGE).expect("it is ours");
        embryo.write(at, b"x").expect("the first page is there");
        let gone = at + PAGE;
        let error = embryo.write(gone, b"x").expect_err("the second is not");
        refused(Err(error), EFAULT);
        refused(embryo.apply(&Op::Fill { addr: gone, len: 1, byte: 1 }, &[]), EFAULT);
        let error = embryo.read(gone, 1).expect_err("nor can it be read");
        refused(Err(error), EFAULT);
        let into = shared(0);
        let op = Op::ReadSlot { slot: Slot(0), addr: at, len: 2 * PAGE, offset: 0 };
        refused(embryo.apply(&op, &[into.as_fd()]), EFAULT);
        assert!(embryo.apply(&Op::Lock { addr: gone, len: PAGE }, &[]).is_err(), "no page to lock");
        goes_on(&mut embryo);
    }
}

/// The program that is started in such memory gets the signal, as any program does.
#[test]
fn a_program_whose_memory_shrank_dies_of_sigbus() {
    alone!();
    if !cfg!(target_arch = "x86_64") {
        skip!("a start by registers is written for x86_64 alone");
    }
    let mut embryo = embryo();
    let file = shared(PAGE);
    let (slot, flags) = (Slot(0), MapFlags::SHARED);
    let op = Op::MapSlot { slot, addr: 0, len: PAGE, prot: RX, flags, offset: 0 };
    let at = embryo.apply(&op, &[file.as_fd()]).expect("it can be mapped");
    file.set_len(0).expect("it is ours");
    let started: Result<Process, _> = embryo.start(&start_at(at, at + PAGE), &[]);
    let mut process = started.map_err(|(error, _)| error).expect("it starts");
    assert_eq!(process.wait().expect("it ends").signal(), Some(libc::SIGBUS));
}

#[test]
fn what_overlaps_is_a_fault() {
    alone!();
    let mut embryo = embryo();
    let at = pages(&mut embryo, 4);
    let file = shared(8 * PAGE);
    let flags = MapFlags::FIXED;
    for (addr, len) in [(at, PAGE), (at + 3 * PAGE, 4 * PAGE), (at - 2 * PAGE, 8 * PAGE)] {
        refused(embryo.apply(&Op::Map { addr, len, prot: RW, flags }, &[]), EEXIST);
        let op = Op::MapSlot { slot: Slot(0), addr, len, prot: R, flags, offset: 0 };
        refused(embryo.apply(&op, &[file.as_fd()]), EEXIST);
        // The vdso is in nobody's way, and nobody is in its.
        assert!(embryo.apply(&Op::MoveVdso { to: addr }, &[]).is_err());
    }
    // To a place that overlaps where it comes from.
    let op = Op::Remap { addr: at, len: 2 * PAGE, to: at + PAGE, to_len: 2 * PAGE };
    refused(embryo.apply(&op, &[]), EINVAL);
    embryo.write(at, b"untouched").expect("it is still there");
    goes_on(&mut embryo);
}

#[test]
fn below_the_lowest_address_is_a_fault_that_says_so() {
    if is_root() {
        // CAP_SYS_RAWIO may map there.
        return rerun_as_nobody(embryo_tests::here!());
    }
    alone!();
    let lowest = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").expect("there is a /proc");
    let lowest: u64 = lowest.trim().parse().expect("it is a number");
    if lowest <= PAGE {
        skip!("vm.mmap_min_addr leaves no page below it");
    }
    let mut embryo = embryo();
    let (addr, len, flags) = (lowest - PAGE, PAGE, MapFlags::FIXED);
    let error = refused(embryo.apply(&Op::Map { addr, len, prot: RW, flags }, &[]), EPERM);
    assert!(error.to_string().contains("vm.mmap_min_addr"), "{error}");
    let file = shared(PAGE);
    let op = Op::MapSlot { slot: Slot(0), addr, len, prot: R, flags, offset: 0 };
    let error = refused(embryo.apply(&op, &[file.as_fd()]), EPERM);
    assert!(error.to_string().contains("vm.mmap_min_addr"), "{error}");
    let at = pages(&mut embryo, 1);
    let op = Op::Remap { addr: at, len, to: addr, to_len: len };
    refused(embryo.apply(&op, &[]), EPERM);
    refused(embryo.apply(&Op::MoveVdso { to: addr }, &[]), EPERM);
    embryo.apply(&Op::Map { addr: lowest, len, prot: RW, flags }, &[]).expect("the lowest itself");
    goes_on(&mut embryo);
}

#[test]
fn more_regions_than_the_kernel_allows_are_a_fault() {
    alone!();
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("there is a /proc");
    let most: u64 = most.trim().parse().expect("it is a number");
    if most > 1 << 20 {
        skip!("vm.max_map_count is beyond what a test can fill");
    }
    let mut embryo = embryo();
    let from = 0x10_0000_0000;
    let mut made = 0;
    let error = loop {
        let mut batch = PlanBuilder::batch();
        for index in made..made + 4000 {
            // A page in between, or the kernel would make one of two neighbours.
            let addr = from + 2 * index * PAGE;
            batch.op(&Op::Map { addr, len: PAGE, prot: 0, flags: MapFlags::FIXED });
        }
        match embryo.apply_all(&batch.build().expect("a batch"), &[]) {
            Ok(_) => made += 4000,
            Err(error) => break error,
        }
        assert!(made <= most + 4000, "there was no end to them");
    };
    let error = refused(Err(error), ENOMEM);
    assert_eq!(error.op(), "map");
    let index = u64::from(error.index().expect("an op of the batch"));
    assert!((most - 100..=most).contains(&(made + index)), "{made} and {index} of {most}");
    // A batch that fails in the middle leaves what was done, in the account as in the kernel's.
    assert_eq!(embryo.regions().count() as u64, made + index);
    let all = Op::Unmap { addr: from, len: 2 * (most + 4000) * PAGE };
    embryo.apply(&all, &[]).expect("they can be taken back");
    assert_eq!(embryo.regions().count(), 0);
    goes_on(&mut embryo);
}

/// Makes embryos until there is an error, which comes with all that were made.
fn many(most: usize) -> (Vec<Embryo>, Option<Error>) {
    let mut made = Vec::new();
    while made.len() < most {
        match Embryo::create_with(SpawnOptions::new().timeout(PATIENCE)) {
            Ok(embryo) => made.push(embryo),
            Err(error) => return (made, Some(error)),
        }
    }
    (made, None)
}

/// Each of them has a pidfd and a socket here.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("it may rise");
    limit.maximum.unwrap_or(u64::MAX)
}

#[test]
fn thousands_at_once_end_in_eagain_and_leave_nothing() {
    if is_root() {
        // Root is not limited, so this runs again as somebody who is.
        return rerun_as_nobody(embryo_tests::here!());
    }
    alone!();
    let most = 2000.min(raise_descriptors() / 3);
    if most < 1000 {
        skip!("RLIMIT_NOFILE has no room for the handles of a thousand");
    }
    drop(embryo());
    let before = Leftovers::capture();
    let limit = getrlimit(Resource::Nproc);
    if limit.maximum.is_some_and(|hard| hard < most) {
        skip!("RLIMIT_NPROC has no room for thousands");
    }
    let some = Rlimit { current: Some(most), ..limit };
    setrlimit(Resource::Nproc, some).expect("it is not raised above the hard limit");
    // Others may run as this user as well, and count.
    let (mut made, error) = many(most as usize + 1);
    let Some(Error::Spawn(error)) = error else { panic!("no error of {}: {error:?}", made.len()) };
    assert_eq!(
        (error.step(), i32::from(error.fault.errno)),
        (Some(Step::Clone), EAGAIN),
        "{error}"
    );
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("RLIMIT_NPROC")), "{error}");
    assert!(made.len() > 100, "only {}", made.len());
    assert!(made.iter().all(Embryo::is_alive));
    let last = made.last_mut().expect("there are some");
    goes_on(last);
    let pids: Vec<u32> = made.iter().map(Embryo::id).collect();
    drop(made);
    assert_nothing_left(&before);
    assert!(pids.iter().all(|pid| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim() != "embryo:seed"
    }));
    goes_on(&mut embryo());
}

#[test]
fn descriptors_run_out_and_leave_nothing() {
    alone!();
    drop(embryo());
    let before = Leftovers::capture();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).expect("it is lower");
    let (made, error) = many(100);
    let error = error.expect("there is no room for a hundred");
    assert_eq!(error.raw_os_error(), Some(EMFILE), "{error}");
    assert!(made.len() > 5 && made.iter().all(Embryo::is_alive), "{}", made.len());
    drop(made);
    setrlimit(Resource::Nofile, limit).expect("it was so before");
    assert_nothing_left(&before);
    assert!(wait_for(PATIENCE, || Embryo::create().is_ok()));
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        return;
    }
    for test in [
        "contents_longer_than_their_region_are_a_fault",
        "a_file_that_shrinks_under_its_mapping_is_a_fault_and_not_a_signal",
        "a_program_whose_memory_shrank_dies_of_sigbus",
        "what_overlaps_is_a_fault",
        "more_regions_than_the_kernel_allows_are_a_fault",
        "descriptors_run_out_and_leave_nothing",
    ] {
        rerun_as_nobody(test);
    }
}
