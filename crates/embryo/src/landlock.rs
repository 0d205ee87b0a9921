//! Landlock as data: what an image may still do with files, ports and its surroundings.
//!
//! A ruleset is made here, in the owner, by the `landlock` crate, and granted to the child, which
//! enforces it on itself. It must never do with less than was asked unless that was asked, too.

use crate::LandlockFlags;
use embryo_plan::LANDLOCK_RIGHTS;
use embryo_syscall::{self as sys, Errno};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What an image may do of what Landlock knows; landlock(7). Where nothing is said of a kind of thing
/// it is not restricted.
///
/// # Restrictions
/// - Paths are opened by whoever spawns, at that moment. A rule is on what was found there, a file or
///   directory of a file system, wherever that is mounted: a rule for `/usr` holds in a new root for
///   a bind of `/usr` as well, but one for `/` does not hold for a new root. For those there is
///   [`LandlockRule::inside`].
/// - Whoever runs under it is under it for good, and so is whatever it executes. Executing the image
///   takes [`LandlockRights::EXECUTE`] for it, for its interpreter and for its loader, and most programs
///   read libraries.
/// - The child gets no_new_privs.
///
/// ```
/// use embryo::{Command, Landlock, LandlockRights};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut landlock = Landlock::new();
/// landlock.path("/usr", LandlockRights::READ | LandlockRights::EXECUTE);
/// for library in ["/lib", "/lib64", "/etc"] {
///     if std::path::Path::new(library).exists() {
///         landlock.path(library, LandlockRights::READ | LandlockRights::EXECUTE);
///     }
/// }
/// # landlock.best_effort = true;
/// let mut command = Command::new("/usr/bin/cat");
/// let output = command.arg("/proc/self/status").landlock(&landlock).output()?;
/// # let _ = output;
/// # Ok(())
/// # }
/// ```
///
/// # Kernel
/// Linux 5.13; [`Landlock::needed_abi`] says what the contents need.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", deny_unknown_fields, default)
)]
pub struct Landlock {
    /// The version of Landlock whose rights to files are restricted, if [`Landlock::files`] is; what later
    /// versions know is not.
    pub abi: u32,
    /// What may be done with which files; nothing else may be done with any.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub files: Option<Vec<LandlockRule>>,
    /// The TCP ports that may be bound; ABI 4.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub bind: Option<Vec<u16>>,
    /// The TCP ports that may be connected to; ABI 4.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub connect: Option<Vec<u16>>,
    /// What is not to reach beyond those under this ruleset; ABI 6.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub scopes: Vec<LandlockScope>,
    /// What is written to the audit log; ABI 7.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub log: Vec<LandlockLog>,
    /// An older kernel does what it can, which may be nothing. Otherwise that is an error.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub best_effort: bool,
}

/// A file, or a directory with all that is beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", deny_unknown_fields)
)]
pub struct LandlockRule {
    /// Where it is.
    pub path: PathBuf,
    /// What may be done with it. Of a file, only what a file can have.
    pub rights: LandlockRights,
    /// The path is looked up in the child, after its root, its mounts and its credentials are what they
    /// will be, instead of by whoever spawns.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub inside: bool,
}

/// What is not to reach beyond the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum LandlockScope {
    /// Connecting to abstract Unix sockets.
    AbstractUnixSocket,
    /// Signals.
    Signal,
}

/// A change of what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum LandlockLog {
    /// Nothing that the image itself is refused.
    QuietImage,
    /// What programs are refused that the image executes, too.
    LogNewExec,
    /// Nothing of domains that are entered later.
    QuietSubdomains,
}

/// Rights to files: a set of those that [`embryo_plan::LANDLOCK_RIGHTS`] names.
///
/// As text: names with commas between; `read`, `write` and `execute` are all that reading, changing and
/// executing take.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(into = "Vec<String>", try_from = "Vec<String>")
)]
pub struct LandlockRights(u64);

