//! What an agent is to do: who may what, what is counted, who dies with whom. Some tens of lines of plain data.
//!
//! It must never ask the agent.

use super::action::{Narrower, Numbers};
use std::collections::BTreeMap;

/// How long children live, the strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lifetime {
    Connection,
    Agent,
    LiveOn,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// It runs until it is killed.
    Sleep,
    /// It ends at once.
    True,
    /// It is in no mandate.
    Other,
    /// Its environment is in no mandate.
    Environment,
    /// An op of it is in no mandate.
    Op,
    /// It is a file that cannot be executed.
    Fault,
}

impl Program {
    pub(super) fn any(number: u64) -> Self {
        match number {
            0..5 => Program::Sleep,
            5 => Program::True,
            6 => Program::Other,
            7 => Program::Environment,
            8 => Program::Op,
            _ => Program::Fault,
        }
    }
}

/// How a request is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Done,
    /// An op failed.
    Fault,
    Refused(&'static str),
    /// What a crash has used is not known, so numbers may refuse it or not.
    Unsure,
}

/// What is counted in one place.
#[derive(Clone, Debug, Default)]
struct Account {
    /// What a refusal's rule begins with.
    key: &'static str,
    children_max: Option<u64>,
    total_max: Option<u64>,
    connections_max: Option<u64>,
    children: u64,
    total: u64,
    connections: u64,
    /// How many more there may have been in all.
    perhaps: u64,
}

#[derive(Clone, Debug)]
struct Level {
    images: Option<Vec<Program>>,
    terminate: Option<bool>,
    lifetime: Option<Lifetime>,
    narrower: Option<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// The narrowest first.
    levels: Vec<Level>,
    accounts: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Child {
    /// The connection that has a say in it.
    pub(super) connection: Option<usize>,
    lifetime: Lifetime,
    accounts: Vec<usize>,
}

/// A named mandate.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) lifetime: Lifetime,
    pub(super) narrower: u32,
    pub(super) numbers: Numbers,
    accounts: [usize; 2],
}

/// The agent's own limits.
pub(super) const CHILDREN: usize = 9;
pub(super) const CONNECTIONS: usize = 9;

/// An agent. Connections and children go by numbers of the test's.
#[derive(Debug, Default)]
pub(super) struct Model {
    accounts: Vec<Account>,
    pub(super) named: Vec<Named>,
    pub(super) connections: BTreeMap<usize, Connection>,
    pub(super) children: BTreeMap<usize, Child>,
}

const RULES: [[&str; 2]; 3] = [
    ["numbers.children", "numbers-per-uid.children"],
    ["numbers.total", "numbers-per-uid.total"],
    ["numbers.connections", "numbers-per-uid.connections"],
];

impl Account {
    fn rule(&self, which: usize) -> &'static str {
        RULES[which][usize::from(self.key != "numbers")]
    }
}

impl Model {
    pub(super) fn new(named: [(Lifetime, u32, Numbers); 3]) -> Self {
        let mut model = Self::default();
        for (lifetime, narrower, numbers) in named {
            let accounts = [model.accounts.len(), model.accounts.len() + 1];
            model.accounts.push(Account { key: "numbers", ..Account::default() });
            model.accounts.push(Account { key: "numbers-per-uid", ..Account::default() });
            model.named.push(Named { lifetime, narrower, numbers, accounts });
        }
        model
    }

    /// One more connection under a named mandate. The operator has one that is not counted here.
    pub(super) fn connect(&mut self, id: usize, named: usize) -> Expected {
        if self.connections.len() + 1 >= CONNECTIONS {
            return Expected::Refused("agent.connections");
        }
        let Named { lifetime, narrower, accounts, .. } = self.named[named].clone();
        self.set_numbers(named);
        if let Some(rule) = self.add_connection(&accounts) {
            return Expected::Refused(rule);
        }
        let level = Level {
            images: Some(vec![Program::Sleep, Program::True, Program::Fault]),
            terminate: Some(true),
            lifetime: Some(lifetime),
            narrower: Some(narrower),
        };
        let accounts = accounts.to_vec();
        self.connections.insert(id, Connection { levels: vec![level], accounts });
        Expected::Done
    }

    /// The file was read again, with these numbers for a mandate. They hold for all at once.
    pub(super) fn reload(&mut self, named: usize, numbers: Numbers) {
        self.named[named].numbers = numbers;
        self.set_numbers(named);
    }

    fn set_numbers(&mut self, named: usize) {
        let Named { numbers, accounts: [all, each], .. } = self.named[named].clone();
        self.accounts[all].children_max = numbers.children;
        self.accounts[all].connections_max = numbers.connections;
        self.accounts[each].children_max = numbers.children_per_uid;
        self.accounts[each].connections_max = numbers.connections_per_uid;
    }

