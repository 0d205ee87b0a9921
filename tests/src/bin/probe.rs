//! The program that tests start: it reports what it really received, or does one simple thing.
//!
//! It must never disturb what it reports. The standard library's start-up code ignores SIGPIPE and
//! opens descriptors 0 to 2 where they are closed, so `main` is the C one and that code never runs.
//!
//! ```text
//! embryo-probe [MODE [ARGUMENT]...] [then MODE [ARGUMENT]...]...
//!   report [FD|PATH]   write one JSON object and a newline (default: descriptor 1)
//!   args               write each argument of the whole program on a line of its own
//!   cat [FD]           copy a descriptor to descriptor 1 until it ends (default: 0)
//!   echo TEXT          write TEXT and a newline to descriptor 1
//!   fdpath FD          write where the descriptor's /proc link points
//!   hold FD            wait until the other end of FD is closed
//!   sleep SECONDS      sleep; fractions are allowed
//!   spin               use a cpu for ever
//!   deaf SECONDS       ignore every signal that can be, write "deaf", and sleep
//!   signal N           send itself signal N, unblocked and with its default action
//!   exit N             exit with status N
//! ```
//! Without arguments it reports to descriptor 1. It exits with 64 if it does not understand its
//! arguments, 71 if the system refuses something, and 0 at the end.

#![no_main]

use embryo_tests::{Report, Text};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What the modes answer: nothing, or the status to exit with after saying why.
type Outcome = Result<(), (u8, String)>;

const USAGE: u8 = 64;
const OS_ERROR: u8 = 71;

/// Where the C library starts the program, with the strings as the kernel laid them out.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int {
    // SAFETY: the C library passes a list of C strings that ends with NULL, and keeps it.
    let argv = unsafe { strings(argv) };
    // SAFETY: likewise.
    let envp = unsafe { strings(envp) };
    match run(&argv, &envp) {
        Ok(()) => 0,
        Err((status, message)) => {
            // There may be no standard error to say it on; the status says enough.
            let _ =
                write_all(rustix::stdio::stderr(), format!("embryo-probe: {message}\n").as_bytes());
            status.into()
        }
    }
}

/// # Safety
/// `list` is an array of pointers to C strings and ends with NULL, and nothing changes it.
unsafe fn strings(mut list: *const *const c_char) -> Vec<Text> {
    let mut strings = Vec::new();
    loop {
        // SAFETY: NULL has not been met, so this is still inside the caller's array.
        let string = unsafe { list.read() };
        if string.is_null() {
            return strings;
        }
        // SAFETY: the caller's array holds C strings.
        let string = unsafe { CStr::from_ptr(string) };
        strings.push(string.to_bytes().to_vec().into());
        // SAFETY: this was not the last element, so there is a next.
        list = unsafe { list.add(1) };
    }
}

fn run(argv: &[Text], envp: &[Text]) -> Outcome {
    let arguments = argv.get(1..).unwrap_or_default();
    for mode in arguments.split(|argument| *argument == "then") {
        let words: Vec<&str> =
            mode.iter().map(|word| word.as_str().unwrap_or("\u{fffd}")).collect();
        match words[..] {
            [] | ["report"] => report(argv, envp, "1")?,
            ["report", target] => report(argv, envp, target)?,
            ["args", ..] => return args(argv),
            ["cat"] => cat("0")?,
            ["cat", fd] => cat(fd)?,
            ["echo", text] => write_all(rustix::stdio::stdout(), format!("{text}\n").as_bytes())?,
            ["fdpath", fd] => fdpath(fd)?,
            ["hold", fd] => hold(fd)?,
            ["sleep", seconds] => sleep(seconds)?,
            ["spin"] => loop {
                std::hint::spin_loop();
            },
            ["deaf", seconds] => deaf(seconds)?,
            ["signal", number] => signal(parse(number)?)?,
            ["exit", status] => std::process::exit(parse(status)?),
            _ => return Err((USAGE, format!("what is {mode:?}?"))),
        }
    }
    Ok(())
}

