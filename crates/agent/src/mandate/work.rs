//! A plan while it is judged: the client's ops in their order, each with where it is from, and what was put
//! between them. It must never lose where an op is from.

use super::cgroups::Group;
use super::host::Host;
use super::pattern::Steps;
use super::{Compiled, Grant, Held, Refusal, refusal};
use embryo::agent::mandate::ForcedCgroup;
use embryo::{
    Keep, MountOp, NamespaceOp, Op, OpCode, Plan, PlanBuilder, PlanView, PrivilegeOp, Slot,
};
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The umask of a child whose plan names none.
pub(super) const UMASK: u32 = 0o022;

/// Who wants an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The client.
    Client,
    /// The agent, whatever the mandate.
    Agent,
    /// A mandate that forces it.
    Mandate,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) op: Op<'a>,
    pub(super) by: By,
    /// Its index in the client's plan.
    pub(super) origin: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Variable<'a> {
    pub(super) string: &'a [u8],
    pub(super) by: By,
}

#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) ops: Vec<Item<'a>>,
    pub(super) argv: Vec<&'a CStr>,
    pub(super) envp: Vec<Variable<'a>>,
    pub(super) slots: Vec<Grant>,
    pub(super) granted: &'a [BorrowedFd<'a>],
    pub(super) held: &'a Held,
    /// The widest mandate, which is named.
    pub(super) named: &'a Compiled,
    /// What is made for the child, and where.
    pub(super) cgroup: Option<(Arc<ForcedCgroup>, Group)>,
    pub(super) steps: Steps,
}

