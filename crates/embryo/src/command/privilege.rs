//! Privileges of a command: what the kernel needs so that a program has what was said.

use super::Command;
use crate::caps::{CapSet, Privileges, Securebits, SessionKeyring, ThpDisable};
use crate::error::Error;
use embryo_plan::{CapSets, Op, PlanBuilder, PrivilegeOp};
use std::ffi::CString;

/// Capabilities, and what else a child may do.
impl Command {
    /// Capabilities, securebits, keyring and settings of memory, all at once; see [`Privileges`] for
    /// what is arranged then. Through the seed.
    pub fn privileges(&mut self, privileges: Privileges) -> &mut Self {
        self.privileges = privileges;
        self
    }

    /// What was said of privileges so far, to be changed.
    pub fn privileges_mut(&mut self) -> &mut Privileges {
        &mut self.privileges
    }

    /// The ambient capabilities: what a program has that runs as another user than root; prctl(2)
    /// `PR_CAP_AMBIENT`. Through the seed.
    pub fn ambient_capabilities(&mut self, set: CapSet) -> &mut Self {
        self.privileges.ambient = Some(set);
        self
    }

    /// The bounding set: what no exec can give more of; prctl(2) `PR_CAPBSET_DROP` of the rest. Through
    /// the seed.
    pub fn capability_bounding_set(&mut self, set: CapSet) -> &mut Self {
        self.privileges.bounding = Some(set);
        self
    }

    /// The inheritable capabilities; capset(2). Through the seed.
    pub fn inheritable_capabilities(&mut self, set: CapSet) -> &mut Self {
        self.privileges.inheritable = Some(set);
        self
    }

    /// The securebits flags; prctl(2) `PR_SET_SECUREBITS`. Through the seed.
    pub fn securebits(&mut self, bits: Securebits) -> &mut Self {
        self.privileges.securebits = Some(bits);
        self
    }

    /// A new session keyring, so that the child does not possess the keys of its caller's; keyctl(2)
    /// `KEYCTL_JOIN_SESSION_KEYRING`. Through the seed.
    pub fn session_keyring(&mut self, keyring: SessionKeyring) -> &mut Self {
        self.privileges.session_keyring = Some(keyring);
        self
    }

    /// Memory is never writable and executable, at once or one after the other; prctl(2) `PR_SET_MDWE`,
    /// Linux 6.3. Not with [`Command::load`]. Through the seed.
    pub fn mdwe(&mut self, mdwe: bool) -> &mut Self {
        self.privileges.mdwe = mdwe;
        self
    }

    /// No transparent huge pages; prctl(2) `PR_SET_THP_DISABLE`. Through the seed.
    pub fn thp_disable(&mut self, thp: ThpDisable) -> &mut Self {
        self.privileges.thp_disable = Some(thp);
        self
    }

    /// A core-scheduling cookie of its own: nobody without it runs on the same core at the same time;
    /// prctl(2) `PR_SCHED_CORE`, Linux 5.14, `CONFIG_SCHED_CORE` and more than one thread per core.
    /// Through the seed.
    pub fn core_scheduling(&mut self, new: bool) -> &mut Self {
        self.core_scheduling = new;
        self
    }

    /// Where memory comes from, by `MPOL_*` number and nodes; set_mempolicy(2). Through the seed.
    pub fn memory_policy(
        &mut self,
        mode: u32,
        nodes: impl IntoIterator<Item = usize>,
    ) -> &mut Self {
        let mut mask = Vec::new();
        // A number beyond every limit makes a mask that the checker refuses.
        for node in nodes.into_iter().map(|node| node.min(1 << 14)) {
            if mask.len() <= node / 8 {
                mask.resize((node / 8 + 1).next_multiple_of(8), 0);
            }
            mask[node / 8] |= 1 << (node % 8);
        }
        self.memory_policy = Some((mode, mask));
        self
    }

