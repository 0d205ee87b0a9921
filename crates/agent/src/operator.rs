//! What an operator is shown: the answer to `LIST`, as data in JSON.
//!
//! Times are in milliseconds, those of the day since 1970. It must never hold what a child was started
//! with: arguments and environment are its client's.

use serde::{Deserialize, Serialize};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// The agent.
    pub agent: Agent,
    /// Its connections, the oldest first.
    pub connections: Vec<Connection>,
    /// Its children, the oldest first.
    pub children: Vec<Child>,
}

/// An agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agent {
    /// Its pid.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it was started.
    pub since_ms: u64,
    /// When its file was last read.
    pub loaded_ms: u64,
    /// Children started in all.
    pub started: u64,
    /// Plans that failed.
    pub faults: u64,
    /// Requests refused.
    pub refused: u64,
    /// Connections accepted in all.
    pub accepted: u64,
    /// Embryos that are ready.
    pub embryos: u64,
    /// Its own descriptors.
    pub descriptors: u64,
    /// The next entry of its log.
    pub next_entry: u64,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// Its number.
    pub connection: u64,
    /// The name of its mandate.
    pub mandate: String,
    /// Who connected in the first place.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Its pid at that time, 0 if it has none here.
    pub pid: u32,
    /// The connection that it was narrowed from.
    pub narrower_of: Option<u64>,
    /// Since when.
    pub since_ms: u64,
    /// Requests that are not answered.
    pub in_flight: u64,
    /// Its children that live.
    pub children: u64,
    /// Children started in all.
    pub started: u64,
}

/// A child.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Child {
    /// Its number.
    pub child: u64,
    /// Its pid.
    pub pid: u32,
    /// What runs.
    pub program: String,
    /// The name of the mandate that it was started under.
    pub mandate: String,
    /// The connection that asked for it, if that still is.
    pub connection: Option<u64>,
    /// The uid of the client.
    pub client_uid: u32,
    /// The uid that it runs as, as far as that is known.
    pub uid: Option<u32>,
    /// The gid.
    pub gid: Option<u32>,
    /// Since when it runs.
    pub since_ms: u64,
    /// How long it may still live.
    pub left_ms: Option<u64>,
    /// `connection`, `agent` or `live-on`.
    pub lifetime: String,
    /// The directory of its own cgroup.
    pub cgroup: Option<String>,
    /// Its time on a CPU.
    pub cpu_ms: Option<u64>,
    /// Its resident set in bytes.
    pub rss: Option<u64>,
}
