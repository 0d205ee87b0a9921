//! A policy of system calls as data: which are let through, and what becomes of the others.
//!
//! It is compiled to a program for [`crate::Op::Seccomp`] here, in the owner; what is installed in the
//! child is checked like any other program. It must never let a call through whose name it does not know.

mod compile;
mod names;
mod profile;

use crate::errno_name;
use std::fmt;
use std::str::FromStr;

pub use compile::{Compiled, PolicyError};

/// Which system calls an image may make.
///
/// # Which rule counts
/// Of the rules that fit a call the one with the strongest action counts: `kill-process`, `kill-thread`,
/// `trap`, an errno, `notify`, `log`, `allow`. Of several errnos it is the first in the order of the
/// rules. Where no rule fits, the default counts. That is how the kernel judges between several
/// filters, too, so a policy may be split into two, and their order does not matter.
///
/// # What is always refused
/// Calls of another architecture than it was compiled for end the process. On x86_64 those of x32 do not
/// exist (ENOSYS).
///
/// ```
/// use embryo::{Action, Policy};
/// let mut policy = Policy::profile("default").expect("there is one");
/// policy.deny(["chmod", "fchmod", "fchmodat", "fchmodat2"], Action::Errno(1));
/// let filter = policy.compile(embryo::Architecture::HERE)?;
/// # let _ = filter;
/// # Ok::<(), embryo::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", deny_unknown_fields)
)]
pub struct Policy {
    /// What becomes of a call that no rule fits.
    pub default: Action,
    /// The architectures that it is written for; none says all.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub architectures: Vec<Architecture>,
    /// The rules.
    #[cfg_attr(feature = "serde", serde(default))]
    pub rules: Vec<Rule>,
}

/// Some calls, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", deny_unknown_fields)
)]
pub struct Rule {
    /// What becomes of them.
    pub action: Action,
    /// The names of the calls, as in syscalls(2).
    pub calls: Vec<String>,
    /// What their arguments have to be; all of it, for the rule to fit.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub when: Vec<Condition>,
    /// Calls that this architecture does not have, but another has, are passed over. Otherwise they are
    /// an error.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub skip_missing: bool,
    /// Why, for whoever reads it.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub why: Option<String>,
}

/// What an argument has to be.
///
/// The kernel sees arguments as they are in registers, so what they point to cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", deny_unknown_fields)
)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Compare::is_equal"))]
    pub compare: Compare,
    /// With what.
    pub value: u64,
    /// Only these bits of it; for [`Compare::Equal`] alone.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub mask: Option<u64>,
    /// Only its lower half: for what the kernel reads as an `int`, whatever the upper half of its
    /// register holds.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub int: bool,
}

/// How an argument is compared with a value, both without a sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Compare {
    /// It is the value.
    #[default]
    Equal,
    /// It is not.
    NotEqual,
    /// It is less.
    Less,
    /// It is less, or the value.
    LessOrEqual,
    /// It is greater.
    Greater,
    /// It is greater, or the value.
    GreaterOrEqual,
}

impl Compare {
    /// Whether it is the default.
    #[cfg_attr(not(feature = "serde"), expect(dead_code, reason = "serde asks"))]
    fn is_equal(&self) -> bool {
        *self == Compare::Equal
    }
}

/// What becomes of a call. As text: `allow`, `log`, `notify`, `trap`, `kill-thread`, `kill-process`, or
/// the name of an errno, `EPERM`, or its number, `errno-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(into = "String", try_from = "String")
)]
pub enum Action {
    /// The process ends, as by SIGSYS. Since Linux 4.14.
    KillProcess,
    /// The thread ends.
    KillThread,
    /// The thread gets SIGSYS, which it may handle.
    Trap,
    /// It fails with this errno, 1 to 4095.
    Errno(u16),
    /// Whoever has the filter's listener is asked; see [`crate::Listener`].
    Notify,
    /// It is made, and logged. Since Linux 4.14.
    Log,
    /// It is made.
    Allow,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::KillProcess => "kill-process",
            Action::KillThread => "kill-thread",
            Action::Trap => "trap",
            Action::Notify => "notify",
            Action::Log => "log",
            Action::Allow => "allow",
            Action::Errno(number) => match errno_name((*number).into()) {
                Some(name) => name,
                None => return write!(f, "errno-{number}"),
            },
        })
    }
}

/// That a text names no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no action: allow, log, notify, trap, kill-thread, kill-process, or an errno as EPERM or \
     errno-1"
)]
pub struct UnknownAction(String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let unknown = || UnknownAction(text.to_owned());
        Ok(match text {
            "kill-process" => Action::KillProcess,
            "kill-thread" => Action::KillThread,
            "trap" => Action::Trap,
            "notify" => Action::Notify,
            "log" => Action::Log,
            "allow" => Action::Allow,
            _ => {
                let number = match text.strip_prefix("errno-") {
                    Some(number) => number.parse().ok(),
                    None => (1..=4095u16).find(|n| errno_name((*n).into()) == Some(text)),
                };
                let sound = |number: &u16| (1..=4095).contains(number);
                Action::Errno(number.filter(sound).ok_or_else(unknown)?)
            }
        })
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.to_string()
    }
}

impl TryFrom<String> for Action {
    type Error = UnknownAction;

    fn try_from(text: String) -> Result<Self, UnknownAction> {
        text.parse()
    }
}

