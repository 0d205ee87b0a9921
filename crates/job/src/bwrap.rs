//! The command line of bubblewrap as a job.
//!
//! What bwrap(1) does without being asked is said in the job, so that the two are equal: `docs/toml.md` has
//! the list. It must never leave an option out that it cannot say.

use crate::error::Error;
use crate::job::Job;
use crate::mount_options::MountOption;
use crate::mounted::Mounted;
use crate::namespaces::{Namespace, NestedUser, UserMap};
use crate::value::{Signal, Source, Text};
use embryo::{CapSet, Mount, UserNamespace};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What bwrap would see of whoever calls it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// The working directory.
    pub cwd: PathBuf,
    /// HOME.
    pub home: Option<PathBuf>,
    /// What it may write to of what bubblewrap covers in /proc.
    pub writable_proc: Vec<String>,
    /// The capabilities that it has, for root.
    pub capabilities: CapSet,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// The working directory or the capabilities cannot be found out.
    pub fn of_this_process() -> Result<Self, Error> {
        let cwd = std::env::current_dir();
        let capabilities = CapSet::current();
        let writable = |name: &&str| {
            let access = rustix::fs::Access::WRITE_OK;
            rustix::fs::access(Path::new("/proc").join(name), access).is_ok()
        };
        let proc = ["sys", "sysrq-trigger", "irq", "bus"].into_iter().filter(writable);
        Ok(Self {
            writable_proc: proc.map(str::to_owned).collect(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            cwd: cwd.map_err(|e| Error::io("cannot find", "the working directory", &e))?,
            home: std::env::var_os("HOME").map(PathBuf::from),
            capabilities: capabilities
                .map_err(|e| Error::io("cannot read", "the capabilities", &e))?[0],
        })
    }
}

/// Options that mount or make something, with how many values they take: their names and meanings are
/// embryo's own.
const MOUNTS: [(&str, usize); 25] = [
    ("bind", 2),
    ("bind-try", 2),
    ("ro-bind", 2),
    ("ro-bind-try", 2),
    ("dev-bind", 2),
    ("dev-bind-try", 2),
    ("bind-fd", 2),
    ("ro-bind-fd", 2),
    ("remount-ro", 1),
    ("proc", 1),
    ("dev", 1),
    ("tmpfs", 1),
    ("mqueue", 1),
    ("dir", 1),
    ("symlink", 2),
    ("file", 2),
    ("bind-data", 2),
    ("ro-bind-data", 2),
    ("overlay-src", 1),
    ("overlay", 3),
    ("tmp-overlay", 1),
    ("ro-overlay", 1),
    ("chmod", 2),
    ("perms", 1),
    ("size", 1),
];

/// Options that a job has no words for, with how many values they take, and why.
const UNSAID: [(&str, usize, &str); 13] = [
    ("lock-file", 1, "a plan takes no lock on a file"),
    (
        "sync-fd",
        1,
        "it is bubblewrap's own process that holds the descriptor; --fd grants one to the program",
    ),
    ("exec-label", 1, "a plan sets no SELinux label"),
    ("file-label", 1, "a plan sets no SELinux label"),
    ("block-fd", 1, "a plan waits for nobody: start it when it is time"),
    ("userns-block-fd", 1, "a plan waits for nobody: \"user\" in [namespaces] can have more ids"),
    ("info-fd", 1, "`embryo run --trace --json` tells of the start"),
    ("json-status-fd", 1, "`embryo run --trace --json` tells of the start"),
    ("disable-userns", 0, "a plan writes no sysctl of a namespace"),
    ("assert-userns-disabled", 0, "a plan looks at no sysctl of a namespace"),
    ("userns2", 1, "a plan joins user namespaces before all else"),
    ("pidns", 1, "a plan joins a namespace that [namespaces] names: add it there"),
    ("level-prefix", 0, "it is about bubblewrap's own messages"),
];

/// How deep options may name options.
const ARGS_MAX: usize = 9000;

/// What was read of the command line.
#[derive(Default)]
struct Read {
    mounts: Vec<MountOption>,
    unshared: BTreeSet<Namespace>,
    user: bool,
    joined_user: Option<u32>,
    share_net: bool,
    uid: Option<u32>,
    gid: Option<u32>,
    hostname: Option<OsString>,
    chdir: Option<OsString>,
    seccomp: Vec<u32>,
    seccomp_option: Option<&'static str>,
    new_session: bool,
    die_with_parent: bool,
    as_pid_1: bool,
    caps: Vec<(bool, CapSet)>,
    clearenv: bool,
    env: Vec<(OsString, Option<OsString>)>,
    argv0: Option<OsString>,
    command: Vec<OsString>,
}

