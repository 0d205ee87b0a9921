//! An agent for tests: `embryo-test-agent FILE`. It serves as its file says, and SIGHUP and SIGTERM are obeyed.
//!
//! It must never do more than put the library's parts together: what is tested is the library.

use embryo_agent::config::Config;
use embryo_agent::serve::{Listener, Outcome, Server};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any child takes to be killed.
const STOP: Duration = Duration::from_secs(20);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).map(PathBuf::from).ok_or("embryo-test-agent FILE")?;
    let level = tracing_subscriber::EnvFilter::try_from_env("EMBRYO_AGENT_LOG");
    let level = level.unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    let config = read(&file)?;
    let listeners = listen(&config)?;
    let mut server = Server::new(&config, listeners)?;
    loop {
        match server.run(None)? {
            Outcome::Reload => {
                let config = read(&file)?;
                server.reload(&config, listen(&config)?)?;
            }
            Outcome::Stop | Outcome::Restart => break,
            Outcome::Tick => {}
        }
    }
    server.stop(STOP);
    Ok(())
}

fn read(file: &Path) -> Result<Config, Box<dyn Error>> {
    Ok(toml::from_str(&std::fs::read_to_string(file)?)?)
}

/// The sockets of the file, made anew.
fn listen(config: &Config) -> Result<Vec<Listener>, Box<dyn Error>> {
    let mut listeners = Vec::new();
    for listen in &config.listen {
        let path = listen.path.as_deref().ok_or("a socket without a path")?;
        let _ = std::fs::remove_file(path);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&fd, &SocketAddrUnix::new(path)?)?;
        let mode = listen.mode.as_deref().unwrap_or("0600");
        rustix::fs::chmod(path, Mode::from_raw_mode(u32::from_str_radix(mode, 8)?))?;
        rustix::net::listen(&fd, BACKLOG)?;
        listeners.push(Listener { fd, mandate: listen.mandate.clone() });
    }
    Ok(listeners)
}