/// `target` is a descriptor's number, or else a path: one such as `./7` is never a number.
fn report(argv: &[Text], envp: &[Text], target: &str) -> Outcome {
    let limits = make_room();
    let mut report = Report::capture(argv.to_vec(), envp.to_vec());
    report.rlimits.extend(limits);
    let mut json = serde_json::to_vec(&report).map_err(|e| (OS_ERROR, e.to_string()))?;
    json.push(b'\n');
    if target.bytes().all(|byte| byte.is_ascii_digit()) {
        return write_all(fd(target)?, &json);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(target, flags, Mode::from_raw_mode(0o666))
        .map_err(|e| (OS_ERROR, format!("{target}: {e}")))?;
    write_all(file.as_fd(), &json)
}

/// Raises the two limits that a report could fail at as far as they go: a test may well have set
/// one to nothing. Returns them as they were received.
fn make_room() -> impl Iterator<Item = (String, embryo_tests::Limit)> {
    [("nofile", Resource::Nofile), ("fsize", Resource::Fsize)].into_iter().map(
        |(name, resource)| {
            let received = getrlimit(resource);
            // If it is refused, the report may still fit.
            let _ = setrlimit(resource, Rlimit { current: received.maximum, ..received });
            (
                name.to_owned(),
                embryo_tests::Limit { soft: received.current, hard: received.maximum },
            )
        },
    )
}

fn args(argv: &[Text]) -> Outcome {
    let lines: Vec<u8> = argv.iter().flat_map(|arg| [arg.as_bytes(), b"\n"].concat()).collect();
    write_all(rustix::stdio::stdout(), &lines)
}

fn cat(from: &str) -> Outcome {
    let from = fd(from)?;
    let mut buffer = [0; 4096];
    loop {
        match retry(from, rustix::event::PollFlags::IN, || rustix::io::read(from, &mut buffer))? {
            0 => return Ok(()),
            length => write_all(rustix::stdio::stdout(), &buffer[..length])?,
        }
    }
}

fn fdpath(fd: &str) -> Outcome {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}"))
        .map_err(|e| (OS_ERROR, format!("descriptor {fd}: {e}")))?;
    let line = [Text::from(path).as_bytes(), b"\n"].concat();
    write_all(rustix::stdio::stdout(), &line)
}

/// Waits for the end without taking what is written: something else may want to read it.
fn hold(number: &str) -> Outcome {
    use rustix::event::{PollFd, PollFlags, poll};
    let fd = fd(number)?;
    loop {
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
        match poll(&mut polled, None) {
            Ok(_) if polled[0].revents().contains(PollFlags::NVAL) => {
                return Err((OS_ERROR, format!("descriptor {number} is not open")));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err((OS_ERROR, e.to_string())),
        }
    }
}

fn sleep(seconds: &str) -> Outcome {
    let duration = Duration::try_from_secs_f64(parse(seconds)?)
        .map_err(|e| (USAGE, format!("{seconds}: {e}")))?;
    std::thread::sleep(duration);
    Ok(())
}

fn deaf(seconds: &str) -> Outcome {
    for signal in 1..=64 {
        // KILL and STOP refuse.
        let _ = set_disposition(signal, libc::SIG_IGN);
    }
    write_all(rustix::stdio::stdout(), b"deaf\n")?;
    sleep(seconds)
}

fn signal(number: i32) -> Outcome {
    if !(1..=64).contains(&number) {
        return Err((USAGE, format!("there is no signal {number}")));
    }
    // KILL and STOP refuse, but they have their default action anyway.
    let _ = set_disposition(number, libc::SIG_DFL);
    let set = 1_u64 << (number - 1);
    // SAFETY: the call reads 8 bytes from a `u64` and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_UNBLOCK,
            &raw const set,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
    assert_eq!(result, 0, "unblocking cannot fail");
    let own = rustix::process::getpid().as_raw_pid();
    // SAFETY: the call takes two numbers. rustix's would refuse the signals libc hides.
    let result = unsafe { libc::kill(own, number) };
    if result == 0 { Ok(()) } else { Err((OS_ERROR, format!("signal {number} was refused"))) }
}

/// Sets a signal's disposition to default or ignore. libc's function refuses 32 and 33.
fn set_disposition(signal: i32, handler: usize) -> Result<(), ()> {
    // Handler, flags, restorer where there is one, and mask: all words are 0 but the first.
    let action = [handler, 0, 0, 0, 0];
    // SAFETY: the kernel's structure is no longer than these words. No handler of ours runs: the
    // callers pass default and ignore only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            std::ptr::null_mut::<usize>(),
            size_of::<u64>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(()) }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, (u8, String)> {
    text.parse().map_err(|e| (USAGE, format!("{text:?}: {e}")))
}

/// A descriptor the program was given. Whether it is open shows when it is used.
fn fd(number: &str) -> Result<BorrowedFd<'static>, (u8, String)> {
    let number = parse::<u32>(number)?.cast_signed();
    if number < 0 {
        return Err((USAGE, format!("there is no descriptor {number}")));
    }
    // SAFETY: it is not -1, and this program closes no descriptor that it was given.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Outcome {
    while !bytes.is_empty() {
        let written = retry(to, rustix::event::PollFlags::OUT, || rustix::io::write(to, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Repeats a call that was interrupted, or, on a descriptor that does not block, came too early.
fn retry<T>(
    fd: BorrowedFd<'_>,
    ready: rustix::event::PollFlags,
    mut call: impl FnMut() -> rustix::io::Result<T>,
) -> Result<T, (u8, String)> {
    use rustix::event::{PollFd, poll};
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::from_borrowed_fd(fd, ready)], None)),
            other => return other.map_err(|e| (OS_ERROR, e.to_string())),
        }
    }
}
