//! `embryo run --pty`: a terminal of the program's own, and what the user at the other one notices of it.

mod support;

use embryo_tests::{skip, wait_for};
use rustix::termios::{LocalModes, OutputModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use support::screen::{CTRL_BACKSLASH, CTRL_C, CTRL_Z, Screen};
use support::{PATIENCE, comes_to, shell, state, vanishes};

const CTRL_D: &str = "\x04";

impl Screen {
    fn settings(&self) -> Termios {
        tcgetattr(&self.keyboard).unwrap()
    }

    /// Whether embryo takes every key at this moment.
    fn is_raw(&self) -> bool {
        let modes = self.settings().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO)
    }

    #[track_caller]
    fn becomes_raw(&self) {
        assert!(wait_for(PATIENCE, || self.is_raw()));
    }

    /// Waits until the shell says that its job has stopped, and asks for the next command.
    #[track_caller]
    fn stops(&mut self) {
        self.sees("Stopped");
        self.sees("@ ");
    }

    /// Waits for the shell's prompt and asks it for a status: what is typed before is the program's.
    #[track_caller]
    fn ends_with(&mut self, status: i32) {
        self.sees("@ ");
        assert_eq!(self.status(), status);
        self.sees("@ ");
    }

    /// The settings that a shell without a line editor leaves, to be compared with.
    #[track_caller]
    fn is_as_before(&self, before: &Termios) {
        let now = self.settings();
        assert_eq!(now.local_modes, before.local_modes);
        assert_eq!(now.input_modes, before.input_modes);
        assert_eq!(now.output_modes, before.output_modes);
        assert_eq!(now.control_modes, before.control_modes);
    }
}

#[test]
fn the_terminal_is_its_own() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    screen.types("tty; echo re\"\"ady\n");
    let outer = screen.sees("ready");
    let outer = outer.lines().last().unwrap_or_default().trim().to_owned();
    let outer = if outer.is_empty() {
        screen.text.lines().rev().find(|l| l.starts_with("/dev/pts/")).unwrap().to_owned()
    } else {
        outer
    };
    // Its number, its session, its group in the foreground, and all that is open.
    let script = "tty </dev/tty; tty; \
                  IFS=\" \" read -r p c s pp g sid t fg x </proc/self/stat; \
                  [ $sid = $$ ] && [ $g = $fg ] && echo leads; ls -l /proc/$$/fd; echo en\"\"d:";
    screen.types(&format!("\"$E\" run --pty -- sh -c '{script}'\n"));
    screen.sees("/dev/");
    let told = screen.sees("end:");
    assert!(told.contains("leads"), "{told}");
    assert!(told.contains("/dev/pts/"), "{told}");
    // No way to the other one, which is what TIOCSTI would need.
    assert!(!told.lines().any(|line| line.trim_end().ends_with(outer.trim())), "{outer}: {told}");
    screen.ends_with(0);
}

#[test]
fn ctrl_c_and_ctrl_backslash_reach_the_program() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let before = screen.settings();
    for (key, status) in [(CTRL_C, 130), (CTRL_BACKSLASH, 131)] {
        let pid = screen.starts("--pty", "exec sleep 1000");
        screen.becomes_raw();
        screen.types(key);
        screen.ends_with(status);
        assert!(vanishes(pid));
        screen.is_as_before(&before);
    }
    screen.starts_with(
        "--pty",
        "trap \"echo cau\"\"ght; exit 6\" INT; ",
        "while :; do sleep 0.1; done",
    );
    screen.becomes_raw();
    screen.types(CTRL_C);
    screen.sees("caught");
    screen.ends_with(6);
}

#[test]
fn ctrl_z_and_fg() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let before = screen.settings();
    let pid = screen.starts("--pty", "exec sleep 1000");
    for _ in 0..2 {
        screen.becomes_raw();
        screen.types(CTRL_Z);
        screen.stops();
        assert!(comes_to(pid, 'T'));
        screen.is_as_before(&before);
        assert_eq!(screen.foreground(), screen.leader.id());
        screen.types("fg\n");
        assert!(comes_to(pid, 'S'));
    }
    screen.becomes_raw();
    screen.types(CTRL_C);
    screen.ends_with(130);
    screen.is_as_before(&before);
}

#[test]
fn ctrl_z_is_a_key_for_a_program_that_has_a_use_for_it() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    screen.starts_with(
        "--pty",
        "trap \"echo cau\"\"ght; exit 5\" TSTP; ",
        "while :; do sleep 0.1; done",
    );
    screen.becomes_raw();
    screen.types(CTRL_Z);
    screen.sees("caught");
    screen.ends_with(5);
}

