//! The default profile under the programs that it is for, doing what they do.

use crate::leaving_nothing;
use embryo::{Command, Policy};
use embryo_tests::{alone, skip, tempdir};
use std::path::Path;

fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", dir)
        .env("TMPDIR", dir)
        .env("LANG", "C.UTF-8")
        .current_dir(dir)
        .spawn_options(crate::Way::Seed.options())
        .seccomp_policy(&Policy::profile("default").expect("there is one"))
        .expect("it can be compiled");
    command
}

#[track_caller]
fn run(program: &str, args: &[&str], dir: &Path) -> String {
    let output = command(program, dir).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} {args:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {:?}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("it is text")
}

fn have(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(program).exists())
}

#[test]
fn programs_do_their_work_under_it() {
    alone!();
    let dir = tempdir();
    let dir = dir.path();
    let missing: Vec<&str> =
        ["git", "python3", "cc", "node"].into_iter().filter(|name| !have(name)).collect();
    if have("git") {
        let git = |args: &[&str]| run("git", args, dir);
        git(&["init", "-q", "repo"]);
        std::fs::write(dir.join("repo/file"), "text\n".repeat(10_000)).expect("writable");
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-C", "repo"];
        let within = |args: &[&str]| git(&[&identity[..], args].concat());
        within(&["add", "file"]);
        within(&["commit", "-q", "-m", "first"]);
        within(&["gc", "-q"]);
        git(&["clone", "-q", "repo", "copy"]);
        assert!(git(&["-C", "copy", "log", "--oneline"]).ends_with(" first\n"));
        assert_eq!(git(&["-C", "copy", "grep", "-c", "text"]), "file:10000\n");
    }
    if have("python3") {
        assert_eq!(run("python3", &["-c", PYTHON], dir), "done\n");
    }
    if have("cc") {
        std::fs::write(dir.join("a.c"), C).expect("writable");
        run("cc", &["-O2", "-pthread", "a.c", "-o", "a.out"], dir);
        assert_eq!(run("./a.out", &[], dir), "42\n");
    }
    if have("node") {
        assert_eq!(run("node", &["-e", NODE], dir), "done\n");
    }
    if !missing.is_empty() {
        skip!("not installed: {}", missing.join(", "));
    }
}

const PYTHON: &str = r#"
import concurrent.futures, multiprocessing, os, select, signal, socket, sqlite3, ssl, subprocess, tempfile
import asyncio, mmap, threading, time
assert subprocess.run(["sh", "-c", "echo $((6*7))"], capture_output=True).stdout == b"42\n"
def square(n): return n * n
if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(4) as pool: assert sum(pool.map(square, range(10))) == 285
    with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(square, range(4)) == [0, 1, 4, 9]
    async def talk():
        async def serve(reader, writer):
            writer.write(await reader.readline()); await writer.drain(); writer.close()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"there\n"); assert await reader.readline() == b"there\n"; writer.close()
        child = await asyncio.create_subprocess_exec("true"); assert await child.wait() == 0
    asyncio.run(talk())
    a, b = socket.socketpair(); a.send(b"x"); assert select.select([b], [], [], 5)[0] == [b]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"y" * 8192); file.flush()
        assert mmap.mmap(file.fileno(), 0)[8191:] == b"y"
    db = sqlite3.connect("test.db"); db.execute("create table t (n)")
    db.executemany("insert into t values (?)", [(n,) for n in range(1000)]); db.commit()
    assert db.execute("select sum(n) from t").fetchone() == (499500,)
    ssl.create_default_context()
    got = []
    signal.signal(signal.SIGALRM, lambda *_: got.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.01)
    while not got: time.sleep(0.005)
    print("done")
"#;

const C: &str = "#include <pthread.h>\n#include <stdio.h>\n#include <stdlib.h>\n\
    static void *run(void *p) { *(int *)p = 42; return 0; }\n\
    int main(void) { int n = 0; pthread_t t; char *big = malloc(1 << 24); big[1 << 23] = 1;\n\
    pthread_create(&t, 0, run, &n); pthread_join(t, 0); printf(\"%d\\n\", n); return 0; }\n";

