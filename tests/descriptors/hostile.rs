//! Callers that do to their descriptors what the library does not expect: without standard
//! streams, closing all that they do not know, forking, under filters. It must never touch the
//! streams on which the harness reports for longer than a launch.

use crate::before::{self, Before};
use crate::launch::{self, Draft, Way};
use crate::refusal::Refusal;
use crate::{Arrangement, alone, close_all, identity, new_file, new_file_at};
use embryo_tests::Report;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Some standard streams are closed until this is dropped.
struct WithoutStreams(Vec<(RawFd, OwnedFd)>);

impl WithoutStreams {
    fn close(numbers: &[RawFd]) -> Self {
        let stderr = std::io::stderr();
        let stderr = rustix::io::fcntl_dupfd_cloexec(stderr, 800).expect("it is open");
        // What fails meanwhile is to be read all the same.
        std::panic::set_hook(Box::new(move |panic| {
            let _ = rustix::io::write(&stderr, format!("{panic}\n").as_bytes());
        }));
        let save = |number: &RawFd| {
            let streams = [*number];
            let stream = launch::borrow(&streams);
            let saved = rustix::io::fcntl_dupfd_cloexec(stream[0], 800).expect("it is open");
            // SAFETY: the number belongs to nobody in particular, and it is opened again.
            let result = unsafe { libc::close(*number) };
            assert_eq!(result, 0);
            (*number, saved)
        };
        Self(numbers.iter().map(save).collect())
    }
}

impl Drop for WithoutStreams {
    fn drop(&mut self) {
        for (number, saved) in &self.0 {
            // SAFETY: the call takes two numbers; the second is that of a standard stream, which
            // belongs to nobody in particular.
            let result = unsafe { libc::dup2(saved.as_raw_fd(), *number) };
            assert_eq!(result, *number);
        }
    }
}

/// One test for each choice of streams that are closed from the first launch on: whatever the library
/// makes then and keeps could take their numbers.
macro_rules! without {
    ($($name:ident: $closed:expr;)*) => {
        $(#[test]
        fn $name() {
            alone!();
            without_streams(&$closed);
        })*
    };
}

without! {
    the_caller_has_no_stdin: [0];
    the_caller_has_no_stdout: [1];
    the_caller_has_no_stderr: [2];
    the_caller_has_no_stdin_nor_stdout: [0, 1];
    the_caller_has_no_stdout_nor_stderr: [1, 2];
    the_caller_has_no_standard_streams: [0, 1, 2];
}

fn without_streams(closed: &[RawFd]) {
    let dir = embryo_tests::tempdir();
    let _files: Vec<OwnedFd> = [700, 701, 702].into_iter().map(new_file_at).collect();
    let _without = WithoutStreams::close(closed);
    for _ in 0..2 {
        Arrangement::of([(700, 0), (701, 1), (702, 2)]).check();
        Arrangement::of([(700, 5), (701, 4), (702, 3)]).check();
        let open = [0, 1, 2].into_iter().filter(|number| !closed.contains(number));
        let swapped = open.zip(0..).chain([(700, 7), (701, 6), (702, 9)]);
        Arrangement::of(swapped).check();
        // A number that the library took for itself would be taken for the caller's stream.
        for number in closed {
            let open = rustix::io::fcntl_getfd(launch::borrow(&[*number])[0]).is_ok();
            assert!(!open, "the library keeps a descriptor at {number}");
        }
        let path = dir.path().join("report");
        let mut command = embryo::Command::new(embryo_tests::probe_path());
        let status = command.arg("report").arg(&path).status().expect("it can be started");
        assert!(status.success());
        let report = Report::parse(&std::fs::read(&path).expect("it was written"));
        let open: Vec<RawFd> = [0, 1, 2].into_iter().filter(|n| !closed.contains(n)).collect();
        assert_eq!(report.fd_numbers(), open, "what is closed here is closed there");
    }
}

/// Closes every descriptor but the standard streams, as daemons do, and opens files, which get the
/// numbers. Some are not close-on-exec.
fn close_all_and_open_files() -> Vec<OwnedFd> {
    close_all();
    let files: Vec<OwnedFd> = (0..40).map(|_| new_file()).collect();
    for file in &files {
        rustix::io::write(file, &[b'x'; 100]).expect("a memfd can be written");
        rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).expect("it has a position");
    }
    for file in files.iter().step_by(3) {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).expect("it is open");
    }
    assert_eq!(files[0].as_raw_fd(), 3);
    files
}

/// Every one is still what it was, and nobody has read from it.
fn assert_untouched(files: &[OwnedFd], identities: &[(u64, u64)]) {
    for (file, before) in files.iter().zip(identities) {
        let number = file.as_raw_fd();
        assert!(rustix::io::fcntl_getfd(file).is_ok(), "the caller's {number} was closed");
        assert_eq!(identity(file), *before, "the caller's {number} is another file");
        assert_eq!(rustix::fs::tell(file), Ok(0), "somebody has read from the caller's {number}");
    }
}

#[test]
fn the_caller_closes_what_it_does_not_know() {
    alone!();
    before::warm_up();
    for _ in 0..3 {
        let files = close_all_and_open_files();
        let identities: Vec<(u64, u64)> = files.iter().map(identity).collect();
        let far = rustix::io::fcntl_dupfd_cloexec(&files[7], 900).expect("it can be copied");
        for _ in 0..2 {
            Arrangement::default().check();
            Arrangement::of([(3, 4), (4, 3), (far.as_raw_fd(), 5)]).check();
            assert_untouched(&files, &identities);
        }
        before::warm_up();
        let before = Before::capture();
        Arrangement::of([(far.as_raw_fd(), 5)]).check();
        before.assert_nothing_left();
        // They were closed by hand, so their handles must not close them again.
        files.into_iter().for_each(std::mem::forget);
        std::mem::forget(far);
    }
}