impl LandlockRights {
    /// Reading files and listing directories.
    pub const READ: Self = Self(0b1100);
    /// Executing files.
    pub const EXECUTE: Self = Self(0b1);
    /// Writing and truncating files, commands to devices, and making, removing and moving what is in
    /// directories.
    pub const WRITE: Self = Self(0b1111_1111_1111_0010);
    /// What a file can have that is no directory.
    const FILE: Self = Self(0b1_1100_0000_0000_0111);

    /// These bits, `LANDLOCK_ACCESS_FS_*`; those beyond the known ones are left out.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << LANDLOCK_RIGHTS.len()) - 1))
    }

    /// As `LANDLOCK_ACCESS_FS_*`.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of those in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = LANDLOCK_RIGHTS.iter().enumerate();
        names.filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| *name)
    }
}

impl std::ops::BitOr for LandlockRights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for LandlockRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for LandlockRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LandlockRights({self})")
    }
}

impl FromStr for LandlockRights {
    type Err = UnknownRight;

    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        text.split(',').try_fold(Self::default(), |rights, name| {
            let one = match name {
                "read" => Self::READ,
                "write" => Self::WRITE,
                "execute" => Self::EXECUTE,
                _ => {
                    let bit = LANDLOCK_RIGHTS.iter().position(|known| *known == name);
                    Self(1 << bit.ok_or_else(|| UnknownRight(name.to_owned()))?)
                }
            };
            Ok(rights | one)
        })
    }
}

impl From<LandlockRights> for Vec<String> {
    fn from(rights: LandlockRights) -> Self {
        rights.names().map(str::to_owned).collect()
    }
}

impl TryFrom<Vec<String>> for LandlockRights {
    type Error = UnknownRight;

    fn try_from(names: Vec<String>) -> Result<Self, UnknownRight> {
        let parsed = |rights, name: String| Ok(rights | name.parse()?);
        names.into_iter().try_fold(Self::default(), parsed)
    }
}

/// That a text names no right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no right to files: read, write, execute, or one of {known}", known = LANDLOCK_RIGHTS.join(", "))]
pub struct UnknownRight(String);

/// Why there is no ruleset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LandlockError {
    /// The kernel's Landlock is older than what is asked for, or there is none.
    #[error(
        "{what} needs Landlock ABI {needed} (Linux {}); {} (best effort does without)",
        kernel_of(*needed), found_text(*found)
    )]
    TooOld {
        /// What needs it.
        what: &'static str,
        /// The version that it needs.
        needed: u32,
        /// The version that there is; `None` if there is no Landlock.
        found: Option<u32>,
    },
    /// A path of a rule cannot be opened.
    #[error("{}: {error}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        error: String,
        /// The errno.
        errno: i32,
    },
    /// Nothing is restricted.
    #[error("a ruleset that restricts nothing")]
    Nothing,
    /// A version that this library does not know.
    #[error("there is no Landlock ABI {0}: 1 to {max}", max = Landlock::ABI_MAX)]
    Abi(u32),
    /// The rights of a rule are none, or none that this file can have.
    #[error("{}: {rights:?} are no rights that it can have", path.display())]
    Rights {
        /// The path.
        path: PathBuf,
        /// What was asked for.
        rights: LandlockRights,
    },
    /// The kernel refuses it.
    #[error("making a ruleset: {0}")]
    Refused(String),
}

fn kernel_of(abi: u32) -> &'static str {
    match abi {
        0 | 1 => "5.13",
        2 => "5.19",
        3 => "6.2",
        4 => "6.7",
        5 => "6.10",
        6 => "6.12",
        7 => "6.15",
        8 => "7.0",
        9 => "7.1",
        _ => "7.2",
    }
}

fn found_text(found: Option<u32>) -> String {
    match found {
        Some(abi) => format!("this kernel has ABI {abi}"),
        None => "this kernel has none, or it is not enabled (lsm= at boot)".to_owned(),
    }
}

