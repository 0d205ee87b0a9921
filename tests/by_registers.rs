//! Promise: a start by registers gives each thread of an image the registers, vector state, signal
//! mask and filter that the plan says, and what cannot be had is said while the embryo still lives.
//!
//! It must never trust what the plan says: the image writes down what it found, and the rest is
//! read in /proc.

mod filter;

use embryo::{Cause, Embryo, Error, Keep, MapFlags, Op, Plan, PlanBuilder, Process, SpawnOptions};
use embryo_tests::{alone, is_root, require_root, rerun_as_nobody, skip, wait_for};
use filter::{ALLOW, errno, filter, long, only, uncertain};
use machine::{NUMBER_OF_GETPID, Registers, code};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

#[cfg_attr(target_arch = "x86_64", path = "by_registers/x86.rs")]
#[cfg_attr(target_arch = "aarch64", path = "by_registers/arm.rs")]
mod machine;
#[cfg_attr(target_arch = "x86_64", path = "by_registers/vectors_x86.rs")]
#[cfg_attr(target_arch = "aarch64", path = "by_registers/vectors_arm.rs")]
mod vectors;

const PAGE: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(30);
/// Where things lie in every image of these tests.
const CODE: u64 = 0x1000_0000;
const STACK: u64 = 0x2000_0000;
const DATA: u64 = 0x3000_0000;
/// Pages that the image and the test share.
const DATA_PAGES: u64 = 2;

/// A file that an image writes to.
fn shared() -> OwnedFd {
    let file = rustix::fs::memfd_create(c"data", rustix::fs::MemfdFlags::CLOEXEC).expect("made");
    rustix::fs::ftruncate(&file, DATA_PAGES * PAGE).expect("it is a file");
    file
}

fn words(file: impl AsFd, from: u64, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * 8];
    assert_eq!(rustix::io::pread(file, &mut bytes, from).expect("it is a file"), bytes.len());
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// Adds the memory of an image to a plan: its code, a stack, and the file of slot 0.
fn built<'a>(plan: &'a mut PlanBuilder, code: &[u8]) -> &'a mut PlanBuilder {
    let flags = MapFlags::FIXED;
    let slot = plan.slot();
    plan.op(&Op::Map { addr: CODE, len: PAGE, prot: 3, flags })
        .op(&Op::Write { addr: CODE, contents: code })
        .op(&Op::Protect { addr: CODE, len: PAGE, prot: 5 })
        .op(&Op::Map { addr: STACK, len: PAGE, prot: 3, flags })
        .op(&Op::MapSlot {
            slot,
            addr: DATA,
            len: DATA_PAGES * PAGE,
            prot: 3,
            flags: flags | MapFlags::SHARED,
            offset: 0,
        })
}

