//! Times: a number with a unit.
//!
//! It must never round a time to nothing: what is written as more than zero stays more than zero.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A time whose bare numbers are seconds.
///
/// # Errors
/// What is expected instead.
pub fn seconds(text: &str) -> Result<Duration, String> {
    parse(text, "s")
}

/// A time whose bare numbers are nanoseconds, as chrt(1) and systemd have it for such times.
///
/// # Errors
/// What is expected instead.
pub fn nanoseconds(text: &str) -> Result<Duration, String> {
    parse(text, "ns")
}

/// A time that is written with its unit, or as nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        nanoseconds(text).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
        let fits = units.into_iter().find(|(_, unit)| ns != 0 && ns.is_multiple_of(*unit));
        let (name, unit) = fits.unwrap_or(("ns", 1));
        write!(f, "{}{name}", ns / unit)
    }
}

super::textual!(Span: "a time with its unit, such as \"50us\", or a number of nanoseconds", number);

fn parse(text: &str, default_unit: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "a number with ns, us, ms, s, m or h is needed";
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit_ns = match if unit.is_empty() { default_unit } else { unit } {
        "ns" => 1u64,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(EXPECTED.into()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| EXPECTED)?;
    let mut ns = whole.checked_mul(unit_ns).ok_or("the time is too long")?;
    let mut place = unit_ns;
    for digit in fraction.bytes() {
        if !digit.is_ascii_digit() {
            return Err(EXPECTED.into());
        }
        place /= 10;
        ns = ns.saturating_add(place * u64::from(digit - b'0'));
    }
    if ns == 0 && number.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        ns = 1;
    }
    Ok(Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_keeps_its_unit() {
        let span = |ns| Some(Span(Duration::from_nanos(ns)));
        super::super::check("50us", span(50_000));
        super::super::check("1.5s", span(1_500_000_000));
        super::super::check("7", span(7));
        super::super::check("0", span(0));
        super::super::check::<Span>("1y", None);
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        let check = |text, ns| assert_eq!(seconds(text), Ok(Duration::from_nanos(ns)), "{text}");
        check("2", 2_000_000_000);
        check("0", 0);
        check("1.5s", 1_500_000_000);
        check("250ms", 250_000_000);
        check("3us", 3_000);
        check("2m", 120_000_000_000);
        check("0.1ns", 1);
        assert_eq!(nanoseconds("50"), Ok(Duration::from_nanos(50)));
        for bad in ["", "s", "1x", "-1", "1.x", "1e9", "99999999999h", "1 s", ".5.5"] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }
}
