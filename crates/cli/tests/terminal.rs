//! embryo as a job of an interactive shell on a terminal: Ctrl-C, Ctrl-Z, fg, and whose turn at the
//! terminal it is.

mod support;

use embryo_tests::skip;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use support::screen::{CTRL_BACKSLASH, CTRL_C, CTRL_Z, Screen};
use support::{PATIENCE, comes_to, state, vanishes};

#[test]
fn ctrl_c_ends_program_and_embryo() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    for options in ["", "--foreground", "--pgid new", "--setsid", "--through-seed"] {
        let pid = screen.starts(options, "exec sleep 1000");
        screen.types(CTRL_C);
        assert_eq!(screen.status(), 130, "{options}");
        assert!(vanishes(pid));
        let pid = screen.starts(options, "exec sleep 1000");
        screen.types(CTRL_BACKSLASH);
        assert_eq!(screen.status(), 131, "{options}");
        assert!(vanishes(pid));
    }
}

#[test]
fn ctrl_c_arrives_once() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    for options in ["", "--foreground", "--pgid new", "--setsid"] {
        // A second one would end a later sleep, and the trap would speak again.
        let script = "sleep 1; sleep 0.3; sleep 0.3; exit 6";
        screen.starts_with(options, "trap \"echo cau\"\"ght\" INT; ", script);
        screen.types(CTRL_C);
        screen.sees("caught");
        assert_eq!(screen.status(), 6, "{options}");
        let from = screen.text.rfind("ready").unwrap();
        assert_eq!(screen.text[from..].matches("caught").count(), 1, "{options}");
    }
}

#[test]
fn ctrl_c_ends_a_shells_loop() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    screen.types("for i in 1 2; do \"$E\" run -- sh -c 'echo ro\"\"und; exec sleep 1000'; done\n");
    screen.sees("round");
    screen.types(CTRL_C);
    assert_eq!(screen.status(), 130);
    assert_eq!(screen.text.matches("round").count(), 1);
}

#[test]
fn ctrl_z_and_fg() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    for options in ["", "--foreground", "--pgid new", "--setsid"] {
        let pid = screen.starts(options, "exec sleep 1000");
        for _ in 0..2 {
            screen.types(CTRL_Z);
            screen.sees("Stopped");
            assert!(comes_to(pid, 'T'), "{options}");
            assert_eq!(screen.foreground(), screen.leader.id(), "{options}");
            screen.types("fg\n");
            assert!(comes_to(pid, 'S'), "{options}");
            screen.sees("sleep 1000");
        }
        screen.types(CTRL_C);
        assert_eq!(screen.status(), 130, "{options}");
    }
}

#[test]
fn a_program_goes_on_in_the_background() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    for options in ["", "--foreground"] {
        let pid = screen.starts(options, "exec sleep 1000");
        screen.types(CTRL_Z);
        screen.sees("Stopped");
        screen.types("bg\n");
        assert!(comes_to(pid, 'S'), "{options}");
        assert_eq!(screen.foreground(), screen.leader.id(), "{options}");
        screen.types("kill %1; wait %1\n");
        assert_eq!(screen.status(), 143, "{options}");
        assert!(vanishes(pid));
    }
}

#[test]
fn a_foreground_program_has_the_terminal_and_gives_it_back() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let pid = screen.starts("--foreground", "read line; echo got:$line:");
    assert_eq!(screen.foreground(), pid);
    screen.types("words\n");
    screen.sees("got:words:");
    assert_eq!(screen.status(), 0);
    // A shell without job control does not take it back itself.
    screen.types("sh -c '\"$E\" run --foreground true; read line; echo then:$line:'; true\n");
    screen.sees("true\r\n");
    screen.types("more\n");
    screen.sees("then:more:");
    assert_eq!(screen.status(), 0);
}

#[test]
fn a_pipeline_is_one_job() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let stage = |letter: &str| format!("\"$E\" run -- sed -u s/^/{letter}/");
    screen.types(&format!("{} | {} | {}\n", stage("a"), stage("b"), stage("c")));
    screen.types("one\n");
    screen.sees("cbaone");
    screen.types(CTRL_Z);
    screen.sees("Stopped");
    screen.types("fg\n");
    screen.types("two\n\x04");
    screen.sees("cbatwo");
    assert_eq!(screen.status(), 0);
}

#[test]
fn an_interactive_shell_inside_controls_its_own_jobs() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    screen.types("\"$E\" run --env E --env PS1='% ' -- bash --norc --noprofile --noediting -i\n");
    screen.sees("\r\n% ");
    let outer = screen.leader.id();
    let pid = screen.starts("", "exec sleep 1000");
    screen.types(CTRL_Z);
    screen.sees("Stopped");
    assert!(comes_to(pid, 'T'));
    assert_ne!(screen.foreground(), outer);
    screen.types("suspend\n");
    screen.sees("Stopped");
    screen.sees("@ ");
    assert_eq!(screen.foreground(), outer);
    screen.types("fg\n");
    // The shell repeats the command line, which has the prompt in it.
    screen.sees("--noediting -i\r\n");
    screen.sees("% ");
    screen.types("fg\n");
    assert!(comes_to(pid, 'S'));
    screen.types(CTRL_C);
    assert_eq!(screen.status(), 130);
    screen.types("exit 7\n");
    assert_eq!(screen.status(), 7);
}

#[test]
fn a_session_leader_is_not_stopped_for_ever() {
    // As under a terminal emulator's -e: no shell would continue embryo.
    let script = "echo re\"\"ady; exec sleep 1";
    let options = ["run", "--pgid", "new", "--foreground", "--", "sh", "-c", script];
    let mut screen = Screen::new(env!("CARGO_BIN_EXE_embryo"), &options);
    screen.sees("ready");
    screen.types(CTRL_Z);
    screen.sees("^Z");
    assert_ne!(state(screen.leader.id()), Some('T'));
    assert!(screen.leader.wait_timeout(PATIENCE).unwrap().unwrap().success());
}

#[test]
fn a_hangup_ends_the_program() {
    for options in [&["run"][..], &["run", "--pgid", "new"], &["run", "--setsid"]] {
        let script = "echo pid:$$:; exec sleep 1000";
        let args = [options, &["--", "sh", "-c", script]].concat();
        let mut screen = Screen::new(env!("CARGO_BIN_EXE_embryo"), &args);
        screen.sees("pid:");
        let pid = screen.sees(":").parse().unwrap();
        // The terminal goes away.
        screen.keyboard = File::open("/dev/null").unwrap();
        assert!(vanishes(pid), "{options:?}");
        let status = screen.leader.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(1), "{options:?}");
    }
}

#[test]
fn a_controlling_terminal_can_be_given() {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let (ctty, stdio) = (format!("--ctty={name}"), format!("{name}:rw"));
    // Its foreground group is the program's own.
    let script = "echo here >/dev/tty; IFS=' ' read -r p c s pp g sid t fg x </proc/self/stat; \
                  [ $g = $fg ]";
    let args = ["run", &ctty, "--foreground", "--stdin", &stdio, "--", "sh", "-c", script];
    support::embryo(&args).ok();
    let mut screen = [0; 16];
    let count = rustix::io::read(&ours, &mut screen).unwrap();
    assert_eq!(&screen[..count], b"here\r\n");
}

#[test]
fn a_controlling_terminal_is_not_stolen() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    // This one belongs to the shell's session.
    screen.types("\"$E\" run --ctty -- true\n");
    screen.sees("the terminal already belongs to another session");
    assert_eq!(screen.status(), 125);
}
