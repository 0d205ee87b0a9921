//! Images that are swapped while they are looked at, and paths that lead around a rule.
//!
//! `EMBRYO_RACE_SECONDS` is how long each racer runs.

use crate::victim::{CONFIG, Victim, program};
use embryo::agent::wire::{Ended, kind};
use embryo::{ExecFlags, Keep, Op, Plan};
use embryo_tests::agent::{AgentOptions, RawClient, Reader};
use embryo_tests::{NOBODY, require_root, skip};
use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest, Sha256};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const GOOD: &str = "/usr/bin/true";
const EVIL: &str = "/usr/bin/false";

fn race_time() -> Duration {
    let seconds = std::env::var("EMBRYO_RACE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// What came of it: a status, a rule, or a fault.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Came {
    Ran(i32),
    Refused(String),
    Failed(String),
}

fn ask(client: &RawClient, request: u64, plan: &Plan, fds: &[std::os::fd::BorrowedFd<'_>]) -> Came {
    client.spawn(request, plan.as_bytes(), fds);
    let mut reader = Reader::default();
    let answer = reader.answer(client, request);
    match answer.head.kind.get() {
        kind::STARTED => {
            Came::Ran(reader.want(client, request, kind::ENDED).read::<Ended>().status.get())
        }
        kind::REFUSED => Came::Refused(answer.rule().unwrap_or_default().to_owned()),
        kind::FAULT => Came::Failed(answer.words()),
        other => panic!("{other:#x}"),
    }
}

fn run(path: &Path) -> Plan {
    program(path, &[]).build().expect("it is a plan")
}

/// A directory of root's that anybody may enter, with a copy of a good program in it.
fn images() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its owner");
    };
    mode(dir.path(), 0o755);
    std::fs::copy(GOOD, dir.path().join("good")).expect("it can be copied");
    std::fs::create_dir(dir.path().join("open")).expect("it can be made");
    mode(&dir.path().join("open"), 0o777);
    dir
}

fn config(dir: &Path) -> String {
    CONFIG
        .replace("/usr", &dir.display().to_string())
        .replace("images = [", "images = [{under = \"/usr\"}, ")
}

/// A process that swaps things, ended on drop.
struct Racer(Child);

impl Drop for Racer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Python, as this uid, in this directory.
fn racer(uid: u32, dir: &Path, script: &str) -> Option<Racer> {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}")).arg("--clear-groups");
    command.args(["/usr/bin/python3", "-c", script]).current_dir(dir).stdin(Stdio::null());
    Some(Racer(command.spawn().ok()?))
}

/// What is at `x` and below `d` is, from one moment to the next, a file of the client's, a link to the good program,
/// a directory, and a link to the directory above.
const SWAPS: &str = r#"
import itertools, os, shutil
shutil.copy("/usr/bin/false", "evil")
os.makedirs("real", exist_ok=True)
shutil.copy("/usr/bin/false", "real/good")
def put(make, at):
    try:
        make("new")
        os.rename("new", at)
    except OSError:
        try:
            os.unlink("new")
        except OSError:
            pass
def move(at):
    for undo in (os.unlink, os.rmdir):
        try:
            undo(at)
        except OSError:
            pass
while True:
    put(lambda new: os.symlink("../good", new), "x")
    put(lambda new: os.link("evil", new), "x")
    put(lambda new: os.symlink("evil", new), "x")
    put(lambda new: os.symlink("/usr/bin/true", new), "x")
    move("d")
    try:
        os.rename("real", "d")
        os.rename("d", "real")
        os.symlink("..", "d")
        os.unlink("d")
        os.symlink("real", "d")
    except OSError:
        pass
"#;

#[test]
fn what_a_client_can_swap_never_runs() {
    require_root!();
    let dir = images();
    let victim = Victim::start_with(&config(dir.path()), &AgentOptions::default());
    let open = dir.path().join("open");
    let Some(racer) = racer(NOBODY, &open, SWAPS) else { skip!("there is no setpriv") };
    let client = victim.client();
    let wrong: Vec<PathBuf> =
        ["x", "d/good", "d/open/x", "../open/x", "real/good", "./x", "d/../x"]
            .map(|at| open.join(at))
            .into();
    let plans: Vec<Plan> = wrong.iter().map(|path| run(path)).collect();
    let good = run(&dir.path().join("good"));
    let until = Instant::now() + race_time();
    let mut request = 0;
    while Instant::now() < until {
        for (plan, path) in plans.iter().zip(&wrong) {
            request += 1;
            let came = ask(&client, request, plan, &[]);
            assert_eq!(came, Came::Refused("images".into()), "{}", path.display());
        }
        request += 1;
        assert_eq!(ask(&client, request, &good, &[]), Came::Ran(0));
    }
    drop((racer, client));
    victim.check();
}

