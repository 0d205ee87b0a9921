//! Plans taken apart so that a test can break them.
//!
//! It must never go through the checker: what a test breaks here has to stay broken.

use embryo_plan::{ENTRY_LEN, Entry, HEADER_LEN, Header, OwnedPlan};
use zerocopy::{FromBytes, IntoBytes};

/// The parts of a plan, each free to be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) header: Header,
    pub(crate) entries: Vec<Entry>,
    pub(crate) data: Vec<u8>,
}

impl Raw {
    /// Takes a plan apart.
    pub(crate) fn of(plan: &OwnedPlan) -> Self {
        let bytes = plan.as_bytes();
        let (header, rest) = Header::read_from_prefix(bytes).expect("a plan has a header");
        let (entries, data) = rest.split_at(header.entries.get() as usize * ENTRY_LEN);
        let entry = |bytes| Entry::read_from_bytes(bytes).expect("an entry has its length");
        let entries = entries.chunks_exact(ENTRY_LEN).map(entry).collect();
        Self { header, entries, data: data.to_vec() }
    }

    /// The bytes, with whatever the header says of their lengths.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.header.as_bytes(), self.entries.as_bytes(), &self.data].concat()
    }

    /// Makes the header's lengths those of the parts.
    pub(crate) fn fit(&mut self) {
        let total = HEADER_LEN + self.entries.len() * ENTRY_LEN + self.data.len();
        self.header.entries = (self.entries.len() as u32).into();
        self.header.data_len = (self.data.len() as u32).into();
        self.header.total_len = (total as u32).into();
    }
}
