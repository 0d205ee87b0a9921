//! The `embryo` command.
//!
//! It is a user of the library like any other: whatever it can do, a program can do with
//! [`embryo::Command`]. It must never make a process by other means.
#![forbid(unsafe_code)]

mod agent;
mod args;
mod convert;
mod describe;
mod ending;
mod examine;
mod failure;
mod generate;
mod job;
mod launch;
mod output;
mod policies;
mod pty;
mod run;
mod saved;
mod supervise;
mod terminal;
mod usage;
mod value;
mod watch;

use args::Action;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    if embryo_agent::files::digest::is_copier() {
        embryo_agent::files::digest::copier_main();
    }
    // The standard library ignores SIGPIPE before main, which would make writing to a pager that
    // was left an error; what is ignored here also decides what the child may keep ignored.
    let _ = embryo_syscall::set_disposition(watch::SIGPIPE, embryo_syscall::Disposition::Default);
    let cli = match usage::parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let json = matches!(&cli.action, Action::Run(args) if args.json);
    let done = match cli.action {
        Action::Run(args) => run::run(&args),
        Action::Explain(args) => examine::explain(&args),
        Action::Check(args) => examine::check(&args),
        Action::Convert(args) => convert::convert(&args),
        Action::Schema => convert::schema(),
        Action::Import(args) => convert::import(&args),
        Action::Doctor(args) => examine::doctor(&args),
        Action::Seccomp(args) => policies::run(&args.action),
        Action::Agent(args) => agent::agent(&args.action),
        Action::Completions(args) => generate::completions(args.shell),
        Action::Generate(args) => generate::generate(&args.dir),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => report(&failure, json),
    }
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    match (failure.is_reported(), json) {
        (true, _) => {}
        (false, true) => output::json_failure(failure),
        (false, false) => failure.print(),
    }
    ExitCode::from(failure.status())
}
