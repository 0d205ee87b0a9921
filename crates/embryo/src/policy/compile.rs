//! From a policy to a program: a search for the call's number, by halves, and at its end an answer, or
//! what looks at the arguments of that call.
//!
//! The kernel walks a program once for each number there is when it is installed, to learn which calls need
//! no look at their arguments, and again at each call that does; so what counts is how many
//! instructions lie on the way, and a list of all calls is as long for the last as it is long.
//!
//! Arguments are looked at by programs of seccompiler, which knows one action for what fits and one for what
//! does not. Each action gets a program of its own, strongest first. Two answers are written down by it as
//! marks, answers that no policy can ask for: that nothing fitted, which becomes a jump to the next program,
//! and that a listener is asked, for which it has no word. It must never leave a mark in what it makes.

use super::{Action, Architecture, Compare, Condition, Policy, Rule, names};
use crate::{FilterFlags, Reason, check_filter, limits};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;

/// A program for [`crate::Op::Seccomp`], and how it is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compiled {
    /// An array of `struct sock_filter`.
    pub program: Vec<u8>,
    /// With a listener, if it asks one.
    pub flags: FilterFlags,
}

/// Why a policy is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No architecture has a call of this name.
    #[error("there is no system call {name:?}{}", did_you_mean(*nearest))]
    UnknownCall {
        /// The name.
        name: String,
        /// One that there is.
        nearest: Option<&'static str>,
    },
    /// There is no profile of this name.
    #[error("there is no profile {0:?}; there is default")]
    UnknownProfile(String),
    /// Another architecture has it, this one does not, and the rule does not say to skip it.
    #[error("{} has no system call {name} (skip-missing passes it over)", architecture.name())]
    MissingCall {
        /// The name.
        name: String,
        /// Whose it is not.
        architecture: Architecture,
    },
    /// It is not written for this architecture.
    #[error("the policy is not written for {}", .0.name())]
    Architecture(Architecture),
    /// A rule names no call.
    #[error("rule {0} names no system call")]
    NoCalls(usize),
    /// A condition that is none.
    #[error("rule {rule}: {what}")]
    Condition {
        /// The rule, counted from 0.
        rule: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An errno beyond 4095, or 0.
    #[error("{0} is no errno")]
    Errno(u16),
    /// The program has more instructions than the kernel takes.
    #[error("the program has {0} instructions, more than the {max} that the kernel takes", max = limits::FILTER_INSTRUCTIONS_MAX)]
    TooLong(usize),
    /// The compiler refuses it.
    #[error("compiling it: {0}")]
    Compiler(String),
    /// What was compiled is no filter.
    #[error("compiling it made a program that is none: {0}")]
    Program(Reason),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; {name} is near")).unwrap_or_default()
}

const RET_TRACE: u32 = 0x7ff0_0000;
/// Nothing fits.
const MARK_NEXT: u32 = 0xe001;
/// A listener is asked.
const MARK_NOTIFY: u32 = 0xe002;

const RETURN: u16 = 0x06;
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RET_NOTIFY: u32 = 0x7fc0_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What becomes of one call.
struct Fate {
    /// What its arguments have to be for an action, the strongest first.
    chains: Vec<(Action, Vec<SeccompRule>)>,
    /// What counts if none of that fits.
    last: Action,
}

/// The same as instructions; of most calls there is one.
type Leaf = Vec<sock_filter>;

/// What becomes of all calls: each leaf counts from its number on, until that of the next.
fn ranges(
    groups: Vec<(Action, Chains)>,
    default: Action,
    architecture: Architecture,
) -> Result<Vec<(u32, Leaf)>, PolicyError> {
    let mut fates: BTreeMap<u32, (Fate, bool)> = BTreeMap::new();
    for (action, chains) in groups {
        for (number, chain) in chains {
            let number = u32::try_from(number).map_err(compiler)?;
            let unsaid = || (Fate { chains: Vec::new(), last: default }, false);
            let (fate, settled) = fates.entry(number).or_insert_with(unsaid);
            match (*settled, chain.is_empty()) {
                // Something stronger always fits.
                (true, _) => {}
                (false, true) => (fate.last, *settled) = (action, true),
                (false, false) => fate.chains.push((action, chain)),
            }
        }
    }
    let other = vec![instruction(RETURN, 0, 0, answer(default)?)];
    let mut ranges: Vec<(u32, Leaf)> = Vec::new();
    let mut push = |from: u32, leaf: Leaf| match ranges.last() {
        Some((_, last)) if *last == leaf => {}
        _ => ranges.push((from, leaf)),
    };
    let mut next = 0;
    for (number, (fate, _)) in fates {
        if number > next {
            push(next, other.clone());
        }
        push(number, fate.leaf(number, architecture)?);
        next = number + 1;
    }
    push(next, other);
    Ok(ranges)
}

