//! A random order for each round. Speed and a different order each time are all that it needs.

/// Marsaglia's xorshift64.
#[derive(Debug)]
pub(crate) struct Shuffler(u64);

impl Shuffler {
    /// A generator whose orders follow from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        // The state zero would stay zero.
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.next() % (last as u64 + 1);
            items.swap(last, other as usize);
        }
    }
}
