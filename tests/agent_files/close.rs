//! Closing what a client sent holds up nobody.

use crate::agent_files::fuse::Fuse;
use embryo_agent::files::close::{Closer, WORKERS_OF_UID_MAX};
use embryo_agent::files::facts::{Facts, Known};
use embryo_agent::files::low::Low;
use embryo_tests::{alone, require_root, skip, wait_for};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs it in a thread of its own; false if it has not come back.
fn comes_back(run: impl FnOnce() + Send + 'static) -> bool {
    let (done, wait) = channel();
    std::thread::spawn(move || {
        run();
        let _ = done.send(());
    });
    wait.recv_timeout(PATIENCE).is_ok()
}

fn close(closer: &Closer, fd: OwnedFd, uid: u32) {
    let mut known = Known::new().unwrap();
    let facts = Facts::of(fd.as_fd(), &mut known);
    closer.close(fd, &facts, uid, &mut known);
}

#[test]
fn what_cannot_block_is_closed_at_once() {
    let closer = Closer::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    close(&closer, writer.into(), 7);
    assert_eq!((closer.outstanding(7), closer.workers()), (0, 0));
    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
}

#[test]
fn what_waits_to_be_closed_waits_elsewhere() {
    require_root!();
    alone!();
    let mut fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(why) => skip!("{why}"),
    };
    let stuck: Vec<OwnedFd> = (0..10).map(|_| fuse.open()).collect();
    fuse.behaviour.holds_flush.store(true, Ordering::SeqCst);
    let closer = Closer::new();
    let own = closer.clone();
    assert!(comes_back(move || stuck.into_iter().for_each(|fd| close(&own, fd, 7))));
    // Its own take as many threads as one uid may take, and no more.
    assert!(wait_for(PATIENCE, || fuse.held() == WORKERS_OF_UID_MAX as u32));
    assert_eq!((closer.outstanding(7), closer.outstanding(8)), (10, 0));
    // Somebody else's are closed all the same.
    let (socket, other) = std::os::unix::net::UnixStream::pair().unwrap();
    close(&closer, socket.into(), 8);
    assert!(wait_for(PATIENCE, || closer.outstanding(8) == 0));
    let end = rustix::io::read(&other, &mut [0u8; 1]);
    assert_eq!(end, Ok(0));
    assert_eq!((closer.outstanding(7), fuse.held()), (10, WORKERS_OF_UID_MAX as u32));
    assert!(closer.workers() <= WORKERS_OF_UID_MAX + 1);
    fuse.end();
    assert!(wait_for(PATIENCE, || closer.outstanding(7) == 0));
    assert_eq!(closer.outstanding_of_all(), 0);
}

#[test]
fn a_socket_that_lingers_lingers_elsewhere() {
    use rustix::net::sockopt;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nonblocking(true).unwrap();
    sockopt::set_socket_linger(&client, Some(Duration::from_secs(3600))).unwrap();
    // More than the other side takes without reading.
    while rustix::io::write(&client, &[0; 65536]).is_ok() {}
    // Lingering does not wait for one that does not block, so it does.
    client.set_nonblocking(false).unwrap();
    let closer = Closer::new();
    let own = closer.clone();
    assert!(comes_back(move || close(&own, client.into(), 7)));
    assert_eq!(closer.outstanding(7), 1);
    drop(server);
    assert!(wait_for(PATIENCE, || closer.outstanding(7) == 0));
}

#[test]
fn a_socket_in_a_socket_is_closed_elsewhere() {
    // The last descriptor of a lingering socket is one that was sent and not received.
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nonblocking(true).unwrap();
    sockopt::set_socket_linger(&client, Some(Duration::from_secs(3600))).unwrap();
    while rustix::io::write(&client, &[0; 65536]).is_ok() {}
    client.set_nonblocking(false).unwrap();
    let (outer, sender) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [client.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let body = [std::io::IoSlice::new(b"x")];
    sendmsg(&sender, &body, &mut control, SendFlags::empty()).unwrap();
    drop((client, sender));
    let closer = Closer::new();
    let own = closer.clone();
    assert!(comes_back(move || close(&own, outer.into(), 7)));
    assert_eq!(closer.outstanding(7), 1);
    drop(server);
    assert!(wait_for(PATIENCE, || closer.outstanding(7) == 0));
}

#[test]
fn a_launch_copies_nothing_of_a_client() {
    require_root!();
    alone!();
    let mut fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(why) => skip!("{why}"),
    };
    let start = || embryo::Command::new("true").status();
    assert!(start().unwrap().success());
    let low = Low::take().unwrap();
    let stuck = fuse.open();
    assert!(low.count() > 64 && stuck.as_raw_fd() >= 128, "{}", stuck.as_raw_fd());
    fuse.behaviour.holds_flush.store(true, Ordering::SeqCst);
    let started = comes_back(move || assert!(start().unwrap().success()));
    assert_eq!((started, fuse.held()), (true, 0));
    fuse.behaviour.holds_flush.store(false, Ordering::SeqCst);
    drop(stuck);
    fuse.end();
}
