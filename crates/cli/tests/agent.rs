//! `embryo agent`: its file, its sockets, its signals, what it tells its service manager.

mod support;

use embryo_tests::{require_root, tempdir, wait_for};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Signal, geteuid};
use serde_json::Value;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use support::daemon::{Daemon, config};
use support::{PATIENCE, embryo, shell};

fn seqpacket() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .unwrap()
}

/// Whether somebody listens at a path.
fn connects(path: &str) -> bool {
    rustix::net::connect(seqpacket(), &SocketAddrUnix::new(path).unwrap()).is_ok()
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempdir();
    let path = dir.path().join("agent.toml");
    fs::write(&path, text).unwrap();
    let name = path.to_str().unwrap().to_owned();
    (dir, name)
}

#[test]
fn a_mistake_points_to_its_line_and_key() {
    let whole =
        "[[listen]]\npath = '/x'\nmode = '0600'\nmandate = 'a'\n[mandates.a]\nimages = []\n";
    for (from, to, at, expect) in [
        ("images", "imges", "6:1", "unknown key `imges` (hint: the nearest known one is `images`)"),
        ("'a'", "'b'", "4:11", "there is no mandate `b`"),
        ("'0600'", "'0999'", "3:8", "\"0999\" are no permissions in octal"),
        ("'0600'", "'1777'", "3:8", "\"1777\" are no permissions in octal"),
        ("'/x'", "'x'", "2:8", "x is not an absolute path"),
        ("path = '/x'\n", "", "1:1", "exactly one of path and fd-name"),
        ("mode = '0600'", "fd-name = 'y'", "1:1", "exactly one of path and fd-name"),
        ("mode = '0600'", "owner = 'nobody-of-that-name'", "3:9", "there is no user"),
        ("mode = '0600'", "group = 'nobody-of-that-name'", "3:9", "there is no group"),
        ("images = []", "[agent]\nconnections = 0", "7:15", "1 to 1048576"),
        ("mandate = 'a'", "mandate = 'a'\n[[listen]]\npath = '/x'\nmandate = 'a'", "6:8", "twice"),
        ("images = []", "images = [", "6:11", ""),
    ] {
        let (_dir, name) = file(&whole.replace(from, to));
        let ran = embryo(&["agent", "check", &name]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.err.contains(&format!("embryo: {name}:{at}: ")), "{to}: {}", ran.err);
        assert!(ran.err.contains(expect), "{to}: {}", ran.err);
        let said = embryo(&["agent", "check", "--json", &name]);
        let said: Value = serde_json::from_str(&said.out).unwrap();
        let (line, column) = at.split_once(':').unwrap();
        let first = &said["mistakes"][0];
        assert_eq!(said["valid"], false);
        assert_eq!(
            (first["line"].to_string(), first["column"].to_string()),
            (line.into(), column.into())
        );
        // And the daemon itself says the same.
        let ran = embryo(&["agent", "run", "--config", &name]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(&format!("{name}:{at}: ")), "{}", ran.err);
    }
    let ran = embryo(&["agent", "check", "/nonexistent/agent.toml"]);
    assert!(ran.fails(125).contains("ENOENT"));
    assert!(embryo(&["agent", "check", "/dev/zero"]).fails(125).contains("regular file"));
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let (_dir, name) = file("[[listen]]\nmode = '9'\nmandate = 'b'\n");
    let ran = embryo(&["agent", "check", &name]);
    assert_eq!(ran.err.matches("embryo: ").count(), 3, "{}", ran.err);
}