/// A plan that starts this code with these arguments, and the ops besides.
fn image(code: &[u8], registers: &Registers, ops: &[Op<'_>]) -> Plan {
    let regset = registers.bytes();
    let mut plan = Plan::builder();
    built(&mut plan, code).keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    for op in ops {
        plan.op(op);
    }
    plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
    plan.build().unwrap_or_else(|error| panic!("{error}"))
}

fn spawn(plan: &Plan, grants: &[BorrowedFd<'_>]) -> Process {
    let options = SpawnOptions::new().timeout(PATIENCE);
    let process = embryo::spawn_with(plan, grants, options);
    tied(process.unwrap_or_else(|error| panic!("{error}")))
}

/// Nothing is left of a test that fails.
fn tied(mut process: Process) -> Process {
    process.kill_on_drop(true);
    process
}

/// How it ended, which it does in time.
#[track_caller]
fn end(process: &mut Process) -> std::process::ExitStatus {
    let ended = process.wait_timeout(PATIENCE).expect("it can be waited for");
    ended.expect("it ends")
}

fn filtered(program: &[u8]) -> [Op<'_>; 2] {
    [Op::NoNewPrivs, Op::Seccomp { flags: embryo::FilterFlags::empty(), program }]
}

#[test]
fn strict_mode_lets_four_calls_through() {
    alone!();
    let (file, out) = (shared(), shared());
    let text = b"said";
    let plan = |code: &[u8]| {
        let registers = Registers::at(CODE, STACK).arguments([1, CODE + 512, text.len() as u64]);
        let regset = registers.bytes();
        let mut code = code.to_vec();
        code.resize(512, 0);
        code.extend_from_slice(text);
        let mut plan = Plan::builder();
        built(&mut plan, &code).keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        let slot = plan.slot();
        plan.op(&Op::PutFd { slot, fd: 1 }).op(&Op::SeccompStrict);
        plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
        plan.build().expect("a plan")
    };
    let grants = [file.as_fd(), out.as_fd()];
    let strict = embryo::spawn(&plan(code::cell()), &grants);
    let mut process = match strict {
        Err(error) if filters_of_self() => {
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
            assert!(error.to_string().contains("under a filter"), "{error}");
            skip!("strict mode cannot be entered under a filter");
        }
        other => tied(other.unwrap_or_else(|error| panic!("{error}"))),
    };
    assert_eq!(end(&mut process).code(), Some(7));
    let mut found = [0; 4];
    rustix::io::pread(&out, &mut found, 0).expect("it is a file");
    assert_eq!(&found, text, "write(2) is let through");

    let mut process = spawn(&plan(code::curious()), &grants);
    assert_eq!(end(&mut process).signal(), Some(libc::SIGKILL));

    let mut process = spawn(&plan(code::stay_without_calls()), &grants);
    assert!(wait_for(PATIENCE, || status(&process, "Seccomp") == "1"), "it is in strict mode");
    process.kill().expect("it lives");
    end(&mut process);
}

/// Whether this process is under a filter itself, as in many containers.
fn filters_of_self() -> bool {
    std::fs::read_to_string("/proc/self/status").expect("readable").contains("Seccomp:\t2")
}

/// A line of /proc/PID/status.
fn status(process: &Process, name: &str) -> String {
    field(&format!("/proc/{}/status", process.id()), name)
}

fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_default().to_owned()
}

#[test]
fn a_filter_comes_after_everything_that_the_seed_does() {
    alone!();
    let file = shared();
    let grants = [file.as_fd()];
    let registers = Registers::at(CODE, STACK);
    let program = only(&[libc::SYS_rt_sigreturn, libc::SYS_exit_group]);
    let mut process = spawn(&image(code::leave(), &registers, &filtered(&program)), &grants);
    assert_eq!(end(&mut process).code(), Some(0));

    let mut process = spawn(&image(code::curious(), &registers, &filtered(&program)), &grants);
    assert_eq!(end(&mut process).signal(), Some(libc::SIGSYS));

    let program = filter(&[NUMBER_OF_GETPID], errno(99), ALLOW);
    let mut process = spawn(&image(code::curious(), &registers, &filtered(&program)), &grants);
    assert_eq!(end(&mut process).code(), Some(99), "what getpid answers");
}

#[test]
fn the_longest_filter_has_room() {
    alone!();
    let file = shared();
    let registers = Registers::at(CODE, STACK);
    // Below and above what fits in one page beside code and frame, and the most there can be.
    const MOST_IN_ONE: usize = if machine::IS_X86 { 344 } else { 240 };
    for (instructions, pages) in [(100, 1), (MOST_IN_ONE, 1), (MOST_IN_ONE + 8, 2), (4096, 10)] {
        let program = long(instructions);
        let plan = image(code::stay(), &registers, &filtered(&program));
        let mut process = spawn(&plan, &[file.as_fd()]);
        assert!(wait_for(PATIENCE, || status(&process, "Seccomp") == "2"), "{instructions}");
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.id())).expect("alive");
        let (mut left, mut writable) = (0, 0);
        for line in maps.lines().filter(|line| !line.contains('[') && !line.contains("memfd")) {
            let mut words = line.split([' ', '-']);
            let address =
                |text: Option<&str>| u64::from_str_radix(text.expect("a word"), 16).expect("hex");
            let (from, to) = (address(words.next()), address(words.next()));
            if from != CODE && from != STACK {
                left += (to - from) / PAGE;
                writable += u64::from(line.contains(" rw") || line.contains("wx"));
            }
        }
        assert_eq!((left, writable), (pages, 0), "{instructions} instructions:\n{maps}");
        process.kill().expect("it lives");
        end(&mut process);
    }
}

