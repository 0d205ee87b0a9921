//! The loop, seen from a socket.

use embryo::agent::mandate::Mandate;
use embryo::agent::wire::{self, Head, kind};
use embryo::{ExecFlags, Op, Plan, PlanBuilder};
use embryo_agent::config::Config;
use embryo_agent::listen::Listener;
use embryo_agent::log::Ring;
use embryo_agent::serve::{Outcome, Server};
use embryo_syscall as sys;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

fn client(path: &std::path::Path) -> OwnedFd {
    let socket = seqpacket();
    let address = SocketAddrUnix::new(path).expect("a short path");
    rustix::net::connect(&socket, &address).expect("connect");
    socket
}

fn seqpacket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn receive(socket: &OwnedFd) -> (u16, u64, Vec<u8>, usize) {
    let until = Instant::now() + Duration::from_secs(20);
    let mut buffer = vec![0; wire::MESSAGE_BYTES_MAX];
    loop {
        let (outcome, fds) = sys::receive(socket.as_fd(), &mut buffer);
        match outcome {
            Ok(received) => {
                let (head, body) = Head::split(&buffer[..received.len]).expect("a message");
                let fds = fds.into_iter().flatten().count();
                return (head.kind.get(), head.request.get(), body.to_vec(), fds);
            }
            Err(sys::Errno::AGAIN) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(errno) => panic!("no answer: {errno:?}"),
        }
    }
}

fn send(socket: &OwnedFd, kind: u16, request: u64, body: &[u8], fds: &[i32]) {
    let head = Head::new(kind, request, 0, body.len());
    sys::send_with_fds(socket.as_raw_fd(), head.as_bytes(), body, fds).expect("sent");
}

fn plan(path: &std::ffi::CStr, args: &[&str]) -> Plan {
    let mut plan = PlanBuilder::new();
    plan.op(&Op::SetSid)
        .op(&Op::ChdirPath { path: c"/" })
        .op(&Op::Umask { mode: 0o22 })
        .op(&Op::ExecPath { path, flags: ExecFlags::empty() });
    for arg in args {
        plan.arg(arg);
    }
    plan.build().expect("a plan")
}

/// The children of this process that are no image yet.
fn seeds() -> Vec<rustix::process::Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc").flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<i32> = lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    let seeds = pids.into_iter().filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name == "embryo:seed\n")
    });
    let seeds: Vec<_> = seeds.filter_map(rustix::process::Pid::from_raw).collect();
    assert!(seeds.len() > 1, "{seeds:?}");
    seeds
}

/// Whether a process is there, and no zombie.
fn lives(pid: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z") && !stat.contains(") X"))
}

#[test]
fn children_start_and_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listening = seqpacket();
    rustix::net::bind(&listening, &SocketAddrUnix::new(&path).unwrap()).expect("bind");
    rustix::net::listen(&listening, 8).expect("listen");
    let mut config = Config::default();
    let json = include_str!("all.json");
    let mandate: Mandate = serde_json::from_str(json).expect("a mandate");
    config.mandates.insert("all".into(), mandate);
    let listener = Listener { fd: listening, mandate: "all".into() };
    let mut server = Server::new(&config, vec![listener], Ring::new(100)).expect("a server");
    let serving = std::thread::spawn(move || {
        let outcome = server.run(Some(Duration::from_secs(3))).expect("it runs");
        server.stop(Duration::from_secs(5));
        outcome
    });

    let socket = client(&path);
    send(
        &socket,
        kind::HELLO,
        1,
        wire::Hello { oldest: 1.into(), newest: 9.into(), ..Default::default() }.as_bytes(),
        &[],
    );
    assert_eq!(receive(&socket).0, kind::WELCOME);
    let spawn = |number, plan: &Plan| {
        let body = [wire::Spawn::default().as_bytes(), plan.as_bytes()].concat();
        send(&socket, kind::SPAWN, number, &body, &[]);
    };
    spawn(2, &plan(c"/usr/bin/dash", &["sh", "-c", "exit 3"]));
    let (told, number, body, fds) = receive(&socket);
    assert_eq!((told, number, fds), (kind::STARTED, 2, 1), "{}", String::from_utf8_lossy(&body));
    let (told, number, body, _) = receive(&socket);
    assert_eq!((told, number), (kind::ENDED, 2));
    let ended = wire::Ended::read_from_bytes(&body).expect("an end");
    assert_eq!(ended.status.get(), 3 << 8);

    spawn(3, &plan(c"/usr/bin/does-not-exist", &["x"]));
    let (told, number, body, _) = receive(&socket);
    assert!(matches!(told, kind::FAULT | kind::REFUSED), "{told:x} {number} {body:?}");

    spawn(4, &plan(c"/usr/bin/sleep", &["sleep", "100"]));
    let (told, _, body, _) = receive(&socket);
    assert_eq!(told, kind::STARTED, "{}", String::from_utf8_lossy(&body));
    let started = wire::Started::read_from_bytes(&body).expect("a start");
    send(&socket, kind::KILL, 5, wire::Child { child: started.child }.as_bytes(), &[]);
    assert_eq!(receive(&socket).0, kind::DONE);
    let (told, _, body, _) = receive(&socket);
    assert_eq!(told, kind::ENDED);
    assert_eq!(wire::Ended::read_from_bytes(&body).unwrap().status.get(), 9);
    // Somebody kills all that makes embryos, and those that are ready: others are made.
    let seeds = seeds();
    for pid in &seeds {
        let _ = rustix::process::kill_process(*pid, rustix::process::Signal::KILL);
    }
    // One that is about to die still takes a plan, and that launch is a fault: they are to be dead.
    let until = Instant::now() + Duration::from_secs(20);
    while seeds.iter().any(|pid| lives(*pid)) {
        assert!(Instant::now() < until, "they do not die");
        std::thread::sleep(Duration::from_millis(1));
    }
    spawn(6, &plan(c"/usr/bin/true", &["true"]));
    let (told, number, body, _) = receive(&socket);
    assert_eq!((told, number), (kind::STARTED, 6), "{}", String::from_utf8_lossy(&body));
    assert_eq!(receive(&socket).0, kind::ENDED);
    assert_eq!(serving.join().expect("it ends"), Outcome::Tick);
}
