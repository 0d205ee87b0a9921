//! The program's root, from the options that put it together, with what bubblewrap means by each.
//!
//! It must never change their order.

use crate::args::{MountArg, MountArgs};
use crate::failure::Failure;
use crate::inherited::Inherited;
use embryo::{Command, Mount, MountAttributes, MountSpread, NewRoot, Upper};
use rustix::fd::OwnedFd;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Says what the root is made of, if any option asks for one.
pub(super) fn apply(
    args: &MountArgs,
    own_pids: bool,
    inherited: &Inherited,
    command: &mut Command,
) -> Result<(), Failure> {
    if args.0.is_empty() {
        return Ok(());
    }
    command.new_root(NewRoot::default());
    let mut next = Next { own_pids, ..Next::default() };
    for arg in &args.0 {
        one(arg, &mut next, inherited, command)?;
    }
    next.unused()
}

/// What was said of the next thing that is made.
#[derive(Default)]
struct Next {
    /// Whether the program has a pid namespace of its own.
    own_pids: bool,
    perms: Option<u32>,
    size: Option<u64>,
    layers: Vec<PathBuf>,
}

impl Next {
    /// The layers of an overlay, the topmost first.
    fn layers(&mut self, option: &str, least: usize) -> Result<Vec<PathBuf>, Failure> {
        let mut layers = std::mem::take(&mut self.layers);
        if layers.len() < least {
            return Err(Failure::new(format!(
                "--{option} needs {least} of --overlay-src in front of it"
            )));
        }
        layers.reverse();
        Ok(layers)
    }

    fn unused(&self) -> Result<(), Failure> {
        let what = match self {
            Self { perms: Some(_), .. } => "--perms stands before nothing that has permissions",
            Self { size: Some(_), .. } => "--size stands before no --tmpfs",
            Self { layers, .. } if !layers.is_empty() => "--overlay-src stands before no overlay",
            _ => return Ok(()),
        };
        Err(Failure::new(what))
    }
}

fn one(
    arg: &MountArg,
    next: &mut Next,
    inherited: &Inherited,
    command: &mut Command,
) -> Result<(), Failure> {
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
            return Ok(());
        }
        "size" => {
            next.size = Some(bytes(text(0))?);
            return Ok(());
        }
        "overlay-src" => {
            next.layers.push(first);
            return Ok(());
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
        "proc" if next.own_pids => Mount::proc(first),
        // Those of the caller's namespace, which nobody but root may mount anew.
        "proc" => Mount::Bind {
            source: "/proc".into(),
            target: first,
            attributes: MountAttributes { noexec: true, ..plain },
            optional: false,
            flat: false,
        },
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
        other => return Err(Failure::new(format!("--{other} is no option of mounts"))),
    };
    next.unused()?;
    if mount.takes_fd() {
        command.mount_fd(mount, descriptor(arg, inherited)?);
    } else {
        command.mount(mount);
    }
    Ok(())
}

fn descriptor(arg: &MountArg, inherited: &Inherited) -> Result<OwnedFd, Failure> {
    let fd = arg.fd().ok_or_else(|| {
        let text = arg.values.first().map(|text| text.to_string_lossy()).unwrap_or_default();
        Failure::new(format!("--{}: {text:?} is no descriptor number", arg.option))
    })?;
    inherited.get(fd)
}

fn mode(option: &str, text: &OsStr) -> Result<u32, Failure> {
    let mode = text.to_str().and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        Failure::new(format!("{option}: an octal number from 0 to 7777 is needed, not {text:?}"))
    })
}

fn bytes(text: &OsStr) -> Result<u64, Failure> {
    let bytes = text.to_str().and_then(|text| text.parse().ok());
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| Failure::new(format!("--size: a number of bytes is needed, not {text:?}")))
}

fn spread(text: &OsStr) -> Result<MountSpread, Failure> {
    Ok(match text.to_str() {
        Some("private") => MountSpread::Private,
        Some("slave") => MountSpread::Slave,
        Some("shared") => MountSpread::Shared,
        Some("unbindable") => MountSpread::Unbindable,
        _ => {
            return Err(Failure::new(format!(
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
