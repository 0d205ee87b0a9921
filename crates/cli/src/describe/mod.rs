//! From options to a job: each option is the key of its name.
//!
//! On top of a job from a file, an option that has one value takes the place of the file's, and one that
//! may be repeated is added. It must never say what an option does; the job does that.

mod cgroup;
mod confine;
mod namespace;
mod privilege;

use crate::args::{ChildArgs, RunArgs};
use crate::failure::Failure;
use crate::value::{SignalSet, Variable};
use embryo_job::value::{Ctty, Nice, OomScoreAdj, Span, Text, Umask};
use embryo_job::{Error, Job, MountOption, Namespace};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Says in `job` what the options say.
pub(crate) fn overlay(run: &RunArgs, job: &mut Job) -> Result<(), Failure> {
    let args = &run.child;
    program(args, job);
    descriptors(args, job);
    environment(args, job);
    directories(args, job);
    session(args, job);
    resources(args, job);
    credentials(args, job);
    signals(args, job);
    mounts(args, job)?;
    namespace::overlay(args, job)?;
    privilege::overlay(args, job)?;
    cgroup::overlay(args, job)?;
    confine::overlay(&run.confine, job)
}

/// Puts what was given in the place of what was there.
fn set<T, U: Into<T>>(to: &mut Option<T>, given: Option<U>) {
    if let Some(given) = given {
        *to = Some(given.into());
    }
}

/// Behind a job's program, words are further arguments.
fn program(args: &ChildArgs, job: &mut Job) {
    let mut words = args.command.iter().map(Text::from);
    if job.program.is_none() {
        job.program = words.next();
    }
    job.args.extend(words);
    set(&mut job.argv0, args.argv0.as_ref());
    set(&mut job.path, args.path.as_ref());
    set(&mut job.exec_fd, args.exec_fd.clone());
    job.shell_fallback |= args.shell_fallback;
    job.keep_image_open |= args.keep_image_open;
    job.load |= args.load;
}

fn descriptors(args: &ChildArgs, job: &mut Job) {
    set(&mut job.stdin, args.stdin.clone());
    set(&mut job.stdout, args.stdout.clone());
    set(&mut job.stderr, args.stderr.clone());
    for null in &args.null {
        job.fd.remove(&null.fd);
        job.null.retain(|other| other.fd != null.fd);
        job.null.push(*null);
    }
    for grant in &args.fd {
        job.null.retain(|null| null.fd != grant.fd);
        job.fd.insert(grant.fd, grant.source.clone());
    }
}

fn environment(args: &ChildArgs, job: &mut Job) {
    let env = &mut job.env;
    if args.clearenv {
        (env.clear, env.inherit) = (true, false);
    }
    if args.inherit_env {
        (env.clear, env.inherit) = (false, true);
    }
    for name in &args.unsetenv {
        env.set.remove(&Text::from(name));
        env.keep.retain(|kept| kept.0 != *name);
        env.unset.push(name.into());
    }
    for variable in &args.env {
        match variable {
            Variable::Set(name, value) => {
                env.set.insert(name.into(), value.into());
            }
            Variable::Pass(name) => {
                env.set.remove(&Text::from(name));
                env.keep.push(name.into());
            }
            Variable::PassPrefix(prefix) => {
                let mut pattern = prefix.clone();
                pattern.push("*");
                env.set.retain(|name, _| !name.as_bytes().starts_with(prefix.as_bytes()));
                env.keep.push(pattern.into());
            }
        }
    }
}

fn directories(args: &ChildArgs, job: &mut Job) {
    if args.chdir.is_some() || args.chdir_fd.is_some() {
        (job.chdir, job.chdir_fd) = (args.chdir.as_ref().map(Text::from), args.chdir_fd);
    }
    if args.root.is_some() || args.root_fd.is_some() {
        (job.root, job.root_fd) = (args.root.as_ref().map(Text::from), args.root_fd);
    }
    set(&mut job.umask, args.umask.map(Umask));
}

/// Session, process group and terminal: those of the options exclude those of the file.
fn session(args: &ChildArgs, job: &mut Job) {
    if args.setsid || args.ctty.is_some() || args.pgid.is_some() {
        job.setsid = args.setsid;
        job.pgid = args.pgid;
        job.ctty = args.ctty.as_ref().map(|tty| tty.clone().map_or(Ctty::Own, Ctty::Path));
    }
    job.foreground |= args.foreground;
}

fn resources(args: &ChildArgs, job: &mut Job) {
    job.rlimit.extend(args.rlimit.iter().map(|limit| (limit.resource, limit.limits)));
    set(&mut job.nice, args.nice.map(Nice));
    if args.sched.is_some() || args.deadline.is_some() {
        (job.sched, job.deadline) = (args.sched, args.deadline);
    }
    job.reset_on_fork |= args.reset_on_fork;
    set(&mut job.cpus, args.cpus.clone());
    set(&mut job.ioprio, args.ioprio);
    set(&mut job.oom_score_adj, args.oom_score_adj.map(OomScoreAdj));
    set(&mut job.timer_slack, args.timer_slack.map(Span));
}

fn credentials(args: &ChildArgs, job: &mut Job) {
    if let Some(user) = &args.user {
        job.user = Some(user.clone());
        (job.uid, job.gid) = (None, None);
    }
    if args.uid.is_some() || args.gid.is_some() {
        job.user = None;
    }
    set(&mut job.uid, args.uid.clone());
    set(&mut job.gid, args.gid.clone());
    if args.keep_groups {
        (job.keep_groups, job.groups) = (true, None);
    }
    if args.groups.is_some() {
        (job.keep_groups, job.groups) = (false, args.groups.clone());
    }
    job.no_new_privs |= args.no_new_privs;
    job.no_aslr |= args.no_aslr;
    set(&mut job.personality, args.personality);
    job.subreaper |= args.subreaper;
}

fn signals(args: &ChildArgs, job: &mut Job) {
    set(&mut job.pdeathsig, args.pdeathsig);
    if args.signal_mask.is_some() || args.keep_signal_mask {
        (job.signal_mask, job.keep_signal_mask) = (args.signal_mask, args.keep_signal_mask);
    }
    let union = |sets: &[SignalSet]| {
        let all = sets.iter().fold(0, |all, set| all | set.0);
        (!sets.is_empty()).then_some(SignalSet(all))
    };
    if args.keep_ignored_signals || !args.ignore_signal.is_empty() {
        job.keep_ignored_signals = args.keep_ignored_signals;
        job.ignore_signal = union(&args.ignore_signal);
        job.default_signal = union(&args.default_signal);
    }
}

/// They are mounted after those of the file.
fn mounts(args: &ChildArgs, job: &mut Job) -> Result<(), Error> {
    let own_pids = namespace::has_own_pids(args, job);
    let option = |(option, values): &(&'static str, Vec<OsString>)| match (*option, &values[..]) {
        // It is the caller's processes that are to be seen, and only root may mount those anew.
        ("proc", [target]) if !own_pids => {
            MountOption { option: "bind", values: vec!["/proc".into(), target.clone()] }
        }
        _ => MountOption { option, values: Vec::clone(values) },
    };
    let options: Vec<MountOption> = args.mounts.0.iter().map(option).collect();
    if !options.is_empty() && job.sandbox.is_none() {
        job.namespaces.unshare.insert(Namespace::Mount);
    }
    job.add_mount_options(&options)
}
