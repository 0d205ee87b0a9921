//! A policy and the program that it becomes say the same of every call.
//!
//! It must never judge a program by how it was made: the oracle is the policy's data.
#![cfg(feature = "seccomp")]

use embryo::{
    Action, Architecture, Compare, Compiled, Condition, FilterFlags, FilterOutcome, Policy,
    PolicyError, Rule, filter_outcome,
};
use proptest::prelude::*;

const BOTH: [Architecture; 2] = [Architecture::X86_64, Architecture::Aarch64];

fn compiled(policy: &Policy, architecture: Architecture) -> Compiled {
    policy.compile(architecture).unwrap_or_else(|error| panic!("{error}\n{policy}"))
}

/// What the program does.
fn does(program: &[u8], architecture: Architecture, call: &str, args: [u64; 6]) -> FilterOutcome {
    let number = architecture.number(call).expect("a call");
    filter_outcome(program, architecture.audit(), number, &args.map(Some))
}

/// What an action does.
fn outcome(action: Action) -> FilterOutcome {
    match action {
        Action::Allow | Action::Log => FilterOutcome::Allowed,
        Action::Notify => FilterOutcome::Notified,
        Action::Errno(errno) => FilterOutcome::Refused(0x5_0000 | u32::from(errno)),
        Action::Trap => FilterOutcome::Refused(0x3_0000),
        Action::KillThread => FilterOutcome::Refused(0),
        Action::KillProcess => FilterOutcome::Refused(0x8000_0000),
    }
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let mut argument = args[usize::from(condition.argument)];
    if condition.int {
        argument = u64::from(argument as u32);
    }
    match condition.compare {
        Compare::Equal => argument & condition.mask.unwrap_or(u64::MAX) == condition.value,
        Compare::NotEqual => argument != condition.value,
        Compare::Less => argument < condition.value,
        Compare::LessOrEqual => argument <= condition.value,
        Compare::Greater => argument > condition.value,
        Compare::GreaterOrEqual => argument >= condition.value,
    }
}

/// The oracle.
fn says(policy: &Policy, call: &str, args: &[u64; 6]) -> Action {
    let fits = |rule: &&Rule| {
        rule.calls.iter().any(|name| name == call) && rule.when.iter().all(|c| holds(c, args))
    };
    let strength = |rule: &&Rule| match rule.action {
        Action::KillProcess => 0,
        Action::KillThread => 1,
        Action::Trap => 2,
        Action::Errno(_) => 3,
        Action::Notify => 4,
        Action::Log => 5,
        Action::Allow => 6,
    };
    let fitting: Vec<&Rule> = policy.rules.iter().filter(fits).collect();
    let Some(strongest) = fitting.iter().map(strength).min() else { return policy.default };
    let actions: Vec<Action> =
        fitting.iter().filter(|rule| strength(rule) == strongest).map(|rule| rule.action).collect();
    // Of several errnos the one that any rule names first.
    let first = policy.rules.iter().map(|rule| rule.action).find(|action| actions.contains(action));
    first.expect("one of them")
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::KillProcess),
        Just(Action::KillThread),
        Just(Action::Trap),
        (1..3u16).prop_map(Action::Errno),
        Just(Action::Notify),
        Just(Action::Log),
        Just(Action::Allow),
    ]
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, Just(1 << 32), Just((1 << 32) | 1), Just(u64::MAX), Just(0xffff_ffff)]
}

fn condition() -> impl Strategy<Value = Condition> {
    let compare = prop_oneof![
        Just(Compare::Equal),
        Just(Compare::NotEqual),
        Just(Compare::Less),
        Just(Compare::LessOrEqual),
        Just(Compare::Greater),
        Just(Compare::GreaterOrEqual),
    ];
    (0..6u8, compare, word(), prop::option::of(word()), any::<bool>()).prop_map(
        |(argument, compare, mut value, mut mask, int)| {
            if int {
                value &= 0xffff_ffff;
                mask = mask.map(|mask| mask & 0xffff_ffff);
            }
            if compare != Compare::Equal {
                mask = None;
            }
            if let Some(mask) = mask {
                value &= mask;
            }
            Condition { argument, compare, value, mask, int }
        },
    )
}

const CALLS: [&str; 4] = ["read", "write", "openat", "execve"];

