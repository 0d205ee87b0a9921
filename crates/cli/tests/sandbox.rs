//! `embryo run --sandbox`: a script that tries everything gets nowhere, and programs that people use
//! do their work inside.

mod support;

use embryo_tests::{is_root, rerun_as_nobody, skip, tempdir};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;
use support::{Ran, command, finish};

/// Tries to get out in every way that a script knows of without being clever.
const UNTRUSTED: &str = include_str!("sandbox/untrusted.py");

/// Attempts that succeed without a sandbox and harm nobody: they show that the others would, too.
const HARMLESS: [&str; 8] = [
    "read the secret",
    "list the home directory",
    "connect to the loopback outside",
    "connect to an abstract socket outside",
    "see a process outside",
    "signal a process outside",
    "write beside itself",
    "change itself",
];

/// Whether a program is installed.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Skips the current test unless all of these programs are there.
macro_rules! require {
    ($($program:literal),+) => {
        $(if !installed($program) {
            skip!("{} is not installed", $program);
        })+
    };
}

/// Runs in a directory with `--sandbox`, further options and a program.
fn sandbox(dir: &Path, options: &[&str], program: &[&str]) -> Ran {
    let mut run = command(&[&["run", "--sandbox"], options, &["--"], program].concat());
    finish(run.current_dir(dir))
}

/// Runs one that has to succeed, and returns what it wrote.
#[track_caller]
fn works(dir: &Path, options: &[&str], program: &[&str]) -> String {
    let ran = sandbox(dir, options, program);
    assert_eq!((ran.code, ran.signal), (Some(0), None), "{program:?}: {ran:?}");
    ran.out
}

/// What the world outside has that a script could reach.
struct Outside {
    home: tempfile::TempDir,
    work: tempfile::TempDir,
    port: TcpListener,
    _socket: UnixListener,
    name: String,
}

