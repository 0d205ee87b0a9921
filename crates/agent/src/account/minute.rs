//! How many events there were in the last minute, in a fixed amount of memory.
//!
//! It must never forget one that is less than a minute old.

/// Seconds that are remembered. One more than a minute has, since the first of them has only begun and the
/// last is not over: any sixty seconds touch at most as many.
const SECONDS: usize = 61;

/// Events by the second.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(super) struct Minute {
    by_second: [u32; SECONDS],
    sum: u64,
    /// The latest second that was seen.
    latest: u64,
}

/// The same as it is written down.
#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    by_second: Vec<u32>,
    latest: u64,
}

impl From<Minute> for Written {
    fn from(minute: Minute) -> Self {
        Self { by_second: minute.by_second.to_vec(), latest: minute.latest }
    }
}

impl TryFrom<Written> for Minute {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let by_second: [u32; SECONDS] =
            written.by_second.try_into().map_err(|_| "no minute has so many seconds")?;
        let sum = by_second.iter().copied().map(u64::from).sum();
        Ok(Self { by_second, sum, latest: written.latest })
    }
}

impl Default for Minute {
    fn default() -> Self {
        Self { by_second: [0; SECONDS], sum: 0, latest: 0 }
    }
}

impl Minute {
    /// One more, now.
    pub(super) fn add(&mut self, second: u64) {
        self.go_to(second);
        if let Some(count) = self.by_second.get_mut(place(self.latest)) {
            *count = count.saturating_add(1);
            self.sum += 1;
        }
    }

    /// One that was added in this second never happened.
    pub(super) fn take_back(&mut self, second: u64) {
        let remembered = second <= self.latest && self.latest - second < SECONDS as u64;
        if let Some(count) = self.by_second.get_mut(place(second)).filter(|_| remembered)
            && *count > 0
        {
            *count -= 1;
            self.sum = self.sum.saturating_sub(1);
        }
    }

    /// How many there were in the minute until now.
    pub(super) fn count(&mut self, second: u64) -> u64 {
        self.go_to(second);
        self.sum
    }

    fn go_to(&mut self, second: u64) {
        if second <= self.latest {
            return;
        }
        if second - self.latest >= SECONDS as u64 {
            *self = Self { latest: second, ..Self::default() };
            return;
        }
        for passed in self.latest + 1..=second {
            if let Some(count) = self.by_second.get_mut(place(passed)) {
                self.sum = self.sum.saturating_sub(u64::from(*count));
                *count = 0;
            }
        }
        self.latest = second;
    }
}

fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_never_too_short() {
        let mut minute = Minute::default();
        let mut all = Vec::new();
        for (step, count) in [(0, 3), (1, 1), (29, 2), (30, 4), (1, 1), (61, 5), (500, 1), (60, 1)]
        {
            let now = all.last().copied().unwrap_or(0) + step;
            for _ in 0..count {
                minute.add(now);
                all.push(now);
            }
            // What happened sixty whole seconds ago may have happened later than a minute ago.
            let least = all.iter().filter(|then| now - **then < 61).count() as u64;
            assert_eq!(minute.count(now), least, "at {now}");
        }
        let now = *all.last().unwrap();
        minute.take_back(now);
        assert_eq!(minute.count(now), 1);
        minute.take_back(now.saturating_sub(200));
        assert_eq!(minute.count(now), 1);
        assert_eq!(minute.count(now + 61), 0);
    }
}
