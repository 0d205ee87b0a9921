//! What a descriptor is, is found out without asking who made it.

use crate::agent_files::fuse::Fuse;
use embryo_agent::files::facts::{Facts, Kind, Known};
use embryo_agent::files::filesystem::FileSystem;
use embryo_tests::{alone, require_root, skip};
use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags, SealFlags, memfd_create};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;

fn facts(fd: impl AsFd) -> Facts {
    Facts::of(fd.as_fd(), &mut Known::new().unwrap())
}

#[test]
fn kinds_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("file")).unwrap();
    let there = file.metadata().unwrap();
    let found = facts(&file);
    assert!(matches!(found.kind, Kind::File(FileSystem::Local(_))), "{found:?}");
    assert_eq!((found.inode, found.uid, found.mode), (there.ino(), there.uid(), there.mode()));
    assert!(!found.close_may_block() && !found.is_sealed());
    let found = facts(File::open(dir.path()).unwrap());
    assert!(matches!(found.kind, Kind::Directory(FileSystem::Local(_))), "{found:?}");

    let (reader, _writer) = std::io::pipe().unwrap();
    assert_eq!(facts(&reader).kind, Kind::Pipe);
    assert!(!facts(&reader).close_may_block());
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    assert_eq!(facts(rustix::fs::open(&fifo, flags, Mode::empty()).unwrap()).kind, Kind::Pipe);

    let null = facts(File::open("/dev/null").unwrap());
    assert_eq!((&null.kind, null.close_may_block()), (&Kind::Character(1, 3), false));
    let (socket, _other) = UnixStream::pair().unwrap();
    assert_eq!((facts(&socket).kind, facts(&socket).close_may_block()), (Kind::Socket(1), true));
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!((facts(&tcp).kind, facts(&tcp).close_may_block()), (Kind::Socket(2), true));

    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
    assert_eq!((facts(&event).kind, facts(&event).close_may_block()), (Kind::Notifier, false));
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    assert_eq!(facts(&epoll).kind, Kind::Notifier);
    let own = rustix::process::getpid();
    let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).unwrap();
    assert_eq!((facts(&pidfd).kind, facts(&pidfd).close_may_block()), (Kind::Notifier, false));
    let proc = facts(File::open("/proc/self/status").unwrap());
    assert_eq!((&proc.kind, proc.close_may_block()), (&Kind::Unknown, true));
}

#[test]
fn the_file_of_a_socket_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let handle = rustix::fs::open(dir.path().join("socket"), flags, Mode::empty()).unwrap();
    let found = facts(&handle);
    assert_eq!(found.kind, Kind::Unknown);
    assert!(found.flags.contains(OFlags::PATH));
}

#[test]
fn memory_is_sealed_or_not() {
    let memory = memfd_create(c"x", MemfdFlags::ALLOW_SEALING).unwrap();
    assert_eq!(facts(&memory).kind, Kind::Memfd(SealFlags::empty()));
    let some = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    rustix::fs::fcntl_add_seals(&memory, some).unwrap();
    assert!(!facts(&memory).is_sealed());
    rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE).unwrap();
    assert!(facts(&memory).is_sealed());
    // A file of a tmpfs has seals, too, and is none of these.
    let Ok(shm) = tempfile::tempfile_in("/dev/shm") else { skip!("no tmpfs in /dev/shm") };
    assert!(!matches!(facts(&shm).kind, Kind::Memfd(_)), "{:?}", facts(&shm).kind);
}

#[test]
fn much_memory_takes_its_time() {
    let memory = memfd_create(c"x", MemfdFlags::empty()).unwrap();
    rustix::fs::ftruncate(&memory, 1 << 40).unwrap();
    assert!(!facts(&memory).close_may_block(), "there is nothing to be freed");
    rustix::fs::fallocate(&memory, rustix::fs::FallocateFlags::empty(), 0, 65 << 20).unwrap();
    let found = facts(&memory);
    assert_eq!((found.size, found.close_may_block()), (1 << 40, true));
}

#[test]
fn a_server_that_does_not_answer_is_not_asked() {
    require_root!();
    alone!();
    let fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(why) => skip!("{why}"),
    };
    let [file, handle]: [OwnedFd; 2] = [
        fuse.open(),
        rustix::fs::open(fuse.file(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap(),
    ];
    let mut known = Known::new().unwrap();
    let behaviour = &fuse.behaviour;
    for flag in [&behaviour.holds_attributes, &behaviour.holds_statfs, &behaviour.holds_flush] {
        flag.store(true, Ordering::SeqCst);
    }
    for fd in [&file, &handle] {
        let found = Facts::of(fd.as_fd(), &mut known);
        assert_eq!((&found.kind, found.close_may_block()), (&Kind::Unknown, true));
    }
    assert_eq!(fuse.held(), 0, "the server was asked");
    behaviour.holds_flush.store(false, Ordering::SeqCst);
}

#[test]
fn what_is_mounted_later_is_found() {
    require_root!();
    let done = std::thread::spawn(|| {
        let private = rustix::mount::MountPropagationFlags::PRIVATE
            | rustix::mount::MountPropagationFlags::REC;
        embryo_syscall::unshare(0x0002_0000).unwrap();
        rustix::mount::mount_change("/", private).unwrap();
        let mut known = Known::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", none, None).unwrap();
        let file = File::create(dir.path().join("file")).unwrap();
        let local = || FileSystem::Local("tmpfs".into());
        let found = embryo_tests::wait_for(std::time::Duration::from_secs(10), || {
            Facts::of(file.as_fd(), &mut known).kind == Kind::File(local())
        });
        assert!(found);
        // And what is mounted no more is not believed, whoever gets its number next.
        let detach = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(dir.path(), detach).unwrap();
        assert_eq!(Facts::of(file.as_fd(), &mut known).kind, Kind::Unknown);
        std::thread::sleep(std::time::Duration::from_millis(150));
        assert_eq!(Facts::of(file.as_fd(), &mut known).kind, Kind::Unknown);
    });
    done.join().unwrap();
}