/// A ruleset that is ready to be granted.
#[derive(Debug)]
#[non_exhaustive]
pub struct LandlockRuleset {
    /// The ruleset.
    pub fd: OwnedFd,
    /// How it is to be enforced.
    pub flags: LandlockFlags,
    /// Rules that the child adds: paths and `LANDLOCK_ACCESS_FS_*`.
    pub inside: Vec<(PathBuf, u64)>,
}

impl Default for Landlock {
    fn default() -> Self {
        Self::new()
    }
}

impl Landlock {
    /// The version whose rights to files are restricted if nothing else is said: those that make a
    /// whole (Linux 6.10).
    pub const ABI: u32 = 5;
    /// The latest version that is known here.
    pub const ABI_MAX: u32 = 10;

    /// Nothing is restricted yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            abi: Self::ABI,
            files: None,
            bind: None,
            connect: None,
            scopes: Vec::new(),
            log: Vec::new(),
            best_effort: false,
        }
    }

    /// The version of this kernel; `None` if it has no Landlock, or has it turned off.
    #[must_use]
    pub fn kernel_abi() -> Option<u32> {
        sys::landlock_abi().ok()
    }

    /// Restricts files, and lets this be done with what is at `path`, as whoever spawns sees it.
    pub fn path(&mut self, path: impl AsRef<Path>, rights: LandlockRights) -> &mut Self {
        self.rule(path, rights, false)
    }

    /// The same for a path as the child sees it.
    pub fn path_inside(&mut self, path: impl AsRef<Path>, rights: LandlockRights) -> &mut Self {
        self.rule(path, rights, true)
    }

    fn rule(&mut self, path: impl AsRef<Path>, rights: LandlockRights, inside: bool) -> &mut Self {
        let path = path.as_ref().to_owned();
        self.files.get_or_insert_default().push(LandlockRule { path, rights, inside });
        self
    }

    /// Restricts binding of TCP ports to those that were given here.
    pub fn bind(&mut self, ports: impl IntoIterator<Item = u16>) -> &mut Self {
        self.bind.get_or_insert_default().extend(ports);
        self
    }

    /// Restricts connecting to TCP ports to those that were given here.
    pub fn connect(&mut self, ports: impl IntoIterator<Item = u16>) -> &mut Self {
        self.connect.get_or_insert_default().extend(ports);
        self
    }

    /// Keeps something from reaching beyond the domain.
    pub fn scope(&mut self, scope: LandlockScope) -> &mut Self {
        self.scopes.push(scope);
        self
    }

    /// The version of Landlock that it needs, and what needs it.
    #[must_use]
    pub fn needed_abi(&self) -> (u32, &'static str) {
        let files = if self.files.is_some() { self.abi } else { 0 };
        let ports = if self.bind.is_some() || self.connect.is_some() { 4 } else { 0 };
        let scopes = if self.scopes.is_empty() { 0 } else { 6 };
        let log = if self.log.is_empty() { 0 } else { 7 };
        [
            (log, "choosing what is logged"),
            (scopes, "a scope"),
            (ports, "restricting TCP ports"),
            (files, "restricting files"),
        ]
        .into_iter()
        .max_by_key(|(abi, _)| *abi)
        .unwrap_or_default()
    }

    /// Makes the ruleset; `None` if only best effort was asked for and this kernel has nothing of it.
    ///
    /// # Errors
    /// [`LandlockError`]. Nothing has happened then.
    pub fn ruleset(&self) -> Result<Option<LandlockRuleset>, LandlockError> {
        let (needed, what) = self.needed_abi();
        if needed == 0 {
            return Err(LandlockError::Nothing);
        }
        if self.abi == 0 || self.abi > Self::ABI_MAX {
            return Err(LandlockError::Abi(self.abi));
        }
        let found = Self::kernel_abi();
        if !self.best_effort && found.is_none_or(|found| found < needed) {
            return Err(LandlockError::TooOld { what, needed, found });
        }
        if found.is_none() {
            return Ok(None);
        }
        let handled = AccessFs::from_all(ABI::from(self.abi.cast_signed()));
        let mut created = self.create(handled)?;
        let mut inside = Vec::new();
        for rule in self.files.iter().flatten() {
            // What is not restricted need not be granted. An older kernel restricts less.
            let known = found.map_or(handled, |found| {
                handled & AccessFs::from_all(ABI::from(found.cast_signed()))
            });
            let rights = LandlockRights(rule.rights.0 & known.bits());
            if rule.rights.0 == 0 {
                let (path, rights) = (rule.path.clone(), rule.rights);
                return Err(LandlockError::Rights { path, rights });
            }
            if rights.0 == 0 {
                continue;
            }
            if rule.inside {
                inside.push((rule.path.clone(), rights.0));
            } else {
                created = add_path(created, rule, rights)?;
            }
        }
        for (ports, access) in
            [(&self.bind, AccessNet::BindTcp), (&self.connect, AccessNet::ConnectTcp)]
        {
            for port in ports.iter().flatten() {
                created = created.add_rule(NetPort::new(*port, access)).map_err(refused)?;
            }
        }
        let flags = match found {
            Some(7..) => self.flags(),
            _ => LandlockFlags::empty(),
        };
        let fd: Option<OwnedFd> = created.into();
        Ok(fd.map(|fd| LandlockRuleset { fd, flags, inside }))
    }

    fn create(&self, handled: BitFlags<AccessFs>) -> Result<RulesetCreated, LandlockError> {
        let level = match self.best_effort {
            true => CompatLevel::BestEffort,
            false => CompatLevel::HardRequirement,
        };
        let mut ruleset = Ruleset::default().set_compatibility(level);
        if self.files.is_some() {
            ruleset = ruleset.handle_access(handled).map_err(refused)?;
        }
        if self.bind.is_some() {
            ruleset = ruleset.handle_access(AccessNet::BindTcp).map_err(refused)?;
        }
        if self.connect.is_some() {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp).map_err(refused)?;
        }
        for scope in &self.scopes {
            let scope = match scope {
                LandlockScope::AbstractUnixSocket => Scope::AbstractUnixSocket,
                LandlockScope::Signal => Scope::Signal,
            };
            ruleset = ruleset.scope(scope).map_err(refused)?;
        }
        ruleset.create().map_err(refused)
    }

    fn flags(&self) -> LandlockFlags {
        self.log.iter().fold(LandlockFlags::empty(), |flags, log| {
            flags
                | match log {
                    LandlockLog::QuietImage => LandlockFlags::QUIET_IMAGE,
                    LandlockLog::LogNewExec => LandlockFlags::LOG_NEW_EXEC,
                    LandlockLog::QuietSubdomains => LandlockFlags::QUIET_SUBDOMAINS,
                }
        })
    }
}

fn add_path(
    created: RulesetCreated,
    rule: &LandlockRule,
    mut rights: LandlockRights,
) -> Result<RulesetCreated, LandlockError> {
    let failed = |errno: rustix::io::Errno| LandlockError::Path {
        path: rule.path.clone(),
        error: crate::error::errno_text(Errno::from(errno).number()),
        errno: errno.raw_os_error(),
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::open(&rule.path, flags, Mode::empty()).map_err(failed)?;
    let kind = rustix::fs::fstat(&file).map_err(failed)?.st_mode;
    if FileType::from_raw_mode(kind) != FileType::Directory {
        rights.0 &= LandlockRights::FILE.0;
    }
    if rights.0 == 0 {
        return Err(LandlockError::Rights { path: rule.path.clone(), rights: rule.rights });
    }
    let access = BitFlags::<AccessFs>::from_bits_truncate(rights.0);
    created.add_rule(PathBeneath::new(file, access)).map_err(refused)
}

fn refused(error: impl fmt::Display) -> LandlockError {
    LandlockError::Refused(error.to_string())
}
