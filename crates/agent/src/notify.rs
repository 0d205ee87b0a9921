//! What the service manager is told (sd_notify(3)): that the agent is ready, reloads, stops, and is alive.
//!
//! It must never wait for the manager, nor fail for want of one.

use sd_notify::NotifyState;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Manager {
    address: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that `NOTIFY_SOCKET` and `WATCHDOG_USEC` name.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` is no address.
    pub fn from_environment() -> io::Result<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let address = address.map(address_of).transpose()?;
        Ok(Self { address, watchdog: sd_notify::watchdog_enabled() })
    }

    /// How often [`alive`](Self::alive) has to be called: twice in the time that the manager waits for it.
    #[must_use]
    pub fn tick(&self) -> Option<Duration> {
        self.watchdog.map(|limit| (limit / 2).max(Duration::from_millis(1)))
    }

    /// The agent serves.
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// The agent reads its file again; [`ready`](Self::ready) ends that.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(_) => self.send(&[NotifyState::Reloading]),
        }
    }

    /// The agent comes to its end.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// What it does, for people.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(&one_line(status))]);
    }

    /// The agent is alive.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send(&[NotifyState::Watchdog]);
        }
    }

    /// A message that does not fit into the manager's queue is lost: it is told again, or is not important
    /// enough to wait.
    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(address) = &self.address else { return };
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(text.as_bytes(), address)
        });
        if let Err(error) = sent {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A path, or `@` and a name in the abstract namespace.
fn address_of(name: OsString) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// A newline would be the end of an assignment, and what follows another.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}
