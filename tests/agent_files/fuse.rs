//! A FUSE file system whose server answers when it likes, spoken by hand over `/dev/fuse`.
//!
//! It must never outlive its handle: dropping that closes the server's end, which ends every request, and
//! unmounts.

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A mounted file system with one file, [`Fuse::file`].
pub(crate) struct Fuse {
    dir: tempfile::TempDir,
    stop: rustix::fd::OwnedFd,
    serving: Option<std::thread::JoinHandle<()>>,
    pub(crate) behaviour: Arc<Behaviour>,
}

/// What its server does.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Answers no FLUSH.
    pub(crate) holds_flush: AtomicBool,
    /// Answers no READ.
    pub(crate) holds_read: AtomicBool,
    /// Answers no GETATTR.
    pub(crate) holds_attributes: AtomicBool,
    /// Answers no STATFS.
    pub(crate) holds_statfs: AtomicBool,
    /// Requests that were not answered.
    pub(crate) held: AtomicU32,
}

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const BATCH_FORGET: u32 = 42;
const INTERRUPT: u32 = 36;

/// Bytes of its file.
pub(crate) const CONTENT: &[u8] = b"held\n";

impl Fuse {
    /// Mounts one, if that can be done here.
    pub(crate) fn mount() -> Result<Self, String> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = rustix::fs::open("/dev/fuse", flags, Mode::empty())
            .map_err(|errno| format!("/dev/fuse: {errno}"))?;
        // A child of another test must not get a copy, which would keep the server's end open.
        let device = rustix::io::fcntl_dupfd_cloexec(device, 600).map_err(|e| e.to_string())?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).unwrap();
        let none = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("embryo-test", dir.path(), "fuse", none, Some(options))
            .map_err(|errno| format!("mount of FUSE: {errno}"))?;
        let behaviour = Arc::new(Behaviour::default());
        let served = Arc::clone(&behaviour);
        let stop = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let stopped = stop.try_clone().unwrap();
        let serving = std::thread::spawn(move || serve(device.into(), &stopped, &served));
        Ok(Self { dir, stop, serving: Some(serving), behaviour })
    }

    /// Its file.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    /// Its file, open.
    pub(crate) fn open(&self) -> OwnedFd {
        File::open(self.file()).unwrap().into()
    }

    pub(crate) fn held(&self) -> u32 {
        self.behaviour.held.load(Ordering::SeqCst)
    }

    /// Ends the server: every request that waits fails.
    pub(crate) fn end(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.end();
        let _ = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

/// Serves until it is told to stop, or for as long as no test takes; the device is closed then, and whoever
/// waits goes on.
fn serve(mut device: File, stop: &OwnedFd, behaviour: &Behaviour) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let until = Instant::now() + Duration::from_secs(120);
    let mut request = vec![0u8; 1 << 17];
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        let pause = Timespec { tv_sec: 5, tv_nsec: 0 };
        let ready = poll(&mut fds, Some(&pause));
        if ready.is_err() || !fds[1].revents().is_empty() || Instant::now() > until {
            return;
        }
        if fds[0].revents().is_empty() {
            continue;
        }
        let Ok(len) = device.read(&mut request) else { return };
        if let Some(answer) = answer(&request[..len], behaviour) {
            let _ = device.write(&answer);
        }
    }
}

/// The answer to a request, `struct fuse_in_header` and on; none for one that gets none.
fn answer(request: &[u8], behaviour: &Behaviour) -> Option<Vec<u8>> {
    let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
    let (opcode, unique, node) = (word(4), long(8), long(16));
    let held = |flag: &AtomicBool| {
        let holds = flag.load(Ordering::SeqCst);
        if holds {
            behaviour.held.fetch_add(1, Ordering::SeqCst);
        }
        holds
    };
    let body: Result<Vec<u8>, i32> = match opcode {
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        FLUSH if held(&behaviour.holds_flush) => return None,
        READ if held(&behaviour.holds_read) => return None,
        GETATTR if held(&behaviour.holds_attributes) => return None,
        STATFS if held(&behaviour.holds_statfs) => return None,
        // Version 7.31, no flags, writes of up to 4 KiB.
        INIT => Ok(words(&[7, 31, 0, 0, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        LOOKUP => Ok(entry()),
        // For how long it holds: not at all, so that stat(2) asks each time.
        GETATTR => Ok([words(&[0, 0, 0, 0]), attributes(node)].concat()),
        OPEN => Ok(words(&[1, 0, 0, 0])),
        READ => {
            let (offset, size) = (long(48) as usize, word(56) as usize);
            let rest = CONTENT.get(offset..).unwrap_or_default();
            Ok(rest[..rest.len().min(size)].to_vec())
        }
        STATFS => Ok(vec![0; 80]),
        FLUSH | RELEASE => Ok(Vec::new()),
        _ => Err(38),
    };
    let (error, body) = body.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
    let head = [(16 + body.len() as u32).to_ne_bytes(), error.to_ne_bytes()].concat();
    Some([head, unique.to_ne_bytes().to_vec(), body].concat())
}

/// `struct fuse_entry_out` of node 2.
fn entry() -> Vec<u8> {
    let mut entry = 2u64.to_ne_bytes().to_vec();
    entry.extend([0; 32]);
    entry.extend(attributes(2));
    entry
}

/// `struct fuse_attr`.
fn attributes(node: u64) -> Vec<u8> {
    let (mode, links) = if node == 1 { (0o040_755, 2) } else { (0o100_755, 1) };
    let mut attributes = Vec::new();
    for long in [node, CONTENT.len() as u64, 1, 0, 0, 0] {
        attributes.extend(long.to_ne_bytes());
    }
    attributes.extend(words(&[0, 0, 0, mode, links, 0, 0, 0, 4096, 0]));
    attributes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