#[test]
fn a_filter_that_forbids_the_start_itself_ends_the_process() {
    alone!();
    let file = shared();
    let registers = Registers::at(CODE, STACK);
    let grants = [file.as_fd()];
    // rt_sigreturn is killed, though nobody could have told.
    let program = uncertain(&only(&[libc::SYS_exit_group]));
    let mut process = spawn(&image(code::leave(), &registers, &filtered(&program)), &grants);
    assert_eq!(end(&mut process).signal(), Some(libc::SIGSYS));
    // rt_sigreturn is only refused, and the registers are not there.
    let program = uncertain(&filter(&[libc::SYS_exit_group], ALLOW, errno(1)));
    let mut process = spawn(&image(code::leave(), &registers, &filtered(&program)), &grants);
    assert_eq!(end(&mut process).code(), Some(126));
}

#[test]
fn what_would_not_be_taken_is_said_before_anything_is_lost() {
    if is_root() {
        return rerun_as_nobody("what_would_not_be_taken_is_said_before_anything_is_lost");
    }
    alone!();
    let program = long(1);
    let regset = Registers::at(CODE, STACK).bytes();
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Seccomp { flags: embryo::FilterFlags::empty(), program: &program })
        .op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
    let embryo = embryo_with(code::leave());
    let before = embryo.maps().expect("it lives");
    let (error, embryo) =
        embryo.start(&plan.build().expect("a plan"), &[]).expect_err("it may not");
    assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{error}");
    let spawn = error.as_spawn().expect("a fault");
    assert_eq!((spawn.index(), spawn.op()), (Some(0), "seccomp"), "{error}");
    assert!(error.to_string().contains("no-new-privs"), "{error}");
    let embryo = embryo.expect("it is given back");
    assert_eq!(embryo.maps().expect("it lives"), before, "nothing is left of the attempt");
    plan.op(&Op::NoNewPrivs);
    let mut process = started(embryo, &plan.build().expect("a plan"));
    assert_eq!(end(&mut process).code(), Some(0));
}

/// Where the filter is refused only when the seed has gone, the image does not run without it.
#[test]
fn no_image_runs_without_the_filter_that_it_was_to_have() {
    alone!();
    let at = 0x5000_0000;
    // The caller's own filter, which children inherit: seccomp(2) is refused with a program below
    // 4 GiB, as that in the area is, and not with one on the seed's stack.
    let load = |offset| filter::instruction(0x20, 0, 0, offset);
    let own = [
        load(0),
        filter::instruction(0x15, 0, 3, libc::SYS_seccomp as u32),
        load(36),
        filter::instruction(0x15, 0, 1, 0),
        filter::instruction(0x06, 0, 0, errno(libc::EPERM)),
        filter::instruction(0x06, 0, 0, ALLOW),
    ];
    assert!(installed(&own.concat()), "one of ours");
    for threads in [0, 3] {
        let file = shared();
        let registers = Registers::at(CODE, STACK);
        let regset = registers.bytes();
        let program = long(1);
        let mut plan = Plan::builder();
        built(&mut plan, code::leave()).keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        for _ in 0..threads {
            plan.op(&Op::Thread { mask: 0, clear_tid: 0, regset: &regset });
        }
        for op in filtered(&program) {
            plan.op(&op);
        }
        plan.op(&Op::StartRegs { page: at, regset: &regset, leave: &[] });
        let mut process = spawn(&plan.build().expect("a plan"), &[file.as_fd()]);
        assert_eq!(end(&mut process).code(), Some(126), "not 0, which the image would exit with");
    }
}

