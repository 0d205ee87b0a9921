//! `embryo agent run`: everything around the loop that serves.
//!
//! It must never go on with half of a new file: one is taken whole, or the old one stays.

use super::anew::{self, Before, Prepared};
use super::print_mistakes;
use crate::args::{AgentRunArgs, LogFormat, LogLevel};
use crate::failure::Failure;
use embryo_agent::config::{Config, ConfigError, Loaded};
use embryo_agent::listen::Sockets;
use embryo_agent::log::{self, Format, Ring};
use embryo_agent::notify::Manager;
use embryo_agent::serve::{Outcome, Server};
use embryo_syscall::Disposition;
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
    /// Where to begin anew.
    before: Before,
    config: Config,
}

/// Serves until it is told to stop.
pub(super) fn run(args: &AgentRunArgs) -> Result<u8, Failure> {
    let started = match args.restored {
        // Before anything else is opened: descriptors are known by their numbers.
        Some(number) => Daemon::restored(args, number),
        None => Sockets::passed()
            .map_err(|error| Failure::new(error.to_string()))
            .and_then(|sockets| Daemon::started(args, sockets)),
    };
    let mut daemon = started?;
    match daemon.serve() {
        Ok(Some(prepared)) => Err(daemon.execute(prepared)),
        ended => {
            daemon.stop();
            ended.map(|_| 0)
        }
    }
}

impl Daemon {
    fn started(args: &AgentRunArgs, mut sockets: Sockets) -> Result<Self, Failure> {
        let before = Before::look(args)?;
        let Loaded { config, doubts } = Config::load(&args.config).map_err(print_mistakes)?;
        let ring = Ring::new(config.agent.log_entries);
        start_log(args, &ring)?;
        warn(&doubts);
        for name in sockets.unused(&config) {
            tracing::warn!(name, "a socket was passed that the file does not name");
        }
        let manager = manager()?;
        let listeners = sockets.open(&config).map_err(|error| Failure::new(error.to_string()))?;
        let server = Server::new(&config, listeners, ring.clone()).map_err(|error| {
            sockets.remove();
            Failure::new(error.to_string())
        })?;
        Ok(Self { server, sockets, manager, ring, before, config })
    }

    /// Goes on where the program before has left off.
    fn restored(args: &AgentRunArgs, number: i32) -> Result<Self, Failure> {
        let (state, extra) = anew::read(number)?;
        let mut sockets = Sockets::restored(extra.sockets, &mut anew::take)
            .map_err(|error| Failure::io("cannot take up", "the sockets", &error))?;
        let before = Before::look(args)?;
        let Loaded { config, doubts } = Config::load(&args.config).map_err(print_mistakes)?;
        let ring = Ring::restored(config.agent.log_entries, &extra.log, extra.next_entry);
        start_log(args, &ring)?;
        warn(&doubts);
        let manager = manager()?;
        let listeners = sockets.open(&config).map_err(|error| Failure::new(error.to_string()))?;
        let server = Server::restored(&config, listeners, ring.clone(), state, &mut anew::take)
            .map_err(|error| Failure::new(error.to_string()))?;
        if let Err(error) = sockets.settle(&config) {
            tracing::error!(%error, "the permissions of a socket are not those of the file");
        }
        Ok(Self { server, sockets, manager, ring, before, config })
    }

    /// Until it is to stop, or to begin anew.
    fn serve(&mut self) -> Result<Option<Prepared>, Failure> {
        tracing::info!(pid = std::process::id(), file = %self.before.file.display(), "the agent serves");
        self.manager.ready(&self.status());
        loop {
            let outcome = self.server.run(self.manager.tick());
            self.manager.alive();
            match outcome.map_err(|error| Failure::new(error.to_string()))? {
                Outcome::Tick => {}
                Outcome::Stop => return Ok(None),
                Outcome::Reload => self.reload(),
                Outcome::Restart => match self.prepare() {
                    Ok(prepared) => return Ok(Some(prepared)),
                    Err(failure) => {
                        tracing::error!("it cannot begin anew, and goes on: {}", failure.message());
                        self.manager.ready(&self.status());
                    }
                },
            }
        }
    }

    /// Puts down what it knows, once nothing is in the way of another program's going on with it.
    fn prepare(&mut self) -> Result<Prepared, Failure> {
        self.manager.reloading();
        // A file with a mistake would be the end of the agent.
        Config::load(&self.before.file).map_err(|error| Failure::new(error.to_string()))?;
        self.before.is_there()?;
        tracing::info!("the agent begins anew");
        anew::prepare(&mut self.server, &self.sockets, &self.ring)
    }

    /// Becomes the program that is installed now. It returns only if that fails.
    fn execute(self, prepared: Prepared) -> Failure {
        let Self { server, before, .. } = self;
        server.retire();
        before.execute(prepared)
    }

    /// Reads the file again.
    fn reload(&mut self) {
        self.manager.reloading();
        match self.load() {
            Ok(()) => {
                tracing::info!(file = %self.before.file.display(), "the file was read again");
                self.manager.ready(&self.status());
            }
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!("{mistake}");
                }
                tracing::error!(
                    file = %self.before.file.display(),
                    "the file was not taken: what was read before stays"
                );
                let status = self.status();
                self.manager
                    .ready(&format!("{status}; the file has a mistake, and an older one is used"));
            }
        }
    }

    fn load(&mut self) -> Result<(), Vec<String>> {
        let Loaded { config, doubts } =
            Config::load(&self.before.file).map_err(|error| match error {
                ConfigError::Mistakes(mistakes) => {
                    mistakes.iter().map(ToString::to_string).collect()
                }
                error @ ConfigError::Io { .. } => vec![error.to_string()],
            })?;
        if let Err(error) = self.take(&config) {
            // Those that were made for it go again.
            let _ = self.sockets.settle(&self.config);
            return Err(vec![error]);
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

fn start_log(args: &AgentRunArgs, ring: &Ring) -> Result<(), Failure> {
    // A log that nobody reads any more is no reason to end.
    let _ = embryo_syscall::set_disposition(crate::watch::SIGPIPE, Disposition::Ignore);
    log::start(format(args.log_format), level(args.log_level), ring)
        .map_err(|error| Failure::io("cannot start", "the log", &error))
}

fn manager() -> Result<Manager, Failure> {
    Manager::from_environment().map_err(|error| Failure::io("cannot use", "NOTIFY_SOCKET", &error))
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
