//! What a connection may ask for, enforced: a plan is judged by each mandate in turn, from the narrowest to
//! the widest, and what each forces is put into it before the next one sees it.
//!
//! So a narrower mandate is a proxy that asks the wider one on its holder's behalf, and whatever comes out at
//! the end the holder of the wider one could have asked for itself. That is why no sequence of requests
//! widens anything.

use crate::account::AccountId;
use crate::peer::Peer;
use embryo::Plan;
use embryo::PlanView;
use embryo::agent::mandate::{Lifetime, Mandate};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Why a request was refused. It is told to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule: where it stands in the mandate, such as `ops`, `images`, `bounds.uids`, `numbers.children`.
    pub rule: String,
    /// What it is that was asked for, in words.
    pub why: String,
}

/// One mandate as it is enforced: names are numbers, directories are open, the filter is a program.
#[derive(Debug)]
pub struct Compiled {
    /// Its name in the agent's file; of a narrower one, that with `/narrower` behind it.
    pub name: String,
    /// What it was made from.
    pub source: Mandate,
}

impl Compiled {
    /// From the agent's file. Names of users are looked up and paths opened here.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the key that it is about.
    pub fn named(name: &str, source: &Mandate) -> Result<Self, Vec<Refusal>> {
        Ok(Self { name: name.to_owned(), source: source.clone() })
    }

    /// From a client. Ids are numbers here, since a look-up of a name may take its time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn narrower(name: &str, source: &Mandate) -> Result<Self, Refusal> {
        Ok(Self { name: format!("{name}/narrower"), source: source.clone() })
    }

    /// Whether this process may connect.
    #[must_use]
    pub fn admits(&self, peer: &Peer) -> bool {
        let _ = peer;
        true
    }
}

/// What a connection holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its mandates, the narrowest first.
    pub levels: Vec<Arc<Compiled>>,
    /// What is charged for it: an account for each level, in the same order, and that of the uid.
    pub accounts: Vec<AccountId>,
    /// Who connected in the first place.
    pub peer: Arc<Peer>,
}

/// A descriptor that the child's plan is granted.
#[derive(Clone, Debug)]
pub enum Grant {
    /// The client's, by its index.
    Client(u32),
    /// One of the agent's.
    Ours(Arc<OwnedFd>),
    /// The image, once it has been copied.
    Image,
    /// The directory of the child's own cgroup, once it has been made.
    Cgroup,
}

/// What has to be done about the image before the launch.
#[derive(Clone, Debug)]
pub enum Image {
    /// Nothing: the plan executes a handle that was checked.
    Ready,
    /// The client's grant with this index is copied, and the copy must have one of these SHA-256s.
    Copy {
        /// Index among the client's grants.
        grant: u32,
        /// The digests that will do.
        digests: Vec<[u8; 32]>,
    },
}

/// A plan that may run.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What is executed.
    pub plan: Plan,
    /// Its slots in order.
    pub grants: Vec<Grant>,
    /// For each op of `plan` its index in the client's; `u32::MAX` for what was forced.
    pub origin: Vec<u32>,
    /// What is to be done first.
    pub image: Image,
    /// What runs, for logs.
    pub program: String,
    /// How long it may live: the shortest of all levels.
    pub time: Option<Duration>,
    /// The strictest of all levels.
    pub lifetime: Lifetime,
    /// The cgroup that is made for it: that of the widest level which forces one.
    pub cgroup: Option<Arc<embryo::agent::mandate::ForcedCgroup>>,
}

/// Judges a plan.
///
/// # Errors
/// The first rule that forbids it.
pub fn judge(
    held: &Held,
    plan: &PlanView<'_>,
    grants: &[BorrowedFd<'_>],
) -> Result<Judged, Refusal> {
    let _ = held;
    let owned = Plan::from_bytes(plan.as_bytes())
        .map_err(|error| Refusal { rule: "plan".into(), why: error.to_string() })?;
    Ok(Judged {
        grants: (0..grants.len() as u32).map(Grant::Client).collect(),
        origin: (0..owned.as_plan().entries().len() as u32).collect(),
        plan: owned,
        image: Image::Ready,
        program: String::new(),
        time: None,
        lifetime: Lifetime::Connection,
        cgroup: None,
    })
}

/// Whether this signal may be sent to a child of this connection.
///
/// # Errors
/// The rule that forbids it.
pub fn may_signal(held: &Held, signal: u32) -> Result<(), Refusal> {
    let _ = (held, signal);
    Ok(())
}

/// Makes what a narrower connection holds.
///
/// # Errors
/// What is wrong with the mandate, or the rule that forbids a further one.
pub fn narrow(held: &Held, json: &[u8]) -> Result<Arc<Compiled>, Refusal> {
    let _ = (held, json);
    Err(Refusal { rule: "narrower".into(), why: "not yet".into() })
}
