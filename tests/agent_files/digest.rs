//! What was hashed is what runs, whatever its owner does to it meanwhile.

use crate::agent_files::fuse::{CONTENT, Fuse};
use embryo::{ExecFlags, Op, Plan, spawn};
use embryo_agent::files::close::Closer;
use embryo_agent::files::digest::{COPIES_OF_UID_MAX, Copier, CopyError, Copying, Sealed};
use embryo_agent::files::facts::{Facts, Known, SEALED};
use embryo_tests::{alone, require_root, skip, wait_for};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const MAX: u64 = 64 << 20;

fn copier() -> Copier {
    let program = File::open(env!("CARGO_BIN_EXE_embryo-copier")).unwrap();
    Copier::of_program(program.into(), Closer::new())
}

fn start(copier: &Copier, fd: OwnedFd, max: u64, time: Duration) -> Result<Copying, CopyError> {
    let facts = Facts::of(fd.as_fd(), &mut Known::new().unwrap());
    copier.start(fd, &facts, 7, max, Instant::now() + time)
}

/// Waits as a loop does that has other things to do.
fn outcome(mut copying: Copying) -> Result<Sealed, CopyError> {
    let mut fds = [PollFd::from_borrowed_fd(copying.as_fd(), PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "it takes too long");
    copying.take().expect("it was readable")
}

fn copy(fd: impl Into<OwnedFd>, max: u64) -> Result<Sealed, CopyError> {
    outcome(start(&copier(), fd.into(), max, PATIENCE).unwrap())
}

/// What sha256sum(1) says.
fn sum(file: &std::path::Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(sealed: &Sealed) -> Vec<u8> {
    let mut bytes = vec![0; sealed.bytes as usize];
    File::from(sealed.fd.try_clone().unwrap()).read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn the_digest_is_that_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for len in [0usize, 1, 4096, (3 << 20) + 17] {
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut file = File::open(&path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(1)).unwrap();
        let sealed = copy(file, MAX).unwrap();
        assert_eq!(hex(&sealed.sha256), sum(&path), "{len} bytes");
        assert!(read(&sealed) == bytes);
        let seals = rustix::fs::fcntl_get_seals(&sealed.fd).unwrap();
        assert!(seals.contains(SEALED | SealFlags::SEAL), "{seals:?}");
    }
}

#[test]
fn the_copy_runs() {
    let sealed = copy(File::open("/usr/bin/true").unwrap(), MAX).unwrap();
    let mut plan = Plan::builder();
    let image = plan.slot();
    plan.op(&Op::ChdirPath { path: c"/" }).op(&Op::Umask { mode: 0o022 }).op(&Op::SetSid);
    plan.op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() }).arg("true");
    let mut child = spawn(&plan.build().unwrap(), &[sealed.fd.as_fd()]).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_is_written_later_has_no_effect() {
    let memory = rustix::fs::memfd_create(c"x", MemfdFlags::ALLOW_SEALING).unwrap();
    let mut file = File::from(memory.try_clone().unwrap());
    file.write_all(b"good").unwrap();
    let sealed = copy(memory, MAX).unwrap();
    file.write_all_at(b"evil", 0).unwrap();
    assert_eq!(read(&sealed), b"good");
    // Nor can the copy be written, by whomever.
    let copy = File::from(sealed.fd.try_clone().unwrap());
    assert!(copy.write_all_at(b"evil", 0).is_err() && copy.set_len(1).is_err());
}

#[test]
fn sealed_memory_is_taken_as_it_is() {
    let memory = rustix::fs::memfd_create(c"x", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&memory, b"good").unwrap();
    rustix::fs::fcntl_add_seals(&memory, SEALED).unwrap();
    let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
    let own = inode(&memory);
    let sealed = copy(memory, MAX).unwrap();
    assert_eq!((inode(&sealed.fd), sealed.bytes), (own, 4));
    // Memory that others may still write is copied.
    let memory = rustix::fs::memfd_create(c"x", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::fcntl_add_seals(&memory, SealFlags::FUTURE_WRITE | SealFlags::SHRINK).unwrap();
    let own = inode(&memory);
    assert_ne!(inode(&copy(memory, MAX).unwrap().fd), own);
}

#[test]
fn what_is_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, [1; 4097]).unwrap();
    assert_eq!(copy(File::open(&path).unwrap(), 4097).unwrap().bytes, 4097);
    let refused = copy(File::open(&path).unwrap(), 4096).unwrap_err();
    assert!(matches!(refused, CopyError::TooLong(4096)), "{refused}");
    let endless = copy(File::open("/dev/zero").unwrap(), 8 << 20).unwrap_err();
    assert!(matches!(endless, CopyError::TooLong(_)), "{endless}");
    let memory = rustix::fs::memfd_create(c"x", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memory, 1 << 50).unwrap();
    rustix::fs::fcntl_add_seals(&memory, SEALED).unwrap();
    let refused = copy(memory, 8 << 20).unwrap_err();
    assert!(matches!(refused, CopyError::TooLong(_)), "{refused}");
}