/// Whose system calls a filter judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum Architecture {
    /// x86_64, without x32.
    #[cfg_attr(feature = "serde", serde(rename = "x86_64"))]
    X86_64,
    /// aarch64.
    Aarch64,
}

impl Architecture {
    /// The one that this program runs on.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: Self = Architecture::X86_64;
    /// The one that this program runs on.
    #[cfg(target_arch = "aarch64")]
    pub const HERE: Self = Architecture::Aarch64;

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "aarch64",
        }
    }

    /// `AUDIT_ARCH_*`.
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            Architecture::X86_64 => 0xc000_003e,
            Architecture::Aarch64 => 0xc000_00b7,
        }
    }

    /// The number of a call here; `None` if it does not have it.
    #[must_use]
    pub fn number(self, call: &str) -> Option<u32> {
        names::number(self, call)
    }

    /// The name of the call with this number.
    #[must_use]
    pub fn call(self, number: u32) -> Option<&'static str> {
        names::name(self, number)
    }
}

impl Policy {
    /// One that does this to every call.
    #[must_use]
    pub fn new(default: Action) -> Self {
        Self { default, architectures: Vec::new(), rules: Vec::new() }
    }

    /// The policy of this name, which is one of [`Policy::PROFILES`].
    #[must_use]
    pub fn profile(name: &str) -> Option<Self> {
        match name {
            "default" => Some(profile::default()),
            _ => None,
        }
    }

    /// The names of policies that come with this library.
    pub const PROFILES: [&'static str; 1] = ["default"];

    /// Lets these calls through.
    pub fn allow<S: Into<String>>(&mut self, calls: impl IntoIterator<Item = S>) -> &mut Self {
        self.rule(Rule::new(Action::Allow, calls))
    }

    /// Does this to these calls.
    pub fn deny<S: Into<String>>(
        &mut self,
        calls: impl IntoIterator<Item = S>,
        action: Action,
    ) -> &mut Self {
        self.rule(Rule::new(action, calls))
    }

    /// Asks whoever has the filter's listener about these calls.
    pub fn notify<S: Into<String>>(&mut self, calls: impl IntoIterator<Item = S>) -> &mut Self {
        self.rule(Rule::new(Action::Notify, calls))
    }

    /// Adds a rule.
    pub fn rule(&mut self, rule: Rule) -> &mut Self {
        self.rules.push(rule);
        self
    }

    /// Whether a call may be one that a listener is asked about.
    #[must_use]
    pub fn notifies(&self) -> bool {
        let notify = |action: Action| action == Action::Notify;
        notify(self.default) || self.rules.iter().any(|rule| notify(rule.action))
    }

    /// The program that does this.
    ///
    /// # Errors
    /// [`PolicyError`], with the name at fault and the nearest one that there is.
    pub fn compile(&self, architecture: Architecture) -> Result<Compiled, PolicyError> {
        compile::compile(self, architecture)
    }
}

impl Rule {
    /// For these calls, whatever their arguments are.
    pub fn new<S: Into<String>>(action: Action, calls: impl IntoIterator<Item = S>) -> Self {
        let calls = calls.into_iter().map(Into::into).collect();
        Self { action, calls, when: Vec::new(), skip_missing: false, why: None }
    }

    /// Only if this holds as well.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.when.push(condition);
        self
    }

    /// Passes over calls that only another architecture has.
    #[must_use]
    pub fn skip_missing(self) -> Self {
        Self { skip_missing: true, ..self }
    }

    /// Says why.
    #[must_use]
    pub fn why(self, why: &str) -> Self {
        Self { why: Some(why.to_owned()), ..self }
    }
}

impl Condition {
    /// That the argument is this.
    #[must_use]
    pub fn equal(argument: u8, value: u64) -> Self {
        Self { argument, compare: Compare::Equal, value, mask: None, int: false }
    }

    /// That it compares so.
    #[must_use]
    pub fn compare(self, compare: Compare) -> Self {
        Self { compare, ..self }
    }

    /// Of these bits of it alone.
    #[must_use]
    pub fn mask(self, mask: u64) -> Self {
        Self { mask: Some(mask), ..self }
    }

    /// Of its lower half alone.
    #[must_use]
    pub fn int(self) -> Self {
        Self { int: true, ..self }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.compare {
            Compare::Equal => "==",
            Compare::NotEqual => "!=",
            Compare::Less => "<",
            Compare::LessOrEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterOrEqual => ">=",
        };
        write!(f, "{}arg{}", if self.int { "(int) " } else { "" }, self.argument)?;
        if let Some(mask) = self.mask {
            write!(f, " & {mask:#x}")?;
        }
        write!(f, " {sign} {:#x}", self.value)
    }
}

impl fmt::Display for Policy {
    /// For people: one paragraph a rule, the reason in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "default {}", self.default)?;
        for architecture in &self.architectures {
            writeln!(f, "architecture {}", architecture.name())?;
        }
        for rule in &self.rules {
            writeln!(f)?;
            if let Some(why) = &rule.why {
                writeln!(f, "# {why}")?;
            }
            write!(f, "{}", rule.action)?;
            for (index, condition) in rule.when.iter().enumerate() {
                write!(f, " {} {condition}", if index == 0 { "if" } else { "and" })?;
            }
            writeln!(f)?;
            let mut column = 0;
            for call in &rule.calls {
                if column > 0 && column + call.len() > 96 {
                    writeln!(f)?;
                    column = 0;
                }
                let space = if column == 0 { "    " } else { " " };
                write!(f, "{space}{call}")?;
                column += space.len() + call.len();
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