impl Fate {
    fn leaf(self, number: u32, architecture: Architecture) -> Result<Leaf, PolicyError> {
        let mut leaf = Vec::new();
        for (action, chain) in self.chains {
            let chains = Chains::from([(i64::from(number), chain)]);
            append(&mut leaf, action, chains, architecture)?;
        }
        leaf.push(instruction(RETURN, 0, 0, answer(self.last)?));
        Ok(leaf)
    }
}

/// Finds the leaf of the number that was loaded.
fn search(ranges: &[(u32, Leaf)]) -> Vec<sock_filter> {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let Some((from, leaf)) = right.first() else { return Vec::new() };
    if left.is_empty() {
        return leaf.clone();
    }
    let (left, right) = (search(left), search(right));
    let mut program = match u8::try_from(left.len()) {
        Ok(over) => vec![instruction(IF_AT_LEAST, over, 0, *from)],
        // A condition jumps no further than 255.
        Err(_) => {
            vec![instruction(IF_AT_LEAST, 0, 1, *from), instruction(JUMP, 0, 0, left.len() as u32)]
        }
    };
    program.extend(left);
    program.extend(right);
    program
}

/// The calls of one action.
type Chains = BTreeMap<i64, Vec<SeccompRule>>;

pub(super) fn compile(
    policy: &Policy,
    architecture: Architecture,
) -> Result<Compiled, PolicyError> {
    let Policy { default, architectures, rules } = policy;
    if !architectures.is_empty() && !architectures.contains(&architecture) {
        return Err(PolicyError::Architecture(architecture));
    }
    let table = names::table(architecture);
    let mut groups: Vec<(Action, Chains)> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let group = match groups.iter_mut().find(|(action, _)| *action == rule.action) {
            Some((_, chains)) => chains,
            None => {
                groups.push((rule.action, Chains::new()));
                let (_, chains) = groups.last_mut().expect("just pushed");
                chains
            }
        };
        add(group, index, rule, architecture, &table)?;
    }
    // A stable sort: errnos stay in the order of the rules.
    groups.sort_by_key(|(action, _)| strength(*action));
    let mut program = prelude(architecture);
    program.extend(search(&ranges(groups, *default, architecture)?));
    if program.len() > limits::FILTER_INSTRUCTIONS_MAX {
        return Err(PolicyError::TooLong(program.len()));
    }
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for sock_filter { code, jt, jf, k } in program {
        bytes.extend_from_slice(&code.to_le_bytes());
        bytes.extend_from_slice(&[jt, jf]);
        bytes.extend_from_slice(&k.to_le_bytes());
    }
    check_filter(&bytes).map_err(PolicyError::Program)?;
    let flags = if policy.notifies() { FilterFlags::LISTENER } else { FilterFlags::empty() };
    Ok(Compiled { program: bytes, flags })
}

/// The lower, the stronger, in the kernel's own order.
fn strength(action: Action) -> u32 {
    match action {
        Action::KillProcess => 0,
        Action::KillThread => 1,
        Action::Trap => 2,
        Action::Errno(_) => 3,
        Action::Notify => 4,
        Action::Log => 5,
        Action::Allow => 6,
    }
}

fn add(
    chains: &mut Chains,
    index: usize,
    rule: &Rule,
    architecture: Architecture,
    table: &std::collections::HashMap<&'static str, u32>,
) -> Result<(), PolicyError> {
    if rule.calls.is_empty() {
        return Err(PolicyError::NoCalls(index));
    }
    let conditions = rule.when.iter().map(|condition| translated(index, condition));
    let conditions: Vec<SeccompCondition> = conditions.collect::<Result<_, _>>()?;
    for name in &rule.calls {
        let Some(number) = table.get(name.as_str()) else {
            let others = [Architecture::X86_64, Architecture::Aarch64];
            if !others.iter().any(|other| other.number(name).is_some()) {
                let nearest = names::nearest(name);
                return Err(PolicyError::UnknownCall { name: name.clone(), nearest });
            }
            if rule.skip_missing {
                continue;
            }
            return Err(PolicyError::MissingCall { name: name.clone(), architecture });
        };
        let number = i64::from(*number);
        if conditions.is_empty() {
            // An empty chain fits always.
            chains.insert(number, Vec::new());
            continue;
        }
        if chains.get(&number).is_some_and(Vec::is_empty) {
            continue;
        }
        let rule = SeccompRule::new(conditions.clone()).map_err(compiler)?;
        chains.entry(number).or_default().push(rule);
    }
    Ok(())
}

