//! Promise: a child has the descriptors that its plan puts somewhere and no others, whatever
//! numbers they have in the caller and are to have in the child.
//!
//! It must never tell descriptors apart by anything but the file that they stand for.

mod before;
mod caller;
mod launch;
mod refusal;

use before::Before;
use embryo::{Access, Op};
use embryo_tests::{Report, is_root, rerun_as_nobody, skip};
use launch::{Draft, Way};
use rustix::fs::MemfdFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

#[path = "descriptors/high.rs"]
mod high;
#[path = "descriptors/hostile.rs"]
mod hostile;

/// A file like no other.
fn new_file() -> OwnedFd {
    rustix::fs::memfd_create("embryo-test", MemfdFlags::CLOEXEC).expect("a memfd can be made")
}

/// A file like no other, open at `number` and close-on-exec.
fn new_file_at(number: RawFd) -> OwnedFd {
    let file = new_file();
    if file.as_raw_fd() == number {
        return file;
    }
    let numbers = [number];
    let taken = rustix::io::fcntl_getfd(launch::borrow(&numbers)[0]).is_ok();
    assert!(!taken, "{number} is not free");
    // SAFETY: the call takes numbers; the one that it makes is not open.
    let result = unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) };
    assert_eq!(result, number);
    // SAFETY: it was made just now, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Closes every descriptor but the standard streams: a test that names numbers cannot know which of
/// them whoever started it left open.
fn close_all() {
    // SAFETY: no pointer is passed. Where a test owns one of them, it does not use it any more and
    // does not close it.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    assert_eq!(result, 0);
}

/// More numbers than any test here names.
const ROOM: u64 = 8192;

/// Sees to it that a descriptor may have any number below [`ROOM`]; says whether it may.
fn make_room() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= ROOM);
    enough(limit.current)
        || setrlimit(Resource::Nofile, Rlimit { current: Some(ROOM), ..limit }).is_ok()
}

/// Goes on in a process that runs this test only and has nothing open but its standard streams.
macro_rules! alone {
    () => {
        embryo_tests::alone!();
        crate::close_all();
        if !crate::make_room() {
            embryo_tests::skip!("RLIMIT_NOFILE cannot be raised to {}", crate::ROOM);
        }
    };
}
pub(crate) use alone;

/// A pipe with numbers that no test names, if the limit allows.
fn pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let away = |fd: OwnedFd| rustix::io::fcntl_dupfd_cloexec(&fd, 2000).unwrap_or(fd);
    (away(reader.into()).into(), away(writer.into()).into())
}

/// Device and inode.
fn identity(file: impl AsFd) -> (u64, u64) {
    let stat = rustix::fs::fstat(file).expect("it is open");
    (stat.st_dev, stat.st_ino)
}

/// Grants of the caller's numbers, and where they are to be in the child.
#[derive(Default)]
struct Arrangement {
    grants: Vec<RawFd>,
    /// Number in the child to index of the grant.
    puts: BTreeMap<u32, usize>,
    nulls: Vec<(u32, Access)>,
}

impl Arrangement {
    /// Each grant has its own slot and one place.
    fn of(puts: impl IntoIterator<Item = (RawFd, u32)>) -> Self {
        let (grants, numbers): (Vec<RawFd>, Vec<u32>) = puts.into_iter().unzip();
        Self { grants, puts: numbers.into_iter().zip(0..).collect(), nulls: Vec::new() }
    }

    /// What a child with these reports of itself; it writes to a number that is not among them.
    fn report(&self, way: Way) -> Report {
        let taken = |n: &u32| self.puts.contains_key(n) || self.nulls.iter().any(|(m, _)| m == n);
        let number = (0..).find(|number| !taken(number)).expect("some number is free");
        let mut draft = Draft::probe(&["report", &number.to_string()]);
        let slots: Vec<_> = self.grants.iter().map(|fd| draft.grant_number(*fd)).collect();
        for (fd, index) in &self.puts {
            draft.op(&Op::PutFd { slot: slots[*index], fd: *fd });
        }
        for (fd, access) in &self.nulls {
            draft.op(&Op::OpenNull { fd: *fd, access: *access });
        }
        let (mut reader, writer) = pipe();
        let slot = draft.grant_number(writer.as_raw_fd());
        draft.op(&Op::PutFd { slot, fd: number });
        let mut child = draft.spawn(way).unwrap_or_else(|e| panic!("{way:?}: {e}"));
        drop(writer);
        let mut json = Vec::new();
        reader.read_to_end(&mut json).expect("a pipe can be read");
        assert!(child.wait().expect("it can be waited for").success());
        let mut report = Report::parse(&json);
        report.fds.retain(|fd| fd.fd != number.cast_signed());
        report
    }