const NODE: &str = r#"
const fs = require("fs"), http = require("http"), { execFileSync } = require("child_process");
const { Worker } = require("worker_threads"), crypto = require("crypto"), zlib = require("zlib");
fs.mkdirSync("sub", { recursive: true }); fs.writeFileSync("sub/file", "text");
if (fs.readdirSync("sub")[0] !== "file") throw 1;
if (execFileSync("sh", ["-c", "echo here"]).toString() !== "here\n") throw 2;
const worker = new Worker("require('worker_threads').parentPort.postMessage(42)", { eval: true });
worker.on("message", (n) => {
  if (n !== 42) throw 3;
  const server = http.createServer((_, answer) => answer.end("there")).listen(0, "127.0.0.1", () => {
    http.get({ port: server.address().port, host: "127.0.0.1", agent: false }, (answer) => {
      answer.on("data", (text) => {
        if (text.toString() !== "there") throw 4;
        server.close();
        fs.promises.readFile("sub/file").then((text) => {
          zlib.gzip(text, () => crypto.pbkdf2("a", "b", 1000, 32, "sha256", () => console.log("done")));
        });
      });
    });
  });
});
"#;

/// Each attempt as a program makes it, with what it is told.
#[test]
fn what_it_refuses_is_refused() {
    alone!();
    if !have("python3") {
        skip!("not installed: python3");
    }
    let numbers = [
        ("mount", libc::SYS_mount),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("ptrace", libc::SYS_ptrace),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("keyctl", libc::SYS_keyctl),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("kexec_load", libc::SYS_kexec_load),
        ("init_module", libc::SYS_init_module),
        ("reboot", libc::SYS_reboot),
        ("swapon", libc::SYS_swapon),
        ("clock_settime", libc::SYS_clock_settime),
        ("quotactl", libc::SYS_quotactl),
        ("process_vm_readv", libc::SYS_process_vm_readv),
    ];
    let mut script = String::from(
        "import ctypes, errno, os, pty\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         def call(name, *args):\n ctypes.set_errno(0)\n libc.syscall(*args)\n \
         print(name, errno.errorcode.get(ctypes.get_errno(), 'ok'))\n",
    );
    let mut expected = String::new();
    for (name, number) in numbers {
        // Arguments with which none of them would do anything, and all would fail otherwise.
        script.push_str(&format!("call('{name}', {number}, -1, -1, -1, -1, -1)\n"));
        expected.push_str(&format!("{name} EPERM\n"));
    }
    script.push_str(&format!(
        "call('clone3', {}, 0, 0)\ncall('io_uring_setup', 425, 1, 0)\n\
         call('new user namespace', {}, 0x10000011, 0, 0, 0, 0)\n\
         call('vsock', {}, 40, 1, 0)\ncall('no randomisation', {}, 0x40000)\n\
         a, b = pty.openpty()\ncall('TIOCSTI', {}, b, 0x5412, ctypes.c_char_p(b'x'))\n\
         call('TIOCSTI with an upper half', {}, b, ctypes.c_ulong(0x100005412), ctypes.c_char_p(b'x'))\n\
         call('TIOCGPGRP', {}, a, 0x540f, ctypes.create_string_buffer(8))\n",
        libc::SYS_clone3,
        libc::SYS_clone,
        libc::SYS_socket,
        libc::SYS_personality,
        libc::SYS_ioctl,
        libc::SYS_ioctl,
        libc::SYS_ioctl,
    ));
    expected.push_str(
        "clone3 ENOSYS\nio_uring_setup ENOSYS\nnew user namespace EPERM\nvsock EAFNOSUPPORT\n\
         no randomisation EPERM\nTIOCSTI EPERM\nTIOCSTI with an upper half EPERM\n",
    );
    leaving_nothing(|| {
        let dir = tempdir();
        let found = run("python3", &["-S", "-c", &script], dir.path());
        assert!(found.starts_with(&expected), "{found}\nand not\n{expected}");
        assert!(!found.contains("TIOCGPGRP EPERM"), "{found}");
    });
}