#[test]
fn what_is_perhaps_not_meant_is_a_warning() {
    let (_dir, name) = file(
        "[[listen]]\npath = '/run/x.sock'\nmode = '0666'\nmandate = 'a'\n\
         [mandates.a]\npeers = [{}]\nlifetime = 'live-on'\nimages = [{ registers = true }]\n\
         environment = ['*']\n[mandates.a.bounds]\nuids = ['0-100']\n\
         sources = [{ path = '/usr', writable = true }]\n[mandates.b]\n\
         [[listen]]\npath = '/run/y.sock'\nmandate = 'c'\n[mandates.c]\n",
    );
    let ran = embryo(&["agent", "check", &name]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for expect in [
        "may run as root",
        "any uid that can open the socket",
        "nobody may connect",
        "any program at all",
        "no filter of system calls",
        "no-new-privs is not forced",
        "may write /usr",
        "how many children",
        "live on, and nothing limits how long",
        "every variable is allowed",
        "no socket has this mandate",
    ] {
        assert!(ran.err.contains(expect), "no {expect:?} in {}", ran.err);
    }
    let json = embryo(&["agent", "check", "--json", &name]).ok();
    let said: Value = serde_json::from_str(&json).unwrap();
    assert!(said["warnings"].as_array().unwrap().len() >= 10, "{said}");
}

#[test]
fn a_file_that_others_can_write_is_a_warning() {
    let dir = tempdir();
    let path = dir.path().join("agent.toml");
    fs::write(&path, config(dir.path())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let ran = embryo(&["agent", "check", path.to_str().unwrap()]);
    assert!(ran.err.contains("can write this file"), "{}", ran.err);
}

#[test]
fn a_socket_has_its_permissions_and_goes_at_the_end() {
    let dir = tempdir();
    let text = config(dir.path()).replace("\"0600\"", "\"0640\"");
    let mut daemon = Daemon::start_in(dir, &text, &[], |_| {});
    let mode = |name: &str| fs::symlink_metadata(daemon.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("agent.sock"), mode("operator.sock")), (0o640, 0o600));
    assert!(connects(&daemon.path("agent.sock")));
    let paths = [daemon.path("agent.sock"), daemon.path("operator.sock")];
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.log());
    daemon.manager.is_told("STOPPING=1");
    assert!(paths.iter().all(|path| fs::symlink_metadata(path).is_err()));
}

#[test]
fn a_socket_gets_its_owner_and_group() {
    require_root!();
    let dir = tempdir();
    let text = config(dir.path()).replace("mode = \"0600\"", "owner = '4711'\ngroup = '4712'");
    let daemon = Daemon::start_in(dir, &text, &[], |_| {});
    let found = fs::symlink_metadata(daemon.path("agent.sock")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (4711, 4712, 0o600));
}