fn translated(rule: usize, condition: &Condition) -> Result<SeccompCondition, PolicyError> {
    let Condition { argument, compare, value, mask, int } = *condition;
    let wrong = |what| Err(PolicyError::Condition { rule, what });
    if argument > 5 {
        return wrong("a call has arguments 0 to 5");
    }
    if int && (value | mask.unwrap_or(0)) >> 32 != 0 {
        return wrong("an int has 32 bits");
    }
    if mask.is_some_and(|mask| value & !mask != 0) {
        return wrong("the value has bits that the mask has not, so it never fits");
    }
    let operator = match (compare, mask) {
        (Compare::Equal, Some(mask)) => SeccompCmpOp::MaskedEq(mask),
        (_, Some(_)) => return wrong("a mask is for what is compared to be equal"),
        (Compare::Equal, None) => SeccompCmpOp::Eq,
        (Compare::NotEqual, None) => SeccompCmpOp::Ne,
        (Compare::Less, None) => SeccompCmpOp::Lt,
        (Compare::LessOrEqual, None) => SeccompCmpOp::Le,
        (Compare::Greater, None) => SeccompCmpOp::Gt,
        (Compare::GreaterOrEqual, None) => SeccompCmpOp::Ge,
    };
    let width = if int { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
    SeccompCondition::new(argument, width, operator, value).map_err(compiler)
}

fn compiler(error: impl std::fmt::Display) -> PolicyError {
    PolicyError::Compiler(error.to_string())
}

/// What every program begins with: another architecture's calls end the process, and those of x32, whose
/// numbers have a bit of their own, are answered as by a kernel that does not know them. The number is
/// loaded then.
fn prelude(architecture: Architecture) -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    const ENOSYS: u32 = 0x0005_0026;
    let mut program = vec![
        instruction(LOAD, 0, 0, 4),
        instruction(IF_EQUAL, 1, 0, architecture.audit()),
        instruction(RETURN, 0, 0, RET_KILL_PROCESS),
        instruction(LOAD, 0, 0, 0),
    ];
    if architecture == Architecture::X86_64 {
        program.extend([instruction(IF_AT_LEAST, 0, 1, X32), instruction(RETURN, 0, 0, ENOSYS)]);
    }
    program
}

/// What the kernel takes for an action.
fn answer(action: Action) -> Result<u32, PolicyError> {
    match (action, marked(action)?) {
        (Action::Notify, _) => Ok(RET_NOTIFY),
        (_, action) => Ok(action.into()),
    }
}

/// The action as the compiler knows it, or its mark.
fn marked(action: Action) -> Result<SeccompAction, PolicyError> {
    Ok(match action {
        Action::KillProcess => SeccompAction::KillProcess,
        Action::KillThread => SeccompAction::KillThread,
        Action::Trap => SeccompAction::Trap,
        Action::Errno(number) if (1..=4095).contains(&number) => {
            SeccompAction::Errno(number.into())
        }
        Action::Errno(number) => return Err(PolicyError::Errno(number)),
        Action::Notify => SeccompAction::Trace(MARK_NOTIFY),
        Action::Log => SeccompAction::Log,
        Action::Allow => SeccompAction::Allow,
    })
}

/// Adds the program of one action, from which a call that does not fit goes on behind it.
fn append(
    program: &mut Vec<sock_filter>,
    action: Action,
    chains: Chains,
    architecture: Architecture,
) -> Result<(), PolicyError> {
    let target = match architecture {
        Architecture::X86_64 => TargetArch::x86_64,
        Architecture::Aarch64 => TargetArch::aarch64,
    };
    let next = SeccompAction::Trace(MARK_NEXT);
    let filter = SeccompFilter::new(chains, next, marked(action)?, target).map_err(compiler)?;
    let compiled: BpfProgram = filter.try_into().map_err(compiler)?;
    // It begins with the look at the architecture that has been taken already.
    let begin = prelude(architecture);
    let Some(rules) = compiled.strip_prefix(begin.get(..3).unwrap_or_default()) else {
        return Err(PolicyError::Compiler("a program without its look at the architecture".into()));
    };
    for (index, one) in rules.iter().enumerate() {
        let mut one = one.clone();
        if one.code == RETURN && one.k == RET_TRACE | MARK_NEXT {
            let behind = (rules.len() - index - 1) as u32;
            one = instruction(JUMP, 0, 0, behind);
        } else if one.code == RETURN && one.k == RET_TRACE | MARK_NOTIFY {
            one.k = RET_NOTIFY;
        }
        program.push(one);
    }
    Ok(())
}