impl<'a> Work<'a> {
    /// Takes a plan apart and puts in what the agent does of itself: nothing that a plan would keep of its
    /// creator is the client's to have, since its creator is the agent.
    pub(super) fn new(
        held: &'a Held,
        named: &'a Compiled,
        plan: &PlanView<'a>,
        granted: &'a [BorrowedFd<'a>],
    ) -> Result<Self, Refusal> {
        if plan.is_batch() {
            return Err(refusal("plan", "it is a batch, which starts nothing"));
        }
        if plan.slots() as usize != granted.len() {
            let why = format!("the plan has {} slots, and {} came", plan.slots(), granted.len());
            return Err(refusal("grants", why));
        }
        let mut ops = Vec::with_capacity(plan.entries().len() + 12);
        for (origin, op) in (0..).zip(plan.ops()) {
            let op = op.ok_or_else(|| refusal("plan", "an op does not decode"))?;
            ops.push(Item { op, by: By::Client, origin });
        }
        let envp = plan.envp().map(|string| Variable { string: string.to_bytes(), by: By::Client });
        let mut work = Self {
            ops,
            argv: plan.argv().collect(),
            envp: envp.collect(),
            slots: (0..plan.slots()).map(Grant::Client).collect(),
            granted,
            held,
            named,
            cgroup: None,
            steps: Steps::new(),
        };
        work.defaults(plan.keep());
        Ok(work)
    }

    fn defaults(&mut self, keep: Keep) {
        let agent = |op| Item { op, by: By::Agent, origin: u32::MAX };
        // Every signal has its default action if none is kept ignored.
        self.ops.retain(|item| !matches!(item.op, Op::SignalDefault { .. }));
        if keep.contains(Keep::SESSION) {
            // The leader of a new session leads a new process group as well.
            self.ops.retain(|item| !matches!(item.op, Op::SetPgid { pgid: 0 }));
            self.insert(agent(Op::SetSid));
        }
        if keep.contains(Keep::CWD) {
            self.insert(agent(Op::ChdirPath { path: c"/" }));
        }
        let has = |code| self.find(code).is_some();
        if has(OpCode::Uid) && !has(OpCode::Groups) {
            self.insert(agent(Op::Groups { list: &[] }));
        }
        if !self.named.host.ambient.is_empty() && self.find(OpCode::Ambient).is_none() {
            self.insert(agent(Op::Privilege(PrivilegeOp::Ambient { set: 0 })));
        }
        if self.changes_root() {
            self.enter_new_root_safely();
        }
    }

    /// A plan that keeps its umask has none until every mandate has had its say, since what is forced is added to
    /// one that was asked for.
    pub(super) fn finish(&mut self) {
        if self.find(OpCode::Umask).is_none() {
            self.insert(Item { op: Op::Umask { mode: UMASK }, by: By::Agent, origin: u32::MAX });
        }
    }

    /// What is in a root of the client's choice must not gain privilege there, and a path in it is looked up
    /// as whom the child has become: `/proc/1/root` leads out of it for the agent.
    fn enter_new_root_safely(&mut self) {
        if self.find(OpCode::NoNewPrivs).is_none() {
            self.insert(Item { op: Op::NoNewPrivs, by: By::Agent, origin: u32::MAX });
        }
        if let Some(at) = self.find(OpCode::ChdirPath) {
            let item = self.ops.remove(at);
            self.insert(item);
        }
    }

    /// What the agent is.
    pub(super) fn host(&self) -> &'a Host {
        &self.named.host
    }

    /// Where the first op of this code stands.
    pub(super) fn find(&self, code: OpCode) -> Option<usize> {
        self.ops.iter().position(|item| item.op.code() == code)
    }

    /// The first op that `wanted` makes something of.
    pub(super) fn first<T>(&self, wanted: impl Fn(&Op<'a>) -> Option<T>) -> Option<T> {
        self.ops.iter().find_map(|item| wanted(&item.op))
    }

    /// Whether paths mean something else to the child than to the agent.
    pub(super) fn changes_root(&self) -> bool {
        self.ops.iter().any(|item| {
            matches!(
                item.op,
                Op::ChrootPath { .. } | Op::ChrootSlot { .. } | Op::Mount(MountOp::NewRoot { .. })
            )
        })
    }

    /// Whether the ids that it sets are those of a user namespace of its own.
    pub(super) fn has_user_namespace(&self) -> bool {
        self.ops.iter().any(|item| {
            matches!(
                item.op,
                Op::Namespace(NamespaceOp::User { .. } | NamespaceOp::NestedUser { .. })
            )
        })
    }

    /// Puts an op in at the last place where it may stand.
    ///
    /// Before the first one that must not come before it; whatever follows that one stood after it, so it is
    /// ordered after this op as well.
    pub(super) fn insert(&mut self, item: Item<'a>) {
        let place = item.op.code().place();
        let at = self.ops.iter().position(|other| match (item.op, other.op) {
            (Op::Rlimit { resource, .. }, Op::Rlimit { resource: other, .. }) => other > resource,
            (_, other) => other.code().place().first > place.last,
        });
        self.ops.insert(at.unwrap_or(self.ops.len()), item);
    }

    /// Has the child killed when the agent ends, whoever ends that.
    pub(super) fn end_with_agent(&mut self) {
        const SIGKILL: u32 = 9;
        let op = Op::DeathSignal { signal: SIGKILL };
        self.insert(Item { op, by: By::Agent, origin: u32::MAX });
    }

    /// Puts what a mandate forces in, in place of what stands there of the same kind.
    pub(super) fn force(&mut self, op: Op<'a>, same: impl Fn(&Op<'a>) -> bool) {
        let item = Item { op, by: By::Mandate, origin: u32::MAX };
        match self.ops.iter_mut().find(|item| same(&item.op)) {
            Some(there) if there.op.code() == op.code() => *there = item,
            Some(_) => {
                self.ops.retain(|item| !same(&item.op));
                self.insert(item);
            }
            None => self.insert(item),
        }
    }

    /// A slot for something of the agent's.
    pub(super) fn slot(&mut self, grant: Grant) -> Slot {
        let slot = Slot(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.slots.push(grant);
        slot
    }

    /// A slot for a descriptor of the agent's.
    pub(super) fn ours(&mut self, fd: OwnedFd) -> Slot {
        self.slot(Grant::Ours(Arc::new(fd)))
    }

    /// The descriptor that a slot stands for, if there is one already.
    pub(super) fn fd(&self, slot: Slot) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        match self.slots.get(slot.0 as usize)? {
            Grant::Client(index) => self.granted.get(*index as usize).copied(),
            Grant::Ours(fd) => Some(fd.as_fd()),
            Grant::Image | Grant::Cgroup => None,
        }
    }

    /// The plan that this has become, checked again.
    pub(super) fn build(&self) -> Result<Plan, Refusal> {
        let mut plan = PlanBuilder::new();
        if self.find(OpCode::Umask).is_none() {
            plan.keep(Keep::UMASK);
        }
        for _ in &self.slots {
            plan.slot();
        }
        for item in &self.ops {
            plan.op(&item.op);
        }
        for arg in &self.argv {
            plan.arg(arg.to_bytes());
        }
        for variable in &self.envp {
            plan.env_string(variable.string);
        }
        plan.build_in_order().map_err(|error| refusal("plan", error.to_string()))
    }
}
