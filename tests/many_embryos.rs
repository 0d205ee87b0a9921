//! Promise: an embryo that is abandoned leaves nothing, however many there were before it: no process,
//! no zombie, no descriptor, no file in memory, no mapping and no memory of the owner's.
//!
//! And when no more are to be had, the error says why, and those that there are can be used.
//!
//! It must never assert a time, nor what the whole machine has: others use it as well. Both are printed.

use embryo::{Embryo, ExecFlags, Keep, MapFlags, Op, Plan, Slot, SpawnOptions};
use embryo_tests::{
    Leftovers, alone, assert_nothing_left, is_root, rerun_as, rerun_as_nobody, skip,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
/// A user whom nobody else is: the kernel counts the processes of each.
const USER: u32 = 61_234;
/// Until the allocator and the library have all that they keep.
const FIRST: usize = 1000;
/// What an owner's memory may grow by, in bytes: less than one byte and a half for each of 100 000.
const GROWTH_MAX: u64 = 128 << 10;

/// What the owner has.
#[derive(Debug)]
struct Owner {
    leftovers: Leftovers,
    /// Bytes of its memory that are there.
    resident: u64,
    mappings: usize,
}

impl Owner {
    fn look() -> Self {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("there is a /proc");
        // What is resident, less what lies in files: how much of its own program has been touched
        // by then is nothing that was left.
        let mut pages = statm.split(' ').skip(1).map_while(|pages| pages.parse::<u64>().ok());
        let pages = pages.next().zip(pages.next()).map(|(all, of_files)| all - of_files);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("there is a /proc");
        Self {
            leftovers: Leftovers::capture(),
            resident: pages.expect("the second and the third tell")
                * rustix::param::page_size() as u64,
            mappings: maps.lines().count(),
        }
    }
}

/// Makes `count` embryos, one after the other, and abandons each in a state of its own.
fn abandon(count: usize) {
    let options = SpawnOptions::new().timeout(Duration::from_secs(60));
    let null = std::fs::File::open("/dev/null").expect("it is there");
    let nowhere = nowhere();
    for number in 0..count {
        let mut embryo = Embryo::create_with(options).expect("an embryo can be made");
        if number % 4 == 0 {
            continue;
        }
        let map = Op::Map { addr: 0, len: 4 * PAGE, prot: 3, flags: MapFlags::empty() };
        let at = embryo.apply(&map, &[]).expect("it is mapped");
        embryo.write(at, b"contents").expect("it is writable");
        match number % 4 {
            1 => drop(embryo),
            2 => {
                let put = Op::PutFd { slot: Slot(0), fd: 30 };
                embryo.apply(&put, &[null.as_fd()]).expect("it applies");
                // More than goes into a message: a file in memory on either side.
                embryo.write(at, &[1; 4 * PAGE as usize + 1][..]).expect_err("it is too long");
                assert_eq!(embryo.read(at, 8).expect("it is readable"), [1; 8]);
            }
            _ => drop(embryo.start(&nowhere, &[]).expect_err("it is not there")),
        }
    }
}

fn nowhere() -> Plan {
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION).arg("x");
    plan.op(&Op::ExecPath { path: c"/no/such/program", flags: ExecFlags::empty() });
    plan.build().expect("it is a plan")
}

fn nothing_left_of(count: usize) {
    abandon(FIRST);
    let mut growth = growth_of(count);
    if growth > GROWTH_MAX {
        // On a busy machine the allocator may come late to what it keeps. A leak goes on.
        growth = growth_of(count);
    }
    assert!(growth <= GROWTH_MAX, "the owner has grown by {growth} bytes");
}

/// By how much the owner's memory grows with so many.
fn growth_of(count: usize) -> u64 {
    let before = Owner::look();
    let system = system();
    let begun = Instant::now();
    abandon(count);
    let took = begun.elapsed();
    let after = Owner::look();
    eprintln!("{count} embryos in {took:?}: {:?} each", took / count as u32);
    eprintln!("resident: {} -> {} bytes", before.resident, after.resident);
    eprintln!("mappings: {} -> {}", before.mappings, after.mappings);
    for (before, after) in system.iter().zip(self::system()) {
        eprintln!("of the machine: {before} -> {after}");
    }
    assert_nothing_left(&before.leftovers);
    assert_eq!(before.mappings, after.mappings);
    after.resident.saturating_sub(before.resident)
}