    pub(super) fn add_privileges(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        if self.core_scheduling {
            plan.op(&Op::CoreScheduling);
        }
        if let Some((mode, nodes)) = &self.memory_policy {
            plan.op(&Op::MemoryPolicy { mode: *mode, nodes });
        }
        let arranged = arrange(&self.privileges, self.uids.is_some());
        let keyring = match &arranged.session_keyring {
            None => None,
            Some(SessionKeyring::Anonymous) => Some(CString::default()),
            Some(SessionKeyring::Named(name)) => {
                let name = CString::new(name.as_str());
                Some(name.map_err(|_| embryo_plan::BuildError::Nul("the keyring's name"))?)
            }
        };
        let mut op = |op| _ = plan.op(&Op::Privilege(op));
        if let Some(keep) = arranged.bounding {
            op(PrivilegeOp::BoundingSet { keep: keep.bits() });
        }
        if let Some(bits) = arranged.securebits {
            op(PrivilegeOp::Securebits { bits: bits.bits() });
        }
        if arranged.keep_capabilities {
            op(PrivilegeOp::KeepCapabilities);
        }
        let [effective, permitted, inheritable] =
            [arranged.effective, arranged.permitted, arranged.inheritable];
        let mut given = CapSets::empty();
        given.set(CapSets::EFFECTIVE, effective.is_some());
        given.set(CapSets::PERMITTED, permitted.is_some());
        given.set(CapSets::INHERITABLE, inheritable.is_some());
        if !given.is_empty() {
            let [effective, permitted, inheritable] =
                [effective, permitted, inheritable].map(|set| set.unwrap_or_default().bits());
            op(PrivilegeOp::Capabilities { given, effective, permitted, inheritable });
        }
        if let Some(set) = arranged.ambient {
            op(PrivilegeOp::Ambient { set: set.bits() });
        }
        if let Some(name) = &keyring {
            op(PrivilegeOp::SessionKeyring { name });
        }
        if arranged.mdwe {
            op(PrivilegeOp::Mdwe);
        }
        if let Some(thp) = arranged.thp_disable {
            op(PrivilegeOp::ThpDisable { except_advised: thp == ThpDisable::ExceptAdvised });
        }
        Ok(())
    }
}

/// What has to be said to the kernel so that it comes to what was asked for.
fn arrange(asked: &Privileges, new_uid: bool) -> Privileges {
    let mut arranged = asked.clone();
    let ambient = asked.ambient.unwrap_or_default();
    if !ambient.is_empty() {
        arranged.inheritable = Some(asked.inheritable.unwrap_or_default() | ambient);
    }
    let wanted =
        ambient | asked.permitted.unwrap_or_default() | asked.effective.unwrap_or_default();
    let fixed = asked.securebits.is_some_and(|bits| bits.contains(Securebits::NO_SETUID_FIXUP));
    if new_uid && !wanted.is_empty() {
        // Otherwise they would be gone by now, if the user was root.
        arranged.keep_capabilities |= !fixed;
        // What was kept and not asked for goes again, and nothing was left effective.
        arranged.permitted = Some(asked.permitted.unwrap_or(wanted));
        arranged.effective = Some(asked.effective.unwrap_or(ambient));
    }
    arranged
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIND: CapSet = CapSet::from_bits(1 << 10);
    const RAW: CapSet = CapSet::from_bits(1 << 13);

    #[test]
    fn ambient_ones_outlive_a_change_of_the_user() {
        let asked = Privileges { ambient: Some(BIND), ..Privileges::default() };
        let arranged = arrange(&asked, true);
        assert!(arranged.keep_capabilities);
        assert_eq!(arranged.permitted, Some(BIND));
        assert_eq!(arranged.effective, Some(BIND));
        assert_eq!(arranged.inheritable, Some(BIND));
        let arranged = arrange(&asked, false);
        assert!(!arranged.keep_capabilities);
        assert_eq!(arranged.permitted, None);
        assert_eq!(arranged.inheritable, Some(BIND));
    }

    #[test]
    fn what_was_said_is_not_said_otherwise() {
        let asked = Privileges {
            ambient: Some(BIND),
            inheritable: Some(RAW),
            permitted: Some(BIND | RAW),
            securebits: Some(Securebits::NO_SETUID_FIXUP),
            ..Privileges::default()
        };
        let arranged = arrange(&asked, true);
        assert!(!arranged.keep_capabilities, "nothing is lost with that flag");
        assert_eq!(arranged.inheritable, Some(BIND | RAW));
        assert_eq!(arranged.permitted, Some(BIND | RAW));
        assert_eq!(arrange(&Privileges::default(), true), Privileges::default());
        let none = Privileges::only(CapSet::NONE);
        assert_eq!(arrange(&none, true), none, "nothing to keep");
    }
}
