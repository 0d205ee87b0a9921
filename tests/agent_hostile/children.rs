//! Children that reach for the agent, for its embryos, and for each other's privileges.

use crate::victim::{CONFIG, Victim, program};
use embryo::agent::wire::kind;
use embryo::{Op, PlanBuilder};
use embryo_tests::agent::{AgentOptions, RawClient, Reader};
use embryo_tests::{NOBODY, is_root, require_root, skip};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Tries what its arguments name, `PID` after `PID`, and says of each thing that it could do.
const REACH: &str = r#"
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(*arguments) >= 0:
        print(name, "is possible", flush=True)
def attempt(name, what):
    try:
        what()
    except (OSError, PermissionError):
        return
    print(name, "is possible", flush=True)
PTRACE, PTRACE_SEIZE = 101, 0x4206
PIDFD_OPEN, PIDFD_GETFD, READV, WRITEV = 434, 438, 310, 311
here = ctypes.create_string_buffer(8)
class Vec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
ours = Vec(ctypes.addressof(here), 8)
theirs = Vec(0x400000, 8)
signals = sys.argv[2] == "signals"
# One of the embryos has become this process.
for pid in set(map(int, sys.argv[3:])) - {os.getpid()}:
    if not os.path.exists(f"/proc/{pid}"):
        continue
    call(f"ptrace of {pid}", PTRACE, PTRACE_SEIZE, pid, 0, 0)
    pidfd = libc.syscall(PIDFD_OPEN, pid, 0)
    for number in range(12):
        taken = libc.syscall(PIDFD_GETFD, pidfd, number, 0)
        if taken >= 0:
            print(f"pidfd_getfd of {pid} is possible", flush=True)
            os.close(taken)
    os.close(pidfd)
    for name, number in (("readv", READV), ("writev", WRITEV)):
        # An address that is not there answers EFAULT, which says that the way there is open.
        ctypes.set_errno(0)
        done = libc.syscall(number, pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
        if done >= 0 or ctypes.get_errno() == 14:
            print(f"process_vm_{name} of {pid} is possible", flush=True)
    for file in ("mem", "environ", "maps", "io", "syscall", "auxv"):
        attempt(f"{file} of {pid}", lambda: open(f"/proc/{pid}/{file}", "rb").read(1) and None)
    attempt(f"writing mem of {pid}", lambda: open(f"/proc/{pid}/mem", "r+b"))
    for file in ("cwd", "root", "exe"):
        attempt(f"{file} of {pid}", lambda: os.stat(f"/proc/{pid}/{file}/."))
    attempt(f"fd of {pid}", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt(f"oom_score_adj of {pid}", lambda: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"))
    if signals:
        attempt(f"a signal to {pid}", lambda: os.kill(pid, 0))
        attempt(f"the priority of {pid}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
        attempt(f"a limit of {pid}", lambda: __import__("resource").prlimit(pid, 7, (8, 8)))
for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
    attempt(f"cgroup {place}", lambda: open(place + "/cgroup.procs", "w").write(str(os.getpid())))
try:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(sys.argv[1])
    client.send(b"EMBA" + b"\1\0\1\0" + bytes(8) + bytes(4) + b"\x18\0\0\0" + b"\1\0\1\0" + bytes(20))
    if client.recv(65536)[6:8] == b"\1\x80":
        print("the agent's socket is possible", flush=True)
except OSError:
    pass
for fd in map(int, os.listdir("/proc/self/fd")):
    if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}"):
        print(f"descriptor {fd} is possible", flush=True)
print("done", flush=True)
"#;

/// python3 without a link on the way to it.
fn python() -> Option<PathBuf> {
    std::fs::canonicalize("/usr/bin/python3").ok()
}

/// Runs a plan with standard output and error in a pipe: what it says.
fn output(client: &RawClient, mut plan: PlanBuilder) -> String {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let slot = plan.slot();
    plan.op(&Op::PutFd { slot, fd: 1 }).op(&Op::PutFd { slot, fd: 2 });
    let plan = plan.build().expect("it is a plan");
    let _ = client.run(5, plan.as_bytes(), &[writer.as_fd()]);
    drop(writer);
    let mut said = String::new();
    (&reader).read_to_string(&mut said).expect("it can be read");
    said
}

fn reach(victim: &Victim, signals: &str, embryos_too: bool) {
    let Some(python) = python() else { skip!("there is no /usr/bin/python3") };
    let client = victim.client();
    // Its embryos, those that make them, and a child of another client.
    let other = victim.client();
    let mut reader = Reader::default();
    other.spawn(1, crate::victim::stay().as_bytes(), &[]);
    reader.want(&other, 1, kind::STARTED);
    let mut pids = vec![victim.agent.pid().to_string()];
    let embryos = victim.agent.descendants();
    let embryos = embryos.iter().filter(|(_, (name, _))| name == "embryo:seed");
    let embryos: Vec<String> = embryos.map(|(pid, _)| pid.to_string()).collect();
    assert!(embryos.len() > 2, "it has embryos");
    if embryos_too {
        pids.extend(embryos);
    }
    let socket = victim.agent.socket().display().to_string();
    let mut arguments = vec!["-c", REACH, &socket, signals];
    arguments.extend(pids.iter().map(String::as_str));
    let said = output(&client, program(&python, &arguments));
    drop((client, other));
    assert_eq!(said, "done\n");
    victim.check();
}

/// Whatever the agent is, its children are somebody else.
#[test]
fn a_child_of_another_uid_reaches_nothing_of_the_agent() {
    require_root!();
    let config = CONFIG.replace("peers = [{}]", "peers = [{ uids = [0] }]").replace(
        "narrower = 8",
        "narrower = 8\nforced = { uid = 65534, gid = 65534, groups = [] }",
    );
    reach(&Victim::start_with(&config, &AgentOptions::default()), "signals", true);
}

/// Of its own uid, which may send it signals, and reaches the embryos that wait, as it reaches every process of its
/// uid: an own uid for children is what keeps these apart.
#[test]
fn a_child_of_the_agents_uid_reaches_nothing_but_by_signals() {
    let uid = if is_root() { Some(NOBODY) } else { None };
    // Nobody is admitted but the test.
    let test = rustix::process::geteuid().as_raw();
    if test == NOBODY {
        skip!("a child of uid {NOBODY} cannot be told from this test by its uid");
    }
    let peers = format!("peers = [{{ uids = [{test}] }}]");
    let config = CONFIG.replace("peers = [{}]", &peers);
    let options = AgentOptions { uid, ..AgentOptions::default() };
    reach(&Victim::start_with(&config, &options), "none", false);
}

/// A string that ld.so(8) heeds is not let through by a pattern.
#[test]
fn the_environment_of_a_dynamic_linker_has_to_be_named() {
    let names = ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES", "GCONV_PATH"];
    let wide = CONFIG.replace("environment = [\"NAME\"]", "environment = [\"*\", \"LD_BIND_NOW\"]");
    for (config, others) in [(CONFIG, true), (&wide, false)] {
        let victim = Victim::start_with(config, &AgentOptions::default());
        let client = victim.client();
        let mut reader = Reader::default();
        let mut rule = |string: &str| {
            let mut plan = program(std::path::Path::new("/usr/bin/true"), &[]);
            plan.env_string(string);
            let plan = plan.build().expect("it is a plan");
            client.spawn(1, plan.as_bytes(), &[]);
            let answer = reader.answer(&client, 1);
            if answer.head.kind == kind::STARTED {
                reader.want(&client, 1, kind::ENDED);
            }
            answer.rule().map(str::to_owned)
        };
        for name in names {
            let string = format!("{name}=/tmp/x.so");
            assert_eq!(rule(&string).as_deref(), Some("environment"), "{string}");
        }
        // Without a value, and without a name.
        assert_eq!(rule("LD_PRELOAD").as_deref(), Some("environment"));
        assert_eq!(rule("=LD_PRELOAD=x").as_deref(), Some("environment"));
        assert_eq!(rule("NAME=LD_PRELOAD"), None);
        assert_eq!(rule("OTHER=x").is_some(), others);
        assert_eq!(rule("LD_BIND_NOW=1").is_some(), others);
        drop(client);
        victim.check();
    }
}

/// Arguments that make another program of one that is allowed.
#[test]
fn arguments_are_held_to_their_patterns() {
    let config = CONFIG.replace(
        "images = [",
        "images = [{ path = \"/usr/bin/env\", args = { first = [\"true\"] } }, \
         { path = \"/usr/bin/echo\", args = { rest = [\"a*\"], never = [\"*;*\"], max = 2 } }, ",
    );
    let victim = Victim::start_with(&config, &AgentOptions::default());
    let client = victim.client();
    let mut reader = Reader::default();
    let mut rule = |path: &str, arguments: &[&str]| {
        let plan = program(std::path::Path::new(path), arguments);
        let plan = plan.build().expect("it is a plan");
        client.spawn(1, plan.as_bytes(), &[]);
        let answer = reader.answer(&client, 1);
        if answer.head.kind == kind::STARTED {
            reader.want(&client, 1, kind::ENDED);
        }
        answer.rule().map(str::to_owned)
    };
    assert_eq!(rule("/usr/bin/env", &["true"]), None);
    for wrong in [&["-S", "sh"][..], &["sh"], &["true", "x"], &["LD_PRELOAD=x", "true"], &[]] {
        assert!(rule("/usr/bin/env", wrong).is_some_and(|rule| rule.starts_with("images")));
    }
    assert_eq!(rule("/usr/bin/echo", &["ab", "ac"]), None);
    for wrong in [&["b"][..], &["a;b"], &["a", "a", "a"]] {
        assert!(rule("/usr/bin/echo", wrong).is_some_and(|rule| rule.starts_with("images")));
    }
    drop(client);
    victim.check();
}