    fn add_connection(&mut self, accounts: &[usize]) -> Option<&'static str> {
        for account in accounts.iter().map(|id| &self.accounts[*id]) {
            if account.connections_max.is_some_and(|most| account.connections >= most) {
                return Some(account.rule(2));
            }
        }
        accounts.iter().for_each(|id| self.accounts[*id].connections += 1);
        None
    }

    pub(super) fn narrow(&mut self, of: usize, id: usize, narrower: &Narrower) -> Expected {
        if self.connections.len() + 1 >= CONNECTIONS {
            return Expected::Refused("agent.connections");
        }
        let Connection { mut levels, mut accounts } = self.connections[&of].clone();
        let over = |(below, level): (usize, &Level)| {
            level.narrower.is_some_and(|most| below >= most as usize)
        };
        if levels.iter().enumerate().any(over) {
            return Expected::Refused("narrower");
        }
        if narrower.connections == Some(0) {
            return Expected::Refused("numbers.connections");
        }
        if let Some(rule) = self.add_connection(&accounts) {
            return Expected::Refused(rule);
        }
        let Narrower { images, terminate, children, total, connections, lifetime, narrower } =
            narrower.clone();
        levels.insert(0, Level { images, terminate, lifetime, narrower });
        accounts.insert(0, self.accounts.len());
        self.accounts.push(Account {
            key: "numbers",
            children_max: children,
            total_max: total,
            connections_max: connections,
            connections: 1,
            ..Account::default()
        });
        self.connections.insert(id, Connection { levels, accounts });
        Expected::Done
    }

    /// A request for a child. It counts once it has [started](Self::started).
    pub(super) fn spawn(&self, of: usize, program: Program) -> Expected {
        let Connection { levels, accounts } = &self.connections[&of];
        match program {
            Program::Environment => return Expected::Refused("environment"),
            Program::Op => return Expected::Refused("ops"),
            _ => {}
        }
        let lacks =
            |level: &Level| level.images.as_ref().is_some_and(|all| !all.contains(&program));
        if levels.iter().any(lacks) {
            return Expected::Refused("images");
        }
        if self.children.len() >= CHILDREN {
            return Expected::Refused("agent.children");
        }
        let mut sure = true;
        for account in accounts.iter().map(|id| &self.accounts[*id]) {
            let over = |most: Option<u64>, used| most.is_some_and(|most| used >= most);
            let refused = match () {
                () if over(account.children_max, account.children) => Some(account.rule(0)),
                () if over(account.total_max, account.total) => Some(account.rule(1)),
                () => None,
            };
            match refused {
                Some(rule) if sure => return Expected::Refused(rule),
                Some(_) => return Expected::Unsure,
                None => sure &= !over(account.total_max, account.total + account.perhaps),
            }
        }
        match program {
            _ if !sure => Expected::Unsure,
            Program::Fault => Expected::Fault,
            _ => Expected::Done,
        }
    }

    pub(super) fn started(&mut self, of: usize, id: usize) {
        let Connection { levels, accounts } = &self.connections[&of];
        for account in accounts {
            self.accounts[*account].children += 1;
            self.accounts[*account].total += 1;
        }
        let lifetime = levels.iter().filter_map(|level| level.lifetime).min();
        let lifetime = lifetime.unwrap_or(Lifetime::Connection);
        let accounts = accounts.clone();
        self.children.insert(id, Child { connection: Some(of), lifetime, accounts });
    }

    /// A child has ended; who is told of it.
    pub(super) fn ended(&mut self, id: usize) -> Option<usize> {
        let child = self.children.remove(&id)?;
        child.accounts.iter().for_each(|account| self.accounts[*account].children -= 1);
        child.connection
    }

    pub(super) fn signal(&self, of: usize, child: usize, terminate: bool) -> Expected {
        let lacks = |level: &Level| level.terminate.is_some_and(|may| !(may && terminate));
        if self.connections[&of].levels.iter().any(lacks) {
            return Expected::Refused("signals");
        }
        self.about(of, child)
    }

    /// Whether a connection has a say in a child.
    pub(super) fn about(&self, of: usize, child: usize) -> Expected {
        match self.children[&child].connection == Some(of) {
            true => Expected::Done,
            false => Expected::Refused("child"),
        }
    }

    /// How long children of a connection live.
    pub(super) fn lifetime(&self, of: usize) -> Lifetime {
        let lifetimes = self.connections[&of].levels.iter().filter_map(|level| level.lifetime);
        lifetimes.min().unwrap_or(Lifetime::Connection)
    }

    /// A connection is no more; who dies with it.
    pub(super) fn close(&mut self, id: usize, crashed: bool) -> Vec<usize> {
        let Some(Connection { accounts, .. }) = self.connections.remove(&id) else {
            return Vec::new();
        };
        for account in accounts {
            self.accounts[account].connections -= 1;
            self.accounts[account].perhaps += u64::from(crashed);
        }
        let mut dying = Vec::new();
        for (number, child) in &mut self.children {
            if child.connection == Some(id) {
                child.connection = None;
                if child.lifetime == Lifetime::Connection {
                    dying.push(*number);
                }
            }
        }
        dying.iter().for_each(|child| {
            let _ = self.ended(*child);
        });
        dying
    }

    /// Those that are left when the agent has stopped.
    pub(super) fn stop(&mut self) -> Vec<usize> {
        let lives_on = |child: &Child| child.lifetime == Lifetime::LiveOn;
        self.children.retain(|_, child| lives_on(child));
        self.children.keys().copied().collect()
    }
}