/// Swapped by root, who may: whatever is found at the path, only a file that fits the rule runs.
#[test]
fn what_is_swapped_runs_as_it_was_checked() {
    require_root!();
    let dir = images();
    let victim = Victim::start_with(&config(dir.path()), &AgentOptions::default());
    std::fs::copy(EVIL, dir.path().join("evil")).expect("it can be copied");
    std::os::unix::fs::chown(dir.path().join("evil"), Some(NOBODY), Some(NOBODY))
        .expect("root may");
    let script = r#"
import os
while True:
    for make in (lambda: os.link("good", "new"), lambda: os.link("evil", "new"),
                 lambda: os.symlink("evil", "new"), lambda: os.symlink("/usr/bin/false", "new")):
        make()
        os.rename("new", "swapped")
        if os.path.lexists("new"):
            os.unlink("new")
"#;
    let Some(racer) = racer(0, dir.path(), script) else { skip!("there is no setpriv") };
    let client = victim.client();
    let plan = run(&dir.path().join("swapped"));
    let until = Instant::now() + race_time();
    let mut seen = std::collections::BTreeMap::<Came, u32>::new();
    let mut request = 0;
    while Instant::now() < until {
        request += 1;
        *seen.entry(ask(&client, request, &plan, &[])).or_default() += 1;
    }
    drop(racer);
    let fine = [Came::Ran(0), Came::Refused("images".into())];
    assert!(seen.keys().all(|came| fine.contains(came)), "{seen:?}");
    assert_eq!(seen.len(), 2, "the racer has won and lost: {seen:?}");
    drop(client);
    victim.check();
}

#[test]
fn a_memfd_that_changes_after_the_check_runs_as_it_was_checked() {
    let good = std::fs::read(GOOD).expect("there is one");
    let mut evil = std::fs::read(EVIL).expect("likewise");
    evil.resize(good.len().max(evil.len()), 0);
    let digest: String = Sha256::digest(&good).iter().map(|byte| format!("{byte:02x}")).collect();
    let config = CONFIG.replace("images = [", &format!("images = [{{ sha256 = \"{digest}\" }}, "));
    let victim = Victim::start_with(&config, &AgentOptions::default());
    let client = victim.client();
    let mut plan = Plan::builder();
    let slot = plan.slot();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::ExecSlot { slot, flags: ExecFlags::empty() }).arg("image");
    let plan = plan.build().expect("it is a plan");
    let file = memfd_create(c"image", MemfdFlags::CLOEXEC).expect("a memfd can be made");
    let write = |bytes: &[u8]| {
        rustix::io::pwrite(&file, bytes, 0).expect("it can be written");
        rustix::fs::ftruncate(&file, bytes.len() as u64).expect("it can be cut");
    };
    write(&good);
    assert_eq!(ask(&client, 1, &plan, &[file.as_fd()]), Came::Ran(0));
    write(&evil);
    assert_eq!(ask(&client, 2, &plan, &[file.as_fd()]), Came::Refused("images".into()));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                write(&good);
                std::thread::sleep(Duration::from_micros(200));
                write(&evil);
            }
        });
        let until = Instant::now() + race_time();
        let mut request = 10;
        while Instant::now() < until {
            request += 1;
            let came = ask(&client, request, &plan, &[file.as_fd()]);
            let fine = [Came::Ran(0), Came::Refused("images".into())];
            if !fine.contains(&came) {
                over.store(true, Ordering::Relaxed);
            }
            assert!(fine.contains(&came), "{came:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(client);
    victim.check();
}

#[test]
fn magic_links_and_detours_lead_nowhere() {
    for config in [CONFIG.to_owned(), CONFIG.replace("under = \"/usr\"", "under = \"/\"")] {
        let victim = Victim::start_with(&config, &AgentOptions::default());
        let client = victim.client();
        let agent = victim.agent.pid();
        let paths = [
            "/proc/self/exe".to_owned(),
            "/proc/self/root/usr/bin/true".to_owned(),
            "/proc/self/cwd/usr/bin/true".to_owned(),
            "/proc/thread-self/exe".to_owned(),
            format!("/proc/{agent}/exe"),
            format!("/proc/{agent}/root/usr/bin/true"),
            format!("/proc/{}/root/usr/bin/true", std::process::id()),
            "/proc/1/root/usr/bin/true".to_owned(),
            "/proc/self/fd/0".to_owned(),
            "/dev/fd/0".to_owned(),
            "/dev/stdin".to_owned(),
            "/usr/../proc/self/exe".to_owned(),
            "/usr/bin/../../proc/self/exe".to_owned(),
            "usr/bin/true".to_owned(),
            "/usr/bin".to_owned(),
            "/".to_owned(),
        ];
        for (request, path) in paths.iter().enumerate() {
            let came = ask(&client, request as u64, &run(Path::new(path)), &[]);
            assert_eq!(came, Came::Refused("images".into()), "{path}");
        }
        drop(client);
        victim.check();
    }
}
