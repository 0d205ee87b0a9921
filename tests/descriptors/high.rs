//! Grants whose numbers lie above the cut, which do not come with the table. It must never rely on
//! where the cut is, but where it says that it must not have risen.

use crate::before::{self, Before};
use crate::launch::{Draft, Way};
use crate::{Arrangement, alone, identity, new_file, new_file_at};
use embryo::{Op, Route, Step};
use embryo_tests::{is_root, skip};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// One more than the largest number that a descriptor may have here, and in a plan.
fn end() -> RawFd {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit.min(u64::from(embryo::limits::FD_MAX) + 1) as RawFd
}

#[test]
fn high_low_and_both() {
    alone!();
    let _files: Vec<OwnedFd> = [4, 5, 300, 301, 302].into_iter().map(new_file_at).collect();
    Arrangement::of([(300, 0)]).check();
    Arrangement::of([(300, 300), (301, 302), (302, 301)]).check();
    Arrangement::of([(4, 5), (300, 4), (5, 301), (301, 0), (302, 1)]).check();
    Arrangement::of([(302, 4), (4, 302), (301, 3), (300, 5), (5, 300)]).check();
}

/// In order and in the opposite one, and with low ones between.
#[test]
fn a_thousand_grants_at_high_numbers() {
    alone!();
    // A message carries 253.
    for count in [252, 253, 254, 255, 506, 507, 1000] {
        let start = 300;
        let _files: Vec<OwnedFd> = (start..start + count).map(new_file_at).collect();
        let numbers = 10..10 + count.cast_unsigned();
        Arrangement::of((start..start + count).zip(numbers.clone())).check();
        Arrangement::of((start..start + count).zip(numbers.rev())).check();
    }
    let _low: Vec<OwnedFd> = (20..220).map(new_file_at).collect();
    let _high: Vec<OwnedFd> = (300..500).map(new_file_at).collect();
    let mixed = (20..220).zip(300..500).flat_map(|(low, high)| [low, high]);
    Arrangement::of(mixed.zip(3..)).check();
}

#[test]
fn as_many_grants_as_a_plan_may_have() {
    alone!();
    // One slot is for the report.
    let count = embryo::limits::SLOTS_MAX.cast_signed() - 1;
    let _files: Vec<OwnedFd> = (300..300 + count).map(new_file_at).collect();
    Arrangement::of((300..300 + count).zip((3..).step_by(2))).check();
}

#[test]
fn numbers_up_to_the_limit() {
    alone!();
    let last = end() - 1;
    let _files = [new_file_at(3), new_file_at(last - 1), new_file_at(last)];
    let high = |number: RawFd| number.cast_unsigned();
    Arrangement::of([(last, 3), (3, high(last))]).check();
    Arrangement::of([(last, high(last - 1)), (last - 1, high(last))]).check();
    Arrangement::of([(last, high(last))]).check();
}

/// The limit was lowered after the descriptors were opened, so they are above it.
#[test]
fn grants_above_a_lowered_limit() {
    alone!();
    let _files: Vec<OwnedFd> = (500..510).map(new_file_at).collect();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(40), ..limit }).expect("it may be lowered");
    Arrangement::of((500..510).zip(3..)).check();
    Arrangement::of([(500, 39), (501, 38)]).check();
}

/// No number is left to move a descriptor to, or to make one: an error, and nothing else.
#[test]
fn no_room_for_one_more() {
    alone!();
    before::warm_up();
    let _files: Vec<OwnedFd> = (60..80).map(new_file_at).collect();
    let limit = getrlimit(Resource::Nofile);
    let mut refused = 0;
    for room in 0..40 {
        for way in Way::BOTH {
            let mut draft = Draft::probe(&["exit", "0"]);
            for at in 60..80 {
                let slot = draft.grant_number(at);
                draft.op(&Op::PutFd { slot, fd: 99 - at.cast_unsigned() });
            }
            let before = Before::capture();
            setrlimit(Resource::Nofile, Rlimit { current: Some(room), ..limit }).expect("lowered");
            let outcome = draft.spawn(way);
            setrlimit(Resource::Nofile, limit).expect("it may be raised to what it was");
            match outcome {
                Ok(mut child) => assert!(child.wait().expect("it ends").code().is_some()),
                Err(error) => {
                    let errno = error.raw_os_error();
                    // An ordinary user may not even have so many in a message.
                    let known = [libc::EMFILE, libc::EBADF, libc::ETOOMANYREFS].map(Some);
                    assert!(known.contains(&errno), "{error}");
                    refused += 1;
                }
            }
            before.assert_nothing_left();
        }
    }
    assert!(refused > 10, "{refused}");
}