#[test]
fn only_a_dead_socket_is_replaced() {
    let dir = tempdir();
    let path = dir.path().join("agent.sock");
    // What an agent that was killed leaves.
    let dead = seqpacket();
    rustix::net::bind(&dead, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    drop(dead);
    let text = config(dir.path());
    let mut daemon = Daemon::start_in(dir, &text, &[], |_| {});
    assert!(connects(&daemon.path("agent.sock")));

    // A second one does not take it away from the first.
    let file = daemon.path("agent.toml");
    let line = embryo(&["agent", "run", "--config", &file]);
    assert_eq!(line.code, Some(125));
    assert!(line.err.contains("somebody listens there already"), "{}", line.err);
    assert!(connects(&daemon.path("agent.sock")));

    // What is no longer its own it leaves alone.
    let path = daemon.path("agent.sock");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let ran = embryo(&["agent", "run", "--config", &file]);
    assert!(ran.err.contains("something that is no socket is there"), "{}", ran.err);
    assert_eq!((ran.code, fs::read_to_string(&path).unwrap().as_str()), (Some(125), "mine"));

    // Nor does it follow a link.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    let ran = embryo(&["agent", "run", "--config", &file]);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(fs::symlink_metadata(daemon.path("elsewhere")).is_err());
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn a_linked_directory_is_refused_with_its_name() {
    let dir = tempdir();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    let (_other, name) = file(&config(&dir.path().join("link")));
    let ran = embryo(&["agent", "run", "--config", &name]);
    assert!(ran.err.contains("a symbolic link leads there; it is "), "{}", ran.err);
}

#[test]
fn the_manager_is_told_that_the_agent_lives() {
    let dir = tempdir();
    let text = config(dir.path());
    let daemon = Daemon::start_in(dir, &text, &[], |command| {
        command.env("WATCHDOG_USEC", "400000");
    });
    for _ in 0..3 {
        assert_eq!(daemon.manager.is_told("WATCHDOG"), "WATCHDOG=1\n");
    }
    daemon.signal(Signal::HUP);
    let told = daemon.manager.is_told("RELOADING=1");
    let now = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(now.parse::<u64>().unwrap() > 0);
    assert!(daemon.manager.is_told("READY=1").contains("STATUS=serving 2 sockets"));
}

#[test]
fn a_file_is_read_again_as_a_whole_or_not_at_all() {
    let mut daemon = Daemon::start();
    let (path, old) = (daemon.path("agent.toml"), config(daemon.dir.path()));
    let inode = |path: &str| fs::symlink_metadata(path).unwrap().ino();
    let before = inode(&daemon.path("agent.sock"));

    fs::write(&path, format!("{old}\nmode = 3\n")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.manager.is_told("RELOADING=1");
    assert!(daemon.manager.is_told("READY=1").contains("has a mistake"));
    assert!(daemon.log().contains("unknown key `mode`"), "{}", daemon.log());
    assert!(daemon.log().contains("what was read before stays"), "{}", daemon.log());
    assert!(connects(&daemon.path("agent.sock")));

    // A socket that cannot be made leaves nothing of the others.
    let more = format!(
        "[[listen]]\npath = '{0}/new.sock'\nmandate = 'jobs'\n\
         [[listen]]\npath = '{0}/none/new.sock'\nmandate = 'jobs'\n{old}",
        daemon.dir.path().display()
    );
    fs::write(&path, &more).unwrap();
    daemon.signal(Signal::HUP);
    daemon.manager.is_told("has a mistake");
    assert!(daemon.log().contains("none"), "{}", daemon.log());
    assert!(fs::symlink_metadata(daemon.path("new.sock")).is_err());

    // One more, one with another mode, one less.
    let new = old.replace("operator.sock", "new.sock").replace("\"0600\"", "\"0644\"");
    fs::write(&path, &new).unwrap();
    daemon.signal(Signal::HUP);
    daemon.manager.is_told("RELOADING=1");
    assert!(!daemon.manager.is_told("READY=1").contains("mistake"));
    assert!(connects(&daemon.path("new.sock")) && connects(&daemon.path("agent.sock")));
    let found = fs::symlink_metadata(daemon.path("agent.sock")).unwrap();
    assert_eq!((found.ino(), found.mode() & 0o777), (before, 0o644));
    assert!(fs::symlink_metadata(daemon.path("operator.sock")).is_err());
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn sockets_that_are_passed_are_used() {
    let dir = tempdir();
    let path = dir.path().join("passed.sock");
    let operator = dir.path().join("operator.sock");
    let text = config(dir.path())
        .replace(&format!("path = \"{}/agent.sock\"", dir.path().display()), "fd-name = \"agent\"")
        .replace("mode = \"0600\"\n", "");
    let file = dir.path().join("agent.toml");
    fs::write(&file, &text).unwrap();
    let listening = |kind| {
        let _ = fs::remove_file(&path);
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 8).unwrap();
        socket
    };
    // A shell keeps its pid, which the names of the sockets go with.
    let start = |socket: OwnedFd, name: &str| {
        let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$E\" agent run --config \"$F\"";
        let mut shell = embryo::Command::new("/bin/sh");
        shell.args(["-c", script]).env("LISTEN_FDNAMES", name).env("F", &file);
        shell.env("E", env!("CARGO_BIN_EXE_embryo")).fd(3, socket);
        shell.stderr(fs::File::create(dir.path().join("log")).unwrap());
        shell.spawn().unwrap()
    };
    let log = || fs::read_to_string(dir.path().join("log")).unwrap();

    let mut agent = start(listening(SocketType::SEQPACKET), "agent");
    let ps = || {
        let mut command = support::command(&["agent", "ps", "--json"]);
        support::finish(command.env("EMBRYO_AGENT_OPERATOR", &operator))
    };
    assert!(wait_for(PATIENCE, || ps().code == Some(0)), "{}", log());
    assert!(connects(path.to_str().unwrap()));
    agent.signal(15).unwrap();
    assert_eq!(agent.wait().unwrap().code(), Some(0), "{}", log());
    // It is not the agent's to remove.
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());

    let mut agent = start(listening(SocketType::SEQPACKET), "other");
    assert_eq!(agent.wait().unwrap().code(), Some(125));
    assert!(log().contains("no socket \"agent\" was passed; those passed are other"), "{}", log());
    let mut agent = start(listening(SocketType::STREAM), "agent");
    assert_eq!(agent.wait().unwrap().code(), Some(125));
    assert!(log().contains("is no listening SOCK_SEQPACKET Unix socket"), "{}", log());
    let missing = embryo(&["agent", "run", "--config", file.to_str().unwrap()]);
    assert!(missing.err.contains("nor any other (LISTEN_FDS)"), "{}", missing.err);
}

#[test]
fn systemd_starts_it_when_somebody_comes() {
    if shell("command -v systemd-socket-activate").code != Some(0) {
        embryo_tests::skip!("there is no systemd-socket-activate");
    }
    let dir = tempdir();
    let text = config(dir.path())
        .replace(&format!("path = \"{}/agent.sock\"", dir.path().display()), "fd-name = \"agent\"")
        .replace("mode = \"0600\"\n", "");
    fs::write(dir.path().join("agent.toml"), text).unwrap();
    let script = format!(
        "cd {} && exec systemd-socket-activate --seqpacket --fdname=agent -l $PWD/agent.sock \
         \"$E\" agent run --config agent.toml 2>log",
        dir.path().display()
    );
    let mut agent = std::process::Command::new("sh");
    agent.args(["-c", &script]).env("E", env!("CARGO_BIN_EXE_embryo"));
    let mut agent = agent.spawn().unwrap();
    let path = dir.path().join("agent.sock");
    let log = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let connected = wait_for(PATIENCE, || connects(path.to_str().unwrap()));
    let serves = connected && wait_for(PATIENCE, || log().contains("the agent serves"));
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&agent), Signal::TERM);
    let ended = wait_for(PATIENCE, || agent.try_wait().unwrap().is_some());
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(serves && ended, "{}", log());
}