    /// Launches it on both ways and checks that the child has these descriptors and no others.
    fn check(&self) {
        let files: Vec<(u64, u64)> =
            self.grants.iter().map(|fd| identity(launch::borrow(&[*fd])[0])).collect();
        for way in Way::BOTH {
            let report = self.report(way);
            let expected = self.puts.keys().chain(self.nulls.iter().map(|(fd, _)| fd));
            let mut expected: Vec<i32> = expected.map(|fd| fd.cast_signed()).collect();
            expected.sort_unstable();
            assert_eq!(report.fd_numbers(), expected, "{way:?}");
            for (number, index) in &self.puts {
                let fd = report.fd(number.cast_signed());
                assert_eq!((fd.dev, fd.ino), files[*index], "{way:?}: the wrong file at {number}");
                assert!(!fd.cloexec, "{way:?}: {number}");
            }
            let null = rustix::fs::stat("/dev/null").expect("there is a /dev/null").st_rdev;
            for (number, access) in &self.nulls {
                let fd = report.fd(number.cast_signed());
                let mode = fd.flags & libc::O_ACCMODE.cast_unsigned();
                assert_eq!((fd.rdev, mode), (null, *access as u32), "{way:?}: {number}");
            }
        }
    }
}

#[test]
fn two_grants_swap_their_numbers() {
    alone!();
    let _files = [new_file_at(10), new_file_at(11)];
    Arrangement::of([(10, 11), (11, 10)]).check();
}

/// As a ring: each takes the number that the next one has.
#[test]
fn cycles_of_every_length() {
    alone!();
    for length in 2..=20 {
        for start in [100, 200] {
            let _files: Vec<OwnedFd> = (start..start + length).map(new_file_at).collect();
            let ring = |step: i32| {
                let to = move |at: i32| (start + (at + step).rem_euclid(length)).cast_unsigned();
                Arrangement::of((0..length).map(|at| (start + at, to(at))))
            };
            ring(1).check();
            ring(-1).check();
            ring(length / 2).check();
        }
    }
}

/// A cycle through the caller's own standard streams.
#[test]
fn standard_streams_change_places() {
    alone!();
    let _file = new_file_at(3);
    Arrangement::of([(0, 1), (1, 2), (2, 0)]).check();
    Arrangement::of([(0, 2), (1, 0), (2, 3), (3, 1)]).check();
    Arrangement::of([(0, 0), (1, 1), (2, 2)]).check();
}

/// Each number is that of another grant, but no ring.
#[test]
fn a_number_may_be_where_another_grant_comes_from() {
    alone!();
    let _files: Vec<OwnedFd> = (10..20).map(new_file_at).collect();
    Arrangement::of((10..20).map(|at: RawFd| (at, at.cast_unsigned() + 1))).check();
    Arrangement::of((10..20).map(|at: RawFd| (at, at.cast_unsigned() - 1))).check();
    Arrangement::of((10..20).map(|at: RawFd| (at, 29 - at.cast_unsigned()))).check();
}

#[test]
fn one_slot_stands_at_several_numbers() {
    alone!();
    let _files = [new_file_at(10), new_file_at(11)];
    let puts = [(3, 0), (9, 0), (10, 1), (11, 0), (12, 1), (13, 0)].into();
    Arrangement { grants: vec![10, 11], puts, nulls: Vec::new() }.check();
}

#[test]
fn one_descriptor_is_granted_in_several_slots() {
    alone!();
    let _files = [new_file_at(10), new_file_at(11)];
    let puts = [(3, 0), (10, 3), (11, 1), (12, 2), (13, 4)].into();
    Arrangement { grants: vec![10, 10, 10, 11, 11], puts, nulls: Vec::new() }.check();
}

/// Nothing is put anywhere, though much is granted.
#[test]
fn a_grant_that_is_put_nowhere_does_not_arrive() {
    alone!();
    let _files: Vec<OwnedFd> = (10..20).map(new_file_at).collect();
    Arrangement { grants: (10..20).collect(), puts: [(15, 5)].into(), nulls: Vec::new() }.check();
}

#[test]
fn dev_null_stands_where_it_is_said() {
    alone!();
    let _files: Vec<OwnedFd> = (3..8).map(new_file_at).collect();
    // At the numbers of grants that are put elsewhere, between others, and at the end.
    let nulls = vec![
        (0, Access::Read),
        (1, Access::Write),
        (4, Access::ReadWrite),
        (6, Access::Read),
        (40, Access::Write),
    ];
    Arrangement { nulls, ..Arrangement::of([(3, 5), (4, 7), (5, 3), (6, 41), (7, 8)]) }.check();
    let nulls = (0..50).map(|fd| (fd, Access::Read)).collect();
    Arrangement { nulls, ..Arrangement::default() }.check();
}

