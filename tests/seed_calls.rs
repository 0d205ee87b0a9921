//! Promise: the seed makes the system calls that ARCHITECTURE.md lists, for the ops that it names
//! there, and no others: neither from its image nor from the page that it leaps from. The image lies at a fixed
//! address, so a filter knows its calls by the instruction pointer.
//!
//! It must never be content with a list that is longer than what is made.

mod before;
mod caller;
mod catalogue;
mod everything;
mod filter;
mod launch;
mod on_memory;
mod refusal;

use catalogue::{failures, samples};
use embryo::{Cause, Embryo, Op, OpCode};
use embryo_tests::{alone, is_root, rerun_as_nobody, skip};
use launch::{Draft, Way};
use std::collections::BTreeSet;
use std::ops::Range;
use table::{Listed, NUMBERS, listed};
use watch::Watch;

#[path = "seed_calls/table.rs"]
mod table;
#[path = "seed_calls/watch.rs"]
mod watch;

/// Where starts by registers leap from: one page.
const LEAP: Range<u64> = 0x4000_0000..0x4000_1000;
/// Linked into the seed, and not called there: never, only when a thread could not be made, or only by
/// an older kernel.
const NEVER: &[&str] = &["exit", "fchmodat"];

/// Where the seed's image lies.
fn image() -> Range<u64> {
    let embryo = Embryo::create().expect("an embryo can be made");
    let maps = embryo.maps().expect("it lives");
    let mut image = maps.iter().filter(|entry| entry.name.contains("embryo:seed"));
    let first = image.next().expect("a seed has an image").range.clone();
    let end = image.map(|entry| entry.range.end).fold(first.end, u64::max);
    assert!(first.start < 1 << 30 && end - first.start < 1 << 20, "{maps:#x?}");
    first.start..end
}

/// Begins a watch that lets through what is listed, but for one of them.
fn watch(but_for: &str) -> std::io::Result<Watch> {
    let listed = listed().into_iter().filter(|call| call.name != but_for);
    Watch::over(&[image(), LEAP], listed.map(|call| call.number).collect())
}

/// The name of a number, as far as it stands in the list.
fn name(number: i64) -> String {
    let name = NUMBERS.iter().find(|(_, known)| *known == number);
    name.map_or(format!("call {number}"), |(name, _)| (*name).to_owned())
}

/// Each op that shows or fails in an image, through the seed.
fn catalogue_through_the_seed() {
    for code in OpCode::ALL {
        for sample in samples(*code).into_iter().filter(|sample| sample.who.is_me()) {
            let mut draft = Draft::watched();
            let check = (sample.add)(&mut draft);
            let child = draft.watch(Way::Seed);
            check(&child);
            child.end();
        }
    }
    let all = OpCode::ALL.iter().flat_map(|code| failures(*code));
    for failure in all.filter(|failure| failure.refusal.is_none() && failure.who.is_me()) {
        let mut draft = Draft::probe(&["exit", "0"]);
        (failure.add)(&mut draft);
        if failure.ways(&draft).contains(&Way::Seed) {
            let error = draft.spawn(Way::Seed).expect_err("it cannot be done");
            assert_eq!(error.raw_os_error(), Some(failure.errno), "{error}");
        }
    }
}

#[test]
fn those_that_are_listed_and_no_others() {
    alone!();
    before::warm_up();
    let watch = match watch("") {
        Ok(watch) => watch,
        Err(error) => skip!("no call can be watched here: {error}"),
    };
    catalogue_through_the_seed();
    everything::everything(LEAP.start);
    let seen = watch.end();
    let refused: Vec<_> =
        seen.refused.iter().map(|(call, at)| format!("{} from {at:#x}", name(*call))).collect();
    assert_eq!(refused, [""; 0], "the seed made calls that ARCHITECTURE.md does not list");
    let made: BTreeSet<String> = seen.allowed.iter().map(|call| name(*call)).collect();
    let meant = listed().into_iter().map(|call| call.name.to_owned());
    let meant: BTreeSet<String> = meant.filter(|name| !NEVER.contains(&name.as_str())).collect();
    assert_eq!(made, meant, "left: made by the seed; right: listed in ARCHITECTURE.md");
}

/// The watch itself: one that is not listed is seen, and refused.
#[test]
fn one_that_is_not_listed_is_noticed() {
    alone!();
    before::warm_up();
    let watch = match watch("umask") {
        Ok(watch) => watch,
        Err(error) => skip!("no call can be watched here: {error}"),
    };
    let mut draft = Draft::probe(&["exit", "0"]);
    draft.op(&Op::Umask { mode: 0o22 });
    let error = draft.spawn(Way::Seed).expect_err("its call is refused");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSYS), "{error}");
    assert_eq!(error.as_spawn().map(|fault| fault.cause), Some(Cause::Refused), "{error}");
    let seen = watch.end();
    let [(call, at)] = Vec::from_iter(seen.refused)[..] else { panic!("not one was refused") };
    assert_eq!(call, libc::SYS_umask);
    assert!((0x20_0000..0x30_0000).contains(&at), "{at:#x}");
}

/// The list speaks of ops that there are, of all that make a call, and of numbers that have those names.
#[test]
fn the_list_names_calls_and_ops_that_there_are() {
    let listed = listed();
    if cfg!(target_arch = "x86_64") {
        let numbers: Vec<_> = listed.iter().map(|call| (call.name, call.number)).collect();
        assert_eq!(numbers, NUMBERS, "left: ARCHITECTURE.md; right: libc");
    }
    // It answers what it is given.
    let without_call = [OpCode::Fail];
    let named: BTreeSet<&str> = listed.iter().flat_map(words).collect();
    for code in OpCode::ALL {
        let named = named.contains(code.name());
        assert_eq!(named, !without_call.contains(code), "{}", code.name());
    }
}

fn words(call: &Listed) -> impl Iterator<Item = &'static str> {
    call.users.split([',', ';', ' ']).filter(|word| !word.is_empty())
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    rerun_as_nobody("those_that_are_listed_and_no_others");
    rerun_as_nobody("one_that_is_not_listed_is_noticed");
}