/// A process that was dropped while it ran is waited for in the background, with descriptors that
/// nobody sees.
#[test]
fn the_caller_closes_what_is_waited_for_in_the_background() {
    alone!();
    let drop_running = || {
        let child = Draft::probe(&["sleep", "0.3"]).spawn(Way::AsRouted).expect("it starts");
        let pid = child.id().cast_signed();
        drop(child);
        pid
    };
    let state = |pid: i32| {
        let children = embryo_tests::children_of_self();
        children.into_iter().find(|child| child.pid == pid).map(|child| child.state)
    };
    let first = drop_running();
    let files = close_all_and_open_files();
    let identities: Vec<(u64, u64)> = files.iter().map(identity).collect();
    let ended = || matches!(state(first), None | Some('Z'));
    assert!(embryo_tests::wait_for(launch::PATIENCE, ended));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_untouched(&files, &identities);
    let second = drop_running();
    assert!(embryo_tests::wait_for(launch::PATIENCE, || state(second).is_none()));
    assert_untouched(&files, &identities);
}

/// The numbers of the library's sockets are those of other sockets now, to which grants could be sent.
#[test]
fn the_caller_opens_sockets_where_the_librarys_were() {
    alone!();
    before::warm_up();
    close_all();
    let pair = || {
        let kind = rustix::net::SocketType::SEQPACKET;
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None)
    };
    // So that a pair has other numbers than a pair of the library's had.
    let _shift = new_file_at(3);
    let pairs: Vec<_> = (0..30).map(|_| pair().expect("they can be made")).collect();
    let far = new_file_at(900);
    for _ in 0..2 {
        Arrangement::of([(far.as_raw_fd(), 5)]).check();
        for (one, other) in &pairs {
            for socket in [one, other] {
                let received = rustix::io::read(socket, &mut [0u8; 8]);
                assert_eq!(received, Err(rustix::io::Errno::AGAIN), "it is not ours any more");
            }
        }
    }
}

/// The numbers of what is waited for in the background are those of other processes now, which are
/// the caller's to wait for.
#[test]
fn the_caller_opens_pidfds_where_the_librarys_were() {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    alone!();
    let mut own = std::process::Command::new(embryo_tests::probe_path())
        .args(["exit", "7"])
        .spawn()
        .expect("the probe can be started");
    let pid = Pid::from_raw(own.id().cast_signed()).expect("it is not 0");
    let child = Draft::probe(&["sleep", "0.3"]).spawn(Way::AsRouted).expect("it starts");
    let dropped = child.id().cast_signed();
    let open = || pidfd_open(pid, PidfdFlags::empty()).expect("nobody has waited for it");
    if identity(open()) == identity(&child) {
        own.wait().expect("nobody else has waited for it");
        embryo_tests::skip!("before Linux 6.9 a pidfd cannot be told from another");
    }
    drop(child);
    close_all();
    let _pidfds: Vec<OwnedFd> = (0..40).map(|_| open()).collect();
    let ended = || {
        let children = embryo_tests::children_of_self();
        children.iter().all(|child| child.pid != dropped || child.state == 'Z')
    };
    assert!(embryo_tests::wait_for(launch::PATIENCE, ended));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let status = own.wait().expect("nobody else has waited for it");
    assert_eq!(status.code(), Some(7));
}

/// Both have the library's reserved sockets, which are then the same sockets.
#[test]
fn a_forked_caller_and_its_parent_spawn_at_once() {
    alone!();
    before::warm_up();
    // The harness's main thread only waits for this one.
    let tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc").count();
    assert!(tasks <= 2, "only a process whose other threads do nothing may fork and go on");
    // SAFETY: no other thread is doing anything, so no lock is held and memory is in order.
    let forked = unsafe { libc::fork() };
    assert!(forked >= 0);
    let outcome = std::panic::catch_unwind(spawn_many);
    if forked == 0 {
        // SAFETY: it ends the process without the harness's exit code, which is the parent's.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: the call writes one number.
    let waited = unsafe { libc::waitpid(forked, &raw mut status, 0) };
    assert_eq!((waited, status), (forked, 0), "the forked caller's spawns failed");
    assert!(outcome.is_ok(), "the parent's spawns failed");
}

fn spawn_many() {
    for round in 0..60 {
        let files: Vec<OwnedFd> = (0..3)
            .map(|_| rustix::io::fcntl_dupfd_cloexec(new_file(), 500 + round))
            .map(|file| file.expect("it can be copied"))
            .collect();
        Arrangement::of(files.iter().map(AsRawFd::as_raw_fd).zip(3..)).check();
    }
}

/// Before Linux 5.9, and under filters that do not know the call.
#[test]
fn close_range_is_missing() {
    alone!();
    let files: Vec<OwnedFd> = (0..30).map(|_| new_file()).collect();
    for file in files.iter().step_by(2) {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).expect("it is open");
    }
    let _high: Vec<OwnedFd> = (600..900).map(new_file_at).collect();
    for errno in [libc::ENOSYS, libc::EPERM] {
        Refusal::always(libc::SYS_close_range).with(errno).enforce();
        Arrangement::default().check();
        Arrangement::of([(0, 1), (1, 0), (700, 9), (600, 700), (899, 3)]).check();
        Arrangement::of((600..900).zip(3..)).check();
    }
}
