//! The agent that is measured: the real program, with a file and a directory of its own.
//!
//! It must never leave either behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use embryo::agent::Agent;
use embryo::{Command, Process, Stdio};
use sha2::{Digest, Sha256};

use crate::child;
use crate::cleanup::Scratch;

/// Where the directory is made: the agent refuses an image that anybody but root could replace, and of
/// directories that others can write it trusts the sticky ones above its rule's own.
const PARENT: &str = "/var/tmp";
const CHILD: &str = "bench-child";
const CONFIG: &str = "agent.toml";

/// A mandate that forces a uid, no new privileges and a filter, with a rule for a path.
pub(super) const FORCED: &str = "forced";
/// The same with a rule for a digest.
pub(super) const DIGEST: &str = "digest";
/// A rule for a path, and nothing forced.
pub(super) const BARE: &str = "bare";
/// The first without the filter.
pub(super) const UNFILTERED: &str = "unfiltered";
const MANDATES: [&str; 4] = [FORCED, DIGEST, UNFILTERED, BARE];

/// Who children are, but for those of the last.
pub(super) const NOBODY: u32 = 65534;
/// The profile of system calls of the first two.
pub(super) const PROFILE: &str = "default";
/// Embryos that an agent keeps ready, unless its file says otherwise.
pub(super) const EMBRYOS: u32 = 16;

/// How long the agent may take to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(10);
const SIGTERM: i32 = 15;

/// Why there can be no agent here, if there can be none.
pub(super) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("an agent that gives children another uid has to be root".to_owned());
    }
    match program() {
        Ok(program) if program.exists() => None,
        Ok(_) => Some("it was not built: cargo build --release -p embryo-cli".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn program() -> io::Result<PathBuf> {
    std::env::current_exe().map(|own| own.with_file_name("embryo"))
}

/// A directory that only root can write, with the child and the agent's file.
pub(super) struct Place {
    scratch: Scratch,
}

impl Place {
    pub(super) fn new() -> io::Result<Self> {
        let sockets = MANDATES.map(socket_name);
        let names = [CHILD, CONFIG].into_iter().chain(sockets.iter().map(String::as_str));
        let scratch = Scratch::below(Path::new(PARENT), names)?;
        fs::set_permissions(scratch.directory(), fs::Permissions::from_mode(0o755))?;
        let place = Self { scratch };
        child::install(&place.child())?;
        fs::set_permissions(place.child(), fs::Permissions::from_mode(0o755))?;
        let mut options = File::options();
        let mut file = options.write(true).create_new(true).mode(0o600).open(place.at(CONFIG))?;
        file.write_all(place.config()?.as_bytes())?;
        Ok(place)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.directory().join(name)
    }

    /// The child's path.
    pub(super) fn child(&self) -> PathBuf {
        self.at(CHILD)
    }

    fn config(&self) -> io::Result<String> {
        let digest = Sha256::digest(fs::read(self.child())?);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let under = format!("under = {:?}", self.scratch.directory());
        let digest = format!("sha256 = {digest:?}");
        let uid = format!("uid = {NOBODY}, gid = {NOBODY}, groups = [], no-new-privs = true");
        let forced = format!("forced = {{ {uid}, seccomp = {PROFILE:?} }}");
        let unfiltered = format!("forced = {{ {uid} }}");
        let bare = "bounds = { uids = [0], gids = [0], capabilities = \"all\" }".to_owned();
        let mut text = String::new();
        for (name, image, rest) in [
            (FORCED, &under, &forced),
            (DIGEST, &digest, &forced),
            (UNFILTERED, &under, &unfiltered),
            (BARE, &under, &bare),
        ] {
            let path = self.at(&socket_name(name));
            text += &format!("[[listen]]\npath = {path:?}\nmandate = {name:?}\n\n");
            text += &format!("[mandates.{name}]\npeers = [{{ uids = [0] }}]\n");
            text += &format!("images = [{{ {image} }}]\nops = [\"put-fd\"]\n");
            text += &format!("environment = [\"LANG\"]\nlifetime = \"connection\"\n{rest}\n\n");
        }
        Ok(text + &format!("[agent]\nembryos = {EMBRYOS}\n"))
    }

    /// Starts the agent, and waits until it listens.
    pub(super) fn start(&self) -> io::Result<Daemon> {
        let mut command = Command::new(program()?);
        command.args(["agent", "run", "--log-level", "error", "--config"]).arg(self.at(CONFIG));
        command.stdin(Stdio::null()).stdout(Stdio::null()).env_clear().groups(&[]);
        command.death_signal(SIGTERM.cast_unsigned());
        let process = command.spawn().map_err(io::Error::from)?;
        let sockets = MANDATES.map(|name| (name, self.at(&socket_name(name))));
        let mut daemon = Daemon { process, sockets };
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = daemon.process.try_wait().map_err(io::Error::from)?;
            match (ended, daemon.connect(BARE)) {
                (Some(status), _) => {
                    return Err(io::Error::other(format!("the agent ended with {status}")));
                }
                (None, Ok(_)) => return Ok(daemon),
                (None, Err(error)) if Instant::now() > until => return Err(error),
                (None, Err(_)) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Removes the directory now, so that a failure to do so is heard of.
    pub(super) fn remove(self) -> io::Result<()> {
        self.scratch.close()
    }
}

fn socket_name(mandate: &str) -> String {
    format!("{mandate}.sock")
}

/// The agent while it runs. It is killed if it is dropped before it has been stopped.
pub(super) struct Daemon {
    process: Process,
    sockets: [(&'static str, PathBuf); 4],
}

impl Daemon {
    /// A connection of its own, under one of the mandates.
    pub(super) fn connect(&self, mandate: &str) -> io::Result<Agent> {
        Agent::connect(self.socket(mandate)?).map_err(io::Error::from)
    }

    /// Where it listens for one of the mandates.
    pub(super) fn socket(&self, mandate: &str) -> io::Result<&Path> {
        let socket = self.sockets.iter().find(|(name, _)| *name == mandate);
        socket.map(|(_, path)| path.as_path()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Has it stop, and waits for that.
    pub(super) fn stop(mut self) -> io::Result<()> {
        self.process.signal(SIGTERM).map_err(io::Error::from)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait().map_err(io::Error::from)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(io::Error::other(format!("the agent ended with {status}")));
                }
                None if Instant::now() > until => {
                    return Err(io::Error::other("the agent does not stop"));
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and needs not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
