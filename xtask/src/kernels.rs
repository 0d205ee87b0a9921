//! Other kernels: runs a program in a QEMU guest under any of Debian's kernels, with the files it
//! needs and no others.

mod arch;
mod archive;
mod build;
mod cache;
mod cpio;
mod error;
mod initramfs;
mod kernel;
mod machine;
mod module;
mod program;
mod tree;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use arch::Arch;
pub(crate) use cache::Cache;
pub(crate) use error::{Error, Result};
pub(crate) use kernel::{Kernel, Selector};
pub(crate) use machine::Outcome;

/// What `cargo xtask` exits with when a program could not be run to its end.
const NOT_RUN: u8 = 125;

/// Run a program under other kernels, in QEMU
///
/// Runs PROGRAM, with the shared libraries it needs, as the only service of a guest, for each
/// kernel in turn. Kernels are Debian's, fetched with apt from the mirror it is set up with, and
/// kept in the build directory.
///
/// A file has the same path in the guest as here. There, the program is root in `/` on a tmpfs,
/// with /proc, /sys, /dev, /dev/pts, /dev/shm, /tmp and cgroup2 mounted, loopback up, nothing on
/// its standard input, and its output copied to ours. Exits with the program's status (the first
/// that is not 0), or 125 if a program could not be run to its end.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which kernels: a series, `newest`, `all`, or the path of a kernel image
    #[arg(
        long,
        short,
        value_name = "KERNEL",
        value_delimiter = ',',
        default_value = "5.10,6.1,6.12,newest"
    )]
    kernel: Vec<Selector>,
    /// The guest's architecture
    #[arg(long, value_enum, default_value_t = Arch::HOST)]
    arch: Arch,
    /// A file or directory that the program needs; a bare name is a command in PATH
    #[arg(long, short, value_name = "PATH")]
    file: Vec<OsString>,
    /// NAME=VALUE for the program's environment
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// A kernel module to load first, with those it depends on
    #[arg(long, short, value_name = "NAME")]
    module: Vec<String>,
    /// How long one boot and the program may take together
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// The guest's memory
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Let KVM run the guest; without, QEMU's emulation does, which works everywhere
    #[arg(long)]
    kvm: bool,
    /// Fetch the newest builds even where there are older ones at hand
    #[arg(long)]
    refresh: bool,
    /// Show what the kernel printed
    #[arg(long)]
    console: bool,
    /// List the kernels that there are, and run nothing
    #[arg(long)]
    list: bool,
    /// The program and its arguments
    #[arg(last = true, required_unless_present = "list", value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// One program to run in a guest.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) arch: Arch,
    pub(crate) argv: Vec<OsString>,
    /// What the guest must have beside the program and its libraries.
    pub(crate) files: Vec<PathBuf>,
    /// `NAME=VALUE`; a later one wins.
    pub(crate) env: Vec<OsString>,
    pub(crate) modules: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) memory_mib: u32,
    pub(crate) kvm: bool,
}

impl Job {
    /// `argv` with the files it needs, and everything else as the command line has it by default.
    pub(crate) fn new(argv: &[OsString], files: &[PathBuf]) -> Self {
        Self {
            arch: Arch::HOST,
            argv: argv.to_vec(),
            files: files.to_vec(),
            env: Vec::new(),
            modules: Vec::new(),
            timeout: Duration::from_secs(120),
            memory_mib: 1024,
            kvm: false,
        }
    }
}

/// Runs the job's program under one kernel, copying its output to `output` as it comes.
pub(crate) fn run(kernel: &Kernel, job: &Job, output: &mut (dyn Write + Send)) -> Result<Outcome> {
    let scratch = tempfile::tempdir().map_err(Error::at(&std::env::temp_dir()))?;
    let initramfs = scratch.path().join("initramfs");
    let mut argv = job.argv.clone();
    let missing = || Error::NoProgram(String::new());
    let program = tree::find(argv.first().ok_or_else(missing)?)?;
    argv[0] = program.clone().into();

    let mut tree = tree::Tree::new(job.arch)?;
    tree.add(&program)?;
    job.files.iter().try_for_each(|file| tree.add(file))?;
    initramfs::Contents {
        tree: &tree,
        argv: &argv,
        env: &environment(&job.env),
        modules: &module::load_order(kernel, &job.modules)?,
        init: &initramfs::init(scratch.path(), job.arch)?,
    }
    .write(&initramfs)?;

    machine::Machine {
        arch: job.arch,
        image: &kernel.image,
        initramfs: &initramfs,
        kvm: job.kvm,
        memory_mib: job.memory_mib,
        timeout: job.timeout,
        scratch: scratch.path(),
    }
    .run(output)
}

/// A service's environment, and what was asked for.
fn environment(asked: &[OsString]) -> Vec<OsString> {
    let name = |variable: &OsString| {
        let text = variable.to_string_lossy();
        text.split_once('=').map_or(text.clone().into_owned(), |(name, _)| name.into())
    };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut all: Vec<OsString> = vec![path.into(), "HOME=/root".into()];
    for variable in asked {
        all.retain(|other| name(other) != name(variable));
        all.push(variable.clone());
    }
    all
}

/// `cargo xtask kernels`
pub(crate) fn command(args: &Args) -> ExitCode {
    let ended = if args.list { list(args).map(|()| 0) } else { run_all(args) };
    let code = ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        NOT_RUN
    });
    ExitCode::from(code)
}

fn list(args: &Args) -> Result<()> {
    let cache = Cache::open(args.arch, args.refresh)?;
    for (series, builds) in cache.builds()? {
        let newest = builds.first().map_or("", |build| &build.release);
        match cache.at_hand(*series) {
            Some(kernel) => println!("{series}\t{newest}\tat hand: {}", kernel.name),
            None => println!("{series}\t{newest}"),
        }
    }
    Ok(())
}

fn run_all(args: &Args) -> Result<u8> {
    let files = args.file.iter().map(tree::find).collect::<Result<Vec<_>>>()?;
    let mut job = Job::new(&args.command, &files);
    job.arch = args.arch;
    job.env.clone_from(&args.env);
    job.modules.clone_from(&args.module);
    job.timeout = Duration::from_secs(args.timeout);
    job.memory_mib = args.memory;
    job.kvm = args.kvm;

    let kernels = Cache::open(args.arch, args.refresh)?.kernels(&args.kernel)?;
    let mut code = 0;
    for kernel in &kernels {
        eprintln!("== {}", kernel.name);
        let one = match run(kernel, &job, &mut std::io::stdout()) {
            Ok(outcome) => {
                report(&outcome, args.console);
                outcome.status.code()
            }
            Err(error) => {
                eprintln!("error: {}: {error}", kernel.name);
                NOT_RUN
            }
        };
        code = if code == 0 { one } else { code };
    }
    Ok(code)
}

fn report(outcome: &Outcome, console: bool) {
    let Outcome { status, release, boot, total, .. } = outcome;
    if console {
        eprintln!("{}", outcome.console.trim_end());
    }
    let (boot, total) = (boot.as_secs_f32(), total.as_secs_f32());
    eprintln!("== {release}: {status} (booted in {boot:.1} s, {total:.1} s in all)");
}
