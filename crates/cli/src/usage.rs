//! What clap has to say: help on standard output, and a mistake in one line as any other failure.
//!
//! It must never exit with clap's own status: 2 is something that a program may mean.

use crate::args::{Action, ChildArgs, Cli, ConfineArgs};
use crate::failure::{FAILED, Failure};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// Parses the command line.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let beside = matches.subcommand_matches("run").and_then(plan_and_more);
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Action::Run(run) = &mut cli.action {
        run.beside = beside;
    }
    Ok(cli)
}

/// An option that describes the child beside a plan that does.
fn plan_and_more(run: &ArgMatches) -> Option<String> {
    run.value_source("plan")?;
    // Not the groups of clap: one that has further options flattened into it has no members.
    let described = ChildArgs::augment_args(clap::Command::new("run"));
    let described = ConfineArgs::augment_args(described);
    let given = |arg: &&clap::Arg| {
        run.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let given = described.get_arguments().find(given)?;
    Some(given.get_long().map_or("a program".to_owned(), |option| format!("--{option}")))
}

/// Prints it, and says what to exit with.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => failure(&error.render().to_string()).print(),
    }
    ExitCode::from(FAILED)
}

/// From clap's paragraphs to one line. They are: the error, tips, the usage, where to read more.
fn failure(text: &str) -> Failure {
    let mut message = String::new();
    let mut hints = Vec::new();
    for paragraph in text.split("\n\n") {
        let lines = || paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(first) = paragraph.strip_prefix("error: ") {
            message = first.split_whitespace().collect::<Vec<_>>().join(" ");
        } else if paragraph.trim_start().starts_with("tip:") {
            let tips = paragraph.lines().map(|line| line.trim().trim_start_matches("tip: "));
            hints.extend(tips.map(str::to_owned));
        } else if paragraph.trim_start().starts_with('[') {
            message = format!("{message} {}", lines());
        }
    }
    hints.push("--help has the details".to_owned());
    Failure::new(message).hint(hints.join("; "))
}

#[cfg(test)]
mod tests {
    use super::failure;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        crate::args::Cli::command().debug_assert();
    }

    #[test]
    fn a_mistake_is_one_line() {
        let text = "error: unexpected argument '--nise' found\n\n  tip: a similar argument exists: \
                    '--nice'\n\nUsage: embryo run PROGRAM\n\nFor more information, try '--help'.\n";
        let failure = failure(text);
        assert_eq!(failure.message(), "unexpected argument '--nise' found");
        let hint = "a similar argument exists: '--nice'; --help has the details";
        assert_eq!(failure.hint_text(), Some(hint));
    }
}