impl Outside {
    fn new() -> Self {
        let (home, work) = (tempdir(), tempdir());
        fs::write(home.path().join("secret"), "the secret").expect("it can be written");
        let script = work.path().join("untrusted.py");
        fs::write(&script, UNTRUSTED).expect("it can be written");
        // Not permissions are to keep it from changing itself.
        fs::set_permissions(&script, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let port = TcpListener::bind(("127.0.0.1", 0)).expect("it can listen");
        let number = port.local_addr().expect("it has an address").port();
        let name = format!("embryo-test-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixListener::bind_addr(&address).expect("it can listen");
        // Whoever connects is told something, and the test ends with its process.
        let (tcp, unix) = (port.try_clone().expect("a copy"), socket.try_clone().expect("a copy"));
        std::thread::spawn(move || {
            for mut peer in tcp.incoming().flatten() {
                let _ = peer.write_all(b"hello");
            }
        });
        std::thread::spawn(move || {
            for mut peer in unix.incoming().flatten() {
                let _ = peer.write_all(b"hello");
            }
        });
        Self { home, work, port, _socket: socket, name }
    }

    /// The script's arguments.
    fn arguments(&self) -> Vec<String> {
        let secret = self.home.path().join("secret").into_os_string().into_string();
        let port = self.port.local_addr().expect("it has an address").port();
        vec![
            "untrusted.py".into(),
            secret.expect("it is text"),
            port.to_string(),
            self.name.clone(),
            std::process::id().to_string(),
            fs::read_to_string("/proc/self/comm").expect("there is a /proc").trim().to_owned(),
        ]
    }
}

/// Attempts and what came of them.
fn attempts(out: &str) -> Vec<(&str, &str)> {
    out.lines().filter_map(|line| line.split_once('\t')).collect()
}

#[test]
fn an_untrusted_script_gets_nowhere() {
    require!("python3");
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let outside = Outside::new();
    let arguments = outside.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Without a sandbox these succeed, so that it is the sandbox which refuses them.
    let mut free = Command::new("python3");
    free.args(&arguments).args(HARMLESS).current_dir(outside.work.path());
    let free = finish(&mut free);
    let succeeded = attempts(&free.out);
    assert_eq!(succeeded.len(), HARMLESS.len(), "{free:?}");
    for (name, outcome) in succeeded {
        assert!(outcome.starts_with("SUCCEEDED"), "{name}: {outcome}");
    }
    fs::remove_file(outside.work.path().join("sandbox-was-here")).expect("it was made");

    let ran = sandbox(outside.work.path(), &[], &[&["python3"], &arguments[..]].concat());
    let made = attempts(&ran.out);
    assert_eq!(made.len(), UNTRUSTED.matches("\n@attempt\n").count(), "{ran:?}");
    for (name, outcome) in made {
        assert!(outcome.starts_with("refused: "), "{name}: {outcome}");
    }
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!outside.work.path().join("sandbox-was-here").exists());
    assert!(!Path::new("/usr/lib/sandbox-was-here").exists());
}

#[test]
fn what_it_shuts_is_opened_again_one_by_one() {
    require!("python3");
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let outside = Outside::new();
    let arguments = outside.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (home, work) = (outside.home.path().to_str(), outside.work.path().to_str());
    let (home, work) = (home.expect("it is text"), work.expect("it is text"));
    let opened: [(&[&str], &[&str]); 3] = [
        // Abstract sockets belong to the network.
        (
            &["--share-net"],
            &["connect to the loopback outside", "connect to an abstract socket outside"],
        ),
        (&["--ro-bind", home, home], &["read the secret", "list the home directory"]),
        (&["--bind", work, work], &["write beside itself", "change itself"]),
    ];
    for (options, opens) in opened {
        let program = [&["python3"], &arguments[..], &HARMLESS[..]].concat();
        let ran = sandbox(outside.work.path(), options, &program);
        for (name, outcome) in attempts(&ran.out) {
            let open = outcome.starts_with("SUCCEEDED");
            assert_eq!(open, opens.contains(&name), "{options:?}: {name}: {outcome}");
        }
        assert_eq!(attempts(&ran.out).len(), HARMLESS.len(), "{ran:?}");
    }
}

#[test]
fn git_commits_and_clones() {
    require!("git");
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let dir = tempdir();
    let place = dir.path().to_str().expect("it is text");
    let script = "set -e; git init -q from; cd from; echo one >file; git add file
        git -c user.name=A -c user.email=a@example.org commit -q -m first
        cd ..; git clone -q file://$PWD/from to; git -C to fsck --strict; git -C to log --format=%s";
    let out = works(dir.path(), &["--bind", place, place], &["sh", "-c", script]);
    assert!(out.ends_with("first\n"), "{out}");
    assert!(dir.path().join("to/.git").is_dir(), "it is there outside as well");
}

#[test]
fn a_compiler_compiles() {
    require!("cc");
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let dir = tempdir();
    let place = dir.path().to_str().expect("it is text");
    fs::write(dir.path().join("a.c"), "#include <stdio.h>\nint main(void) { puts(\"made\"); }\n")
        .expect("it can be written");
    works(dir.path(), &["--bind", place, place], &["cc", "-O2", "-o", "a", "a.c"]);
    assert_eq!(works(dir.path(), &[], &["./a"]), "made\n");
}

#[test]
fn node_runs_threads_and_children() {
    require!("node");
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let dir = tempdir();
    let script = r#"
        const { Worker } = require("worker_threads");
        const { execFileSync } = require("child_process");
        const source = 'require("worker_threads").parentPort.postMessage(6 * 7)';
        new Worker(source, { eval: true }).on("message", (said) => {
            console.log(said, execFileSync("echo", ["child"]).toString().trim());
        });
    "#;
    assert_eq!(works(dir.path(), &[], &["node", "-e", script]), "42 child\n");
}

#[test]
fn python_does_what_scripts_do() {
    require!("python3");
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let dir = tempdir();
    let script = r#"
import concurrent.futures, hashlib, multiprocessing, os, sqlite3, subprocess, tempfile, threading
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
base = sqlite3.connect("/tmp/base")
base.execute("create table t (a)")
base.executemany("insert into t values (?)", [(n,) for n in range(10)])
base.commit()
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    sums = sum(pool.map(lambda n: n * n, range(10)))
with multiprocessing.get_context("fork").Pool(2) as pool:
    more = sum(pool.map(abs, range(-5, 5)))
said = subprocess.run(["sh", "-c", "echo $((6 * 7))"], capture_output=True, text=True, check=True).stdout
print(sums, more, said.strip(), base.execute("select sum(a) from t").fetchone()[0])
"#;
    assert_eq!(works(dir.path(), &[], &["python3", "-c", script]), "285 25 42 45\n");
}

/// A program of many processes and threads, with a sandbox of its own that it is told to leave off.
#[test]
fn a_browser_draws_a_page() {
    require!("chromium");
    if is_root() {
        rerun_as_nobody(embryo_tests::here!());
    }
    let dir = tempdir();
    let place = dir.path().to_str().expect("it is text");
    let page = "<script>document.title = 6 * 7; document.write('<p>drawn ' + 6 * 7)</script>";
    fs::write(dir.path().join("page.html"), page).expect("it can be written");
    let profile = format!("--user-data-dir={place}/profile");
    let url = format!("file://{place}/page.html");
    let out = works(
        dir.path(),
        &["--bind", place, place, "--ro-bind-try", "/etc/chromium.d", "/etc/chromium.d"],
        &["chromium", "--headless", "--no-sandbox", "--disable-gpu", &profile, "--dump-dom", &url],
    );
    assert!(out.contains("<p>drawn 42"), "{out}");
    assert!(dir.path().join("profile").is_dir(), "the profile is there outside as well");
}
