//! The agent's file, as data, and what is wrong with one.
//!
//! It must never take a file in part: one mistake, and nothing of it counts.
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

use crate::doubts;
use crate::mandate::Compiled;
use embryo::agent::mandate::Mandate;
use embryo_job::value::Id;
use embryo_job::{DocumentError, TomlFile};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of a file, at most.
const BYTES_MAX: u64 = 1 << 20;

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

/// Something about a value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The keys that lead to it; an index is one in an array.
    pub keys: Vec<String>,
    /// What there is to say.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Remark {
    /// Of the value below these keys.
    pub(crate) fn new(keys: &[&str], message: impl Into<String>) -> Self {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Self { keys, message: message.into(), hint: None }
    }

    /// Says what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A file that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What its writer perhaps did not mean, each with its place.
    pub doubts: Vec<DocumentError>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can be, and these are its mistakes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mistakes(Vec<DocumentError>),
}

impl Config {
    /// Reads a file, and looks for mistakes and for what may not be meant.
    ///
    /// # Errors
    /// It cannot be read, or all that is wrong with it.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let bytes = read(path).map_err(|source| ConfigError::Io { path: path.into(), source })?;
        let mut loaded = Self::parse(&path.to_string_lossy(), bytes)?;
        if let Some(who) = doubts::writers(path) {
            let message = format!("{who} can write this file, and so do all that the agent can");
            let file = TomlFile::new(path.to_string_lossy(), Vec::new());
            loaded.doubts.extend(file.map(|file| file.mistake::<&str>(&[], message, None)));
        }
        Ok(loaded)
    }

    /// The same of a text.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Loaded, ConfigError> {
        let one = |error| ConfigError::Mistakes(vec![error]);
        let file = TomlFile::new(name, bytes).map_err(one)?;
        let config: Self = file.read().map_err(one)?;
        let show = |remark: Remark| file.mistake(&remark.keys, remark.message, remark.hint);
        let mut mistakes: Vec<_> = config.mistakes().into_iter().map(show).collect();
        mistakes.sort_by_key(DocumentError::at);
        if !mistakes.is_empty() {
            return Err(ConfigError::Mistakes(mistakes));
        }
        let doubts = doubts::of(&config).into_iter().map(show).collect();
        Ok(Loaded { config, doubts })
    }

    /// What is wrong with it.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Remark> {
        let mut found = Vec::new();
        if self.listen.is_empty() {
            let hint = "[[listen]] with a path and a mandate is one";
            found.push(Remark::new(&[], "there is no socket to listen on").hint(hint));
        }
        for (index, listen) in self.listen.iter().enumerate() {
            found.extend(listen.mistakes(&index.to_string(), self));
        }
        found.extend(self.twice());
        for (name, mandate) in &self.mandates {
            if name.is_empty() || name.contains(|c: char| c == '/' || c.is_control()) {
                let message = "a mandate's name has no slash and no control character in it";
                found.push(Remark::new(&["mandates", name], message));
            }
            let Err(refused) = Compiled::named(name, mandate) else { continue };
            for refusal in refused {
                let mut keys = vec!["mandates".to_owned(), name.clone()];
                keys.extend(keys_of(&refusal.rule));
                let message = format!("{}: {}", refusal.rule, refusal.why);
                found.push(Remark { keys, message, hint: None });
            }
        }
        found.extend(self.agent.mistakes());
        found
    }

    fn twice(&self) -> Vec<Remark> {
        let mut seen = BTreeSet::new();
        let mut twice = Vec::new();
        for (index, listen) in self.listen.iter().enumerate() {
            let Some(path) = &listen.path else { continue };
            if !seen.insert(path) {
                let message = format!("{} is listened on twice", path.display());
                twice.push(Remark::new(&["listen", &index.to_string(), "path"], message));
            }
        }
        twice
    }
}

