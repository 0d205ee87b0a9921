//! An agent for tests: `embryo-test-agent FILE`. It serves as its file says, and obeys the signals of an agent.
//!
//! It must never do more than put the library's parts together: what is tested is the library. The command,
//! which does the same and more, belongs to another package, where a test cannot have it built.

use embryo_agent::config::{Config, ConfigError};
use embryo_agent::listen::Sockets;
use embryo_agent::log::{Format, Ring, start};
use embryo_agent::serve::{Outcome, Server};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// Longer than any child takes to be killed.
const STOP: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).map(PathBuf::from).ok_or("embryo-test-agent FILE")?;
    let mut sockets = Sockets::passed()?;
    let config = load(&file)?;
    let ring = Ring::new(config.agent.log_entries);
    start(Format::Text, LevelFilter::DEBUG, &ring)?;
    let listeners = sockets.open(&config)?;
    let mut server = Server::new(&config, listeners, ring)?;
    loop {
        match server.run(None)? {
            Outcome::Reload => match load(&file) {
                Ok(config) => {
                    let listeners = sockets.open(&config)?;
                    server.reload(&config, listeners)?;
                    sockets.settle(&config)?;
                }
                Err(error) => tracing::error!("the file was not taken: {error}"),
            },
            Outcome::Stop | Outcome::Restart => break,
            Outcome::Tick => {}
        }
    }
    sockets.remove();
    server.stop(STOP);
    Ok(())
}

fn load(file: &Path) -> Result<Config, String> {
    match Config::load(file) {
        Ok(loaded) => Ok(loaded.config),
        Err(ConfigError::Mistakes(mistakes)) => {
            Err(mistakes.iter().map(|one| format!("{one}\n")).collect())
        }
        Err(error) => Err(error.to_string()),
    }
}
