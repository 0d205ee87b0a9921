//! A child on a terminal of its own, through the library.

use embryo::{Command, Pty};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;

/// Reads until it has seen this.
fn sees(mut pty: &Pty, expect: &str) -> String {
    let mut text = String::new();
    while !text.contains(expect) {
        let mut bytes = [0; 4096];
        let count = pty.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "no {expect:?} in {text:?}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn its_streams_and_its_controlling_terminal_are_one() {
    let pty = Pty::open().unwrap();
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo streams; echo tty >/dev/tty; \
                  IFS=' ' read -r p c s pp g sid t fg x </proc/self/stat; \
                  [ $sid = $$ ] && [ $fg = $g ] && echo leads";
    let mut child = sh(script).pty(&pty).spawn().unwrap();
    let mut text = String::new();
    (&pty).read_to_string(&mut text).unwrap();
    assert_eq!(text, "streams\r\ntty\r\nleads\r\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn all_that_was_written_is_read_after_the_end() {
    let pty = Pty::open().unwrap();
    let mut command = sh("seq 500; echo last");
    // A command opens the child's side each time, and keeps nothing.
    for _ in 0..3 {
        command.pty(&pty).status().unwrap();
        let mut text = String::new();
        (&pty).read_to_string(&mut text).unwrap();
        assert!(text.ends_with("500\r\nlast\r\n"), "{text:?}");
    }
}

#[test]
fn keys_are_typed_and_signals_sent() {
    let pty = Pty::open().unwrap();
    let mut child = sh("read line; echo got:$line:; exec sleep 1000").pty(&pty).spawn().unwrap();
    (&pty).write_all(b"words\n").unwrap();
    sees(&pty, "got:words:");
    (&pty).write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(2));

    let mut child = sh("echo ready; exec sleep 1000").pty(&pty).spawn().unwrap();
    sees(&pty, "ready");
    assert!(pty.signal_foreground(15).is_err());
    pty.signal_foreground(3).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(3));
}

#[test]
fn the_size_is_told() {
    let pty = Pty::open().unwrap();
    assert_eq!(pty.size().unwrap(), (0, 0));
    pty.resize(30, 90).unwrap();
    let script = "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done";
    let mut child = sh(script).pty(&pty).spawn().unwrap();
    sees(&pty, "30 90");
    let other = Pty::open().unwrap();
    other.resize(40, 80).unwrap();
    pty.resize_like(&other).unwrap();
    sees(&pty, "40 80");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(pty.resize_like(std::fs::File::open("/dev/null").unwrap()).is_err());
}

#[test]
fn dropping_it_hangs_up() {
    let pty = Pty::open().unwrap();
    let mut command = sh("echo ready; exec sleep 1000");
    let mut child = command.pty(&pty).spawn().unwrap();
    sees(&pty, "ready");
    // The command is still there, and does not keep it.
    drop(pty);
    assert_eq!(child.wait().unwrap().signal(), Some(1));
    let error = command.spawn().unwrap_err();
    assert!(error.to_string().contains("terminal"), "{error}");
}

#[test]
fn what_is_said_of_a_stream_counts() {
    let pty = Pty::open().unwrap();
    let mut command = sh("[ -t 0 ] && ! [ -t 1 ] && echo so");
    let output = command
        .pty(&pty)
        .stdout(embryo::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.stdout, b"so\n");
    // The one called last counts.
    let output = sh("[ -t 1 ] || echo no").pty(&pty).process_group(0).output().unwrap();
    assert_eq!(output.stdout, b"no\n");
}

#[test]
fn it_is_a_descriptor() {
    let pty = Pty::open().unwrap();
    let slave = pty.slave().unwrap();
    assert!(rustix::termios::isatty(&slave));
    let master = OwnedFd::try_from(pty).unwrap();
    rustix::io::write(&slave, b"words").unwrap();
    let mut bytes = [0; 5];
    assert_eq!(rustix::io::read(&master, &mut bytes), Ok(5));
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn in_an_event_loop() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut pty = Pty::open().unwrap().into_async().unwrap();
    let mut command = sh("read line; echo got:$line:");
    let mut child = command.pty(pty.pty()).spawn().unwrap().into_async().unwrap();
    pty.write_all(b"words\n").await.unwrap();
    let mut text = String::new();
    pty.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "words\r\ngot:words:\r\n");
    assert!(child.wait().await.unwrap().success());
}
