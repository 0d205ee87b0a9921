//! Files that hold up whoever touches them.

#[path = "../agent_files/fuse.rs"]
mod fuse;

use crate::victim::{Victim, program, serve_somebody, with_slots};
use embryo::agent::wire::{Fault, Spawn, flags, kind};
use embryo::{ExecFlags, Keep, Op, Plan};
use embryo_tests::agent::{RawClient, Reader};
use embryo_tests::{alone, require_root, skip};
use fuse::Fuse;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open};
use rustix::net::sockopt;
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use zerocopy::IntoBytes;

/// A plan that executes its only grant.
fn image() -> Plan {
    let mut plan = Plan::builder();
    let slot = plan.slot();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::ExecSlot { slot, flags: ExecFlags::empty() }).arg("image");
    plan.build().expect("it is a plan")
}

/// A plan that has its only grant as standard input.
fn input() -> Plan {
    let mut plan = program(Path::new("/usr/bin/true"), &[]);
    let slot = plan.slot();
    plan.op(&Op::PutFd { slot, fd: 0 });
    plan.build().expect("it is a plan")
}

/// SPAWN that may take a second.
fn spawn(client: &RawClient, request: u64, plan: &Plan, fds: &[BorrowedFd<'_>]) {
    let head = Spawn { timeout_ms: 1000.into(), ..Spawn::default() };
    let body = [head.as_bytes(), plan.as_bytes()].concat();
    client.say(kind::SPAWN, request, 0, &body, fds);
}

/// Sends the descriptor in every place that a message has, and others are served meanwhile.
fn offer(victim: &Victim, fd: BorrowedFd<'_>) {
    let client = victim.client();
    spawn(&client, 1, &image(), &[fd]);
    spawn(&client, 2, &input(), &[fd]);
    spawn(&client, 3, &with_slots(1), &[fd]);
    // Too many, and so closed at once.
    spawn(&client, 4, &with_slots(0), &[fd, fd, fd]);
    // As a plan.
    client.say(kind::SPAWN, 5, flags::IN_FD, Spawn::default().as_bytes(), &[fd]);
    serve_somebody(&victim.agent);
    let mut reader = Reader::default();
    assert_eq!(reader.answer(&client, 4).rule(), Some("grants"));
    assert_eq!(reader.answer(&client, 5).rule(), Some("plan"));
    // Whatever becomes of the others, it comes.
    for request in 1..=3 {
        let _ = reader.answer(&client, request);
    }
    // With a message that ends the connection.
    client.say(kind::MANDATE, 6, 0, &[], &[fd]);
    serve_somebody(&victim.agent);
}

#[test]
fn a_fuse_server_that_does_not_answer_holds_up_nobody() {
    require_root!();
    alone!();
    let mut fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(why) => skip!("{why}"),
    };
    let victim = Victim::start();
    let handle = open(fuse.file(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let fds = [fuse.open(), handle.expect("it can be found")];
    let behaviour = &fuse.behaviour;
    let holds = [
        &behaviour.holds_flush,
        &behaviour.holds_read,
        &behaviour.holds_attributes,
        &behaviour.holds_statfs,
    ];
    holds.iter().for_each(|hold| hold.store(true, Ordering::SeqCst));
    for fd in &fds {
        offer(&victim, fd.as_fd());
    }
    serve_somebody(&victim.agent);
    assert!(fuse.held() > 0, "nobody has come upon it");
    // Its server goes, and with it whatever waits for it.
    fuse.end();
    drop(fds);
    victim.check();
}

#[test]
fn a_fifo_that_nobody_reads_holds_up_nobody() {
    let victim = Victim::start();
    let path = victim.agent.dir().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o777),
        0,
    )
    .expect("a FIFO can be made");
    // Both ends: neither opening it nor closing it is held up, but reading is.
    let both = open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("it is there");
    offer(&victim, both.as_fd());
    let handle = open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("likewise");
    offer(&victim, handle.as_fd());
    victim.check();
}

/// A plan in a memfd is taken with its seals alone, and not longer than a plan may be.
#[test]
fn a_memfd_that_is_no_plan_is_refused() {
    let victim = Victim::start();
    let client = victim.client();
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    for (size, seals) in [(1 << 40, all), (0, all), (4096, all), (4096, SealFlags::SEAL)] {
        let file = memfd(size, seals);
        client.say(kind::SPAWN, 1, flags::IN_FD, Spawn::default().as_bytes(), &[file.as_fd()]);
        let answer = Reader::default().answer(&client, 1);
        assert_eq!(answer.rule(), Some("plan"), "{size} bytes, {seals:?}");
    }
    drop(client);
    victim.check();
}

fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create(c"plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let file = file.expect("a memfd can be made");
    rustix::fs::ftruncate(&file, size).expect("it can be as long");
    fcntl_add_seals(&file, seals).expect("it can be sealed");
    file
}

/// The agent has the last descriptor of a socket whose close(2) waits for a peer that does not read.
#[test]
fn a_socket_that_lingers_holds_up_nobody() {
    let victim = Victim::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
    let address = listener.local_addr().expect("it has one");
    let mut peers = Vec::new();
    let client = victim.client();
    // The agent does not see the message before this process has closed its descriptor.
    victim.agent.signal(Signal::STOP);
    for request in 0..8 {
        let socket = std::net::TcpStream::connect(address).expect("somebody listens");
        peers.push(listener.accept().expect("somebody has connected"));
        socket.set_nonblocking(true).expect("it can be set");
        sockopt::set_socket_linger(&socket, Some(Duration::from_secs(3600))).expect("likewise");
        while rustix::io::write(&socket, &[0; 65536]).is_ok() {}
        socket.set_nonblocking(false).expect("it can be set");
        let plan = with_slots(usize::from(request % 2 == 0));
        let fds = [socket.as_fd(), socket.as_fd()];
        spawn(&client, request, &plan, &fds[..1 + usize::from(request % 4 == 1)]);
    }
    victim.agent.signal(Signal::CONT);
    for _ in 0..3 {
        serve_somebody(&victim.agent);
    }
    drop(client);
    serve_somebody(&victim.agent);
    drop(peers);
    victim.check();
}

/// An image that nobody sends the whole of: the launch ends at its deadline.
#[test]
fn an_image_that_does_not_come_is_given_up() {
    require_root!();
    alone!();
    let mut fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(why) => skip!("{why}"),
    };
    let victim = Victim::start_with(
        // Whatever is granted may run, so that the child itself meets the file.
        &crate::victim::CONFIG.replace("images = [", "images = [{ inode = \"0:0:0\" }, "),
        &embryo_tests::agent::AgentOptions::default(),
    );
    fuse.behaviour.holds_read.store(true, Ordering::SeqCst);
    let client = victim.client();
    let file = fuse.open();
    spawn(&client, 1, &image(), &[file.as_fd()]);
    let answer = Reader::default().answer(&client, 1);
    if answer.head.kind == kind::FAULT {
        let fault: Fault = answer.read();
        assert_ne!(fault.errno.get(), 0, "{answer:?}");
    } else {
        assert_eq!(answer.rule(), Some("images"), "{answer:?}");
    }
    serve_somebody(&victim.agent);
    drop((file, client));
    fuse.end();
    victim.check();
}
