//! Capabilities, cgroups and lifetime at the command line, as the program sees them itself.

mod support;

use embryo_tests::{is_root, require_root, rerun_as_nobody, skip, wait_for};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{PATIENCE, command, embryo};

/// A capability set of the program, as a number.
fn set(options: &[&str], name: &str) -> u64 {
    let status = embryo(&[&["run"], options, &["--", "cat", "/proc/self/status"]].concat()).ok();
    let set = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    u64::from_str_radix(set.expect("it is there"), 16).expect("a number")
}

const BIND: u64 = 1 << 10;
const RAW: u64 = 1 << 13;
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

#[test]
fn capabilities_are_added_and_dropped_in_order() {
    require_root!();
    let all = set(&[], "CapPrm");
    for name in SETS {
        assert_eq!(set(&["--cap-drop", "ALL", "--cap-add", "net_raw"], name), RAW, "{name}");
        assert_eq!(set(&["--cap-add", "net_raw", "--cap-drop", "ALL"], name), 0, "{name}");
        let user = ["--uid", "1000", "--cap-add", "CAP_NET_RAW,net-bind-service"];
        assert_eq!(set(&user, name), RAW | BIND, "{name}");
        assert_eq!(set(&["--cap-drop", "ALL", "--cap-add", "ALL"], name), all, "{name}");
    }
    assert_eq!(set(&["--cap-drop", "net_raw"], "CapEff"), all & !RAW);
}

#[test]
fn capabilities_as_in_setpriv() {
    require_root!();
    assert_eq!(set(&["--bounding-set", "-all,+net_raw"], "CapBnd"), RAW);
    assert_eq!(set(&["--bounding-set", "-net_raw"], "CapBnd"), set(&[], "CapBnd") & !RAW);
    assert_eq!(set(&["--inh-caps", "+net_raw"], "CapInh"), RAW);
    let ambient = ["--user", "nobody", "--ambient-caps", "net_bind_service"];
    for name in ["CapEff", "CapPrm", "CapAmb", "CapInh"] {
        assert_eq!(set(&ambient, name), BIND, "{name}");
    }
    assert_eq!(set(&["--securebits", "+noroot,+noroot_locked"], "CapPrm"), 0);
}

#[test]
fn what_is_no_capability_is_refused_with_the_nearest() {
    let check = |options: &[&str], what: &str| {
        let line = embryo(&[&["run"], options, &["--", "true"]].concat()).fails(125);
        assert!(line.contains(what), "{what}: {line}");
    };
    check(&["--cap-add", "cap_net_rwa"], "cap_net_raw");
    check(&["--cap-drop", "chwon"], "cap_chown");
    check(&["--ambient-caps", "+bpf,raw"], "no sign");
    check(&["--securebits", "+no_root"], "noroot");
    check(&["--mempolicy", "bind"], "nodes");
    check(&["--mempolicy", "some:0"], "interleave");
    check(&["--pids-max", "3"], "--cgroup-parent");
    check(&["--cgroup-parent", "/tmp"], "no cgroup");
    check(&["--cgroup", "/tmp"], "no cgroup");
    check(&["--cgroup-parent", "/", "--memory-max", "lots"], "--memory-max");
    check(&["--cgroup-parent", "/", "--cgroup-set", "file"], "--cgroup-set");
    let dir = embryo_tests::tempdir();
    let plan = dir.path().join("plan").to_str().expect("it is text").to_owned();
    embryo(&["run", "--save", &plan, "--", "true"]).ok();
    for option in [&["--cap-add", "all"][..], &["--die-with-parent"], &["--mempolicy", "local"]] {
        let line = embryo(&[&["run", "--plan", &plan], option].concat()).fails(125);
        assert!(line.contains(option[0]), "{line}");
    }
    if !is_root() {
        check(&["--cap-drop", "ALL"], "CAP_SETPCAP");
        check(&["--ambient-caps", "chown"], "EPERM");
    }
}

#[test]
fn settings_of_memory() {
    let status = ["run", "--no-thp", "--", "grep", "THP_enabled", "/proc/self/status"];
    assert_eq!(embryo(&status).ok(), "THP_enabled:\t0\n");
    let explained = embryo(&[
        "run",
        "--mdwe",
        "--no-thp=except-advised",
        "--new-session-keyring=some",
        "--core-sched",
        "--mempolicy",
        "bind:0,2-3",
        "--die-with-parent",
        "--explain",
        "--",
        "true",
    ]);
    let explained = explained.ok();
    for line in [
        "mdwe",
        "thp-disable except=advised",
        "session-keyring name=some",
        "core-scheduling",
        "memory-policy mode=bind nodes=0,2,3",
        "tie slot=",
    ] {
        assert!(explained.contains(line), "{line}: {explained}");
    }
}