impl Job {
    /// The job that equals a command line of bubblewrap. `read` is what `--args` reads from a
    /// descriptor.
    ///
    /// # Errors
    /// An option that bubblewrap does not have or a job cannot say, by its name.
    pub fn from_bwrap(
        args: impl IntoIterator<Item = OsString>,
        around: &Surroundings,
        read: &mut dyn FnMut(u32) -> Result<Vec<u8>, Error>,
    ) -> Result<Self, Error> {
        let mut line = Read::default();
        let args: Vec<OsString> = args.into_iter().collect();
        line.parse(args, read, true)?;
        line.job(around)
    }
}

impl Read {
    fn parse(
        &mut self,
        args: Vec<OsString>,
        read: &mut dyn FnMut(u32) -> Result<Vec<u8>, Error>,
        outermost: bool,
    ) -> Result<(), Error> {
        if args.len() > ARGS_MAX {
            return Err(Error::new(format!("bubblewrap takes at most {ARGS_MAX} arguments")));
        }
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(option) = arg.to_str().and_then(|text| text.strip_prefix("--")) else {
                if arg.as_bytes().starts_with(b"-") && arg.len() > 1 {
                    return Err(Error::new(format!("bubblewrap has no option {}", arg.display())));
                }
                self.command = std::iter::once(arg).chain(args).collect();
                break;
            };
            if option.is_empty() {
                self.command = args.collect();
                break;
            }
            self.option(option, &mut args, read)?;
        }
        if !outermost && !self.command.is_empty() {
            return Err(Error::new("--args: a program is not given by --args"));
        }
        Ok(())
    }

    fn option(
        &mut self,
        option: &str,
        args: &mut dyn Iterator<Item = OsString>,
        read: &mut dyn FnMut(u32) -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        let mut value =
            || args.next().ok_or_else(|| Error::new(format!("--{option} needs more values")));
        if let Some((name, count)) = MOUNTS.iter().find(|(name, _)| *name == option) {
            let values = (0..*count).map(|_| value()).collect::<Result<_, _>>()?;
            self.mounts.push(MountOption { option: name, values });
            return Ok(());
        }
        if let Some((name, _, why)) = UNSAID.iter().find(|(name, ..)| *name == option) {
            return Err(Error::new(format!("--{name} cannot be said in a job")).with_hint(*why));
        }
        use Namespace::{Cgroup, Ipc, Net, Pid, Uts};
        match option {
            "args" => {
                let fd = number(option, &value()?)?;
                let bytes = read(fd)?;
                let inner = bytes.split(|byte| *byte == 0);
                let mut inner: Vec<OsString> =
                    inner.map(|arg| OsString::from_vec(arg.to_vec())).collect();
                // Each ends with its NUL.
                inner.pop_if(|last| last.is_empty());
                self.parse(inner, read, false)?;
            }
            "unshare-all" => {
                self.user = true;
                self.unshared.extend([Ipc, Pid, Net, Uts, Cgroup]);
            }
            "share-net" => self.share_net = true,
            "unshare-user" | "unshare-user-try" => self.user = true,
            "unshare-ipc" => _ = self.unshared.insert(Ipc),
            "unshare-pid" => _ = self.unshared.insert(Pid),
            "unshare-net" => {
                self.share_net = false;
                self.unshared.insert(Net);
            }
            "unshare-uts" => _ = self.unshared.insert(Uts),
            "unshare-cgroup" | "unshare-cgroup-try" => _ = self.unshared.insert(Cgroup),
            "userns" => self.joined_user = Some(number(option, &value()?)?),
            "uid" => self.uid = Some(number(option, &value()?)?),
            "gid" => self.gid = Some(number(option, &value()?)?),
            "hostname" => self.hostname = Some(value()?),
            "chdir" => self.chdir = Some(value()?),
            "clearenv" => {
                self.clearenv = true;
                self.env.clear();
            }
            "setenv" => self.env.push((value()?, Some(value()?))),
            "unsetenv" => self.env.push((value()?, None)),
            "argv0" => self.argv0 = Some(value()?),
            "seccomp" | "add-seccomp-fd" => {
                let name = if option == "seccomp" { "seccomp" } else { "add-seccomp-fd" };
                if self.seccomp_option.is_some_and(|other| other != name) {
                    return Err(Error::new("--seccomp and --add-seccomp-fd exclude each other"));
                }
                if name == "seccomp" {
                    self.seccomp.clear();
                }
                self.seccomp_option = Some(name);
                self.seccomp.push(number(option, &value()?)?);
            }
            "new-session" => self.new_session = true,
            "die-with-parent" => self.die_with_parent = true,
            "as-pid-1" => self.as_pid_1 = true,
            "cap-add" | "cap-drop" => {
                let text = value()?;
                let text = text.to_string_lossy();
                let set = text.parse().map_err(|e| Error::new(format!("--{option}: {e}")))?;
                self.caps.push((option == "cap-add", set));
            }
            other => {
                return Err(Error::new(format!("bubblewrap has no option --{other}")));
            }
        }
        Ok(())
    }

    fn job(self, around: &Surroundings) -> Result<Job, Error> {
        let mut command = self.command.iter();
        let Some(program) = command.next() else {
            return Err(Error::new("the command line of bubblewrap has no program"));
        };
        let mut job = Job {
            program: Some(program.into()),
            args: command.map(Text::from).collect(),
            argv0: self.argv0.as_ref().map(Text::from),
            // Whatever it is called with, it sees to it that exec grants nothing.
            no_new_privs: true,
            // What an exec leaves as it is.
            keep_signal_mask: true,
            keep_ignored_signals: true,
            setsid: self.new_session,
            ..Job::default()
        };
        job.add_mount_options(&self.mounts)?;
        job.new_root.get_or_insert_default();
        self.namespaces(&mut job, around)?;
        job.mount = std::mem::take(&mut job.mount)
            .into_iter()
            .flat_map(|mounted| processes(mounted, &job.namespaces.unshare, around))
            .collect();
        self.capabilities(&mut job, around);
        self.environment(&mut job, around);
        if self.die_with_parent {
            job.pdeathsig = Some(Signal(9));
        }
        job.seccomp = self.seccomp.iter().map(|fd| Source::Fd(*fd)).collect();
        Ok(job)
    }

    fn namespaces(&self, job: &mut Job, around: &Surroundings) -> Result<(), Error> {
        let namespaces = &mut job.namespaces;
        namespaces.unshare = self.unshared.clone();
        namespaces.unshare.insert(Namespace::Mount);
        if self.share_net {
            namespaces.unshare.remove(&Namespace::Net);
        }
        let net = namespaces.unshare.contains(&Namespace::Net);
        namespaces.loopback = net;
        namespaces.hostname = self.hostname.as_ref().map(Text::from);
        let user = self.user || around.uid != 0;
        match (user, self.joined_user) {
            (true, Some(_)) if self.user => {
                return Err(Error::new("--userns and --unshare-user exclude each other"));
            }
            (_, Some(fd)) => namespaces.join_user(Source::Fd(fd)),
            (true, None) => {
                let (uid, gid) = (self.uid.unwrap_or(around.uid), self.gid.unwrap_or(around.gid));
                // Who is not root cannot mount the pseudoterminals of --dev, so it is root at first.
                let dev = self.mounts.iter().any(|mount| mount.option == "dev");
                if dev && (uid, gid) != (0, 0) {
                    namespaces.user = Some(UserMap(UserNamespace::ROOT));
                    namespaces.nested = Some(NestedUser { uid, gid });
                } else {
                    namespaces.user = Some(UserMap(UserNamespace::As { uid, gid }));
                }
            }
            (false, None) if self.uid.is_some() || self.gid.is_some() => {
                return Err(Error::new("--uid and --gid need --unshare-user or --userns"));
            }
            (false, None) => {}
        }
        if self.hostname.is_some() && !namespaces.unshare.contains(&Namespace::Uts) {
            return Err(Error::new("--hostname needs --unshare-uts"));
        }
        if self.as_pid_1 && !namespaces.unshare.contains(&Namespace::Pid) {
            return Err(Error::new("--as-pid-1 needs --unshare-pid"));
        }
        if self.as_pid_1 {
            return Err(Error::new("--as-pid-1 cannot be said in a job")
                .with_hint("a pid namespace has an init of embryo's, and the program is pid 2"));
        }
        Ok(())
    }

    /// Of an ordinary user, what was added and nothing else; of root, what it has, unless something
    /// is said.
    fn capabilities(&self, job: &mut Job, around: &Surroundings) {
        let start = if around.uid == 0 { around.capabilities } else { CapSet::NONE };
        let all = around.capabilities;
        let wanted = self.caps.iter().fold(start, |set, (add, more)| match add {
            true if *more == CapSet::ALL => all,
            true => set | *more,
            false => set - *more,
        });
        if around.uid != 0 || !self.caps.is_empty() {
            job.privileges.effective = Some(wanted);
            job.privileges.permitted = Some(wanted);
            job.privileges.inheritable = Some(wanted);
            job.privileges.ambient = Some(wanted);
        }
        if around.uid != 0 {
            job.privileges.bounding = Some(wanted);
        } else if job.namespaces.user.is_some() {
            // A user namespace gives more than bubblewrap leaves.
            job.privileges.bounding = Some(around.capabilities);
        }
    }

    /// All of the caller's, and PWD, which is where it ends up: where it was, if that is there, else
    /// at home, else at the root.
    fn environment(&self, job: &mut Job, around: &Surroundings) {
        let env = &mut job.env;
        (env.clear, env.inherit) = (self.clearenv, !self.clearenv);
        for (name, value) in &self.env {
            let name = Text::from(name);
            match value {
                Some(value) => {
                    env.unset.retain(|unset| *unset != name);
                    env.set.insert(name, value.into());
                }
                None => {
                    env.set.remove(&name);
                    env.unset.push(name);
                }
            }
        }
        let home = env.set.get(&Text::from("HOME")).map(|home| PathBuf::from(&home.0));
        let home = home.or_else(|| around.home.clone().filter(|_| !self.clearenv));
        let dir = match &self.chdir {
            Some(dir) => PathBuf::from(dir),
            None => [Some(around.cwd.clone()), home]
                .into_iter()
                .flatten()
                .find(|dir| is_seen(dir, job.mount.iter().map(|mounted| &mounted.mount)))
                .unwrap_or_else(|| PathBuf::from("/")),
        };
        job.env.unset.retain(|unset| unset.0 != *OsStr::new("PWD"));
        job.env.set.insert(Text::from("PWD"), Text::from(&dir));
        job.chdir = Some(Text::from(&dir));
    }
}