fn policy() -> impl Strategy<Value = Policy> {
    let calls = prop::sample::subsequence(CALLS.to_vec(), 1..=3);
    let rule = (action(), calls, prop::collection::vec(condition(), 0..3))
        .prop_map(|(action, calls, when)| Rule { when, ..Rule::new(action, calls) });
    (action(), prop::collection::vec(rule, 0..6)).prop_map(|(default, rules)| {
        let mut policy = Policy::new(default);
        policy.rules = rules;
        policy
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_program_does_what_its_policy_says(
        policy in policy(),
        args in prop::collection::vec(prop::array::uniform6(word()), 8),
    ) {
        for architecture in BOTH {
            let Compiled { program, flags, .. } = compiled(&policy, architecture);
            prop_assert_eq!(flags.contains(FilterFlags::LISTENER), policy.notifies());
            for call in CALLS.iter().chain(&["close"]) {
                for args in &args {
                    let found = does(&program, architecture, call, *args);
                    prop_assert_eq!(found, outcome(says(&policy, call, args)), "{}({:?})\n{}", call, args, policy);
                }
            }
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_policy_survives_being_written_down(policy in policy()) {
        let text = serde_json::to_string(&policy).expect("it can be");
        prop_assert_eq!(serde_json::from_str::<Policy>(&text).expect(&text), policy);
    }
}

#[test]
fn other_calls_than_those_of_its_machine_are_refused() {
    let kill = FilterOutcome::Refused(0x8000_0000);
    for architecture in BOTH {
        let program = compiled(&Policy::new(Action::Allow), architecture).program;
        for other in BOTH.into_iter().filter(|other| *other != architecture) {
            assert_eq!(filter_outcome(&program, other.audit(), 0, &[None; 6]), kill);
        }
        // i386.
        assert_eq!(filter_outcome(&program, 0x4000_0003, 11, &[None; 6]), kill);
    }
    let program = compiled(&Policy::new(Action::Allow), Architecture::X86_64).program;
    for x32 in [0x4000_0000, 0x4000_0000 | 59, 0xffff_ffff] {
        let found = filter_outcome(&program, Architecture::X86_64.audit(), x32, &[None; 6]);
        assert_eq!(found, FilterOutcome::Refused(0x5_0026), "{x32:#x}");
    }
}

#[test]
fn what_is_wrong_with_a_policy_is_said() {
    let check = |rule: Rule, text: &str| {
        let mut policy = Policy::new(Action::Allow);
        let error = policy.rule(rule).compile(Architecture::Aarch64).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
    };
    let deny = |call: &str| Rule::new(Action::Errno(1), [call]);
    check(deny("opnat"), "no system call \"opnat\"; openat is near");
    check(deny("opnat").skip_missing(), "openat is near");
    check(deny("there_is_no_such_call_here"), "no system call");
    check(deny("open"), "aarch64 has no system call open");
    check(Rule::new(Action::Errno(1), Vec::<String>::new()), "names no system call");
    check(Rule::new(Action::Errno(0), ["read"]), "0 is no errno");
    check(deny("read").when(Condition::equal(6, 0)), "arguments 0 to 5");
    check(deny("read").when(Condition::equal(0, 1 << 32).int()), "32 bits");
    check(deny("read").when(Condition::equal(0, 2).mask(1)), "never fits");
    let masked = Condition::equal(0, 1).mask(1).compare(Compare::Less);
    check(deny("read").when(masked), "a mask is for");
    let mut policy = Policy::new(Action::Allow);
    policy.rule(deny("open").skip_missing());
    policy.compile(Architecture::Aarch64).expect("passed over");
    policy.architectures = vec![Architecture::X86_64];
    let error = policy.compile(Architecture::Aarch64).expect_err("not for it");
    assert_eq!(error, PolicyError::Architecture(Architecture::Aarch64));
    let mut long = Policy::new(Action::Allow);
    for value in 0..900 {
        long.rule(deny("read").when(Condition::equal(0, value)));
    }
    let error = long.compile(Architecture::X86_64).expect_err("too long").to_string();
    assert!(error.contains("instructions") || error.contains("4096"), "{error}");
}

#[test]
fn actions_have_names() {
    for (text, action) in [
        ("allow", Action::Allow),
        ("kill-process", Action::KillProcess),
        ("EPERM", Action::Errno(1)),
        ("EAFNOSUPPORT", Action::Errno(97)),
        ("errno-4095", Action::Errno(4095)),
    ] {
        assert_eq!(text.parse::<Action>(), Ok(action));
        assert_eq!(action.to_string(), text);
    }
    for text in ["", "Allow", "EPERMX", "errno-0", "errno-4096", "errno-x", "1"] {
        let error = text.parse::<Action>().expect_err(text).to_string();
        assert!(error.contains("kill-process"), "{error}");
    }
}

/// What the default profile is for, call by call, with arguments where they count.
#[test]
fn the_default_profile_refuses_what_it_says() {
    let policy = Policy::profile("default").expect("there is one");
    let (eperm, enosys) = (FilterOutcome::Refused(0x5_0001), FilterOutcome::Refused(0x5_0026));
    for architecture in BOTH {
        let Compiled { program, flags, .. } = compiled(&policy, architecture);
        assert_eq!(flags, FilterFlags::empty());
        println!("{}: {} instructions", architecture.name(), program.len() / 8);
        let check = |call: &str, args: &[u64], expected: FilterOutcome| {
            let mut all = [0; 6];
            all[..args.len()].copy_from_slice(args);
            assert_eq!(does(&program, architecture, call, all), expected, "{call} {args:x?}");
        };
        for call in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "perf_event_open",
            "keyctl",
            "ptrace",
            "kexec_load",
            "init_module",
            "clock_settime",
            "swapon",
            "reboot",
            "quotactl",
            "userfaultfd",
            "open_by_handle_at",
            "process_vm_writev",
            "pidfd_getfd",
            "pivot_root",
            "move_mount",
        ] {
            check(call, &[], eperm);
        }
        for call in ["clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"] {
            check(call, &[], enosys);
        }
        let allowed = FilterOutcome::Allowed;
        for flags in [0x11, 0x003d_0f00, 0x4111, 0x0120_0011] {
            check("clone", &[flags], allowed);
        }
        for bit in [17, 25, 26, 27, 28, 29, 30] {
            check("clone", &[1 << bit | 0x11], eperm);
        }
        check("ioctl", &[0, 0x5401], allowed);
        for upper in [0, 1 << 32, 0xffff_ffff << 32] {
            check("ioctl", &[0, upper | 0x5412], eperm);
            check("ioctl", &[0, upper | 0x541c], eperm);
        }
        check("personality", &[0xffff_ffff], allowed);
        check("personality", &[0], allowed);
        check("personality", &[0x0040_0000], eperm);
        for family in [1, 2, 10, 16] {
            check("socket", &[family, 1], allowed);
        }
        for family in [0, 3, 17, 38, 40, (1 << 32) | 40] {
            check("socket", &[family, 1], FilterOutcome::Refused(0x5_0000 | 97));
        }
        for call in ["read", "execve", "openat", "seccomp", "landlock_restrict_self", "futex"] {
            check(call, &[], allowed);
        }
    }
}

/// No call is named twice with different answers by accident, and none is left out unseen.
#[test]
fn the_default_profile_names_each_call_once() {
    let policy = Policy::profile("default").expect("there is one");
    let mut seen = std::collections::BTreeMap::new();
    for rule in policy.rules.iter().filter(|rule| rule.when.is_empty()) {
        assert!(rule.why.is_some(), "{rule:?}");
        for call in &rule.calls {
            assert_eq!(seen.insert(call.clone(), rule.action), None, "{call}");
        }
    }
    let unnamed: Vec<&str> = (0..500)
        .filter_map(|number| Architecture::X86_64.call(number))
        .filter(|call| !seen.contains_key(*call))
        .collect();
    let expected = [
        "uselib",
        "ustat",
        "sysfs",
        "_sysctl",
        "get_kernel_syms",
        "query_module",
        "getpmsg",
        "putpmsg",
        "afs_syscall",
        "tuxcall",
        "security",
        "epoll_ctl_old",
        "epoll_wait_old",
        "vserver",
        "process_mrelease",
        "lsm_set_self_attr",
    ];
    assert_eq!(unnamed, expected, "these do not exist under it");
}

/// docs/seccomp.md prints it; `EMBRYO_BLESS=1` writes it anew.
#[test]
fn the_document_prints_the_default_profile() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/seccomp.md");
    let document = std::fs::read_to_string(path).expect("it is there");
    let (before, _) = document.split_once("```text\n").expect("it has a block of text");
    let policy = Policy::profile("default").expect("there is one");
    let made = format!("{before}```text\n{policy}```\n");
    if std::env::var_os("EMBRYO_BLESS").is_some() {
        std::fs::write(path, &made).expect("it can be written");
    }
    assert_eq!(document, made, "EMBRYO_BLESS=1 writes it anew");
}
