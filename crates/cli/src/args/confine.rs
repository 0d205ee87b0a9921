//! The options that confine the child, and the command that shows policies of system calls.
//!
//! It must never hold what a policy says; that is a file's, or a profile's by its name.

use super::help;
use crate::value::{LandlockScope, Ports, landlock_abi, rights_parser};
use clap::{Subcommand, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the child may do of what its user may.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfineArgs {
    /// Filter system calls by the program read from this descriptor
    ///
    /// An array of struct sock_filter, as `bwrap --seccomp` takes it. It has to let execve(2)
    /// through, and brings --no-new-privs with it.
    #[arg(long, value_name = "FD", help_heading = "Confinement")]
    pub(crate) seccomp: Option<u32>,

    /// Filter system calls by a policy that comes with embryo: `default`
    ///
    /// `embryo seccomp show default` prints it, with the reasons. Brings --no-new-privs with it.
    #[arg(long, value_name = "NAME", help_heading = "Confinement")]
    pub(crate) seccomp_profile: Option<String>,

    /// Filter system calls by a policy in a file, TOML or JSON; may be repeated
    ///
    /// What several filters say counts together, the strongest first. Brings --no-new-privs with it.
    #[arg(long, value_name = "FILE", help_heading = "Confinement", value_hint = ValueHint::FilePath)]
    pub(crate) seccomp_policy: Vec<PathBuf>,

    /// With Landlock: files beneath PATH may be read and listed; nothing else that was not named
    ///
    /// The first option for a path takes everything away that none names. Brings --no-new-privs
    /// with it, as each option for Landlock does.
    #[arg(long, value_name = "PATH", help_heading = "Confinement", value_hint = ValueHint::AnyPath)]
    pub(crate) landlock_ro: Vec<PathBuf>,

    /// With Landlock: files beneath PATH may be read, changed, made and removed
    #[arg(long, value_name = "PATH", help_heading = "Confinement", value_hint = ValueHint::AnyPath)]
    pub(crate) landlock_rw: Vec<PathBuf>,

    /// With Landlock: files beneath PATH may be read and executed
    ///
    /// A program needs that for itself, for its loader and for its interpreter.
    #[arg(long, value_name = "PATH", help_heading = "Confinement", value_hint = ValueHint::AnyPath)]
    pub(crate) landlock_exec: Vec<PathBuf>,

    /// With Landlock: exactly these rights to what is beneath PATH, such as `read-file,make-dir:/srv`
    #[arg(
        long,
        value_name = "RIGHTS:PATH",
        value_parser = rights_parser(),
        help_heading = "Confinement"
    )]
    pub(crate) landlock_rights: Vec<(String, OsString)>,

    /// Look the paths of Landlock up in the child, below its root, instead of here
    #[arg(long, help_heading = "Confinement")]
    pub(crate) landlock_inside: bool,

    /// With Landlock: these TCP ports may be bound and no others; numbers with commas, or `none`
    #[arg(long, value_name = "PORTS", help_heading = "Confinement")]
    pub(crate) landlock_bind: Vec<Ports>,

    /// With Landlock: these TCP ports may be connected to and no others
    #[arg(long, value_name = "PORTS", help_heading = "Confinement")]
    pub(crate) landlock_connect: Vec<Ports>,

    /// With Landlock: signals, or connections to abstract Unix sockets, do not leave the child
    #[arg(long, value_name = "WHAT", help_heading = "Confinement")]
    pub(crate) landlock_scope: Vec<LandlockScope>,

    /// The version of Landlock whose rights to files are taken away [default: 5]
    #[arg(long, value_name = "N", value_parser = landlock_abi, help_heading = "Confinement")]
    pub(crate) landlock_abi: Option<u32>,

    /// Do with whatever this kernel has of Landlock, or nothing, instead of failing
    #[arg(long, help_heading = "Confinement")]
    pub(crate) landlock_best_effort: bool,
}

/// Show and compile policies of system calls
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::SECCOMP)]
pub(crate) struct SeccompArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: SeccompAction,
}

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum SeccompAction {
    List(SeccompListArgs),
    Show(SeccompShowArgs),
    Compile(SeccompCompileArgs),
}

/// Print the names of the policies that come with embryo
#[derive(Debug, clap::Args)]
pub(crate) struct SeccompListArgs {}

/// Print a policy
#[derive(Debug, clap::Args)]
pub(crate) struct SeccompShowArgs {
    /// The name of a profile, or a file with a slash or a dot in its name
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: PathBuf,
    /// Print TOML, which --seccomp-policy reads
    #[arg(long)]
    pub(crate) toml: bool,
    /// Print JSON, which --seccomp-policy reads
    #[arg(long, conflicts_with = "toml")]
    pub(crate) json: bool,
}

/// Write the program that a policy becomes to standard output
#[derive(Debug, clap::Args)]
pub(crate) struct SeccompCompileArgs {
    /// The name of a profile, or a file with a slash or a dot in its name
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: PathBuf,
    /// The architecture: x86_64 or aarch64 [default: this one]
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,
}