#[test]
fn the_log_is_text_or_json_and_never_raw() {
    let dir = tempdir();
    let text = config(dir.path());
    let mut daemon = Daemon::start_in(dir, &text, &["--log-format", "json"], |_| {});
    daemon.stop();
    let log = daemon.log();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert!(entry["time"].is_string() && entry["level"].is_string(), "{entry}");
    }

    let dir = tempdir();
    let text = config(dir.path());
    let mut daemon = Daemon::start_in(dir, &text, &["--log-level", "error"], |_| {});
    daemon.stop();
    assert_eq!(daemon.log(), "");

    let mut daemon = Daemon::start();
    fs::write(daemon.path("agent.toml"), "a\x1b[2J = 3").unwrap();
    daemon.signal(Signal::HUP);
    daemon.manager.is_told("has a mistake");
    daemon.stop();
    let log = daemon.log();
    assert!(!log.contains('\x1b') && log.contains(" ERROR "), "{log}");
}

#[test]
fn the_journal_gets_priorities_and_no_time() {
    let dir = tempdir();
    let text = config(dir.path());
    let log = fs::File::create(dir.path().join("journal")).unwrap();
    let stream = log.metadata().map(|found| format!("{}:{}", found.dev(), found.ino())).unwrap();
    let mut daemon = Daemon::start_in(dir, &text, &[], |command| {
        command.env("JOURNAL_STREAM", stream).stderr(log);
    });
    daemon.stop();
    let log = fs::read_to_string(daemon.path("journal")).unwrap();
    assert!(log.lines().any(|line| line.starts_with("<6>the agent serves")), "{log}");
}

#[test]
fn an_agent_that_is_not_there_is_said_so() {
    let line = embryo(&["agent", "ps", "--socket", "/nonexistent/x.sock"]).fails(125);
    assert!(line.contains("ENOENT") && line.contains("is it running?"), "{line}");
    let daemon = Daemon::start();
    // A client that is no operator.
    let line = embryo(&["agent", "ps", "--socket", &daemon.path("agent.sock")]).fails(126);
    assert!(line.contains("refused by the agent: operator"), "{line}");
    assert!(Path::new(&daemon.path("agent.sock")).exists() && geteuid().as_raw() < u32::MAX);
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    use rustix::io::ioctl_fionbio;
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 512]).is_ok() {}
    ioctl_fionbio(&writer, false).unwrap();
    let dir = tempdir();
    let text = config(dir.path());
    let mut daemon = Daemon::start_in(dir, &text, &[], |command| {
        command.stderr(writer);
    });
    assert_eq!(daemon.list()["connections"].as_array().unwrap().len(), 1);
    daemon.signal(Signal::HUP);
    daemon.manager.is_told("RELOADING=1");
    // Nor does its end.
    drop(reader);
    daemon.signal(Signal::HUP);
    daemon.manager.is_told("RELOADING=1");
    assert_eq!(daemon.stop().code(), Some(0));
}
