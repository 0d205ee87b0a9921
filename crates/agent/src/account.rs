//! What has been used of each mandate's numbers: by connections of a named mandate all together, by each uid
//! that connects, and by each narrower mandate, whose use is its ancestors' use as well.
//!
//! It must never count a child for one account and not for another: a charge is made to all or to none.

mod minute;
mod saved;

pub use saved::Saved;

use crate::mandate::{Held, Refusal};
use embryo::agent::mandate::Numbers;
use minute::Minute;
use std::collections::HashMap;
use std::time::Instant;

/// Uids that may have connected under any mandate, each under each counted.
pub const UIDS_MAX: usize = 65_536;
/// Narrower accounts at once.
pub const NARROWER_MAX: usize = 65_536;

/// One account.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct AccountId(pub u64);

/// All accounts of an agent.
///
/// Those of named mandates and of uids stay, so that who connects again finds what was used before. A
/// narrower one goes when neither a connection nor a child refers to it.
#[derive(Debug, Default)]
pub struct Accounts {
    next: u64,
    accounts: HashMap<AccountId, Account>,
    named: HashMap<String, AccountId>,
    by_uid: HashMap<(String, u32), AccountId>,
    narrower: usize,
    started: Option<Instant>,
}

/// One child's charge, to be given back when it has ended. Dropping it does not.
#[derive(Debug)]
#[must_use]
pub struct Charge {
    /// Where it was charged.
    pub accounts: Vec<AccountId>,
    second: u64,
}

/// What was used of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Children that have not ended.
    pub children: u64,
    /// Children of the last minute.
    pub per_minute: u64,
    /// Children that were ever started.
    pub total: u64,
    /// Connections.
    pub connections: u64,
}

#[derive(Debug)]
struct Account {
    /// What stands before a refused number: it is of the mandate, or of each uid.
    key: &'static str,
    numbers: Numbers,
    stays: bool,
    children: u64,
    total: u64,
    connections: u64,
    minute: Minute,
}

