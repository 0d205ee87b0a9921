//! Patterns with `*` and `?`, matched byte by byte.
//!
//! A client may send patterns as well as what they are matched with, so a match takes no memory at all, and all
//! matches for one plan together take no more than [`STEPS_MAX`]: it must never be what everybody waits for.

use std::cell::Cell;

/// Steps for one plan. A plan that needs more is refused.
pub(crate) const STEPS_MAX: u64 = 1 << 22;

/// What is left of the steps.
#[derive(Debug)]
pub(crate) struct Steps(Cell<u64>);

/// Matching would take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// One pattern: `*` stands for any bytes, `/` too, and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Box<[u8]>);

impl Steps {
    pub(crate) fn new() -> Self {
        Self(Cell::new(STEPS_MAX))
    }

    /// Takes one, or as many as something else is worth that a client makes the agent do.
    pub(crate) fn take(&self, count: u64) -> Result<(), TooLong> {
        self.0.set(self.0.get().checked_sub(count).ok_or(TooLong)?);
        Ok(())
    }
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }

    /// Whether it stands for more than itself.
    pub(crate) fn is_wild(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    /// Whether all of `text` fits. A `*` that was passed takes one byte more each time that what follows does
    /// not fit; only the last one has to, since an earlier one would find nothing that this one does not.
    pub(crate) fn fits(&self, text: &[u8], steps: &Steps) -> Result<bool, TooLong> {
        let (mut at, mut in_text) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            steps.take(1)?;
            match (self.0.get(at), text.get(in_text)) {
                (Some(b'*'), _) => {
                    at += 1;
                    if at == self.0.len() {
                        return Ok(true);
                    }
                    star = Some((at, in_text));
                }
                (Some(b'?'), Some(_)) => (at, in_text) = (at + 1, in_text + 1),
                (Some(wanted), Some(found)) if wanted == found => {
                    (at, in_text) = (at + 1, in_text + 1);
                }
                (None, None) => return Ok(true),
                (_, None) => return Ok(false),
                (_, Some(_)) => match star {
                    Some((behind, from)) => {
                        star = Some((behind, from + 1));
                        (at, in_text) = (behind, from + 1);
                    }
                    None => return Ok(false),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Steps, TooLong};

    #[test]
    fn a_pattern_stands_for_what_its_signs_stand_for() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "", false),
            ("*", "", true),
            ("*", "a/b/../c\n", true),
            ("-I*", "-I/usr/include", true),
            ("-I*", "-i/usr", false),
            ("*.c", "a/b.c", true),
            ("*.c", "a/b.cc", false),
            ("*.c", ".c.c", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?", "", false),
            ("?", "ab", false),
            ("a?c", "abc", true),
            ("**", "x", true),
            ("*?", "", false),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
            ("{a,b}", "a", false),
            ("\\*", "*", false),
        ] {
            let found = Pattern::new(pattern).fits(text.as_bytes(), &Steps::new());
            assert_eq!(found, Ok(fits), "{pattern:?} and {text:?}");
        }
        assert_eq!(Pattern::new("*?").fits(&[0xff, 0], &Steps::new()), Ok(true));
    }

    #[test]
    fn a_match_that_takes_too_long_is_given_up() {
        let pattern = Pattern::new(&format!("*{}b", "a".repeat(200)));
        let text = vec![b'a'; 100_000];
        assert_eq!(pattern.fits(&text, &Steps::new()), Err(TooLong));
    }
}
