//! The program's root, from the options that put it together, with what bubblewrap means by each.
//!
//! It must never change their order.

use crate::error::Error;
use crate::job::Job;
use crate::mounted::Mounted;
use crate::value::Source;
use embryo::{Mount, MountAttributes, MountSpread, Upper};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// An option that mounts or makes something, with its values.
#[derive(Clone, Debug)]
pub struct MountOption {
    /// Its name, without the dashes in front.
    pub option: &'static str,
    /// As many as it takes.
    pub values: Vec<OsString>,
}

impl Job {
    /// Adds what such options say, in their order. A job that has any has a root of its own.
    ///
    /// # Errors
    /// An option that is none, or that stands before nothing it says something of.
    pub fn add_mount_options(&mut self, options: &[MountOption]) -> Result<(), Error> {
        if options.is_empty() {
            return Ok(());
        }
        self.new_root.get_or_insert_default();
        let mut next = Next::default();
        for option in options {
            if let Some(mounted) = one(option, &mut next)? {
                self.mount.push(mounted);
            }
        }
        next.unused()
    }
}

/// What was said of the next thing that is made.
#[derive(Default)]
struct Next {
    perms: Option<u32>,
    size: Option<u64>,
    layers: Vec<PathBuf>,
}

impl Next {
    /// The layers of an overlay, the topmost first.
    fn layers(&mut self, option: &str, least: usize) -> Result<Vec<PathBuf>, Error> {
        let mut layers = std::mem::take(&mut self.layers);
        if layers.len() < least {
            return Err(Error::new(format!(
                "--{option} needs {least} of --overlay-src in front of it"
            )));
        }
        layers.reverse();
        Ok(layers)
    }

    fn unused(&self) -> Result<(), Error> {
        let what = match self {
            Self { perms: Some(_), .. } => "--perms stands before nothing that has permissions",
            Self { size: Some(_), .. } => "--size stands before no --tmpfs",
            Self { layers, .. } if !layers.is_empty() => "--overlay-src stands before no overlay",
            _ => return Ok(()),
        };
        Err(Error::new(what))
    }
}

/// What an option mounts; nothing, if it speaks of the next one.
fn one(arg: &MountOption, next: &mut Next) -> Result<Option<Mounted>, Error> {
    let value = |at: usize| arg.values.get(at).map(PathBuf::from).unwrap_or_default();
    let text = |at: usize| arg.values.get(at).map_or(OsStr::new(""), OsString::as_os_str);
    let (first, second) = (value(0), value(1));
    let devices = MountAttributes { nodev: false, ..MountAttributes::PLAIN };
    let bind = |attributes, optional| Mount::Bind {
        source: value(0),
        target: value(1),
        attributes,
        optional,
        flat: false,
    };
    let (plain, read_only) = (MountAttributes::PLAIN, MountAttributes::READ_ONLY);
    let mount = match arg.option {
        "perms" => {
            next.perms = Some(mode("--perms", text(0))?);
            return Ok(None);
        }
        "size" => {
            next.size = Some(bytes(text(0))?);
            return Ok(None);
        }
        "overlay-src" => {
            next.layers.push(first);
            return Ok(None);
        }
        "tmpfs" => Mount::Tmpfs {
            target: first,
            attributes: MountAttributes::NONE,
            size: next.size.take(),
            mode: next.perms.take().unwrap_or(0o755),
            inodes: None,
        },
        "dir" => Mount::Directory { target: first, mode: next.perms.take().unwrap_or(0o755) },
        "file" => {
            let mode = next.perms.take().unwrap_or(0o666);
            Mount::File { target: second, mode, over: None }
        }
        "bind-data" | "ro-bind-data" => Mount::File {
            target: second,
            mode: next.perms.take().unwrap_or(0o600),
            over: Some(if arg.option == "bind-data" { plain } else { read_only }),
        },
        "bind" => bind(plain, false),
        "bind-try" => bind(plain, true),
        "ro-bind" => bind(read_only, false),
        "ro-bind-try" => bind(read_only, true),
        "dev-bind" => bind(devices, false),
        "dev-bind-try" => bind(devices, true),
        "bind-fd" => Mount::BindFd { target: second, attributes: plain, flat: false },
        "ro-bind-fd" => Mount::BindFd { target: second, attributes: read_only, flat: false },
        "bind-idmapped" => Mount::BindMapped {
            source: second,
            target: value(2),
            attributes: plain,
            optional: false,
            flat: false,
        },
        "remount-ro" => Mount::Attributes {
            target: first,
            set: MountAttributes { read_only: true, ..MountAttributes::NONE },
            clear: MountAttributes::NONE,
            flat: true,
        },
        "proc" => Mount::proc(first),
        "dev" => Mount::Dev { target: first, console: console() },
        "mqueue" => Mount::Mqueue { target: first },
        "symlink" => Mount::symlink(first, second),
        "overlay" => Mount::Overlay {
            lower: next.layers(arg.option, 1)?,
            target: value(2),
            upper: Upper::Kept { upper: first, work: second },
            attributes: MountAttributes::NONE,
            userxattr: None,
        },
        "tmp-overlay" => Mount::Overlay {
            lower: next.layers(arg.option, 1)?,
            target: first,
            upper: Upper::Throwaway,
            attributes: MountAttributes::NONE,
            userxattr: None,
        },
        "ro-overlay" => Mount::Overlay {
            lower: next.layers(arg.option, 2)?,
            target: first,
            upper: Upper::None,
            attributes: MountAttributes::NONE,
            userxattr: None,
        },
        "chmod" => Mount::Chmod { target: second, mode: mode("--chmod", text(0))? },
        "mount-propagation" => {
            Mount::Propagation { target: second, spread: spread(text(0))?, flat: false }
        }
        "unmount" => Mount::Unmount { target: first },
        other => return Err(Error::new(format!("--{other} is no option of mounts"))),
    };
    next.unused()?;
    let fd = mount.takes_fd().then(|| descriptor(arg)).transpose()?;
    Ok(Some(Mounted { mount, fd }))
}

fn descriptor(arg: &MountOption) -> Result<Source, Error> {
    let text = arg.values.first().map(OsString::as_os_str).unwrap_or_default();
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(fd) => Ok(Source::Fd(fd)),
        None => Err(Error::new(format!("--{}: {text:?} is no descriptor number", arg.option))),
    }
}

fn mode(option: &str, text: &OsStr) -> Result<u32, Error> {
    let mode = text.to_str().and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        Error::new(format!("{option}: an octal number from 0 to 7777 is needed, not {text:?}"))
    })
}

fn bytes(text: &OsStr) -> Result<u64, Error> {
    let bytes = text.to_str().and_then(|text| text.parse().ok());
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| Error::new(format!("--size: a number of bytes is needed, not {text:?}")))
}

fn spread(text: &OsStr) -> Result<MountSpread, Error> {
    Ok(match text.to_str() {
        Some("private") => MountSpread::Private,
        Some("slave") => MountSpread::Slave,
        Some("shared") => MountSpread::Shared,
        Some("unbindable") => MountSpread::Unbindable,
        _ => {
            return Err(Error::new(format!(
                "--mount-propagation: private, slave, shared or unbindable is needed, not {text:?}"
            )));
        }
    })
}

/// The terminal that standard output is, if it is one that has a name.
fn console() -> Option<PathBuf> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let name = rustix::termios::ttyname(&stdout, Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(name.into_bytes())))
}
