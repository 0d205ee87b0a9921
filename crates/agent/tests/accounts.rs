//! No sequence of connections, narrower connections and children gets more than any number above it says.
//!
//! The model knows nothing of accounts: it has a list of everything that happened, and counts.

use embryo::agent::mandate::Numbers;
use embryo_agent::account::{AccountId, Accounts, Charge, Used};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["ci", "build"];

#[derive(Clone, Debug)]
enum Step {
    Connect {
        name: usize,
        uid: u32,
    },
    Narrow {
        of: usize,
        numbers: Numbers,
    },
    /// A thousand of these in a row.
    NarrowOften {
        of: usize,
    },
    Disconnect {
        which: usize,
    },
    Charge {
        which: usize,
    },
    End {
        which: usize,
        started: bool,
    },
    Pass {
        millis: u64,
    },
    Reload {
        name: usize,
        numbers: Numbers,
        per_uid: Numbers,
    },
}

/// What a number is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Named(usize),
    Uid(usize, u32),
    Narrower(usize),
}

struct Connection {
    accounts: Vec<AccountId>,
    scopes: Vec<Scope>,
    open: bool,
}

struct Child {
    scopes: Vec<Scope>,
    at: Duration,
    started: bool,
    charge: Option<Charge>,
}

struct World {
    accounts: Accounts,
    begin: Instant,
    now: Duration,
    named: Vec<(Numbers, Numbers)>,
    narrower: Vec<Numbers>,
    connections: Vec<Connection>,
    children: Vec<Child>,
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let number = || proptest::option::of(0u64..5);
    (number(), number(), proptest::option::of(0u64..12), number()).prop_map(
        |(children, per_minute, total, connections)| Numbers {
            children,
            per_minute,
            total,
            connections,
            ..Numbers::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let place = any::<usize>;
    prop_oneof![
        4 => (0..2usize, 0..3u32).prop_map(|(name, uid)| Step::Connect { name, uid }),
        4 => (place(), numbers()).prop_map(|(of, numbers)| Step::Narrow { of, numbers }),
        1 => place().prop_map(|of| Step::NarrowOften { of }),
        3 => place().prop_map(|which| Step::Disconnect { which }),
        9 => place().prop_map(|which| Step::Charge { which }),
        5 => (place(), any::<bool>()).prop_map(|(which, started)| Step::End { which, started }),
        3 => (0u64..40_000).prop_map(|millis| Step::Pass { millis }),
        1 => (0..2usize, numbers(), numbers())
            .prop_map(|(name, numbers, per_uid)| Step::Reload { name, numbers, per_uid }),
    ]
}

impl World {
    fn new(named: Vec<(Numbers, Numbers)>) -> Self {
        Self {
            accounts: Accounts::default(),
            begin: Instant::now(),
            now: Duration::ZERO,
            named,
            narrower: Vec::new(),
            connections: Vec::new(),
            children: Vec::new(),
        }
    }

    fn limits(&self, scope: &Scope) -> &Numbers {
        match scope {
            Scope::Named(name) => &self.named[*name].0,
            Scope::Uid(name, _) => &self.named[*name].1,
            Scope::Narrower(index) => &self.narrower[*index],
        }
    }

    /// What the history says was used, the minute counted exactly, and with the second that it may be too
    /// long.
    fn used(&self, scope: &Scope) -> (Used, u64) {
        let of = || self.children.iter().filter(|child| child.scopes.contains(scope));
        let since = |child: &&Child| child.started && self.now - child.at < Duration::from_secs(60);
        let longer =
            |child: &&Child| child.started && self.now - child.at < Duration::from_secs(62);
        let connections = self.connections.iter().filter(|connection| connection.open);
        let used = Used {
            children: of().filter(|child| child.charge.is_some()).count() as u64,
            per_minute: of().filter(since).count() as u64,
            total: of().filter(|child| child.started).count() as u64,
            connections: connections.filter(|open| open.scopes.contains(scope)).count() as u64,
        };
        (used, of().filter(longer).count() as u64)
    }

    /// That a connection was let through or refused for a reason.
    fn check_connection(&self, scopes: &[Scope], accepted: bool) {
        let full = |scope: &&Scope| {
            let used = self.used(scope).0.connections;
            self.limits(scope).connections.is_some_and(|most| used >= most)
        };
        assert_eq!(!accepted, scopes.iter().any(|scope| full(&scope)), "{scopes:?}");
    }

    fn connect(&mut self, name: usize, uid: u32) {
        let (numbers, per_uid) = self.named[name].clone();
        let made = self.accounts.connect(NAMES[name], &numbers, uid, &per_uid);
        let scopes = vec![Scope::Named(name), Scope::Uid(name, uid)];
        self.check_connection(&scopes, made.is_ok());
        self.opened(made.ok(), scopes);
    }

    fn narrow(&mut self, of: usize, numbers: Numbers) {
        let Some(at) = pick(of, self.connections.iter().map(|connection| connection.open)) else {
            return;
        };
        let made = self.accounts.narrow_accounts(&self.connections[at].accounts, &numbers);
        let own = Scope::Narrower(self.narrower.len());
        self.narrower.push(numbers);
        let mut scopes = vec![own];
        scopes.extend(self.connections[at].scopes.iter().cloned());
        self.check_connection(&scopes, made.is_ok());
        self.opened(made.ok(), scopes);
    }

    fn opened(&mut self, made: Option<Vec<AccountId>>, scopes: Vec<Scope>) {
        let Some(accounts) = made else { return };
        assert_eq!(accounts.len(), scopes.len());
        self.connections.push(Connection { accounts, scopes, open: true });
    }

    fn disconnect(&mut self, which: usize) {
        let Some(at) = pick(which, self.connections.iter().map(|connection| connection.open))
        else {
            return;
        };
        self.connections[at].open = false;
        self.accounts.disconnect(&self.connections[at].accounts);
    }

    fn charge(&mut self, which: usize) {
        let Some(at) = pick(which, self.connections.iter().map(|connection| connection.open))
        else {
            return;
        };
        let scopes = self.connections[at].scopes.clone();
        let full = |scope: &Scope| {
            let (used, longer) = self.used(scope);
            let numbers = self.limits(scope);
            let over = |most: Option<u64>, used| most.is_some_and(|most| used >= most);
            let besides = over(numbers.children, used.children) || over(numbers.total, used.total);
            // Whether it must be refused, and whether it may be.
            (
                besides || over(numbers.per_minute, used.per_minute),
                besides || over(numbers.per_minute, longer),
            )
        };
        let must = scopes.iter().any(|scope| full(scope).0);
        let may = scopes.iter().any(|scope| full(scope).1);
        let charged = self.accounts.charge(&self.connections[at].accounts, self.begin + self.now);
        assert!(!must || charged.is_err(), "too much for {scopes:?}");
        assert!(may || charged.is_ok(), "refused without a reason: {charged:?}");
        if let Ok(charge) = charged {
            let charge = Some(charge);
            self.children.push(Child { scopes, at: self.now, started: true, charge });
        }
    }

    fn end(&mut self, which: usize, started: bool) {
        let running = self.children.iter().map(|child| child.charge.is_some());
        let Some(at) = pick(which, running) else { return };
        let child = &mut self.children[at];
        child.started = started;
        if let Some(charge) = child.charge.take() {
            self.accounts.give_back(charge, started);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Connect { name, uid } => self.connect(name, uid),
            Step::Narrow { of, numbers } => self.narrow(of, numbers),
            Step::NarrowOften { of } => (0..20).for_each(|_| self.narrow(of, Numbers::default())),
            Step::Disconnect { which } => self.disconnect(which),
            Step::Charge { which } => self.charge(which),
            Step::End { which, started } => self.end(which, started),
            Step::Pass { millis } => self.now += Duration::from_millis(millis),
            Step::Reload { name, numbers, per_uid } => {
                self.accounts.reload(NAMES[name], &numbers, &per_uid);
                self.named[name] = (numbers, per_uid);
            }
        }
    }

    /// Every account that somebody refers to says what the history says.
    fn compare(&mut self) {
        for at in 0..self.connections.len() {
            if !self.connections[at].open {
                continue;
            }
            let pairs: Vec<(AccountId, Scope)> = {
                let Connection { accounts, scopes, .. } = &self.connections[at];
                accounts.iter().copied().zip(scopes.iter().cloned()).collect()
            };
            for (id, scope) in pairs {
                let (expect, longer) = self.used(&scope);
                let used = self.accounts.used(id, self.begin + self.now).expect("it is open");
                assert_eq!(Used { per_minute: 0, ..used }, Used { per_minute: 0, ..expect });
                assert!((expect.per_minute..=longer).contains(&used.per_minute), "{scope:?}");
            }
        }
    }
}

/// One of those that will do.
fn pick(which: usize, good: impl Iterator<Item = bool>) -> Option<usize> {
    let good: Vec<usize> =
        good.enumerate().filter(|(_, good)| *good).map(|(index, _)| index).collect();
    (!good.is_empty()).then(|| good[which % good.len()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_gets_more_than_the_numbers_say(
        named in proptest::collection::vec((numbers(), numbers()), 2),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(named);
        for step in steps {
            world.take(step);
            world.compare();
        }
        // Everything that is given back is there again.
        while world.connections.iter().any(|connection| connection.open) {
            world.disconnect(0);
        }
        while world.children.iter().any(|child| child.charge.is_some()) {
            world.end(0, false);
        }
        let pairs = world.connections.iter().flat_map(|connection| &connection.accounts);
        let ids: Vec<AccountId> = pairs.copied().collect();
        for id in ids {
            if let Some(used) = world.accounts.used(id, world.begin + world.now) {
                prop_assert_eq!((used.children, used.connections), (0, 0));
            }
        }
        // What is left is that of names and of their uids.
        prop_assert!(world.accounts.count() <= 2 + 2 * 3, "{} accounts", world.accounts.count());
    }
}

fn only(children: u64) -> Numbers {
    Numbers { children: Some(children), ..Numbers::default() }
}

#[test]
fn neither_reconnecting_nor_narrowing_multiplies_anything() {
    let mut accounts = Accounts::default();
    let none = Numbers::default();
    let now = Instant::now();
    let mut kept = Vec::new();
    for _ in 0..1000 {
        let own = accounts.connect("ci", &only(5), 1000, &only(3)).unwrap();
        let narrower = accounts.narrow_accounts(&own, &none).unwrap();
        kept.extend(accounts.charge(&narrower, now).ok());
        accounts.disconnect(&narrower);
        accounts.disconnect(&own);
    }
    assert_eq!(kept.len(), 3, "of one uid");
    let own = accounts.connect("ci", &only(5), 1001, &only(3)).unwrap();
    for _ in 0..1000 {
        let narrower = accounts.narrow_accounts(&own, &only(1)).unwrap();
        kept.extend(accounts.charge(&narrower, now).ok());
    }
    assert_eq!(kept.len(), 5, "of the mandate");
    let refused = accounts.charge(&own, now).unwrap_err();
    assert_eq!(refused.rule, "numbers.children");
    let own = accounts.connect("ci", &none, 1000, &only(3)).unwrap();
    let refused = accounts.charge(&own, now).unwrap_err();
    assert_eq!(refused.rule, "numbers-per-uid.children");
}

#[test]
fn what_was_never_started_is_not_counted() {
    let mut accounts = Accounts::default();
    let total = Numbers { total: Some(1), per_minute: Some(1), ..Numbers::default() };
    let own = accounts.connect("ci", &total, 1000, &Numbers::default()).unwrap();
    let now = Instant::now();
    for _ in 0..3 {
        let charge = accounts.charge(&own, now).unwrap();
        accounts.give_back(charge, false);
    }
    let charge = accounts.charge(&own, now).unwrap();
    accounts.give_back(charge, true);
    assert_eq!(accounts.charge(&own, now).unwrap_err().rule, "numbers.per-minute");
    let later = now + Duration::from_secs(62);
    assert_eq!(accounts.charge(&own, later).unwrap_err().rule, "numbers.total");
}

#[test]
fn uids_are_not_kept_without_end() {
    let mut accounts = Accounts::default();
    let none = Numbers::default();
    for uid in 0..65_536 {
        let own = accounts.connect("ci", &none, uid, &none).unwrap();
        accounts.disconnect(&own);
    }
    assert_eq!(accounts.connect("ci", &none, 65_536, &none).unwrap_err().rule, "numbers-per-uid");
    accounts.connect("ci", &none, 7, &none).unwrap();
}
