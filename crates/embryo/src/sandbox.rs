//! A confined child as plain data: what it finds of the system, and how that is kept from it.
//!
//! It must never confine less because something cannot be had: that is an error of the launch.

use crate::caps::CapSet;
use crate::mount::{Mount, MountAttributes};
use crate::namespace::NamespaceKind;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that /tmp may hold, and /dev/shm.
const TMP_BYTES: u64 = 512 << 20;
/// Bytes of what is put together as a root, which holds nothing but mount points and links.
pub(crate) const ROOT_BYTES: u64 = 1 << 20;
/// Processes and threads at a time.
const PROCESSES: u64 = 512;
/// What a system's programs and libraries are in; links among them stay links.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"];
/// What programs read of /etc; none of it is about one machine's secrets.
const ETC: [&str; 27] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "group",
    "host.conf",
    "hosts",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki",
    "protocols",
    "services",
    "ssl",
    "terminfo",
    "timezone",
];
/// The same where the network is shared.
const ETC_NETWORK: [&str; 2] = ["resolv.conf", "gai.conf"];
/// Variables that say how text is shown and where programs are.
const ENVIRONMENT: [&str; 9] =
    ["PATH", "LANG", "LANGUAGE", "LC_*", "TERM", "COLORTERM", "NO_COLOR", "TZ", "SHELL"];
/// Whom root runs a confined program as, who owns no files: nobody.
pub(crate) const NOBODY: u32 = 65534;

/// What becomes of the caller's working directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum WorkingDirectory {
    /// It is there, and cannot be written. One that is `/`, or that the home directory is in, is hidden.
    #[default]
    ReadOnly,
    /// It is there, and can be written as far as its permissions allow. As above.
    Writable,
    /// It is not there; the child starts in /tmp.
    Hidden,
}

/// A child that sees a system to run programs, and nothing of the people who use it.
///
/// [`Sandbox::strict`] is what `embryo run --sandbox` makes. It is data: print it, change it, store it,
/// and give it to [`crate::Command::sandbox`]. What the command itself says wins: its mounts come after
/// those here, its variables, directory, limits and ids are its own.
///
/// ```
/// use embryo::{Command, Mount, Sandbox};
/// # fn main() -> Result<(), embryo::Error> {
/// let mut sandbox = Sandbox::strict();
/// sandbox.tmp_bytes = 64 << 20;
/// sandbox.mounts.push(Mount::bind("/var/tmp", "/var/tmp"));
/// let mut command = Command::new("python3");
/// command.arg("untrusted.py").sandbox(&sandbox);
/// # Ok(())
/// # }
/// ```
///
/// # Kernel
/// Linux 5.19, with Landlock, and user namespaces for whoever is not root: `embryo doctor` looks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct Sandbox {
    /// New namespaces besides those of users, mounts and pids, which are always new.
    pub namespaces: Vec<NamespaceKind>,
    /// Its name in a UTS namespace of its own.
    pub hostname: String,
    /// Whether the loopback device of a network of its own is up.
    pub loopback: bool,
    /// The system's programs and libraries, and what of /etc says nothing of anybody, are there to read.
    pub system: bool,
    /// Bytes that /tmp may hold, and /dev/shm; both are its own and go away with it.
    pub tmp_bytes: u64,
    /// What becomes of the working directory.
    pub working_directory: WorkingDirectory,
    /// Further mounts.
    pub mounts: Vec<Mount>,
    /// Variables of the caller's that are passed on; a name may end in `*`.
    pub environment: Vec<String>,
    /// Variables that are set.
    pub set_environment: BTreeMap<String, String>,
    /// Capabilities in its user namespace.
    pub capabilities: CapSet,
    /// The profile of system calls; see [`crate::Policy::profile`].
    #[cfg(feature = "seccomp")]
    pub seccomp: Option<String>,
    /// Landlock once more keeps from it what is not mounted writable.
    #[cfg(feature = "landlock")]
    pub landlock: bool,
    /// Processes and threads that it may have at a time.
    pub processes: Option<u64>,
    /// It ends when its handle, or the caller's process, is gone.
    pub die_with_handle: bool,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::strict()
    }
}

