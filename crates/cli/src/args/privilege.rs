//! Options on capabilities and what else a program may do, named as in setpriv(1), bubblewrap and
//! numactl(8).

use clap::parser::ArgMatches;
use clap::{Arg, ArgAction, Args, Command, Error, FromArgMatches};

const HEADING: &str = "Credentials and privileges";

/// What the program may do besides its ids.
#[derive(Debug, clap::Args)]
pub(crate) struct PrivilegeArgs {
    #[command(flatten)]
    pub(crate) caps: CapEdits,

    /// Capabilities that no exec can give more than: +NAME and -NAME change the caller's, +all and -all
    /// too
    ///
    /// Without a sign they are all there is to be. With commas; the same for the two options below.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, help_heading = HEADING)]
    pub(crate) bounding_set: Option<String>,

    /// Capabilities that an exec may pass on
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, help_heading = HEADING)]
    pub(crate) inh_caps: Option<String>,

    /// Capabilities that the program has although it is not root
    ///
    /// They are kept across a change of the user and made inheritable, which they have to be.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, help_heading = HEADING)]
    pub(crate) ambient_caps: Option<String>,

    /// Securebits flags: noroot, no_setuid_fixup, no_cap_ambient_raise, each with _locked, and
    /// keep_caps_locked
    ///
    /// +NAME and -NAME change the caller's; without a sign they are all there is to be.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, help_heading = HEADING)]
    pub(crate) securebits: Option<String>,

    /// A new session keyring, or the one called NAME
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        help_heading = HEADING
    )]
    pub(crate) new_session_keyring: Option<Option<String>>,

    /// Memory is never writable and executable, at once or one after the other
    #[arg(long, conflicts_with = "load", help_heading = HEADING)]
    pub(crate) mdwe: bool,

    /// No transparent huge pages, or none where the program does not ask for them
    #[arg(
        long,
        value_name = "except-advised",
        num_args = 0..=1,
        require_equals = true,
        value_parser = ["except-advised"],
        help_heading = "Resources"
    )]
    pub(crate) no_thp: Option<Option<String>>,

    /// Nobody else runs on the same core at the same time
    #[arg(long, help_heading = "Resources")]
    pub(crate) core_sched: bool,

    /// Where memory comes from: default, local, or preferred, preferred-many, bind, interleave or
    /// weighted-interleave with nodes such as 0,2-3
    #[arg(long, value_name = "MODE[:NODES]", help_heading = "Resources")]
    pub(crate) mempolicy: Option<crate::value::MemoryPolicy>,
}

/// `--cap-add` and `--cap-drop`, in the order in which they were given: whether it adds, and what.
#[derive(Clone, Debug, Default)]
pub(crate) struct CapEdits(pub(crate) Vec<(bool, String)>);

const ADD: &str = "cap_add";
const DROP: &str = "cap_drop";

impl Args for CapEdits {
    fn augment_args(command: Command) -> Command {
        let arg = |id: &'static str, long: &'static str| {
            Arg::new(id)
                .long(long)
                .value_name("CAP")
                .action(ArgAction::Append)
                .help_heading(HEADING)
        };
        command
            .arg(
                arg(ADD, "cap-add")
                    .help("Give the program this capability; may be repeated")
                    .long_help(
                        "Give the program this capability, or several with commas, or ALL that embryo \
                         has. May be repeated: together with --cap-drop, in the order given, it says \
                         which capabilities the program has, whoever it runs as. Root begins with all \
                         that embryo has, another user with none. Nothing else is left in the bounding \
                         set.",
                    ),
            )
            .arg(
                arg(DROP, "cap-drop")
                    .help("Take this capability from the program; may be repeated")
                    .long_help(
                        "Take this capability from the program, or several with commas, or ALL. See \
                         --cap-add.",
                    ),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CapEdits {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut edits = Vec::new();
        for (adds, id) in [(true, ADD), (false, DROP)] {
            let at = matches.indices_of(id).into_iter().flatten();
            let names = matches.get_many::<String>(id).into_iter().flatten();
            edits.extend(at.zip(names).map(|(at, name)| (at, (adds, name.clone()))));
        }
        edits.sort_unstable_by_key(|(at, _)| *at);
        Ok(Self(edits.into_iter().map(|(_, edit)| edit).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
