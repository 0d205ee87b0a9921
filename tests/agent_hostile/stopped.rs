//! Children that are stopped, or frozen, before they have an image.

use crate::victim::{CONFIG, Victim, exit, serve_somebody};
use embryo::agent::wire::{Spawn, flags, kind};
use embryo_tests::agent::{AgentOptions, PATIENCE, RawClient, Reader};
use embryo_tests::{require_root, skip, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Children of one socket are nobody; those of the other are the agent's own uid.
const TWO: &str = r#"
[[listen]]
path = "{socket}"
mode = "0666"
mandate = "own"

[[listen]]
path = "{dir}/nobody"
mode = "0666"
mandate = "nobody"

[mandates.own]
peers = [{}]
bounds = { uids = [0], gids = [0], capabilities = "all" }
images = [{ under = "/usr" }]

[mandates.nobody]
peers = [{}]
images = [{ under = "/usr" }]
forced = { uid = 65534, gid = 65534, groups = [], no-new-privs = true }
"#;

const INSIDE: &str = "EMBRYO_IN_A_PID_NAMESPACE";

/// SPAWN that may take half a second.
fn spawn(client: &RawClient, request: u64, code: i32) {
    let head = Spawn { timeout_ms: 500.into(), ..Spawn::default() };
    let body = [head.as_bytes(), exit(code).as_bytes()].concat();
    client.say(kind::SPAWN, request, 0, &body, &[]);
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In a pid namespace of its own, where kill(-1) reaches nobody else.
#[test]
fn a_neighbour_that_stops_every_child_holds_up_nobody() {
    require_root!();
    let test = embryo_tests::here!();
    if std::env::var_os(INSIDE).is_some() {
        return assert_eq!(std::process::id() < 64, stop_everybody(), "a namespace of its own");
    }
    let own = std::env::current_exe().expect("a running test has an executable");
    let inside = Command::new("unshare")
        .args(["--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "--"])
        .arg(own)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output();
    let inside = match inside {
        Err(error) => skip!("there is no unshare: {error}"),
        Ok(output) => output,
    };
    let said = String::from_utf8_lossy(&inside.stdout);
    let complained = String::from_utf8_lossy(&inside.stderr);
    if complained.contains("unshare failed") {
        skip!("no pid namespace can be made: {complained}");
    }
    assert!(
        inside.status.success() && said.contains("1 passed"),
        "{}\n{said}\n{complained}",
        inside.status
    );
}

/// The part that runs inside.
fn stop_everybody() -> bool {
    let victim = Victim::start_with(TWO, &AgentOptions::default());
    let stopper = {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/dash", "-c"]);
        command.arg("while :; do kill -STOP -1; done 2>/dev/null");
        Ended(command.stdin(Stdio::null()).spawn().expect("there is setpriv"))
    };
    // Whoever is stopped at once was reached.
    let probe = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/sleep", "1000"])
        .spawn();
    let probe = Ended(probe.expect("there is setpriv"));
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    let stopped = wait_for(PATIENCE, || state(probe.0.id()) == Some('T'));
    assert!(stopped, "the neighbour stops nobody");
    // Its kill(2) has to come between the op that sets the uid and the image, which is soon over.
    let mut late = 0;
    let until = Instant::now() + PATIENCE;
    while late < 3 && Instant::now() < until {
        late += round(&victim);
        // The others are served, and not after those.
        serve_somebody(&victim.agent);
    }
    assert!(late > 0, "none was stopped on its way");
    drop((stopper, probe));
    victim.check();
    true
}

/// Some children; how many of them were stopped before they had an image.
fn round(victim: &Victim) -> usize {
    let client = RawClient::connect(&victim.agent.dir().join("nobody"));
    client.hello();
    let mut reader = Reader::default();
    let mut late = 0;
    for request in 0..8 {
        spawn(&client, request, 0);
    }
    for request in 0..8 {
        let answer = reader.answer(&client, request);
        match answer.head.kind.get() {
            // It had its image before it was stopped, and stays so until the connection ends.
            kind::STARTED => {}
            kind::FAULT => {
                let how = answer.head.flags.get() & (flags::TIMED_OUT | flags::KILLED);
                assert_ne!(how, 0, "{answer:?}");
                late += 1;
            }
            other => panic!("{other:#x}: {}", answer.words()),
        }
    }
    late
}

/// The directory of cgroup v2, wherever it is mounted.
fn unified() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    mount.split(' ').nth(1).map(PathBuf::from)
}

/// A cgroup that goes on drop, thawed.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(parent: &Path, name: &str) -> std::io::Result<Self> {
        let path = parent.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path).map(|()| Self(path))
    }

    fn freeze(&self, frozen: bool) -> std::io::Result<()> {
        std::fs::write(self.0.join("cgroup.freeze"), if frozen { "1" } else { "0" })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = self.freeze(false);
        let gone = wait_for(Duration::from_secs(10), || {
            let below = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
            for one in below.filter(|one| one.path().is_dir()) {
                let _ = std::fs::remove_dir(one.path());
            }
            std::fs::remove_dir(&self.0).is_ok()
        });
        if !gone {
            eprintln!("{} stays", self.0.display());
        }
    }
}

