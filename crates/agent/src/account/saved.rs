//! Accounts as data, for an agent that executes itself anew.

use super::minute::Minute;
use super::{Account, AccountId, Accounts};
use embryo::agent::mandate::Numbers;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What was used, and of what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    next: u64,
    accounts: Vec<SavedAccount>,
    named: Vec<(String, AccountId)>,
    by_uid: Vec<(String, u32, AccountId)>,
    /// Milliseconds since the first charge, by which seconds are counted.
    elapsed_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedAccount {
    id: AccountId,
    per_uid: bool,
    numbers: Numbers,
    stays: bool,
    children: u64,
    total: u64,
    connections: u64,
    minute: Minute,
}

impl Accounts {
    /// All of it.
    #[must_use]
    pub fn save(&self) -> Saved {
        let accounts = self.accounts.iter().map(|(id, account)| SavedAccount {
            id: *id,
            per_uid: account.key != "numbers",
            numbers: account.numbers.clone(),
            stays: account.stays,
            children: account.children,
            total: account.total,
            connections: account.connections,
            minute: account.minute.clone(),
        });
        let elapsed = self.started.map(|started| started.elapsed().as_millis() as u64);
        Saved {
            next: self.next,
            accounts: accounts.collect(),
            named: self.named.iter().map(|(name, id)| (name.clone(), *id)).collect(),
            by_uid: self.by_uid.iter().map(|((name, uid), id)| (name.clone(), *uid, *id)).collect(),
            elapsed_ms: elapsed,
        }
    }

    /// The accounts that were saved.
    #[must_use]
    pub fn restore(saved: Saved) -> Self {
        let narrower = saved.accounts.iter().filter(|account| !account.stays).count();
        let accounts = saved.accounts.into_iter().map(|account| {
            let SavedAccount { id, per_uid, numbers, stays, .. } = account;
            let SavedAccount { children, total, connections, minute, .. } = account;
            let key = if per_uid { "numbers-per-uid" } else { "numbers" };
            (id, Account { key, numbers, stays, children, total, connections, minute })
        });
        let started = saved.elapsed_ms.map(|elapsed| {
            let now = Instant::now();
            now.checked_sub(Duration::from_millis(elapsed)).unwrap_or(now)
        });
        Self {
            next: saved.next,
            accounts: accounts.collect(),
            named: saved.named.into_iter().collect(),
            by_uid: saved.by_uid.into_iter().map(|(name, uid, id)| ((name, uid), id)).collect(),
            narrower,
            started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_stays_used() {
        let mut accounts = Accounts::default();
        let numbers = Numbers { children: Some(3), total: Some(4), ..Numbers::default() };
        let now = Instant::now();
        let ids = accounts.connect("ci", &numbers, 7, &Numbers::default()).expect("room");
        let narrower = Numbers { per_minute: Some(2), ..Numbers::default() };
        let narrower = accounts.narrow_accounts(&ids, &narrower).expect("room");
        let first = accounts.charge(&narrower, now).expect("room");
        let _second = accounts.charge(&narrower, now).expect("room");

        let saved = serde_json::to_string(&accounts.save()).expect("data");
        let mut again = Accounts::restore(serde_json::from_str(&saved).expect("data"));
        for id in &narrower {
            assert_eq!(again.used(*id, now), accounts.used(*id, now));
        }
        assert_eq!(again.charge(&narrower, now).unwrap_err().rule, "numbers.per-minute");
        again.give_back(first, true);
        let third = again.charge(&ids, now).expect("room");
        again.give_back(third, true);
        let _fourth = again.charge(&ids, now).expect("room");
        assert_eq!(again.charge(&ids, now).unwrap_err().rule, "numbers.total");
        // Who connects again finds the same accounts.
        assert_eq!(again.connect("ci", &numbers, 7, &Numbers::default()).expect("room"), ids);
    }
}
