//! Building a plan op by op, and owning one.
//!
//! The builder sorts what has only one right order (descriptors by number, resources, stages), so
//! a caller need not know it; what it makes is then checked like any plan that came from outside.

use crate::check::{PlanError, RawPlan};
use crate::format::{DataRef, Entry, HEADER_LEN, Header, ListRef, MAGIC, PlanFlags, VERSION};
use crate::limits;
use crate::op::{Keep, NO_SLOT, Namespaces, Op, OpCode, Slot};
use crate::view::Plan;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use zerocopy::IntoBytes;

/// A checked plan that owns its bytes. Cloning one copies a pointer.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedPlan {
    bytes: Arc<[u8]>,
}

impl OwnedPlan {
    /// Checks bytes and keeps them.
    ///
    /// # Errors
    /// What [`RawPlan::check`] finds.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, PlanError> {
        let bytes = bytes.into();
        RawPlan(&bytes).check()?;
        Ok(Self { bytes })
    }

    /// A builder for one.
    #[must_use]
    pub fn builder() -> PlanBuilder {
        PlanBuilder::new()
    }

    /// The plan.
    #[must_use]
    pub fn as_plan(&self) -> Plan<'_> {
        // The bytes were checked when this was made and have not changed, so splitting them
        // cannot fail; an empty plan stands in for what cannot happen.
        Plan::split(&self.bytes).unwrap_or_else(|| unreachable!("checked bytes split"))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for OwnedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_plan().fmt(f)
    }
}

/// Why a plan could not be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The ops do not make a plan.
    Plan(PlanError),
    /// More bytes than a plan may have.
    TooLong,
    /// A string has a NUL inside; what it was meant for.
    Nul(&'static str),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Plan(error) => error.fmt(f),
            BuildError::Nul(name) => write!(f, "{name} has a NUL inside"),
            BuildError::TooLong => {
                write!(f, "the plan would be longer than {} bytes", limits::PLAN_BYTES_MAX)
            }
        }
    }
}

impl core::error::Error for BuildError {}

impl From<PlanError> for BuildError {
    fn from(error: PlanError) -> Self {
        BuildError::Plan(error)
    }
}

/// Collects ops, argv, envp and what is kept.
///
/// Nothing is implied: a plan that sets no working directory, for example, has to keep the
/// creator's by name, or it is refused.
#[derive(Clone, Debug, Default)]
pub struct PlanBuilder {
    ops: Vec<Stored>,
    data: Vec<u8>,
    argv: Strings,
    envp: Strings,
    keep: u32,
    slots: u32,
    flags: u32,
}

/// An op with its data copied to the builder, positions relative to `data`.
#[derive(Clone, Copy, Debug)]
struct Stored {
    code: OpCode,
    entry: Entry,
    data: [(usize, usize); 2],
}

#[derive(Clone, Debug, Default)]
struct Strings {
    bytes: Vec<u8>,
    count: u32,
    nul: bool,
}

impl Strings {
    fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.nul |= part.contains(&0);
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        self.count = self.count.saturating_add(1);
    }
}

impl PlanBuilder {
    /// An empty one, which is not yet a plan.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch: ops for an embryo that goes on living, without an image.
    #[must_use]
    pub fn batch() -> Self {
        Self { flags: PlanFlags::BATCH.bits(), ..Self::default() }
    }

    /// One more grant slot.
    pub fn slot(&mut self) -> Slot {
        let slot = Slot(self.slots);
        self.slots = self.slots.saturating_add(1);
        slot
    }

    /// Adds an op.
    pub fn op(&mut self, op: &Op<'_>) -> &mut Self {
        let parts = op.parts();
        let data = parts.data.map(|bytes| bytes.unwrap_or(&[]));
        self.entry(op.code(), parts.flags, parts.slot, parts.args, data)
    }

    /// Adds an op by what its entry holds, as `docs/plan-format.md` has it; the checker sees whether that
    /// is an op.
    pub fn entry(
        &mut self,
        code: OpCode,
        flags: u16,
        slot: Option<Slot>,
        args: [u64; 4],
        data: [&[u8]; 2],
    ) -> &mut Self {
        let entry = Entry {
            code: (code as u16).into(),
            flags: flags.into(),
            slot: slot.map_or(NO_SLOT, |slot| slot.0).into(),
            args: args.map(Into::into),
            ..Entry::default()
        };
        let data = data.map(|bytes| {
            let from = self.data.len();
            self.data.extend_from_slice(bytes);
            (from, self.data.len() - from)
        });
        self.ops.push(Stored { code, entry, data });
        self
    }

