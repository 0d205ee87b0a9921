//! The options that put a root together, named as bubblewrap names them. Their order counts, across all of
//! them, so they are one list.
//!
//! It must never forget in which order they were given.

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueHint};
use std::ffi::OsString;

/// What was asked for, in the order in which it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct MountArgs(pub(crate) Vec<MountArg>);

/// The name of an option and its values.
pub(crate) type MountArg = (&'static str, Vec<OsString>);

macro_rules! options {
    ($($(#[$about:meta])* $field:ident $name:literal [$($value:literal)*],)*) => {
        #[derive(Debug, clap::Args)]
        struct MountOptions {
            $($(#[$about])*
            #[arg(
                long = $name,
                num_args = [$($value),*].len(),
                value_names = [$($value),*],
                help_heading = "Root and mounts",
                value_hint = ValueHint::AnyPath
            )]
            $field: Vec<OsString>,)*
        }

        /// The ids of the options, and their names.
        const OPTIONS: &[(&str, &str)] = &[$((stringify!($field), $name),)*];
    };
}

options! {
    /// Show the file or directory SRC at DEST, with what is mounted below it
    ///
    /// This and the options below put a new root together, in the order in which they are given: an empty
    /// tmpfs, which becomes the program's root; nothing else is in it. They take a mount namespace of its own,
    /// and of an ordinary user a user namespace.
    bind "bind" ["SRC" "DEST"],
    /// The same; nothing happens if SRC does not exist
    bind_try "bind-try" ["SRC" "DEST"],
    /// Show SRC at DEST, where nothing can be written
    ro_bind "ro-bind" ["SRC" "DEST"],
    /// The same; nothing happens if SRC does not exist
    ro_bind_try "ro-bind-try" ["SRC" "DEST"],
    /// Show SRC at DEST, where device nodes can be used
    dev_bind "dev-bind" ["SRC" "DEST"],
    /// The same; nothing happens if SRC does not exist
    dev_bind_try "dev-bind-try" ["SRC" "DEST"],
    /// Show the file or directory that is the caller's descriptor FD at DEST
    bind_fd "bind-fd" ["FD" "DEST"],
    /// The same, where nothing can be written
    ro_bind_fd "ro-bind-fd" ["FD" "DEST"],
    /// Show SRC at DEST with the owners that the user namespace maps that is descriptor FD
    bind_idmapped "bind-idmapped" ["FD" "SRC" "DEST"],
    /// Nothing can be written any more to what is mounted at DEST; what is below it stays
    remount_ro "remount-ro" ["DEST"],
    /// Mount the processes of the program's pid namespace
    ///
    /// Without --unshare-pid or the like it is the caller's /proc that is seen there.
    proc "proc" ["DEST"],
    /// Make the least that is called /dev
    ///
    /// null, zero, full, random, urandom and tty, the usual links, pseudoterminals and a directory for
    /// shared memory; and console if standard output is a terminal.
    dev "dev" ["DEST"],
    /// Mount an empty file system in memory; see --size and --perms
    tmpfs "tmpfs" ["DEST"],
    /// Mount the message queues of the program's IPC namespace
    mqueue "mqueue" ["DEST"],
    /// Make a directory; see --perms
    dir "dir" ["DEST"],
    /// Make a symbolic link at DEST that says SRC
    symlink "symlink" ["SRC" "DEST"],
    /// Make a file of what can be read from descriptor FD; see --perms
    file "file" ["FD" "DEST"],
    /// The same, but mounted at DEST
    bind_data "bind-data" ["FD" "DEST"],
    /// The same, where nothing can be written
    ro_bind_data "ro-bind-data" ["FD" "DEST"],
    /// A layer of the next overlay, above those that were given before
    overlay_src "overlay-src" ["SRC"],
    /// Lay the directories of --overlay-src upon each other; what is written goes to RWSRC
    ///
    /// WORKDIR is an empty directory of the same file system.
    overlay "overlay" ["RWSRC" "WORKDIR" "DEST"],
    /// The same; what is written goes away with the program
    tmp_overlay "tmp-overlay" ["DEST"],
    /// The same; nothing can be written. It takes two layers
    ro_overlay "ro-overlay" ["DEST"],
    /// Change the permissions of what is at PATH
    chmod "chmod" ["MODE" "PATH"],
    /// How mounting spreads from DEST: private, slave, shared or unbindable
    propagation "mount-propagation" ["HOW" "DEST"],
    /// What is mounted at DEST goes away
    unmount "unmount" ["DEST"],
    /// Permissions of what the next option makes, in octal
    perms "perms" ["MODE"],
    /// Bytes that the next --tmpfs may hold
    size "size" ["BYTES"],
}

impl Args for MountArgs {
    fn augment_args(command: Command) -> Command {
        MountOptions::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        MountOptions::augment_args_for_update(command)
    }
}

impl FromArgMatches for MountArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found: Vec<(usize, MountArg)> = Vec::new();
        for (id, option) in OPTIONS {
            let Some(given) = matches.get_occurrences::<OsString>(id) else { continue };
            let mut indices = matches.indices_of(id).into_iter().flatten();
            for values in given {
                let values: Vec<OsString> = values.cloned().collect();
                let first = indices.next().unwrap_or_default();
                // Each value has an index.
                values.iter().skip(1).for_each(|_| _ = indices.next());
                found.push((first, (*option, values)));
            }
        }
        found.sort_by_key(|(index, _)| *index);
        Ok(Self(found.into_iter().map(|(_, arg)| arg).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
