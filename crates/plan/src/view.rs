//! Reading a checked plan in place: no allocation, no copy, no panic.

use crate::format::{DataRef, ENTRY_LEN, Entry, HEADER_LEN, Header, ListRef, PlanFlags};
use crate::op::{Keep, Op, OpCode, Route};
use core::ffi::CStr;
use zerocopy::FromBytes;

/// A plan that has been checked, borrowed from the bytes that hold it.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    bytes: &'a [u8],
    header: &'a Header,
    entries: &'a [Entry],
    data: &'a [u8],
}

impl<'a> Plan<'a> {
    /// Splits bytes into header, entries and data; `None` if they do not hold what the header says.
    ///
    /// This looks at lengths alone. It is for bytes that were checked by whoever sent them
    /// and is trusted, as an embryo trusts its owner; anybody else calls
    /// [`crate::RawPlan::check`]. Reading such a plan is memory-safe whatever it holds.
    #[must_use]
    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(bytes).ok()?;
        let entries_len = (header.entries.get() as usize).checked_mul(ENTRY_LEN)?;
        let entries = <[Entry]>::ref_from_bytes(rest.get(..entries_len)?).ok()?;
        let data = rest.get(entries_len..)?;
        if data.len() != header.data_len.get() as usize {
            return None;
        }
        Some(Self { bytes, header, entries, data })
    }

    /// The whole of it, as it is stored and sent.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many grants a spawn has to bring.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.header.slots.get()
    }

    /// What the child keeps of its creator instead of a default.
    #[must_use]
    pub fn keep(&self) -> Keep {
        Keep::from_bits_truncate(self.header.keep.get())
    }

    /// Whether this is a batch: ops without an image.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        PlanFlags::from_bits_truncate(self.header.flags.get()).contains(PlanFlags::BATCH)
    }

    /// argv of the image.
    #[must_use]
    pub fn argv(&self) -> StrList<'a> {
        self.list(self.header.argv)
    }

    /// envp of the image.
    #[must_use]
    pub fn envp(&self) -> StrList<'a> {
        self.list(self.header.envp)
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// The entries as they are stored.
    #[must_use]
    pub fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// The ops in order. An entry that does not decode is `None`; a checked plan has none.
    #[must_use]
    pub fn ops(&self) -> Ops<'a> {
        Ops { plan: *self, next: 0 }
    }

    /// The op at `index`.
    #[must_use]
    pub fn op(&self, index: u32) -> Option<Op<'a>> {
        self.entries.get(index as usize).and_then(|entry| Op::decode(entry, self))
    }

    /// The code of the op at `index`, whether or not the rest of it decodes.
    #[must_use]
    pub fn code(&self, index: u32) -> Option<OpCode> {
        self.entries.get(index as usize).and_then(|entry| OpCode::from_number(entry.code.get()))
    }

    /// Where the plan has to be executed: [`Route::Seed`] as soon as one op demands it.
    #[must_use]
    pub fn route(&self) -> Route {
        let through_seed = self.entries.iter().any(|entry| {
            OpCode::from_number(entry.code.get()).is_none_or(|code| code.route() == Route::Seed)
        });
        if through_seed { Route::Seed } else { Route::Direct }
    }

    /// The bytes that a reference names.
    #[must_use]
    pub fn data(&self, at: DataRef) -> Option<&'a [u8]> {
        let from = at.offset.get() as usize;
        self.data.get(from..from.checked_add(at.len.get() as usize)?)
    }

    /// The C string that a reference names.
    #[must_use]
    pub fn c_str(&self, at: DataRef) -> Option<&'a CStr> {
        CStr::from_bytes_with_nul(self.data(at)?).ok()
    }

    fn list(&self, at: ListRef) -> StrList<'a> {
        StrList { rest: self.data(at.data).unwrap_or(&[]), left: at.count.get() }
    }
}

const _: () = assert!(HEADER_LEN.is_multiple_of(8));

/// The ops of a plan, in order.
#[derive(Clone)]
pub struct Ops<'a> {
    plan: Plan<'a>,
    next: u32,
}

impl<'a> Iterator for Ops<'a> {
    type Item = Option<Op<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.plan.entries.get(self.next as usize)?;
        self.next = self.next.wrapping_add(1);
        Some(Op::decode(entry, &self.plan))
    }
}

/// Strings end to end, each with its NUL.
#[derive(Clone, Copy)]
pub struct StrList<'a> {
    rest: &'a [u8],
    left: u32,
}

impl StrList<'_> {
    /// How many are left.
    #[must_use]
    pub fn count(&self) -> usize {
        self.left as usize
    }
}

impl<'a> Iterator for StrList<'a> {
    type Item = &'a CStr;

    fn next(&mut self) -> Option<&'a CStr> {
        if self.left == 0 {
            return None;
        }
        let string = CStr::from_bytes_until_nul(self.rest).ok()?;
        self.rest = self.rest.get(string.to_bytes_with_nul().len()..)?;
        self.left = self.left.wrapping_sub(1);
        Some(string)
    }
}