    /// Adds what is kept of the creator.
    pub fn keep(&mut self, keep: Keep) -> &mut Self {
        self.keep |= keep.bits();
        self
    }

    /// Adds an argument, without a NUL; the first is `argv[0]`.
    pub fn arg(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        self.argv.push(&[arg.as_ref()]);
        self
    }

    /// Adds an environment string as it is, usually `NAME=value`.
    pub fn env_string(&mut self, string: impl AsRef<[u8]>) -> &mut Self {
        self.envp.push(&[string.as_ref()]);
        self
    }

    /// Adds an environment variable.
    pub fn env(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.envp.push(&[name.as_ref(), b"=", value.as_ref()]);
        self
    }

    /// Encodes the plan with its ops in the order that the kernel demands, and checks it.
    ///
    /// # Errors
    /// [`BuildError`]: the ops exclude each other, a value is out of range, a string is too long.
    pub fn build(&self) -> Result<OwnedPlan, BuildError> {
        let mut order: Vec<usize> = (0..self.ops.len()).collect();
        // A stable sort: ops that may stand in any order stay in the order they were given, and an
        // op without a place of its own (`fail`) stays behind the op it was given after.
        let mut after = (0u8, 0u64);
        let keys: Vec<(u8, u64)> = self
            .ops
            .iter()
            .map(|op| {
                if op.code == OpCode::Fail {
                    return after;
                }
                let minor = match op.code {
                    OpCode::PutFd | OpCode::OpenNull | OpCode::Rlimit | OpCode::ClockOffset => {
                        op.entry.args[0].get()
                    }
                    // That of users gives the capabilities that the others need.
                    OpCode::JoinNamespace => {
                        let user = u64::from(Namespaces::USER.bits());
                        u64::from(op.entry.args[0].get() & user == 0)
                    }
                    _ => 0,
                };
                after = (op.code.place().last, minor);
                after
            })
            .collect();
        order.sort_by_key(|index| keys[*index]);
        self.encode(&order)
    }

    /// Encodes the plan with its ops in the order in which they were added, and checks it.
    ///
    /// # Errors
    /// As [`PlanBuilder::build`], and wrong order.
    pub fn build_in_order(&self) -> Result<OwnedPlan, BuildError> {
        let order: Vec<usize> = (0..self.ops.len()).collect();
        self.encode(&order)
    }

    fn encode(&self, order: &[usize]) -> Result<OwnedPlan, BuildError> {
        for (strings, name) in [(&self.argv, "an argument"), (&self.envp, "an environment string")]
        {
            if strings.nul {
                return Err(BuildError::Nul(name));
            }
        }
        let strings_len = self.argv.bytes.len() + self.envp.bytes.len();
        let data_len = strings_len + self.data.len();
        let total_len = HEADER_LEN + order.len() * size_of::<Entry>() + data_len;
        if total_len > limits::PLAN_BYTES_MAX {
            return Err(BuildError::TooLong);
        }
        let reference = |offset: usize, len: usize| {
            // Below PLAN_BYTES_MAX, hence within u32; an empty reference is all zeros.
            let offset = if len == 0 { 0 } else { offset };
            DataRef { offset: (offset as u32).into(), len: (len as u32).into() }
        };
        let list = |offset: usize, strings: &Strings| ListRef {
            data: reference(offset, strings.bytes.len()),
            count: strings.count.into(),
        };
        let header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            header_len: (HEADER_LEN as u16).into(),
            flags: self.flags.into(),
            total_len: (total_len as u32).into(),
            keep: self.keep.into(),
            slots: self.slots.into(),
            entries: (order.len() as u32).into(),
            data_len: (data_len as u32).into(),
            argv: list(0, &self.argv),
            envp: list(self.argv.bytes.len(), &self.envp),
            ..Header::default()
        };
        let mut bytes = Vec::with_capacity(total_len);
        bytes.extend_from_slice(header.as_bytes());
        let mut next = strings_len;
        for index in order {
            let op = &self.ops[*index];
            let mut entry = op.entry;
            for (to, (_, len)) in entry.data.iter_mut().zip(op.data) {
                *to = reference(next, len);
                next += len;
            }
            bytes.extend_from_slice(entry.as_bytes());
        }
        bytes.extend_from_slice(&self.argv.bytes);
        bytes.extend_from_slice(&self.envp.bytes);
        for index in order {
            for (from, len) in self.ops[*index].data {
                bytes.extend_from_slice(&self.data[from..from + len]);
            }
        }
        Ok(OwnedPlan::from_bytes(bytes)?)
    }
}