/// An embryo with this code in its memory.
fn embryo_with(code: &[u8]) -> Embryo {
    let options = SpawnOptions::new().timeout(PATIENCE);
    let mut embryo = Embryo::create_with(options).expect("an embryo can be made");
    let mut batch = PlanBuilder::batch();
    built(&mut batch, code);
    let file = shared();
    embryo.apply_all(&batch.build().expect("a batch"), &[file.as_fd()]).expect("it applies");
    embryo
}

fn started(embryo: Embryo, plan: &Plan) -> Process {
    let process = embryo.start(plan, &[]).map_err(|(error, _)| error);
    tied(process.unwrap_or_else(|error| panic!("{error}")))
}

/// The words of thread `index`: what it finds, and what is cleared when it ends.
fn cell(index: u64) -> u64 {
    DATA + 64 + index * 16
}

fn cleared(index: u64) -> u64 {
    DATA + PAGE + index * 4
}

/// A plan whose first thread waits until `count` others are gone.
fn crowd(count: u64, ops: &[Op<'_>]) -> Plan {
    let (leader, member) = (code::leader(), code::member());
    let at_member = CODE + leader.len() as u64;
    let registers = Registers::at(CODE, STACK).arguments([cleared(0), count, 0]);
    let regset = registers.bytes();
    let mut plan = Plan::builder();
    built(&mut plan, &[leader, member].concat()).keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    // What is cleared is not clear to begin with; what each finds at its thread pointer.
    plan.op(&Op::Fill { addr: cleared(0), len: count * 4, byte: 1 });
    for index in 0..count {
        plan.op(&Op::Write { addr: cell(index), contents: &(1000 + index).to_le_bytes() });
    }
    for index in 0..count {
        let registers = Registers::at(at_member, STACK)
            .arguments([cell(index) + 8, DATA, 0])
            .thread_pointer(cell(index));
        let regset = registers.bytes();
        plan.op(&Op::Thread { mask: 0, clear_tid: cleared(index), regset: &regset });
    }
    for op in ops {
        plan.op(op);
    }
    plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
    plan.build().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn each_thread_has_its_own_registers() {
    alone!();
    for count in [1, 2, u64::from(embryo::limits::THREADS_MAX)] {
        let file = shared();
        let mut process = spawn(&crowd(count, &[]), &[file.as_fd()]);
        assert_eq!(end(&mut process).code(), Some(9), "{count}");
        assert_eq!(words(&file, 0, 1), [count], "each counted itself once");
        let found = words(&file, 64, count as usize * 2);
        for (index, pair) in found.as_chunks::<2>().0.iter().enumerate() {
            // What its thread pointer points to, added to what it was told to write there.
            assert_eq!(pair[1], 1000 + index as u64, "thread {index} of {count}");
        }
    }
}

#[test]
fn each_thread_is_under_the_filter() {
    alone!();
    let file = shared();
    let calls = [
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
    ];
    let program = only(&calls);
    let mut process = spawn(&crowd(8, &filtered(&program)), &[file.as_fd()]);
    assert_eq!(end(&mut process).code(), Some(9));
    // The same without the call with which a thread ends: one of them dies of it, and all with it.
    let program = only(&calls.map(|call| if call == libc::SYS_exit { -1 } else { call }));
    let mut process = spawn(&crowd(8, &filtered(&program)), &[file.as_fd()]);
    assert_eq!(end(&mut process).signal(), Some(libc::SIGSYS));
}

#[test]
fn threads_are_what_the_plan_says_seen_from_outside() {
    alone!();
    let file = shared();
    let registers = Registers::at(CODE, STACK);
    let regset = registers.bytes();
    let (first, second) = (1 << 9, 1 << 11 | 1 << 63);
    let ops = [
        Op::SignalMask { set: 1 << 4 },
        Op::Thread { mask: first, clear_tid: 0, regset: &regset },
        Op::Thread { mask: second, clear_tid: 0, regset: &regset },
    ];
    let mut process = spawn(&image(code::stay(), &registers, &ops), &[file.as_fd()]);
    let tasks = || -> Vec<String> {
        let listed = std::fs::read_dir(format!("/proc/{}/task", process.id())).expect("alive");
        let mut names: Vec<u32> =
            listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        names.sort_unstable();
        names.iter().map(|tid| format!("/proc/{}/task/{tid}", process.id())).collect()
    };
    let blocked = |task: &String| {
        u64::from_str_radix(&field(&format!("{task}/status"), "SigBlk"), 16).unwrap_or_default()
    };
    let mut masks = Vec::new();
    let ready = wait_for(PATIENCE, || {
        masks = tasks().iter().map(blocked).collect();
        masks.sort_unstable();
        masks == [1 << 4, first, second]
    });
    assert!(ready, "{masks:x?}");
    for task in tasks() {
        assert_eq!(field(&format!("{task}/status"), "Name"), "embryo", "{task}");
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.id())).expect("alive");
    let writable = maps.lines().filter(|line| line.contains(" rw")).count();
    assert_eq!(writable, 2, "stack and file: what is left of the seed is read-only\n{maps}");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("alive").count();
    assert_eq!(fds, 0, "no thread can reach the control socket");
    process.kill().expect("it lives");
    end(&mut process);
}

#[test]
fn a_thread_that_cannot_be_made_is_a_fault_and_none_is_left() {
    alone!();
    require_root!();
    // A uid that nobody else has: the embryo is its only process, and two threads are allowed.
    const UID: u32 = 54_321;
    const NPROC: u32 = 6;
    let mut embryo = embryo_with(code::stay());
    let uid = Op::Uid { real: UID, effective: UID, saved: UID };
    embryo.apply(&Op::Rlimit { resource: NPROC, soft: 3, hard: 100 }, &[]).expect("applied");
    embryo.apply(&uid, &[]).expect("applied");
    let before = embryo.maps().expect("it lives");
    let regset = Registers::at(CODE, STACK).bytes();
    let plan = |threads: u32| {
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        for _ in 0..threads {
            plan.op(&Op::Thread { mask: 0, clear_tid: 0, regset: &regset });
        }
        plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
        plan.build().expect("a plan")
    };
    for _ in 0..20 {
        let (error, back) = embryo.start(&plan(3), &[]).expect_err("one too many");
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
        let spawn = error.as_spawn().expect("a fault");
        assert_eq!((spawn.index(), spawn.op()), (Some(2), "thread"), "{error}");
        embryo = back.expect("it is given back");
        // They have left its memory, and are listed for a moment longer.
        let path = format!("/proc/{}/task", embryo.id());
        let tasks = || std::fs::read_dir(&path).expect("alive").count();
        assert!(wait_for(PATIENCE, || tasks() == 1), "the two that were made are gone");
        assert_eq!(embryo.maps().expect("it lives"), before, "and so is where they waited");
    }
    let mut process = started(embryo, &plan(2));
    let tasks =
        || std::fs::read_dir(format!("/proc/{}/task", process.id())).expect("alive").count();
    assert_eq!(tasks(), 3);
    process.kill().expect("it lives");
    end(&mut process);
}

/// What the checker takes the kernel takes, and the other way round: of random programs, mostly out
/// of instructions that there are.
#[test]
fn the_kernel_takes_what_the_checker_takes() {
    alone!();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..8_000 {
        let program = random.program();
        let checked = embryo::check_filter(&program).is_ok();
        assert_eq!(checked, kernel_takes(&program), "{program:02x?}");
        *if checked { &mut taken } else { &mut refused } += 1;
    }
    assert!(taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
}

/// Asks in a thread of its own: what was installed goes with it.
fn kernel_takes(program: &[u8]) -> bool {
    let program = program.to_vec();
    std::thread::spawn(move || installed(&program)).join().expect("it only asks")
}

/// Installs a program in the calling thread, if the kernel takes it.
fn installed(program: &[u8]) -> bool {
    let mut program: Vec<libc::sock_filter> = program
        .as_chunks::<8>()
        .0
        .iter()
        .map(|[a, b, jt, jf, k @ ..]| libc::sock_filter {
            code: u16::from_le_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_le_bytes(*k),
        })
        .collect();
    rustix::thread::set_no_new_privs(true).expect("anybody may set it");
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the kernel reads one sock_fprog and the program it points to, both alive.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert!(result == 0 || error == Some(libc::EINVAL), "{error:?}");
    result == 0
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// A program whose inner part is never reached, though nobody who checks it can know: so it
    /// does nothing when it is installed.
    fn program(&mut self) -> Vec<u8> {
        const NO_CALL: u32 = 0xffff_fff0;
        let inner = self.below(5) + 1;
        let mut program = vec![
            filter::instruction(0x20, 0, 0, 0),
            filter::instruction(0x15, 0, inner as u8, NO_CALL),
        ];
        for _ in 0..inner {
            // Mostly instructions that there are; now and then any code of a byte.
            let code = match self.below(8) {
                0 => self.below(256) as u16,
                1 => self.one(&[0x02, 0x03]),
                2 => self.one(&[0x60, 0x61]),
                3 => self.one(&[0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d]),
                4 => self.one(&[0x34, 0x64, 0x74, 0x94]),
                5 => self.one(&[0x20, 0x80, 0x81, 0x06, 0x16]),
                _ => self.one(&[0x00, 0x01, 0x04, 0x0c, 0x14, 0x24, 0x44, 0x54, 0x84, 0xa4, 0xac]),
            };
            let k = self.one(&[0, 0, 1, 2, 3, 4, 15, 16, 31, 32, 60, 64, NO_CALL]);
            let (if_true, if_false) = (self.below(3) as u8, self.below(3) as u8);
            program.push(filter::instruction(code, if_true, if_false, k));
        }
        program.push(filter::instruction(0x06, 0, 0, ALLOW));
        program.concat()
    }
}

/// The page that is asked for is where the area is, and a start that failed gives it back.
#[test]
fn the_area_is_where_the_plan_says() {
    alone!();
    let at = 0x5000_0000;
    let file = shared();
    let registers = Registers::at(CODE, STACK);
    let regset = registers.bytes();
    let mut plan = Plan::builder();
    built(&mut plan, code::stay()).keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::Thread { mask: 0, clear_tid: 0, regset: &regset });
    plan.op(&Op::StartRegs { page: at, regset: &regset, leave: &[] });
    let mut process = spawn(&plan.build().expect("a plan"), &[file.as_fd()]);
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", process.id())).expect("alive");
    assert!(wait_for(PATIENCE, || maps().contains("50000000-50001000 r-xp")), "{}", maps());
    assert!(wait_for(PATIENCE, || maps().contains("50001000-50002000 r--p")), "{}", maps());
    process.kill().expect("it lives");
    end(&mut process);
}

#[test]
fn what_belongs_to_a_start_by_registers_is_refused_elsewhere() {
    alone!();
    let mut embryo = embryo_with(code::leave());
    let regset = Registers::at(CODE, STACK).bytes();
    let program = long(1);
    let seccomp = Op::Seccomp { flags: embryo::FilterFlags::empty(), program: &program };
    let thread = Op::Thread { mask: 0, clear_tid: 0, regset: &regset };
    for op in [seccomp, Op::SeccompStrict, thread] {
        let error = embryo.apply(&op, &[]).expect_err("it is done at the start");
        assert!(matches!(error, Error::Plan(_)), "{op}: {error}");
    }
    assert!(embryo.is_alive());
}

#[test]
fn a_program_is_loaded() {
    alone!();
    let mut load = embryo::Load::open(embryo_tests::probe_path()).expect("it is a program");
    let mut process =
        tied(load.args(["exit", "5"]).start().unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(end(&mut process).code(), Some(5));
}

/// The other machine's registers are a plan, but not one that can be started here.
#[test]
fn registers_of_the_other_machine_are_a_fault() {
    alone!();
    let other = vec![0; if machine::IS_X86 { 280 } else { 160 }];
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::StartRegs { page: 0, regset: &other, leave: &[] });
    let (error, embryo) =
        embryo_with(code::leave()).start(&plan.build().expect("a plan"), &[]).expect_err("no");
    assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{error}");
    assert!(embryo.is_some_and(|embryo| embryo.is_alive()));
}

/// A thread's registers of the other machine: the fault is the thread's.
#[test]
fn a_thread_of_the_other_machine_is_a_fault_of_its_own() {
    alone!();
    let other = vec![0; if machine::IS_X86 { 280 } else { 160 }];
    let regset = Registers::at(CODE, STACK).bytes();
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Thread { mask: 0, clear_tid: 0, regset: &regset })
        .op(&Op::Thread { mask: 0, clear_tid: 0, regset: &other })
        .op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
    let embryo = embryo_with(code::leave());
    let (error, embryo) = embryo.start(&plan.build().expect("a plan"), &[]).expect_err("no");
    assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{error}");
    assert_eq!(error.as_spawn().and_then(|fault| fault.index()), Some(1), "{error}");
    assert!(embryo.is_some_and(|embryo| embryo.is_alive()));
}