impl Charge {
    /// One that was made before this process executed itself, for a child that has started.
    pub fn again(accounts: Vec<AccountId>) -> Self {
        Self { accounts, second: 0 }
    }
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
        let of_uid = (name.to_owned(), uid);
        if !self.by_uid.contains_key(&of_uid) && self.by_uid.len() >= UIDS_MAX {
            let why = format!("{UIDS_MAX} users have connected, and no more are kept account of");
            return Err(Refusal { rule: "numbers-per-uid".into(), why });
        }
        // Both are there before either is asked, so that a refusal changes nothing but that they are known.
        let named = match self.named.get(name) {
            Some(id) => *id,
            None => {
                let id = self.open("numbers", numbers, true);
                self.named.insert(name.to_owned(), id);
                id
            }
        };
        let uid = match self.by_uid.get(&of_uid) {
            Some(id) => *id,
            None => {
                let id = self.open("numbers-per-uid", per_uid, true);
                self.by_uid.insert(of_uid, id);
                id
            }
        };
        // The file may have been read again since.
        self.set(named, numbers);
        self.set(uid, per_uid);
        let ids = vec![named, uid];
        self.add_connection(&ids)?;
        Ok(ids)
    }

    /// The accounts of a narrower connection.
    ///
    /// # Errors
    /// `numbers.connections`.
    pub fn narrow(&mut self, of: &Held, numbers: &Numbers) -> Result<Vec<AccountId>, Refusal> {
        self.narrow_accounts(&of.accounts, numbers)
    }

    /// The same, by the wider connection's accounts.
    ///
    /// # Errors
    /// `numbers.connections`.
    pub fn narrow_accounts(
        &mut self,
        of: &[AccountId],
        numbers: &Numbers,
    ) -> Result<Vec<AccountId>, Refusal> {
        if self.narrower >= NARROWER_MAX {
            let why = format!("{NARROWER_MAX} narrower connections are open");
            return Err(Refusal { rule: "narrower".into(), why });
        }
        if numbers.connections == Some(0) {
            return Err(Refusal {
                rule: "numbers.connections".into(),
                why: over("connections", 0),
            });
        }
        self.add_connection(of)?;
        let id = self.open("numbers", numbers, false);
        self.narrower += 1;
        if let Some(account) = self.accounts.get_mut(&id) {
            account.connections = 1;
        }
        Ok(std::iter::once(id).chain(of.iter().copied()).collect())
    }

    /// A connection has ended.
    pub fn disconnect(&mut self, accounts: &[AccountId]) {
        for id in accounts {
            if let Some(account) = self.accounts.get_mut(id) {
                account.connections = account.connections.saturating_sub(1);
            }
            self.drop_unused(*id);
        }
    }

    /// Charges one child to all accounts, or to none.
    ///
    /// # Errors
    /// The first number that is used up.
    pub fn charge(&mut self, accounts: &[AccountId], now: Instant) -> Result<Charge, Refusal> {
        let second = self.second(now);
        for id in accounts {
            match self.accounts.get_mut(id) {
                Some(account) => account.has_room(second)?,
                // One that has gone allows nothing any more.
                None => {
                    let why = "the account of this connection has been closed".into();
                    return Err(Refusal { rule: "numbers".into(), why });
                }
            }
        }
        for id in accounts {
            if let Some(account) = self.accounts.get_mut(id) {
                account.children += 1;
                account.total += 1;
                account.minute.add(second);
            }
        }
        Ok(Charge { accounts: accounts.to_vec(), second })
    }

    /// A child has ended, or was never started; in the second case it counts no more in `total` and
    /// `per-minute` either.
    pub fn give_back(&mut self, charge: Charge, started: bool) {
        for id in &charge.accounts {
            if let Some(account) = self.accounts.get_mut(id) {
                account.children = account.children.saturating_sub(1);
                if !started {
                    account.total = account.total.saturating_sub(1);
                    account.minute.take_back(charge.second);
                }
            }
            self.drop_unused(*id);
        }
    }

    /// The agent's file was read again: a named mandate and each of its uids have these numbers from now on.
    /// What was used stays used.
    pub fn reload(&mut self, name: &str, numbers: &Numbers, per_uid: &Numbers) {
        if let Some(id) = self.named.get(name).copied() {
            self.set(id, numbers);
        }
        let of_name = self.by_uid.iter().filter(|((of, _), _)| of == name);
        let ids: Vec<AccountId> = of_name.map(|(_, id)| *id).collect();
        ids.into_iter().for_each(|id| self.set(id, per_uid));
    }

    /// What was used of an account.
    pub fn used(&mut self, id: AccountId, now: Instant) -> Option<Used> {
        let second = self.second(now);
        let account = self.accounts.get_mut(&id)?;
        let Account { children, total, connections, .. } = *account;
        Some(Used { children, per_minute: account.minute.count(second), total, connections })
    }

    /// How many accounts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.accounts.len()
    }

    fn open(&mut self, key: &'static str, numbers: &Numbers, stays: bool) -> AccountId {
        self.next += 1;
        let id = AccountId(self.next);
        let account = Account {
            key,
            numbers: numbers.clone(),
            stays,
            children: 0,
            total: 0,
            connections: 0,
            minute: Minute::default(),
        };
        self.accounts.insert(id, account);
        id
    }

    fn set(&mut self, id: AccountId, numbers: &Numbers) {
        if let Some(account) = self.accounts.get_mut(&id)
            && account.numbers != *numbers
        {
            account.numbers = numbers.clone();
        }
    }

    fn add_connection(&mut self, ids: &[AccountId]) -> Result<(), Refusal> {
        for account in ids.iter().filter_map(|id| self.accounts.get(id)) {
            account.within("connections", account.numbers.connections, account.connections)?;
        }
        for id in ids {
            if let Some(account) = self.accounts.get_mut(id) {
                account.connections += 1;
            }
        }
        Ok(())
    }

    fn drop_unused(&mut self, id: AccountId) {
        let unused = self.accounts.get(&id).is_some_and(|account| {
            !account.stays && account.children == 0 && account.connections == 0
        });
        if unused {
            self.accounts.remove(&id);
            self.narrower = self.narrower.saturating_sub(1);
        }
    }

    /// Seconds since the first charge. Time does not go back.
    fn second(&mut self, now: Instant) -> u64 {
        let started = *self.started.get_or_insert(now);
        now.saturating_duration_since(started).as_secs()
    }
}

impl Account {
    fn has_room(&mut self, second: u64) -> Result<(), Refusal> {
        let minute = self.minute.count(second);
        self.within("children", self.numbers.children, self.children)?;
        self.within("per-minute", self.numbers.per_minute, minute)?;
        self.within("total", self.numbers.total, self.total)
    }

    fn within(&self, name: &str, most: Option<u64>, used: u64) -> Result<(), Refusal> {
        match most {
            Some(most) if used >= most => {
                Err(Refusal { rule: format!("{}.{name}", self.key), why: over(name, most) })
            }
            _ => Ok(()),
        }
    }
}

fn over(name: &str, most: u64) -> String {
    match name {
        "children" => format!("{most} children at once are allowed, and as many run"),
        "per-minute" => format!("{most} children a minute are allowed, and as many were started"),
        "total" => format!("{most} children in all are allowed, and as many were started"),
        _ => format!("{most} connections at once are allowed, and as many are open"),
    }
}
