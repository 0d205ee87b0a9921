//! The two scales of a plot.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis's points at equal steps. Their values grow by a constant factor or nearly so, which
/// makes this a logarithmic scale, but for its first place: that is for zero.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    labels: Vec<String>,
}

impl Places {
    /// One place for each label.
    pub(crate) fn new(labels: Vec<String>) -> Self {
        Self { labels }
    }
}

impl Ranged for Places {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        // A little air at both ends.
        let share = 0.06 + 0.88 * value / self.range().end.max(1.0);
        left + (f64::from(right - left) * share).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        (0..self.labels.len()).map(|place| place as f64).collect()
    }

    fn range(&self) -> Range<f64> {
        0.0..self.labels.len().saturating_sub(1) as f64
    }
}

impl ValueFormatter<f64> for Places {
    fn format_ext(&self, value: &f64) -> String {
        self.labels.get(value.round() as usize).cloned().unwrap_or_default()
    }
}

/// A logarithmic scale that begins and ends at 1, 2 or 5 times a power of ten.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// At least two, in ascending order.
    marks: Vec<f64>,
}

/// With more marks than this, only those at powers of ten are shown.
const FINE_MARKS_MAX: usize = 7;

impl Log {
    /// The shortest such scale that holds both, which are positive, and reaches above `high`.
    pub(crate) fn around(low: f64, high: f64) -> Self {
        let exponent = |value: f64| value.log10().floor() as i32;
        let decades = exponent(low)..=exponent(high) + 1;
        let marks =
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
        let marks: Vec<f64> = marks.collect();
        let first = marks.iter().rposition(|&mark| mark <= low).unwrap_or(0);
        let last = marks.iter().position(|&mark| mark > high).unwrap_or(marks.len() - 1);
        Self { marks: marks[first..=last].to_vec() }
    }
}

impl Ranged for Log {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (bottom, top): (i32, i32)) -> i32 {
        let Range { start, end } = self.range();
        let share = (value / start).ln() / (end / start).ln();
        bottom + (f64::from(top - bottom) * share).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        let all = self.marks.len() <= FINE_MARKS_MAX;
        let shown = |mark: &f64| all || mark.log10().fract() == 0.0;
        self.marks.iter().copied().filter(shown).collect()
    }

    fn range(&self) -> Range<f64> {
        self.marks[0]..self.marks[self.marks.len() - 1]
    }
}

impl ValueFormatter<f64> for Log {
    fn format_ext(&self, value: &f64) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_their_times() {
        for (low, high) in [(24.0, 62_000.0), (1.0, 1.0), (20.0, 100.0), (0.3, 7.0), (99.9, 100.0)]
        {
            let Range { start, end } = Log::around(low, high).range();
            assert!(start <= low && high < end, "{low} to {high} in {start} to {end}");
            assert!(start > low / 2.6 && end < high * 2.6, "{low} to {high} in {start} to {end}");
        }
    }
}
