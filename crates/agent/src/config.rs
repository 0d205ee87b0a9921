//! The agent's file, as data.
//!
//! ```toml
//! [[listen]]
//! path = "/run/embryo/agent.sock"
//! mode = "0666"
//! mandate = "ci"
//!
//! [mandates.ci]
//! images = [{ under = "/usr/bin" }]
//! ```

use embryo::agent::mandate::Mandate;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// All that an agent is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// What the holders of connections may ask for, by name.
    pub mandates: BTreeMap<String, Mandate>,
    /// The rest.
    pub agent: Settings,
}

/// One listening socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Listen {
    /// Where the socket is made.
    pub path: Option<PathBuf>,
    /// The name under which it is passed (`LISTEN_FDNAMES`; `FileDescriptorName=` in systemd.socket(5)).
    pub fd_name: Option<String>,
    /// The mandate of who connects here.
    pub mandate: String,
    /// Permissions of the socket, in octal; `0600` if this is not there.
    pub mode: Option<String>,
    /// Its owner, by name or number.
    pub owner: Option<String>,
    /// Its group.
    pub group: Option<String>,
}

/// What is not about a mandate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Milliseconds that a child may take to start.
    pub launch_timeout_ms: u32,
    /// Connections at once.
    pub connections: usize,
    /// Children at once.
    pub children: usize,
    /// Embryos that are kept ready.
    pub embryos: u32,
    /// Entries of the log that are kept for operators.
    pub log_entries: usize,
    /// Bytes of an image that is copied, at most.
    pub copy_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            launch_timeout_ms: 10_000,
            connections: 1024,
            children: 4096,
            embryos: 16,
            log_entries: 4096,
            copy_bytes_max: 256 << 20,
        }
    }
}
