//! What may happen, as data that means something in any state: a number stands for one of those that there are.
//!
//! It must never depend on what has happened, so that some of a list are a list as well.

use super::model::{Lifetime, Program};

/// Numbers that are as good as random, and the same each time.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn some(&mut self, of: u64, f: impl FnOnce(&mut Self) -> u64) -> Option<u64> {
        (self.below(of) == 0).then(|| f(self))
    }
}

/// What a narrower mandate says.
#[derive(Clone, Debug, Default)]
pub(super) struct Narrower {
    pub(super) images: Option<Vec<Program>>,
    pub(super) terminate: Option<bool>,
    pub(super) children: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) connections: Option<u64>,
    pub(super) lifetime: Option<Lifetime>,
    pub(super) narrower: Option<u32>,
}

impl Narrower {
    fn any(random: &mut Random) -> Self {
        let images = random.some(4, |random| random.below(4));
        Self {
            images: images.map(|which| match which {
                0 => Vec::new(),
                1 => vec![Program::Sleep],
                2 => vec![Program::True],
                _ => vec![Program::Sleep, Program::True],
            }),
            terminate: random.some(3, |random| random.below(2)).map(|one| one == 0),
            children: random.some(4, |random| random.below(4)),
            total: random.some(4, |random| random.below(5)),
            connections: random.some(4, |random| random.below(4)),
            lifetime: random.some(2, |random| random.below(3)).map(|which| match which {
                0 => Lifetime::Connection,
                1 => Lifetime::Agent,
                _ => Lifetime::LiveOn,
            }),
            narrower: random.some(4, |random| random.below(3)).map(|number| number as u32),
        }
    }
}

/// Numbers of the agent's file.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) children: Option<u64>,
    pub(super) children_per_uid: Option<u64>,
    pub(super) connections: Option<u64>,
    pub(super) connections_per_uid: Option<u64>,
}

impl Numbers {
    pub(super) fn any(random: &mut Random) -> Self {
        Self {
            children: random.some(2, |random| 1 + random.below(6)),
            children_per_uid: random.some(2, |random| 1 + random.below(6)),
            connections: random.some(2, |random| 2 + random.below(5)),
            connections_per_uid: random.some(2, |random| 2 + random.below(5)),
        }
    }
}

/// One thing that happens. `usize`s are taken modulo how many there are.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Somebody connects under this named mandate.
    Connect(usize),
    /// The holder of a connection asks for a narrower one.
    Narrow(usize, Narrower),
    /// The holder of a connection asks for a child.
    Spawn(usize, Program),
    /// The holder of a connection sends a signal to any child, perhaps of somebody else's: SIGTERM, or SIGHUP, which
    /// no mandate lists.
    Signal(usize, usize, bool),
    /// The holder of a connection kills any child.
    Kill(usize, usize),
    /// The holder of a connection asks what any child uses.
    Usage(usize, usize),
    /// The operator kills a child.
    OperatorKills(usize),
    /// A child is killed by somebody the agent knows nothing of.
    Murder(usize),
    /// A client closes a connection.
    Close(usize),
    /// A client dies before it has read the answer.
    Crash(usize),
    /// Somebody says what is no message.
    Nonsense(usize),
    /// The agent reads its file again, with other numbers for one mandate.
    Reload(usize, Numbers),
}

impl Action {
    pub(super) fn any(random: &mut Random) -> Self {
        let mut one = || random.below(1 << 20) as usize;
        let (a, b) = (one(), one());
        match random.below(100) {
            0..12 => Action::Connect(a),
            12..24 => Action::Narrow(a, Narrower::any(random)),
            24..58 => Action::Spawn(a, Program::any(random.below(10))),
            58..64 => Action::Signal(a, b, random.below(3) > 0),
            64..71 => Action::Kill(a, b),
            71..75 => Action::Usage(a, b),
            75..79 => Action::OperatorKills(a),
            79..83 => Action::Murder(a),
            83..91 => Action::Close(a),
            91..94 => Action::Crash(a),
            94..96 => Action::Nonsense(a),
            _ => Action::Reload(a, Numbers::any(random)),
        }
    }
}