/// Whether they are close-on-exec or not, and however many.
#[test]
fn everything_else_is_closed() {
    alone!();
    let others: Vec<OwnedFd> = (0..500).map(|_| new_file()).collect();
    for other in others.iter().step_by(2) {
        rustix::io::fcntl_setfd(other, rustix::io::FdFlags::empty()).expect("it is open");
    }
    Arrangement::default().check();
    let some = |from: usize| others[from].as_raw_fd();
    Arrangement::of([(some(0), 0), (some(1), 1), (some(499), 2)]).check();
}

/// A descriptor that is a mere path has no file behind it that could be read.
#[test]
fn a_path_may_be_granted() {
    alone!();
    use rustix::fs::{Mode, OFlags};
    let open = |path: &str| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).expect("it is there")
    };
    let (directory, file) = (open("/"), open("/proc/self/exe"));
    let far = rustix::io::fcntl_dupfd_cloexec(&file, 700).expect("it can be copied");
    Arrangement::of([(directory.as_raw_fd(), 5), (file.as_raw_fd(), 6), (far.as_raw_fd(), 7)])
        .check();
}

#[test]
fn sockets_directories_and_terminals_may_be_granted() {
    alone!();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("they can be made");
    let directory = File::open("/proc").expect("there is a /proc");
    let null = File::open("/dev/null").expect("there is a /dev/null");
    let terminal = File::open("/dev/ptmx").expect("a terminal can be made");
    let all = [socket.as_raw_fd(), directory.as_raw_fd(), null.as_raw_fd(), terminal.as_raw_fd()];
    Arrangement::of(all.into_iter().zip(3..)).check();
}

/// What a grant is put at the seed keeps its own end of the control socket at first.
#[test]
fn the_number_of_the_seeds_control_socket_is_not_special() {
    alone!();
    let _files: Vec<OwnedFd> = (10..14).map(new_file_at).collect();
    Arrangement::of([(10, 3)]).check();
    Arrangement::of([(10, 2), (11, 3), (12, 4), (13, 5)]).check();
    Arrangement { nulls: vec![(3, Access::Read)], ..Arrangement::of([(10, 4)]) }.check();
    // Enough puts that the socket has to give way again and again.
    Arrangement { grants: vec![10], puts: (3..60).map(|fd| (fd, 0)).collect(), nulls: vec![] }
        .check();
}

#[test]
fn a_closed_grant_is_an_error_that_names_it() {
    alone!();
    before::warm_up();
    let _low = new_file_at(60);
    for closed in [61, 900] {
        for way in Way::BOTH {
            let mut draft = Draft::probe(&["exit", "0"]);
            let good = draft.grant_number(60);
            let bad = draft.grant_number(closed);
            draft.op(&Op::PutFd { slot: good, fd: 5 }).op(&Op::PutFd { slot: bad, fd: 6 });
            let before = Before::capture();
            let error = draft.spawn(way).expect_err("the grant is closed");
            before.assert_nothing_left();
            let text = error.to_string();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{text}");
            assert!(
                text.contains(&format!("slot 1 (descriptor {closed} of the caller)")),
                "{text}"
            );
            let spawn = error.as_spawn().expect("a fault");
            match spawn.step() {
                // It was looked at by the op.
                None => assert_eq!((spawn.index(), spawn.op()), (Some(1), "put-fd"), "{text}"),
                // It could not be sent.
                Some(step) => assert_eq!(step, embryo::Step::ReceiveGrants, "{text}"),
            }
        }
    }
}

#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    for test in [
        "two_grants_swap_their_numbers",
        "cycles_of_every_length",
        "standard_streams_change_places",
        "one_slot_stands_at_several_numbers",
        "one_descriptor_is_granted_in_several_slots",
        "dev_null_stands_where_it_is_said",
        "everything_else_is_closed",
        "the_number_of_the_seeds_control_socket_is_not_special",
        "a_closed_grant_is_an_error_that_names_it",
        "high::a_thousand_grants_at_high_numbers",
        "high::numbers_up_to_the_limit",
        "high::more_in_flight_than_the_user_may_have",
        "hostile::the_caller_has_no_standard_streams",
        "hostile::the_caller_closes_what_it_does_not_know",
        "hostile::the_caller_opens_sockets_where_the_librarys_were",
        "hostile::the_caller_opens_pidfds_where_the_librarys_were",
        "hostile::a_forked_caller_and_its_parent_spawn_at_once",
    ] {
        rerun_as_nobody(test);
    }
}