#[test]
fn as_an_ordinary_user() {
    if is_root() {
        rerun_as_nobody("what_is_no_capability_is_refused_with_the_nearest");
        rerun_as_nobody("settings_of_memory");
        rerun_as_nobody("the_program_dies_with_embryo_and_with_its_parent");
    }
}

struct Parent(PathBuf);

impl Parent {
    fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = format!("embryo-cli-{}", std::process::id());
        let path = Path::new(mount.split(' ').nth(1)?).join(own).join(name);
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("it is text")
    }

    fn is_empty(&self) -> bool {
        let entries = std::fs::read_dir(&self.0).expect("it is there").flatten();
        !entries.into_iter().any(|entry| entry.path().is_dir())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = wait_for(PATIENCE, || std::fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn a_cgroup_goes_with_the_program() {
    let Some(parent) = Parent::make() else { skip!("no cgroup can be made here") };
    let own = ["run", "--cgroup-parent", parent.path()];
    let seen = embryo(&[&own[..], &["--", "cat", "/proc/self/cgroup"]].concat()).ok();
    let name = parent.0.file_name().expect("it has one").to_string_lossy();
    assert!(seen.contains(&format!("{name}/embryo-")), "{seen}");
    assert!(parent.is_empty());
    let line = "setsid sleep 600 & exit 3";
    let ran = embryo(&[&own[..], &["--", "sh", "-c", line]].concat());
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(parent.is_empty());
    let limit = ["--cgroup-set", "cgroup.max.depth=0", "--", "sh", "-c"];
    let line = "mkdir /proc/self/cwd/x 2>&1 || true; exit 0";
    assert_eq!(embryo(&[&own[..], &limit, &[line]].concat()).code, Some(0));
    let joined = ["run", "--cgroup", parent.path(), "--", "cat", "/proc/self/cgroup"];
    assert!(embryo(&joined).ok().contains(&format!("{name}\n")));
    let refused = ["--memory-max", "10M", "--", "true"];
    if !std::fs::read_to_string(parent.0.join("cgroup.controllers")).unwrap().contains("memory") {
        let line = embryo(&[&own[..], &refused].concat()).fails(125);
        assert!(line.contains("controller memory"), "{line}");
    }
    // Killed with no chance to do anything.
    let mut killed = command(&[&own[..], &["--", "sh", "-c", "echo $$; sleep 600"]].concat());
    let mut killed = killed.stdout(Stdio::piped()).spawn().expect("it starts");
    let pid = line_of(&mut killed);
    killed.kill().expect("it is one's own");
    killed.wait().expect("it ends");
    assert!(wait_for(PATIENCE, || parent.is_empty() && !exists(&pid)));
}

fn line_of(child: &mut std::process::Child) -> String {
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.as_mut().expect("it is piped"));
    stdout.read_line(&mut line).expect("a pipe can be read");
    line.trim().to_owned()
}

fn exists(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn the_program_dies_with_embryo_and_with_its_parent() {
    let program = ["run", "--die-with-parent", "--", "sh", "-c", "echo $$; exec sleep 600"];
    let mut embryo = command(&program).stdout(Stdio::piped()).spawn().expect("it starts");
    let pid = line_of(&mut embryo);
    assert!(exists(&pid));
    embryo.kill().expect("it is one's own");
    embryo.wait().expect("it ends");
    assert!(wait_for(PATIENCE, || !exists(&pid)), "it outlived embryo");
    let mut shell = std::process::Command::new("sh");
    let line = "\"$E\" run --die-with-parent -- sh -c 'echo $$; exec sleep 600' & read x";
    shell.args(["-c", line]).env("E", env!("CARGO_BIN_EXE_embryo"));
    let mut shell =
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is one");
    let pid = line_of(&mut shell);
    assert!(exists(&pid));
    shell.kill().expect("it is one's own");
    shell.wait().expect("it ends");
    assert!(wait_for(PATIENCE, || !exists(&pid)), "it outlived embryo's parent");
}
