//! Promise 5: cost does not grow with the caller: not with its memory, its mappings, its threads
//! or its open descriptors.
//!
//! What is counted here is what would be copied, never a time: page faults, the reach of the copied
//! descriptor table, memory that would have to be promised. The bench measures times.

mod launch;

use embryo::{Command, Process, Stdio};
use embryo_tests::{alone, probe_path, skip};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How far a copied table may reach at most: stdio, and the sockets that were reserved.
const CUT_MAX: u32 = 64;
const DESCRIPTORS: usize = 10_000;
const MIB: usize = 1 << 20;

/// Raises the limit on open files if it can be, and says whether that many can be open.
fn room_for(descriptors: usize) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.is_none_or(|current| current > descriptors as u64 + 100)
}

fn open_many(count: usize) -> Vec<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    (0..count)
        .map(|_| rustix::fs::open("/dev/null", flags, Mode::empty()).expect("there is room"))
        .collect()
}

/// A child with pipes for all its streams, whose numbers are the highest there are.
fn piped(through_seed: bool) -> Process {
    let mut command = Command::new(probe_path());
    let options = embryo::SpawnOptions::new().timeout(launch::PATIENCE).through_seed(through_seed);
    command.args(["report"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn_options(options).spawn().unwrap_or_else(|e| panic!("{e}"))
}

/// What it reports of its descriptors, after which it has ended.
fn descriptors_of(mut process: Process) -> Vec<i32> {
    let mut json = Vec::new();
    process.stdout.take().expect("it is piped").read_to_end(&mut json).expect("it can be read");
    assert!(process.wait().expect("it can be waited for").success());
    embryo_tests::Report::parse(&json).fd_numbers()
}

#[test]
fn the_copied_table_is_short_however_many_files_are_open() {
    alone!();
    if !room_for(DESCRIPTORS) {
        skip!("the hard limit on open files is below {DESCRIPTORS}");
    }
    // The first launch reserves what later ones need, while numbers are low.
    let first = piped(false);
    assert!(first.report().cut <= CUT_MAX, "{:?}", first.report());
    assert_eq!(descriptors_of(first), [0, 1, 2]);
    let files = open_many(DESCRIPTORS);
    for through_seed in [false, true] {
        let process = piped(through_seed);
        let stdout = process.stdout.as_ref().expect("it is piped");
        assert!(stdout.as_raw_fd() as usize > DESCRIPTORS, "the pipe is at the top");
        let report = process.report();
        assert!(report.cut <= CUT_MAX && !report.cut_raised, "{report:?}");
        assert_eq!(descriptors_of(process), [0, 1, 2]);
    }
    // Without a pipe nothing beyond stdio is copied.
    let mut process = Command::new(probe_path()).args(["exit", "0"]).spawn().expect("it starts");
    assert_eq!((process.report().cut, process.report().cut_raised), (3, false));
    assert!(process.wait().expect("it can be waited for").success());
    drop(files);
}

/// Where the first launch comes too late for a low number, that is said.
#[test]
fn a_cut_that_had_to_rise_is_reported() {
    alone!();
    if !room_for(DESCRIPTORS) {
        skip!("the hard limit on open files is below {DESCRIPTORS}");
    }
    let files = open_many(DESCRIPTORS);
    let process = piped(false);
    let report = process.report();
    assert!(report.cut as usize > DESCRIPTORS && report.cut_raised, "{report:?}");
    assert_eq!(descriptors_of(process), [0, 1, 2]);
    drop(files);
}

/// Grants beyond what one message carries, all from high up.
#[test]
fn five_hundred_grants_from_high_up_do_not_raise_the_cut() {
    alone!();
    if !room_for(DESCRIPTORS) {
        skip!("the hard limit on open files is below {DESCRIPTORS}");
    }
    drop(descriptors_of(piped(false)));
    let files = open_many(1000);
    for way in launch::Way::BOTH {
        let (mut reader, writer) = pipe().expect("a pipe can be made");
        let mut draft = launch::Draft::probe(&["report", "5"]);
        for (file, number) in files[500..].iter().zip(100..) {
            let slot = draft.grant_number(file.as_raw_fd());
            draft.op(&embryo::Op::PutFd { slot, fd: number });
        }
        let slot = draft.grant_number(writer.as_raw_fd());
        draft.op(&embryo::Op::PutFd { slot, fd: 5 });
        let mut process = draft.spawn(way).unwrap_or_else(|e| panic!("{way:?}: {e}"));
        drop(writer);
        assert!(process.report().cut <= CUT_MAX && !process.report().cut_raised, "{way:?}");
        let mut json = Vec::new();
        reader.read_to_end(&mut json).expect("a pipe can be read");
        let expected: Vec<i32> = std::iter::once(5).chain(100..600).collect();
        assert_eq!(embryo_tests::Report::parse(&json).fd_numbers(), expected, "{way:?}");
        assert!(process.wait().expect("it can be waited for").success());
    }
}

/// Page faults of this process that needed no input or output.
fn faults() -> i64 {
    // SAFETY: a rusage is numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one rusage to a live local.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    usage.ru_minflt
}

/// Memory with every page written to.
fn dirty(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    touch(&mut memory);
    memory
}

fn touch(memory: &mut [u8]) {
    for page in memory.chunks_mut(4096) {
        // Volatile, so that it is done although nobody reads it.
        // SAFETY: a chunk is not empty, and it is ours to write.
        unsafe { page.as_mut_ptr().write_volatile(page[0].wrapping_add(1)) };
    }
}

/// fork makes every written page of the caller fault once more; here there is nothing to fault.
#[test]
fn the_callers_memory_is_not_touched() {
    alone!();
    drop(descriptors_of(piped(false)));
    let mut memory = dirty(512 * MIB);
    for through_seed in [false, true] {
        let before = faults();
        let process = piped(through_seed);
        // While the child runs, and after it: no page has been made to be copied.
        touch(&mut memory);
        drop(descriptors_of(process));
        touch(&mut memory);
        let faulted = faults() - before;
        assert!(faulted < 1000, "{faulted} page faults, of {} pages", memory.len() / 4096);
    }
}

/// What a child never uses is never promised to it: a caller that may have no more address space
/// can start one.
#[test]
fn no_memory_has_to_be_promised() {
    alone!();
    drop(descriptors_of(piped(false)));
    let memory = dirty(512 * MIB);
    let statm = std::fs::read_to_string("/proc/self/statm").expect("there is a /proc");
    let pages: usize = statm.split(' ').next().and_then(|size| size.parse().ok()).expect("a size");
    // Room for the little that a launch allocates, and for the child's own image.
    let limit = (pages * 4096 + 8 * MIB) as u64;
    setrlimit(
        Resource::As,
        Rlimit { current: Some(limit), maximum: getrlimit(Resource::As).maximum },
    )
    .expect("a soft limit can be lowered");
    for through_seed in [false, true] {
        assert_eq!(descriptors_of(piped(through_seed)), [0, 1, 2]);
    }
    drop(memory);
}

/// A thousand launches leave the caller with the mappings and the threads it had.
#[test]
fn a_thousand_launches_leave_no_more_than_one() {
    alone!();
    let (_reader, writer) = pipe().expect("a pipe can be made");
    let count = |dir| std::fs::read_dir(dir).expect("there is a /proc").count();
    let counts = || {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("there is a /proc");
        [maps.lines().count(), count("/proc/self/task"), count("/proc/self/fd")]
    };
    let run = |rounds: usize| {
        for round in 0..rounds {
            let mut command = Command::new(env!("CARGO_BIN_EXE_embryo-check"));
            let stdout = writer.as_fd().try_clone_to_owned().expect("it can be copied");
            let command = command.arg("0,1,2").stdout(stdout).stderr(Stdio::piped());
            let options = embryo::SpawnOptions::new().timeout(launch::PATIENCE);
            command.spawn_options(options.through_seed(round % 5 == 0));
            assert!(command.status().expect("it starts").success());
        }
    };
    run(10);
    let before = counts();
    run(1000);
    let after = counts();
    // The allocator may map a little more as it goes.
    assert!(after[0] <= before[0] + 4, "mappings: {before:?} -> {after:?}");
    assert_eq!(after[1..], before[1..], "threads and descriptors");
}