/// What a child did not take is taken out again, even where there are not numbers enough to receive it:
/// the next launch would find it first.
#[test]
fn a_failed_launch_leaves_no_grants_for_the_next() {
    alone!();
    before::warm_up();
    let files: Vec<OwnedFd> = (300..1100).map(new_file_at).collect();
    let mut failing = Draft::probe(&["exit", "0"]);
    for file in &files {
        failing.grant_number(file.as_raw_fd());
    }
    let limit = getrlimit(Resource::Nofile);
    for room in 10..60 {
        setrlimit(Resource::Nofile, Rlimit { current: Some(room), ..limit }).expect("lowered");
        let outcome = failing.spawn(Way::AsRouted);
        setrlimit(Resource::Nofile, limit).expect("it may be raised to what it was");
        match outcome {
            // An ordinary user may not have so many in messages, so they came with the table.
            Ok(mut child) => assert!(!is_root() && child.wait().expect("it ends").success()),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}"),
        }
        Arrangement::of([(1000, 5)]).check();
    }
}

/// The cut stays where it is, so that a child never holds what another thread has open.
#[test]
fn a_high_grant_does_not_raise_the_cut() {
    alone!();
    let _file = new_file_at(4000);
    let mut draft = Draft::watched();
    let slot = draft.grant_number(4000);
    draft.op(&Op::PutFd { slot, fd: 9 });
    let child = draft.watch(Way::AsRouted);
    let report = child.process().report();
    assert_eq!((report.route, report.cut_raised), (Route::Direct, false));
    assert!(report.cut < 64, "{report:?}");
    child.end();
}

/// The kernel counts the descriptors that a user has in messages, against RLIMIT_NOFILE. What does
/// not fit into them comes with the table, and that is said; the seed has no table of the
/// caller's.
#[test]
fn more_in_flight_than_the_user_may_have() {
    if is_root() {
        skip!("it holds for ordinary users only, as whom it is run too");
    }
    alone!();
    before::warm_up();
    let files: Vec<OwnedFd> = (300..700).map(new_file_at).collect();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).expect("it may be lowered");
    let mut draft = Draft::watched();
    let slots: Vec<_> = files.iter().map(|file| draft.grant_number(file.as_raw_fd())).collect();
    draft.op(&Op::PutFd { slot: slots[0], fd: 5 }).op(&Op::PutFd { slot: slots[399], fd: 6 });
    let child = draft.watch(Way::AsRouted);
    let report = child.process().report();
    assert!(report.cut_raised && report.cut >= 700, "{report:?}");
    for (number, file) in [(5, &files[0]), (6, &files[399])] {
        let fd = child.report.fd(number);
        assert_eq!((fd.dev, fd.ino), identity(file));
    }
    assert_eq!(child.report.fd_numbers(), [0, 1, 5, 6]);
    child.end();

    let before = Before::capture();
    let error = draft.spawn(Way::Seed).expect_err("they cannot be sent");
    before.assert_nothing_left();
    assert_eq!(error.raw_os_error(), Some(libc::ETOOMANYREFS), "{error}");
    assert_eq!(error.as_spawn().and_then(|e| e.step()), Some(Step::ReceiveGrants));
    // Nothing is in flight any more, so a launch with fewer works again.
    Draft::watched().watch(Way::Seed).end();
}

/// Each thread's children have that thread's grants and no others'.
#[test]
fn threads_do_not_get_each_others_grants() {
    alone!();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || {
                for _ in 0..12 {
                    let file = rustix::io::fcntl_dupfd_cloexec(new_file(), 1000 + thread * 50);
                    let file = file.expect("it can be copied");
                    for way in Way::BOTH {
                        let mut draft = Draft::watched();
                        let slot = draft.grant_number(file.as_raw_fd());
                        draft.op(&Op::PutFd { slot, fd: 7 });
                        let child = draft.watch(way);
                        assert_eq!(child.report.fd_numbers(), [0, 1, 7]);
                        let fd = child.report.fd(7);
                        assert_eq!((fd.dev, fd.ino), identity(&file));
                        child.end();
                    }
                }
            });
        }
    });
}