/// A plan that has everything go away would have the last instructions go too.
#[test]
fn the_area_does_not_unmap_itself() {
    alone!();
    let regset = Registers::at(CODE, STACK).bytes();
    let all = [0x4000_0000u64, (1 << 47) - 4096 - 0x4000_0000].map(u64::to_le_bytes).concat();
    let mut embryo = embryo_with(code::leave());
    for page in [0, 0x6000_0000] {
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::StartRegs { page, regset: &regset, leave: &all });
        let outcome = embryo.start(&plan.build().expect("a plan"), &[]);
        if !machine::IS_X86 && page == 0 {
            // What the kernel chooses lies above what a plan can name.
            assert_eq!(end(&mut tied(outcome.expect("it starts"))).code(), Some(0));
            embryo = embryo_with(code::leave());
            continue;
        }
        let (error, back) = outcome.expect_err("it cannot");
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY), "{page:#x}: {error}");
        embryo = back.expect("it is given back");
    }
    let plan = image(code::leave(), &Registers::at(CODE, STACK), &[]);
    let file = shared();
    assert_eq!(end(&mut spawn(&plan, &[file.as_fd()])).code(), Some(0));
}

/// A kill between is still told as one.
#[test]
fn an_embryo_that_was_killed_does_not_start() {
    alone!();
    let embryo = embryo_with(code::leave());
    rustix::process::pidfd_send_signal(embryo.pidfd(), rustix::process::Signal::KILL)
        .expect("ours");
    let regset = Registers::at(CODE, STACK).bytes();
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::StartRegs { page: 0, regset: &regset, leave: &[] });
    let (error, _) = embryo.start(&plan.build().expect("a plan"), &[]).expect_err("it is dead");
    assert!(matches!(error.as_spawn().map(|fault| fault.cause), Some(Cause::Killed(_))), "{error}");
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        return;
    }
    for test in [
        "strict_mode_lets_four_calls_through",
        "a_filter_comes_after_everything_that_the_seed_does",
        "the_longest_filter_has_room",
        "each_thread_has_its_own_registers",
        "each_thread_is_under_the_filter",
        "threads_are_what_the_plan_says_seen_from_outside",
        "vectors::state_arrives",
    ] {
        rerun_as_nobody(test);
    }
}