/// Lowers a limit, as far as it has to be.
fn limit(resource: Resource, most: u64) {
    let limit = getrlimit(resource);
    let current = limit.maximum.map_or(most, |hard| hard.min(most));
    setrlimit(resource, Rlimit { current: Some(current), ..limit }).expect("it is no higher");
}

/// Makes embryos until there are no more, and tells how many and why.
fn until_there_are_no_more(most: usize) -> (Vec<Embryo>, embryo::Error) {
    let mut embryos = Vec::new();
    loop {
        match Embryo::create_with(SpawnOptions::new().timeout(Duration::from_secs(60))) {
            Ok(embryo) => embryos.push(embryo),
            Err(error) => return (embryos, error),
        }
        assert!(embryos.len() <= most, "there is no limit");
    }
}

/// Each of them lives and takes an op; then all go.
fn all_can_be_used(embryos: Vec<Embryo>) {
    for mut embryo in embryos {
        embryo.apply(&Op::Umask { mode: 0o22 }, &[]).expect("it can be used");
    }
}

#[test]
fn processes_run_out_with_two_thousand_at_once() {
    if is_root() {
        return rerun_as(USER, USER, embryo_tests::here!());
    }
    alone!();
    abandon(FIRST);
    limit(Resource::Nofile, 8_000);
    limit(Resource::Nproc, 2_000);
    let before = Owner::look();
    for _ in 0..2 {
        let (embryos, error) = until_there_are_no_more(2_000);
        if error.raw_os_error() == Some(24) {
            skip!("this user may not open enough files");
        }
        assert_eq!(error.raw_os_error(), Some(11), "{error}");
        assert!(error.to_string().contains("RLIMIT_NPROC"), "{error}");
        // Somebody else may be that user as well.
        eprintln!("{} embryos at once, then {error}", embryos.len());
        assert!(embryos.len() > 100, "only {}", embryos.len());
        all_can_be_used(embryos);
        assert_nothing_left(&before.leftovers);
    }
    drop(Embryo::create().expect("there is room again"));
}

#[test]
fn descriptors_run_out_with_hundreds_at_once() {
    alone!();
    abandon(FIRST);
    limit(Resource::Nofile, 1_000);
    let before = Owner::look();
    for _ in 0..2 {
        let (embryos, error) = until_there_are_no_more(1_000);
        assert_eq!(error.raw_os_error(), Some(24), "{error}");
        eprintln!("{} embryos at once, then {error}", embryos.len());
        assert!(embryos.len() > 400, "only {}", embryos.len());
        all_can_be_used(embryos);
        assert_nothing_left(&before.leftovers);
    }
    drop(Embryo::create().expect("there is room again"));
}

/// What everybody's doings change, for people to look at.
fn system() -> Vec<String> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("there is a /proc");
    let wanted = ["MemAvailable:", "Shmem:", "Slab:", "SUnreclaim:", "KernelStack:", "PageTables:"];
    let kept = |line: &&str| wanted.iter().any(|name| line.starts_with(name));
    let mut lines: Vec<String> = meminfo.lines().filter(kept).map(str::to_owned).collect();
    let files = std::fs::read_to_string("/proc/sys/fs/file-nr").expect("there is a /proc");
    lines.push(format!("open files: {}", files.trim()));
    let processes = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let stats =
        processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    let zombies = stats.filter(|stat| stat.contains(") Z ")).count();
    lines.push(format!("zombies: {zombies}"));
    lines
}

#[test]
fn two_thousand() {
    alone!();
    nothing_left_of(2_000);
}

#[test]
#[ignore = "it takes a minute"]
fn a_hundred_thousand() {
    alone!();
    nothing_left_of(100_000);
}

#[test]
fn as_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    rerun_as_nobody("two_thousand");
    rerun_as_nobody("descriptors_run_out_with_hundreds_at_once");
}
