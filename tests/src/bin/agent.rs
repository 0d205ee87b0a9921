//! An agent for tests: `embryo-test-agent FILE`. It serves as its file says, and obeys the signals of an agent.
//!
//! It must never do more than put the library's parts together: what is tested is the library. The command,
//! which does the same and more, belongs to another package, where a test cannot have it built.

use embryo_agent::config::{Config, ConfigError};
use embryo_agent::files::digest::{copier_main, is_copier};
use embryo_agent::listen::Sockets;
use embryo_agent::log::{Format, Ring, start};
use embryo_agent::serve::{Outcome, Server};
use std::error::Error;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// Longer than any child takes to be killed.
const STOP: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    if is_copier() {
        copier_main();
    }
    let file = std::env::args_os().nth(1).map(PathBuf::from).ok_or("embryo-test-agent FILE")?;
    let mut sockets = Sockets::passed()?;
    let config = load(&file)?;
    let ring = Ring::new(config.agent.log_entries);
    start(Format::Text, LevelFilter::DEBUG, &ring)?;
    let listeners = sockets.open(&config)?;
    let mut server = Server::new(&config, listeners, ring)?;
    tell_of_descriptors(&file.with_file_name("descriptors"))?;
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

/// Tells whoever connects to this path what is open here. An agent is not dumpable, so that nobody but root can
/// look from outside, its own uid least of all.
fn tell_of_descriptors(path: &Path) -> std::io::Result<()> {
    let listener = UnixListener::bind(path)?;
    std::thread::spawn(move || {
        loop {
            // None may be free at the moment.
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            let own = Some(stream.as_raw_fd());
            let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
            let links: Vec<_> = entries
                .filter(|entry| entry.file_name().to_str().and_then(|fd| fd.parse().ok()) != own)
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .filter(|link| !link.ends_with("fd"))
                .map(|link| format!("{}\n", link.display()))
                .collect();
            let _ = stream.write_all(links.concat().as_bytes());
        }
    });
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
