//! Watching the system calls that are made from certain addresses: a filter hands each of them to this
//! process, which lets it through if it is listed and refuses it otherwise, and keeps account.
//!
//! It must never stop a call from anywhere else, nor one that it cannot name afterwards.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec};

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Numbers of calls that were let through.
    pub(crate) allowed: BTreeSet<i64>,
    /// Numbers of calls that were refused, with the address that each came from.
    pub(crate) refused: BTreeSet<(i64, u64)>,
}

/// A watch over the children that the calling thread makes from now on.
pub(crate) struct Watch {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl Watch {
    /// Begins. A filter stays for the rest of the process, so this is for tests that run alone.
    ///
    /// # Errors
    /// EBUSY if somebody watches this process already; EINVAL before Linux 5.0.
    pub(crate) fn over(places: &[Range<u64>], allowed: BTreeSet<i64>) -> io::Result<Self> {
        let listener = install(&program(places))?;
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !theirs.load(Ordering::Relaxed) {
                if called(&listener) {
                    answer(&listener, &allowed, &mut seen);
                }
            }
            seen
        });
        Ok(Self { done, thread: Some(thread) })
    }

    /// Ends: calls from the watched places fail with ENOSYS from here on.
    pub(crate) fn end(mut self) -> Seen {
        self.done.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("the watch does not panic")
    }
}

/// Every call from one of the places is handed over, every other one allowed.
fn program(places: &[Range<u64>]) -> Vec<libc::sock_filter> {
    // Offsets in struct seccomp_data: the halves of the instruction pointer.
    const LOW: u32 = 8;
    const HIGH: u32 = 12;
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0);
    let answer = |k| step(libc::BPF_RET | libc::BPF_K, k, 0, 0);
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let at_least = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let mut program = vec![load(HIGH), step(equal, 0, 1, 0), allow, load(LOW)];
    for place in places {
        let [from, to] = [place.start, place.end].map(|end| u32::try_from(end).expect("it is low"));
        // Below it, or not below its end: on to the next.
        program.extend([step(at_least, from, 0, 2), step(at_least, to, 1, 0)]);
        program.push(answer(libc::SECCOMP_RET_USER_NOTIF));
    }
    program.push(allow);
    program
}

fn install(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    if !embryo_tests::is_root() {
        rustix::thread::set_no_new_privs(true)?;
    }
    let filter =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads one sock_fprog and the program it points to, both alive.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const filter,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// Waits a moment for a call.
fn called(listener: &OwnedFd) -> bool {
    let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut fds = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&moment)), Ok(1))
        && fds[0].revents().contains(PollFlags::IN)
}

fn answer(listener: &OwnedFd, allowed: &BTreeSet<i64>, seen: &mut Seen) {
    // _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp)
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    const _: () = assert!(size_of::<libc::seccomp_notif>() == 0x50);
    const _: () = assert!(size_of::<libc::seccomp_notif_resp>() == 0x18);
    // SAFETY: numbers and arrays of them, for which zero is a value; the kernel wants zeros.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one seccomp_notif.
    if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) } != 0 {
        // Whoever called was killed meanwhile.
        return;
    }
    let number = i64::from(call.data.nr);
    let listed = allowed.contains(&number);
    if listed {
        seen.allowed.insert(number);
    } else {
        let at = call.data.instruction_pointer;
        // What is refused makes an op fail, whose error does not know why.
        eprintln!("call {number} from {at:#x} is not listed, and refused");
        seen.refused.insert((number, at));
    }
    let answer = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: if listed { 0 } else { -libc::ENOSYS },
        flags: if listed { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 },
    };
    // Refused only if whoever called was killed meanwhile.
    // SAFETY: the kernel reads one seccomp_notif_resp.
    unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
}
