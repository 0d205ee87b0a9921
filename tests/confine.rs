//! Promise: who confines a child gets what was asked for, or an error: filters from policies, a listener
//! that is handed over before the image runs, and Landlock.
//!
//! It must never confine the test itself; what is tried is tried by the child.

mod before;
mod filter;
mod launch;

use before::Before;
use embryo_tests::{is_root, rerun_as_nobody, skip};
use launch::Way;

#[path = "confine/landlock.rs"]
mod landlock;
#[path = "confine/listener.rs"]
mod listener;
#[path = "confine/profile.rs"]
mod profile;

/// The tests of this file that say something else of an ordinary user.
#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    for test in [
        "listener::a_call_is_answered",
        "listener::the_start_itself_is_answered",
        "landlock::files_are_restricted",
        "landlock::a_rule_holds_for_a_bind_of_what_it_is_on",
        "landlock::ports_are_restricted",
        "profile::programs_do_their_work_under_it",
        "profile::what_it_refuses_is_refused",
    ] {
        rerun_as_nobody(test);
    }
}

/// Nothing is left by what is done here.
fn leaving_nothing(what: impl FnOnce()) {
    before::warm_up();
    let before = Before::capture();
    what();
    before.assert_nothing_left();
}

/// The probe, as a command.
fn probe(args: &[&str]) -> embryo::Command {
    let mut command = embryo::Command::new(embryo_tests::probe_path());
    command.args(args).spawn_options(Way::Seed.options()).kill_on_drop(true);
    command
}

/// Whether there is somebody who tries things when told to.
fn have_python() -> bool {
    std::fs::exists("/usr/bin/python3").is_ok_and(|found| found)
}