#[test]
fn a_shell_inside_controls_its_own_jobs() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let before = screen.settings();
    screen.types(
        "\"$E\" run --pty --env E --env PS1='% ' -- bash --norc --noprofile --noediting -i\n",
    );
    screen.sees("\r\n% ");
    let outer = screen.foreground();
    let pid = screen.starts("", "exec sleep 1000");
    screen.types(CTRL_Z);
    screen.sees("Stopped");
    screen.sees("% ");
    assert!(comes_to(pid, 'T'));
    // The outer shell has noticed nothing.
    assert_eq!(screen.foreground(), outer);
    assert!(screen.is_raw());
    screen.types("fg\n");
    assert!(comes_to(pid, 'S'));
    screen.types(CTRL_C);
    screen.sees("% ");
    assert_eq!(screen.status(), 130);
    screen.types("exit 7\n");
    screen.ends_with(7);
    screen.is_as_before(&before);
}

#[test]
fn it_is_stopped_from_elsewhere_and_goes_on() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let before = screen.settings();
    let pid = screen.starts("--pty", "read line; echo got:$line:");
    screen.becomes_raw();
    let embryo = parent(pid);
    signal(embryo, 20);
    screen.stops();
    assert!(comes_to(pid, 'T'));
    screen.is_as_before(&before);
    screen.types("fg\n");
    screen.becomes_raw();
    screen.types("words\r");
    screen.sees("got:words:");
    screen.ends_with(0);
    screen.is_as_before(&before);
}

#[test]
fn the_window_is_as_large() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let resize = |screen: &Screen, ws_row, ws_col| {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&screen.keyboard, size).unwrap();
    };
    resize(&screen, 31, 97);
    let script =
        "stty size; trap \"stty size; exit 4\" WINCH; echo re\"\"ady; while :; do sleep 0.1; done";
    screen.types(&format!("\"$E\" run --pty -- sh -c '{script}'\n"));
    screen.sees("31 97");
    screen.sees("ready");
    resize(&screen, 43, 101);
    screen.sees("43 101");
    screen.ends_with(4);
    // In the background too, where the new size is seen when it comes back.
    let pid = screen.starts("--pty", "exec sleep 1000");
    screen.becomes_raw();
    screen.types(CTRL_Z);
    screen.stops();
    resize(&screen, 50, 60);
    screen.types("fg\n");
    screen.becomes_raw();
    let tty = fs::File::open(format!("/proc/{pid}/fd/0")).unwrap();
    let size = || rustix::termios::tcgetwinsize(&tty).map(|size| (size.ws_row, size.ws_col));
    assert!(wait_for(PATIENCE, || size() == Ok((50, 60))));
    screen.types(CTRL_C);
    screen.ends_with(130);
}

#[test]
fn the_settings_come_back_however_it_ends() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    // Some that are not the kernel's own.
    screen.types("stty -echoctl -iexten\n");
    screen.sees("@ ");
    let before = screen.settings();
    for (number, status) in [(15, 143), (9, 137), (1, 129), (10, 138)] {
        let pid = screen.starts("--pty", "exec sleep 1000");
        screen.becomes_raw();
        // 9 is for the program alone: nobody can catch it.
        let to = if number == 9 { pid } else { parent(pid) };
        signal(to, number);
        screen.ends_with(status);
        assert!(vanishes(pid));
        screen.is_as_before(&before);
    }
    for (program, status) in [("true", 0), ("/no/such/program", 127), ("/", 126)] {
        screen.types(&format!("\"$E\" run --pty -- {program}\n"));
        screen.ends_with(status);
        screen.is_as_before(&before);
    }
    screen.types("\"$E\" run --pty --timeout 0.2 -- sleep 1000\n");
    screen.ends_with(124);
    screen.is_as_before(&before);
    // A program that leaves its own terminal in disorder.
    screen.types("\"$E\" run --pty -- stty raw -echo\n");
    screen.ends_with(0);
    screen.is_as_before(&before);
}

#[test]
fn the_end_of_input_is_a_key() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    screen.starts("--pty", "cat; echo af\"\"ter");
    screen.becomes_raw();
    screen.types(CTRL_D);
    screen.sees("after");
    screen.ends_with(0);
}

#[test]
fn in_the_background_it_shows_output_and_takes_no_keys() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let before = screen.settings();
    let script = "echo pid:$$:; sleep 0.3; echo sho\"\"wn; read line; echo got:$line:";
    screen.types(&format!("\"$E\" run --pty -- sh -c '{script}' &\n"));
    screen.sees("pid:");
    while !screen.sees(":").chars().all(|c| c.is_ascii_digit()) {}
    screen.sees("shown");
    assert!(!screen.is_raw());
    // The shell's, and not the program's.
    screen.types("echo mi\"\"ne\n");
    screen.sees("mine");
    screen.is_as_before(&before);
    screen.types("fg\n");
    screen.becomes_raw();
    screen.types("words\r");
    screen.sees("got:words:");
    screen.ends_with(0);
    screen.is_as_before(&before);
}