impl Listen {
    fn mistakes(&self, index: &str, config: &Config) -> Vec<Remark> {
        let at = |key: &str, message: String| Remark::new(&["listen", index, key], message);
        let mut found = Vec::new();
        match (&self.path, &self.fd_name) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => found.push(
                Remark::new(
                    &["listen", index],
                    "exactly one of path and fd-name says which socket",
                )
                .hint("fd-name is that of a socket which the service manager passes"),
            ),
        }
        if let Some(path) = self.path.as_deref().filter(|path| !path.is_absolute()) {
            found.push(at("path", format!("{} is not an absolute path", path.display())));
        }
        let known: Vec<&str> = config.mandates.keys().map(String::as_str).collect();
        if self.mandate.is_empty() {
            found.push(at("mandate", "it has no mandate".into()));
        } else if !config.mandates.contains_key(&self.mandate) {
            let remark = at("mandate", format!("there is no mandate `{}`", self.mandate));
            found.push(match TomlFile::nearest(&self.mandate, &known) {
                Some(name) => remark.hint(format!("the nearest known one is `{name}`")),
                None => remark.hint(format!("[mandates.{}] would be it", self.mandate)),
            });
        }
        if let Err(message) = self.permissions() {
            found.push(at("mode", message));
        }
        if let Err(error) = self.owner_id() {
            found.push(at("owner", error));
        }
        if let Err(error) = self.group_id() {
            found.push(at("group", error));
        }
        if self.fd_name.is_some() {
            for (key, given) in
                [("mode", &self.mode), ("owner", &self.owner), ("group", &self.group)]
            {
                if given.is_some() {
                    let message = format!("{key} is for sockets with a path");
                    let hint = "SocketMode=, SocketUser= and SocketGroup= are systemd's";
                    found.push(at(key, message).hint(hint));
                }
            }
        }
        found
    }

    /// The permissions of the socket.
    ///
    /// # Errors
    /// They are not octal, or more than permissions.
    pub fn permissions(&self) -> Result<u32, String> {
        let Some(mode) = &self.mode else { return Ok(0o600) };
        let digits = mode.strip_prefix("0o").unwrap_or(mode);
        let octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let parsed = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
        parsed
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| format!("{mode:?} are no permissions in octal, such as \"0660\""))
    }

    /// The number of its owner, if one is named.
    ///
    /// # Errors
    /// There is no such user.
    pub fn owner_id(&self) -> Result<Option<u32>, String> {
        id(self.owner.as_deref(), embryo_job::uid)
    }

    /// The number of its group, if one is named.
    ///
    /// # Errors
    /// There is no such group.
    pub fn group_id(&self) -> Result<Option<u32>, String> {
        id(self.group.as_deref(), embryo_job::gid)
    }
}

impl Settings {
    fn mistakes(&self) -> Vec<Remark> {
        let numbers = [
            ("launch-timeout-ms", u64::from(self.launch_timeout_ms), 600_000),
            ("connections", self.connections as u64, 1 << 20),
            ("children", self.children as u64, 1 << 22),
            ("log-entries", self.log_entries as u64, 1 << 20),
            ("copy-bytes-max", self.copy_bytes_max, 1 << 40),
        ];
        let wrong = numbers.into_iter().filter(|(_, value, most)| !(1..=*most).contains(value));
        let wrong =
            wrong.map(|(key, _, most)| Remark::new(&["agent", key], format!("1 to {most}")));
        let embryos = (self.embryos > 4096)
            .then(|| Remark::new(&["agent", "embryos"], "at most 4096 are kept ready"));
        wrong.chain(embryos).collect()
    }
}

fn id(
    text: Option<&str>,
    find: impl Fn(&Id) -> Result<u32, embryo_job::Error>,
) -> Result<Option<u32>, String> {
    let Some(text) = text else { return Ok(None) };
    let id = match text.parse::<u32>() {
        Ok(u32::MAX) => return Err("this number is no id".into()),
        Ok(number) => Id::Number(number),
        Err(_) => Id::Name(text.to_owned()),
    };
    find(&id).map(Some).map_err(|error| error.to_string())
}

/// `images[2].path` and `images.2.path` as keys.
fn keys_of(rule: &str) -> impl Iterator<Item = String> {
    rule.split(['.', '[', ']']).filter(|key| !key.is_empty()).map(str::to_owned)
}

/// A regular file, or standard input as `-`. What is at a path is not waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    match bytes.len() as u64 > BYTES_MAX {
        true => Err(io::Error::other(format!("it has more than {BYTES_MAX} bytes"))),
        false => Ok(bytes),
    }
}
