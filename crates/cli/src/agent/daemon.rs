//! `embryo agent run`: everything around the loop that serves.
//!
//! It must never go on with half of a new file: one is taken whole, or the old one stays.

use super::print_mistakes;
use crate::args::{AgentRunArgs, LogFormat, LogLevel};
use crate::failure::Failure;
use embryo_agent::config::{Config, ConfigError, Loaded};
use embryo_agent::listen::Sockets;
use embryo_agent::log::{self, Format, Ring};
use embryo_agent::notify::Manager;
use embryo_agent::serve::{Outcome, Server};
use embryo_syscall::Disposition;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// How long children that end with the agent may take for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// An agent, and what it was made from.
struct Daemon {
    server: Server,
    sockets: Sockets,
    manager: Manager,
    ring: Ring,
    file: PathBuf,
    config: Config,
}

/// Serves until it is told to stop.
pub(super) fn run(args: &AgentRunArgs) -> Result<u8, Failure> {
    // Before anything else is opened: they are known by their numbers.
    let sockets = Sockets::passed().map_err(|error| Failure::new(error.to_string()))?;
    // A log that nobody reads any more is no reason to end.
    let _ = embryo_syscall::set_disposition(crate::watch::SIGPIPE, Disposition::Ignore);
    let loaded = Config::load(&args.config).map_err(print_mistakes)?;
    let ring = Ring::new(loaded.config.agent.log_entries);
    log::start(format(args.log_format), level(args.log_level), &ring)
        .map_err(|error| Failure::io("cannot start", "the log", &error))?;
    let mut daemon = Daemon::new(&args.config, loaded, sockets, ring)?;
    let ended = daemon.serve();
    daemon.stop();
    ended.map(|()| 0)
}

impl Daemon {
    fn new(
        file: &Path,
        Loaded { config, doubts }: Loaded,
        mut sockets: Sockets,
        ring: Ring,
    ) -> Result<Self, Failure> {
        // The working directory does not stay what it is.
        let file = std::path::absolute(file)
            .map_err(|error| Failure::io("cannot find", file.display(), &error))?;
        let manager = Manager::from_environment()
            .map_err(|error| Failure::io("cannot use", "NOTIFY_SOCKET", &error))?;
        warn(&doubts);
        for name in sockets.unused(&config) {
            tracing::warn!(name, "a socket was passed that the file does not name");
        }
        let listeners = sockets.open(&config).map_err(|error| Failure::new(error.to_string()))?;
        match Server::new(&config, listeners, ring.clone()) {
            Ok(server) => Ok(Self { server, sockets, manager, ring, file, config }),
            Err(error) => {
                sockets.remove();
                Err(Failure::new(error.to_string()))
            }
        }
    }

    fn serve(&mut self) -> Result<(), Failure> {
        tracing::info!(pid = std::process::id(), file = %self.file.display(), "the agent serves");
        self.manager.ready(&self.status());
        loop {
            let outcome = self.server.run(self.manager.tick());
            self.manager.alive();
            match outcome.map_err(|error| Failure::new(error.to_string()))? {
                Outcome::Tick => {}
                Outcome::Stop => return Ok(()),
                Outcome::Reload => self.reload(),
                Outcome::Restart => tracing::warn!("a restart that keeps children is not there yet"),
            }
        }
    }

    /// Reads the file again.
    fn reload(&mut self) {
        self.manager.reloading();
        match self.load() {
            Ok(()) => {
                tracing::info!(file = %self.file.display(), "the file was read again");
                self.manager.ready(&self.status());
            }
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!("{mistake}");
                }
                tracing::error!(
                    file = %self.file.display(),
                    "the file was not taken: what was read before stays"
                );
                let status = format!("{}; the file has a mistake, and an older one is used", self.status());
                self.manager.ready(&status);
            }
        }
    }

    fn load(&mut self) -> Result<(), Vec<String>> {
        let Loaded { config, doubts } = Config::load(&self.file).map_err(|error| match error {
            ConfigError::Mistakes(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
            error @ ConfigError::Io { .. } => vec![error.to_string()],
        })?;
        let taken = self.take(&config);
        if taken.is_err() {
            // Those that were made for it go again.
            let _ = self.sockets.settle(&self.config);
            return taken.map_err(|error| vec![error]);
        }
        warn(&doubts);
        self.ring.resize(config.agent.log_entries);
        self.config = config;
        Ok(())
    }

    fn take(&mut self, config: &Config) -> Result<(), String> {
        let listeners = self.sockets.open(config).map_err(|error| error.to_string())?;
        self.server.reload(config, listeners).map_err(|error| error.to_string())?;
        if let Err(error) = self.sockets.settle(config) {
            tracing::error!(%error, "the permissions of a socket are not those of the file");
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.manager.stopping();
        // Nobody is to come who would be turned away.
        self.sockets.remove();
        self.server.stop(PATIENCE);
        tracing::info!("the agent has stopped");
    }

    fn status(&self) -> String {
        let Config { listen, mandates, .. } = &self.config;
        format!("serving {} sockets under {} mandates", listen.len(), mandates.len())
    }
}

fn warn(doubts: &[embryo_job::DocumentError]) {
    for doubt in doubts {
        match doubt.hint() {
            Some(hint) => tracing::warn!(hint, "{doubt}"),
            None => tracing::warn!("{doubt}"),
        }
    }
}

fn format(format: LogFormat) -> Format {
    match format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    }
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