fn frozen(own: bool) {
    let Some(root) = unified() else { skip!("there is no cgroup v2") };
    let cgroup = match Cgroup::new(&root, &format!("embryo-test-frozen-{own}")) {
        Ok(cgroup) => cgroup,
        Err(error) => skip!("no cgroup can be made in {}: {error}", root.display()),
    };
    let path = cgroup.0.display();
    let forced = format!("forced = {{ cgroup = {{ path = \"{path}\", own = {own} }} }}");
    let config = TWO.replace(
        "forced = { uid = 65534, gid = 65534, groups = [], no-new-privs = true }",
        &format!("bounds = {{ uids = [0], gids = [0], capabilities = \"all\" }}\n{forced}"),
    );
    let mut victim = Victim::start_with(&config, &AgentOptions::default());
    let client = RawClient::connect(&victim.agent.dir().join("nobody"));
    client.hello();
    assert_eq!(client.run(1, exit(3).as_bytes(), &[]), 3 << 8);
    // The handle below which it makes cgroups stays, from the first child on; this client does not.
    drop(client);
    victim.remember();
    let client = RawClient::connect(&victim.agent.dir().join("nobody"));
    client.hello();
    cgroup.freeze(true).expect("root may");
    let mut reader = Reader::default();
    for request in 10..18 {
        spawn(&client, request, 0);
    }
    serve_somebody(&victim.agent);
    for request in 10..18 {
        let answer = reader.answer(&client, request);
        assert_eq!(answer.head.kind, kind::FAULT, "{answer:?}");
        assert_ne!(answer.head.flags.get() & flags::TIMED_OUT, 0, "{answer:?}");
    }
    serve_somebody(&victim.agent);
    cgroup.freeze(false).expect("root may");
    assert_eq!(client.run(20, exit(4).as_bytes(), &[]), 4 << 8);
    // A child that is frozen while it runs, and killed while it is frozen.
    client.spawn(30, crate::victim::stay().as_bytes(), &[]);
    let started: embryo::agent::wire::Started = reader.want(&client, 30, kind::STARTED).read();
    cgroup.freeze(true).expect("root may");
    client.kill(31, started.child.get());
    reader.want(&client, 31, kind::DONE);
    let ended: embryo::agent::wire::Ended = reader.want(&client, 30, kind::ENDED).read();
    assert_eq!(ended.status.get(), 9);
    drop(client);
    victim.check();
    let populated = || std::fs::read_to_string(cgroup.0.join("cgroup.events")).unwrap_or_default();
    assert!(wait_for(PATIENCE, || populated().contains("populated 0")), "{}", populated());
}

#[test]
fn a_cgroup_that_is_frozen_holds_up_nobody() {
    require_root!();
    frozen(false);
}

#[test]
fn a_cgroup_whose_parent_is_frozen_holds_up_nobody() {
    require_root!();
    frozen(true);
}

/// What the configuration says is what the tests rely on.
#[test]
fn the_two_mandates_differ() {
    require_root!();
    let victim = Victim::start_with(TWO, &AgentOptions::default());
    let nobody = RawClient::connect(&victim.agent.dir().join("nobody"));
    nobody.hello();
    let who = crate::victim::shell("test $(id -u) = 65534");
    assert_eq!(nobody.run(1, who.as_bytes(), &[]), 0);
    assert_eq!(victim.client().run(1, who.as_bytes(), &[]), 1 << 8);
    assert!(CONFIG.contains("65534"));
    drop(nobody);
    victim.check();
}
