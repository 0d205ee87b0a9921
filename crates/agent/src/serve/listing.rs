//! What an operator sees.

use super::child::Child;
use super::connection::Connection;
use super::{Server, elapsed_ms};
use crate::operator;
use embryo::agent::mandate::Lifetime;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

impl Server {
    pub(super) fn listing(&self) -> operator::Listing {
        let mut connections: Vec<_> =
            self.connections.iter().map(|(number, one)| show(*number, one)).collect();
        connections.sort_by_key(|one| one.connection);
        let mut children: Vec<_> =
            self.children.iter().map(|(number, one)| show_child(*number, one)).collect();
        children.sort_by_key(|one| one.child);
        let agent = operator::Agent {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since_ms: date(self.since),
            loaded_ms: date(self.loaded),
            started: self.counts.started,
            faults: self.counts.faults,
            refused: self.counts.refused,
            accepted: self.counts.accepted,
            embryos: self.hatchery.len() as u64,
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64),
            next_entry: self.ring.next(),
        };
        operator::Listing { agent, connections, children }
    }
}

fn show(number: u64, connection: &Connection) -> operator::Connection {
    let held = &connection.held;
    operator::Connection {
        connection: number,
        mandate: held.levels.first().map_or_else(String::new, |level| level.name.clone()),
        uid: held.peer.uid,
        gid: held.peer.gid,
        pid: held.peer.pid,
        narrower_of: connection.parent,
        since_ms: date(connection.since),
        in_flight: connection.in_flight as u64,
        children: connection.children.len() as u64,
        started: connection.started,
    }
}

fn show_child(number: u64, child: &Child) -> operator::Child {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.process.image_id()));
    let status = status.unwrap_or_default();
    let field = |key: &str| -> Option<u64> {
        let value = status.lines().find_map(|line| line.strip_prefix(key))?;
        // Of several ids the second is the effective one; of an amount there is only one.
        let mut words = value.split_whitespace();
        let first = words.next();
        let second = words.next().filter(|word| word.parse::<u64>().is_ok());
        second.or(first)?.parse().ok()
    };
    let id = |key: &str| field(key).and_then(|id| u32::try_from(id).ok());
    let used = child.process.usage_now().ok();
    let left = child.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    operator::Child {
        child: number,
        pid: child.process.image_id(),
        program: child.program.clone(),
        mandate: child.mandate.clone(),
        connection: child.connection,
        client_uid: child.client_uid,
        uid: id("Uid:"),
        gid: id("Gid:"),
        since_ms: date(child.since),
        left_ms: left.map(|left| left.as_millis() as u64),
        lifetime: match child.lifetime {
            Lifetime::Connection => "connection",
            Lifetime::Agent => "agent",
            Lifetime::LiveOn => "live-on",
        }
        .to_owned(),
        cgroup: child.cgroup.as_ref().map(|own| own.path().display().to_string()),
        cpu_ms: used.map(|used| (used.user + used.system).as_millis() as u64),
        rss: field("VmRSS:").map(|kib| kib << 10),
    }
}

/// Milliseconds since 1970 of a moment in the life of this process.
fn date(moment: Instant) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_millis() as u64).saturating_sub(elapsed_ms(moment))
}
