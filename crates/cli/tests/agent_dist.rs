//! What is delivered with the agent: its units, its sample, the files in its page.

mod support;

use embryo_tests::tempdir;
use std::fs;
use std::path::{Path, PathBuf};
use support::{embryo, shell};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn the_sample_is_accepted_without_a_warning_but_for_its_place() {
    let sample = root().join("dist/agent.toml");
    let ran = embryo(&["agent", "check", sample.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let warnings = ran.err.lines().filter(|line| !line.contains("can write this file"));
    assert_eq!(warnings.collect::<Vec<_>>(), [""; 0]);
    assert!(ran.out.contains("any file below /usr/bin"), "{}", ran.out);
}

#[test]
fn the_files_in_the_page_are_accepted() {
    let page = read("docs/agent.md");
    let files: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(files.len(), 3);
    for text in files {
        let dir = tempdir();
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).unwrap();
        let ran = embryo(&["agent", "check", file.to_str().unwrap()]);
        assert_eq!(ran.code, Some(0), "{ran:?}\n{text}");
    }
}

#[test]
fn the_sockets_are_those_of_the_sample() {
    let sample = read("dist/agent.toml");
    for (unit, path) in [
        ("embryo-agent.socket", "/run/embryo/agent.sock"),
        ("embryo-agent-operator.socket", "/run/embryo/operator.sock"),
    ] {
        let text = read(&format!("dist/{unit}"));
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{unit} has no {key}")).to_owned()
        };
        assert_eq!(value("ListenSequentialPacket"), path);
        assert!(sample.contains(&format!("fd-name = {:?}", value("FileDescriptorName"))));
        assert_eq!(value("Service"), "embryo-agent.service");
        assert!(read("dist/embryo-agent.service").contains(unit));
    }
}

#[test]
fn systemd_understands_the_units() {
    let version = shell("systemd-analyze --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'");
    let Ok(version) = version.out.trim().parse::<u32>() else {
        embryo_tests::skip!("there is no systemd-analyze");
    };
    let dir = tempdir();
    // The program and the pages are not installed here, and what newer ones know this one does not.
    let mut service =
        read("dist/embryo-agent.service").replace("/usr/bin/embryo", env!("CARGO_BIN_EXE_embryo"));
    if version < 253 {
        service = service.replace("Type=notify-reload", "Type=notify");
    }
    if version < 254 {
        service = service.replace("DelegateSubgroup=agent\n", "");
    }
    fs::write(dir.path().join("embryo-agent.service"), service).unwrap();
    for unit in ["embryo-agent.socket", "embryo-agent-operator.socket"] {
        fs::write(dir.path().join(unit), read(&format!("dist/{unit}"))).unwrap();
    }
    let ran = shell(&format!(
        "cd {} && systemd-analyze verify --man=no ./embryo-agent.service ./embryo-agent.socket \
         ./embryo-agent-operator.socket",
        dir.path().display()
    ));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn pages_and_completions_know_the_agent() {
    let dir = tempdir();
    let written = embryo(&["generate", dir.path().to_str().unwrap()]).ok();
    for page in
        ["agent", "agent-run", "agent-check", "agent-ps", "agent-top", "agent-log", "agent-kill"]
    {
        assert!(written.contains(&format!("man1/embryo-{page}.1")), "{page} in {written}");
    }
    let page = fs::read_to_string(dir.path().join("man/man1/embryo-agent-run.1")).unwrap();
    assert!(page.contains("SIGUSR2") && !page.contains("restored"), "{page}");
    assert!(embryo(&["completions", "bash"]).ok().contains("--log-format"));
    let help = embryo(&["run", "--help"]).ok();
    assert!(help.contains("--agent [<SOCKET>]") && help.contains("EMBRYO_AGENT"), "{help}");
}