/// What --proc is: the caller's own without a pid namespace; a new one with it, in which what root could
/// change of the machine is read-only.
fn processes(
    mounted: Mounted,
    unshared: &BTreeSet<Namespace>,
    around: &Surroundings,
) -> Vec<Mounted> {
    let Mount::Proc { target, .. } = &mounted.mount else { return vec![mounted] };
    let target = target.clone();
    let first = match unshared.contains(&Namespace::Pid) {
        true => mounted,
        false => Mount::bind("/proc", &target).into(),
    };
    let covered = ["sys", "sysrq-trigger", "irq", "bus"].into_iter();
    let covered = covered.filter(|name| around.writable_proc.iter().any(|other| other == name));
    let covered = covered
        .map(|name| Mount::read_only(Path::new("/proc").join(name), target.join(name)).into());
    std::iter::once(first).chain(covered).collect()
}

/// Whether a directory will be there in the new root, as far as the mounts tell.
fn is_seen<'a>(dir: &Path, mounts: impl Iterator<Item = &'a Mount>) -> bool {
    let mut seen = dir == Path::new("/");
    for mount in mounts {
        match mount {
            Mount::Bind { source, target, .. } => {
                if let Ok(rest) = dir.strip_prefix(target) {
                    seen = if rest.as_os_str().is_empty() {
                        source.is_dir()
                    } else {
                        source.join(rest).is_dir()
                    };
                }
                seen |= target.starts_with(dir) && target != dir;
            }
            Mount::Tmpfs { target, .. }
            | Mount::Dev { target, .. }
            | Mount::Proc { target, .. } => {
                if dir.starts_with(target) {
                    seen = dir == target;
                }
                seen |= target.starts_with(dir);
            }
            Mount::Directory { target, .. } => seen |= target.starts_with(dir),
            Mount::Symlink { target, .. } | Mount::File { target, .. } => {
                seen |= target.starts_with(dir) && target != dir;
            }
            Mount::BindFd { target, .. } | Mount::Overlay { target, .. } => {
                seen |= target.starts_with(dir);
            }
            _ => {}
        }
    }
    seen
}

fn number(option: &str, text: &OsStr) -> Result<u32, Error> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::new(format!("--{option}: {text:?} is no number")))
}