impl Sandbox {
    /// As little as most programs can run with.
    #[must_use]
    pub fn strict() -> Self {
        use NamespaceKind::{Cgroup, Ipc, Net, Uts};
        Self {
            namespaces: vec![Net, Ipc, Uts, Cgroup],
            hostname: "sandbox".to_owned(),
            loopback: true,
            system: true,
            tmp_bytes: TMP_BYTES,
            working_directory: WorkingDirectory::ReadOnly,
            mounts: Vec::new(),
            environment: ENVIRONMENT.map(str::to_owned).to_vec(),
            set_environment: BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned())]),
            capabilities: CapSet::NONE,
            #[cfg(feature = "seccomp")]
            seccomp: Some("default".to_owned()),
            #[cfg(feature = "landlock")]
            landlock: true,
            processes: Some(PROCESSES),
            die_with_handle: true,
        }
    }

    /// Leaves one kind of namespace the caller's.
    pub fn share(&mut self, kind: NamespaceKind) -> &mut Self {
        self.namespaces.retain(|other| *other != kind);
        self
    }

    /// Whether the network is the caller's.
    #[must_use]
    pub fn shares_network(&self) -> bool {
        !self.namespaces.contains(&NamespaceKind::Net)
    }

    /// Everything that is mounted, in order, and the directory that the child starts in unless its command
    /// has another.
    pub(crate) fn layout(&self, cwd: Option<&Path>, home: Option<&Path>) -> (Vec<Mount>, PathBuf) {
        let mut mounts = Vec::new();
        if self.system {
            mounts.extend(SYSTEM.iter().filter_map(|path| system(Path::new(path))));
            let network = ETC_NETWORK.iter().filter(|_| self.shares_network());
            let etc = ETC.iter().chain(network).map(|name| Path::new("/etc").join(name));
            mounts.extend(etc.map(|path| optional(&path)));
        }
        mounts.push(Mount::proc("/proc"));
        mounts.push(Mount::dev("/dev"));
        mounts.extend(["/dev/shm", "/tmp"].map(|target| Mount::Tmpfs {
            target: target.into(),
            attributes: MountAttributes::PLAIN,
            size: Some(self.tmp_bytes),
            mode: 0o1777,
            inodes: None,
        }));
        let mut start = PathBuf::from("/tmp");
        let shown = cwd
            .filter(|cwd| cwd.parent().is_some() && home.is_none_or(|home| !home.starts_with(cwd)));
        if let Some(cwd) = shown {
            match self.working_directory {
                WorkingDirectory::ReadOnly => mounts.push(Mount::read_only(cwd, cwd)),
                WorkingDirectory::Writable => mounts.push(Mount::bind(cwd, cwd)),
                WorkingDirectory::Hidden => {}
            }
            if self.working_directory != WorkingDirectory::Hidden {
                start = cwd.to_owned();
            }
        }
        mounts.extend(self.mounts.iter().cloned());
        (mounts, start)
    }
}

/// A directory of the system's, or the link that it is.
fn system(path: &Path) -> Option<Mount> {
    match fs::read_link(path) {
        Ok(text) => Some(Mount::symlink(text, path)),
        Err(_) => path.is_dir().then(|| optional(path)),
    }
}

/// What is there to read, if it is there at all.
fn optional(path: &Path) -> Mount {
    Mount::Bind {
        source: path.to_owned(),
        target: path.to_owned(),
        attributes: MountAttributes::READ_ONLY,
        optional: true,
        flat: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(cwd: &str, home: &str) -> PathBuf {
        Sandbox::strict().layout(Some(Path::new(cwd)), Some(Path::new(home))).1
    }

    #[test]
    fn a_directory_that_shows_the_home_is_hidden() {
        assert_eq!(start("/home/user", "/home/user"), Path::new("/tmp"));
        assert_eq!(start("/home", "/home/user"), Path::new("/tmp"));
        assert_eq!(start("/", "/home/user"), Path::new("/tmp"));
        assert_eq!(start("/home/user/work", "/home/user"), Path::new("/home/user/work"));
    }

    #[test]
    fn what_it_is_can_be_printed_and_compared() {
        let strict = Sandbox::strict();
        assert_eq!(strict, Sandbox::default());
        assert!(format!("{strict:?}").contains("hostname: \"sandbox\""));
        let mut open = strict.clone();
        open.share(NamespaceKind::Net);
        assert!(open.shares_network() && !strict.shares_network());
        assert_ne!(open, strict);
    }
}
