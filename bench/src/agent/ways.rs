//! What is compared with an agent's child, each told beforehand everything that it can be told.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use embryo::agent::Agent;
use embryo::{Command, Error, Hatchery, Plan, Policy};

use super::daemon::{EMBRYOS, NOBODY, PROFILE, Place};
use crate::child::ChildSpec;
use crate::contender::{Contender, Kind, Running, found, spawned, started};
use crate::stdio::WriteEnds;

fn spec(place: &Place) -> io::Result<ChildSpec> {
    ChildSpec::timed(&place.child())
}

/// A child that is what its creator is.
pub(super) fn posix_spawn(place: &Place) -> io::Result<Box<dyn Contender>> {
    Kind::PosixSpawn.prepare(&spec(place)?)
}

/// The same by embryo.
pub(super) fn embryo_plan(place: &Place) -> io::Result<Box<dyn Contender>> {
    Kind::EmbryoPlan.prepare(&spec(place)?)
}

/// What an agent makes of the plan under the mandate that forces something.
pub(super) fn same_plan(place: &Place) -> io::Result<Box<dyn Contender>> {
    let (plan, grants) = confined(place)?;
    Ok(spawned(plan, grants))
}

/// That, from a hatchery as an agent has one.
pub(super) fn same_hatched(place: &Place) -> io::Result<Box<dyn Contender>> {
    let hatchery = Hatchery::builder().size(EMBRYOS).authority_is_fixed(true).build()?;
    let (plan, grants) = confined(place)?;
    Ok(Box::new(Heard { plan, grants, by: By::Hatchery(hatchery) }))
}

/// A child of an agent's, whose image the plan names by its path.
pub(super) fn agent(place: &Place, agent: Agent) -> io::Result<Box<dyn Contender>> {
    let (plan, grants) = plain(place)?;
    Ok(Box::new(Heard { plan, grants, by: By::Agent(agent) }))
}

/// The same, with the image granted.
pub(super) fn agent_digest(place: &Place, agent: Agent) -> io::Result<Box<dyn Contender>> {
    let spec = spec(place)?;
    let image = File::open(place.child())?;
    let mut command = Command::from_fd(image, arg0(&spec));
    let (plan, grants) = with_environment(&mut command, &spec).plan()?;
    Ok(Box::new(Heard { plan, grants, by: By::Agent(agent) }))
}

/// What a client sends to an agent: nothing of its uid, nothing of what is forced.
pub(super) fn plain(place: &Place) -> io::Result<(Plan, Vec<OwnedFd>)> {
    Ok(described(place)?.plan()?)
}

/// A question whose answer needs no child.
pub(super) fn ask(agent: &Agent) -> io::Result<()> {
    const NOBODYS: u64 = u64::MAX;
    match agent.kill_child(NOBODYS) {
        Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Err(io::Error::other("it has killed a child that there is not")),
    }
}

/// sudo(8), if it asks nothing.
pub(super) fn sudo(place: &Place) -> io::Result<Box<dyn Contender>> {
    let sudo = found("sudo", "sudo is not installed")?;
    let user = format!("#{NOBODY}");
    program(&sudo, &["-n", "-u", &user, "--"], place)
}

/// systemd-run(1), if there is a systemd to ask.
pub(super) fn systemd_run(place: &Place) -> io::Result<Box<dyn Contender>> {
    let systemd_run = found("systemd-run", "systemd-run is not installed")?;
    // sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no systemd runs here"));
    }
    let uid = format!("--uid={NOBODY}");
    let mut args = vec!["--quiet", "--wait", "--collect", "--pipe", &uid, "--property"];
    args.extend(["NoNewPrivileges=yes", "--property", "SystemCallFilter=@system-service", "--"]);
    program(&systemd_run, &args, place)
}

fn program(path: &Path, args: &[&str], place: &Place) -> io::Result<Box<dyn Contender>> {
    let mut spec = ChildSpec::timed(path)?;
    let name = path.file_name().unwrap_or_default();
    let child = place.child();
    let strings = args.iter().map(OsStr::new).chain([child.as_os_str()]);
    let strings = std::iter::once(name).chain(strings);
    let strings = strings.map(|string| CString::new(string.as_bytes()));
    spec.argv = strings.collect::<Result<_, _>>()?;
    Kind::PosixSpawn.prepare(&spec)
}

fn described(place: &Place) -> io::Result<Command> {
    let spec = spec(place)?;
    let mut command = Command::new(place.child());
    command.arg0(arg0(&spec));
    with_environment(&mut command, &spec);
    Ok(command)
}

fn arg0(spec: &ChildSpec) -> &OsStr {
    OsStr::from_bytes(spec.argv.first().map_or(&[], |name| name.to_bytes()))
}

fn with_environment<'a>(command: &'a mut Command, spec: &ChildSpec) -> &'a mut Command {
    command.env_clear();
    for variable in &spec.envp {
        let mut halves = variable.to_bytes().splitn(2, |byte| *byte == b'=');
        if let (Some(name), Some(value)) = (halves.next(), halves.next()) {
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
    }
    command
}

/// What the mandate forces, and what every child of an agent's gets.
fn confined(place: &Place) -> io::Result<(Plan, Vec<OwnedFd>)> {
    let mut command = described(place)?;
    let policy = Policy::profile(PROFILE).ok_or_else(|| io::Error::other("no such profile"))?;
    command.uid(NOBODY).gid(NOBODY).groups(&[]).seccomp_policy(&policy)?;
    command.setsid(true).umask(0o022).current_dir("/");
    Ok(command.plan()?)
}

/// Who is asked for a child, and says when it has started.
enum By {
    Agent(Agent),
    Hatchery(Hatchery),
}

/// A plan with what its slots stand for, and whoever starts it.
struct Heard {
    plan: Plan,
    grants: Vec<OwnedFd>,
    by: By,
}

impl Contender for Heard {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        match pipes {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn launch(&mut self) -> io::Result<Running> {
        let grants: Vec<BorrowedFd<'_>> = self.grants.iter().map(AsFd::as_fd).collect();
        let process = match &self.by {
            By::Agent(agent) => agent.spawn(&self.plan, &grants)?,
            By::Hatchery(hatchery) => hatchery.spawn(&self.plan, &grants)?.wait()?,
        };
        Ok(started(process))
    }
}