#[test]
fn in_the_background_it_stops_to_write_where_that_is_asked_for() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    screen.types("stty tostop\n");
    screen.sees("@ ");
    screen.types("\"$E\" run --pty -- sh -c 'echo sho\"\"wn; exit 3' &\necho pid:$!:\n");
    screen.sees("pid:$!:");
    screen.sees("pid:");
    let embryo = screen.sees(":").parse().unwrap();
    // By SIGTTOU, as any program.
    assert!(comes_to(embryo, 'T'));
    assert!(!screen.text.contains("shown\r"));
    screen.sees("@ ");
    screen.types("fg\n");
    screen.sees("shown\r");
    screen.ends_with(3);
}

#[test]
fn it_goes_on_in_the_background_after_a_stop() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let before = screen.settings();
    let pid = screen.starts("--pty", "exec sleep 1000");
    screen.becomes_raw();
    screen.types(CTRL_Z);
    screen.stops();
    screen.types("bg\n");
    assert!(comes_to(pid, 'S'));
    screen.types("echo mi\"\"ne\n");
    screen.sees("mine");
    screen.is_as_before(&before);
    screen.types("kill %1; wait %1\n");
    screen.ends_with(143);
    assert!(vanishes(pid));
}

#[test]
fn a_hangup_hangs_up() {
    let script = "echo pid:$$:; exec sleep 1000";
    let options = ["run", "--pty", "--", "sh", "-c", script];
    let mut screen = Screen::new(env!("CARGO_BIN_EXE_embryo"), &options);
    screen.sees("pid:");
    let pid = screen.sees(":").parse().unwrap();
    screen.keyboard = File::open("/dev/null").unwrap();
    assert!(vanishes(pid));
    assert_eq!(screen.leader.wait().unwrap().signal(), Some(1));
}

#[test]
fn when_embryo_is_killed_the_program_is_hung_up() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let pid = screen.starts("--pty", "exec sleep 1000");
    signal(parent(pid), 9);
    assert!(vanishes(pid));
}

#[test]
fn piped_input_is_typed_without_echo_and_ends() {
    let ran = shell("printf 'one\\ntwo' | \"$E\" run --pty -- cat | od -c");
    let told: String = ran.ok().lines().map(|line| line.get(7..).unwrap_or_default()).collect();
    let told: String = told.split_whitespace().collect();
    assert_eq!(told, "one\\ntwo");
    assert_eq!(shell("\"$E\" run --pty -- cat </dev/null").ok(), "");
    let dir = embryo_tests::tempdir();
    let file = dir.path().join("in");
    fs::write(&file, "5\n").unwrap();
    let script = "read n; exit $n";
    let ran = shell(&format!("\"$E\" run --pty -- sh -c '{script}' <{}", file.display()));
    assert_eq!((ran.code, ran.out.as_str()), (Some(5), ""));
    // What is typed means what it means in a terminal.
    let ran = shell("printf 'x\\003' | \"$E\" run --pty --signal-as-status -- sleep 1000");
    assert_eq!(ran.code, Some(130));
}

#[test]
fn nothing_is_lost_in_either_direction() {
    let dir = embryo_tests::tempdir();
    let lines: String = (0..60_000).map(|n| format!("{n} is a line\n")).collect();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, &lines).unwrap();
    for end in ["", " | cat"] {
        let line = format!("\"$E\" run --pty -- cat <{}{end} >{}", from.display(), to.display());
        shell(&line).ok();
        assert!(fs::read_to_string(&to).unwrap() == lines, "through a terminal, {end:?}");
    }
    // The last output of one that ends at once, every time.
    for _ in 0..50 {
        let ran = shell("\"$E\" run --pty -- sh -c 'seq 400; exec echo last'");
        assert!(ran.ok().ends_with("400\nlast\n"));
    }
    // A reader that is slow and a program that is gone.
    let ran = shell("\"$E\" run --pty -- seq 20000 | (sleep 1; tail -n1)");
    assert_eq!(ran.ok(), "20000\n");
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    assert_eq!(shell("\"$E\" run --pty -- yes | head -n1").ok(), "y\n");
}