#[test]
fn a_file_that_grows_ends_at_the_most() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = file.reopen().unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    writer.write_all(&vec![1; 2 << 20]).unwrap();
    let growing = std::thread::spawn(move || {
        for _ in 0..1024 {
            if stopped.load(Ordering::SeqCst) {
                return;
            }
            writer.write_all(&[1; 65536]).unwrap();
        }
    });
    // Either it was faster than its writer, or it is refused; it is never longer.
    match copy(file.reopen().unwrap(), 4 << 20) {
        Ok(sealed) => {
            assert!(sealed.bytes <= 4 << 20 && read(&sealed).iter().all(|byte| *byte == 1))
        }
        Err(refused) => assert!(matches!(refused, CopyError::TooLong(_)), "{refused}"),
    }
    stop.store(true, Ordering::SeqCst);
    growing.join().unwrap();
}

#[test]
fn what_is_no_file_is_refused() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let refused = copy(reader, MAX).unwrap_err();
    assert!(matches!(refused, CopyError::NotFile), "{refused}");
    let refused = copy(File::open("/").unwrap(), MAX).unwrap_err();
    assert!(matches!(refused, CopyError::Read(rustix::io::Errno::ISDIR)), "{refused}");
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let refused = copy(socket, MAX).unwrap_err();
    assert!(matches!(refused, CopyError::NotFile), "{refused}");
}

#[test]
fn a_file_that_does_not_answer_holds_up_nobody() {
    require_root!();
    alone!();
    let mut fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(why) => skip!("{why}"),
    };
    let copier = copier();
    assert_eq!(
        read(&outcome(start(&copier, fuse.open(), MAX, PATIENCE).unwrap()).unwrap()),
        CONTENT
    );
    // Opening waits for who reads.
    let mut files: Vec<OwnedFd> = (0..=COPIES_OF_UID_MAX).map(|_| fuse.open()).collect();
    let last = files.remove(0);
    fuse.behaviour.holds_read.store(true, Ordering::SeqCst);
    let (first, short) = (files.remove(0), Duration::from_millis(300));
    let refused = outcome(start(&copier, first, MAX, short).unwrap()).unwrap_err();
    assert!(matches!(refused, CopyError::TimedOut), "{refused}");
    // It cannot be killed while the server has its request, and so counts.
    assert!(wait_for(PATIENCE, || fuse.held() > 0));
    assert_eq!(copier.running(), 1);
    let start_more = |file| start(&copier, file, MAX, PATIENCE).unwrap();
    let more: Vec<Copying> = files.into_iter().map(start_more).collect();
    let refused = start(&copier, last, MAX, short).unwrap_err();
    assert!(matches!(refused, CopyError::Busy), "{refused}");
    // Another's are copied meanwhile.
    let file = File::open("/usr/bin/true").unwrap();
    let facts = Facts::of(file.as_fd(), &mut Known::new().unwrap());
    let until = Instant::now() + PATIENCE;
    outcome(copier.start(file.into(), &facts, 8, MAX, until).unwrap()).unwrap();
    drop(more);
    fuse.end();
    assert!(wait_for(PATIENCE, || copier.running() == 0));
}

#[test]
fn a_copy_that_nobody_wants_is_killed() {
    require_root!();
    alone!();
    let mut fuse = match Fuse::mount() {
        Ok(fuse) => fuse,
        Err(why) => skip!("{why}"),
    };
    let copier = copier();
    fuse.behaviour.holds_read.store(true, Ordering::SeqCst);
    let copying = start(&copier, fuse.open(), MAX, Duration::from_secs(3600)).unwrap();
    assert!(wait_for(PATIENCE, || fuse.held() > 0));
    drop(copying);
    let pids = embryo_tests::children_of_self();
    assert_eq!(pids.len(), 1, "{pids:?}");
    fuse.end();
    assert!(wait_for(PATIENCE, || copier.running() == 0));
    assert!(wait_for(PATIENCE, || embryo_tests::children_of_self().is_empty()));
}
