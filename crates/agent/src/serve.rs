//! The loop.

use crate::config::Config;
use crate::listen::Listener;
use crate::log::Ring;
use std::time::Duration;

/// An agent at work.
#[derive(Debug)]
pub struct Server(Vec<Listener>, Ring);

/// Why it came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The time is over.
    Tick,
    /// It is to stop.
    Stop,
    /// It is to read its file again.
    Reload,
    /// It is to start anew.
    Restart,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Server {
    /// New.
    pub fn new(config: &Config, listeners: Vec<Listener>, ring: Ring) -> Result<Self, Error> {
        let _ = config;
        Ok(Self(listeners, ring))
    }

    /// Runs.
    pub fn run(&mut self, tick: Option<Duration>) -> Result<Outcome, Error> {
        std::thread::sleep(tick.unwrap_or(Duration::from_secs(1000)));
        Ok(Outcome::Tick)
    }

    /// Anew.
    pub fn reload(&mut self, config: &Config, listeners: Vec<Listener>) -> Result<(), Error> {
        let _ = config;
        self.0 = listeners;
        Ok(())
    }

    /// Ends.
    pub fn stop(&mut self, patience: Duration) {
        let _ = patience;
    }
}