#[test]
fn what_it_leaves_behind_does_not_keep_embryo() {
    let script = "trap \"\" HUP; { while :; do echo more; done & }; echo pid:$!:; exit 9";
    let mut command = support::command(&["run", "--pty", "--", "sh", "-c", script]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    let text = String::from_utf8(output.stdout).unwrap();
    let pid = text.split("pid:").nth(1).and_then(|rest| rest.split(':').next());
    let pid: u32 = pid.expect("it was told").parse().unwrap();
    // Writing to a terminal that is gone is an error, which echo of dash(1) survives.
    signal(pid, 9);
}

#[test]
fn output_that_nobody_reads_does_not_keep_a_signal_waiting() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command =
        support::command(&["run", "--pty", "--", "sh", "-c", "yes & exec sleep 1000"]);
    let mut child = command.stdout(writer).spawn().unwrap();
    let embryo = child.id();
    // The pipe is as full as it becomes.
    let held = || rustix::io::ioctl_fionread(&reader).unwrap();
    let grows = || {
        let before = held();
        std::thread::sleep(std::time::Duration::from_millis(300));
        before == 0 || held() != before
    };
    assert!(wait_for(PATIENCE, || !grows()));
    let program = children(embryo);
    signal(embryo, 15);
    // The program is gone; what it wrote is still to be shown, and a second signal ends that.
    assert!(!program.is_empty() && program.iter().all(|pid| vanishes(*pid)));
    signal(embryo, 15);
    assert!(wait_for(PATIENCE, || child.try_wait().unwrap().is_some()));
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn streams_that_are_given_stay_what_they_are() {
    let script = "[ -t 0 ] && [ -t 1 ] && ! [ -t 2 ] && echo so; echo error >&2";
    let dir = embryo_tests::tempdir();
    let file = dir.path().join("err");
    let to = format!("{}:w", file.display());
    let ran = support::embryo(&["run", "--pty", "--stderr", &to, "--", "sh", "-c", script]);
    assert_eq!(ran.ok(), "so\n");
    assert_eq!(fs::read_to_string(file).unwrap(), "error\n");
}

#[test]
fn another_user_can_open_it_by_its_name() {
    if !embryo_tests::is_root() {
        skip!("only root can become another user");
    }
    let script = "echo opened >\"$(tty)\" && id -u";
    let args = ["run", "--pty", "--user", "65534", "--chdir", "/", "--", "sh", "-c", script];
    assert_eq!(support::embryo(&args).ok(), "opened\n65534\n");
}

#[test]
fn nothing_can_be_typed_into_the_other_terminal() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    let Some(perl) =
        ["/usr/bin/perl", "/bin/perl"].into_iter().find(|path| fs::exists(path).unwrap_or(false))
    else {
        skip!("there is no perl to make the call with");
    };
    // TIOCSTI, on every terminal that the program can name as its own.
    let script = "for (0 .. 9) { open(my $t, q(<&=), $_) or next; \
                  ioctl($t, 0x5412, $k = qq(x)) && -t $t && print qq(into ), readlink(qq(/proc/self/fd/$_)), qq(:) } \
                  print qq(done:)";
    screen.types("tty; echo re\"\"ady\n");
    screen.sees("\r\n/dev/");
    let outer = format!("/dev/{}", screen.sees("\r\n"));
    screen.types(&format!("\"$E\" run --pty -- {perl} -e '{script}'\n"));
    screen.sees("$_");
    screen.sees("\n");
    let told = screen.sees("done:");
    assert!(!told.contains(&format!("into {outer}:")), "{told}");
    screen.ends_with(0);
}

#[test]
fn it_is_a_session_with_a_terminal_when_explained() {
    let told = support::embryo(&["run", "--pty", "--explain", "--", "true"]).ok();
    for op in ["set-sid", "controlling-tty", "put-fd"] {
        assert!(told.contains(op), "{told}");
    }
    for other in ["--setsid", "--ctty", "--foreground", "--save=x"] {
        let ran = support::embryo(&["run", "--pty", other, "--", "true"]);
        assert_eq!(ran.code, Some(125), "{other}: {ran:?}");
    }
}

#[test]
fn a_raw_outer_terminal_keeps_its_output_for_others() {
    let Some(mut screen) = Screen::shell() else { skip!("there is no bash") };
    // Standard output is a pipe, whose reader writes to our terminal.
    screen.types("\"$E\" run --pty -- sh -c 'echo re\"\"ady; read x; echo got:$x:' | cat\n");
    screen.sees("ready\r\n");
    screen.becomes_raw();
    assert!(screen.settings().output_modes.contains(OutputModes::OPOST));
    screen.types("words\r");
    screen.sees("got:words:\r\n");
    screen.ends_with(0);
}

fn parent(pid: u32) -> u32 {
    support::status_field(pid, "PPid").unwrap().parse().unwrap()
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn signal(pid: u32, number: i32) {
    assert!(state(pid).is_some(), "{pid} has gone");
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    let signal = rustix::process::Signal::from_named_raw(number).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
