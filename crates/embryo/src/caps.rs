//! Sets of capabilities, and everything else that a process may do, as data.

use embryo_plan::{capability_name, limits, securebit_name};
use std::fmt;
use std::ops::{BitOr, Sub};
use std::str::FromStr;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// A set of capabilities, by the names of capabilities(7).
///
/// As text it is a list of names with commas, `all` or `none`. Case and the prefix `cap_` do not
/// matter, and hyphens are underscores.
///
/// ```
/// use embryo::CapSet;
/// let set: CapSet = "CAP_NET_BIND_SERVICE,net-raw".parse()?;
/// assert_eq!(set.to_string(), "cap_net_bind_service,cap_net_raw");
/// assert!("cap_net_bind".parse::<CapSet>().unwrap_err().to_string().contains("cap_net_bind_service"));
/// # Ok::<(), embryo::CapSetError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Written", into = "String"))]
pub struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub const NONE: Self = Self(0);
    /// Every capability, those of later kernels too.
    pub const ALL: Self = Self(u64::MAX);

    /// A set from its bits: bit n is capability n.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it has all of another.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The effective, permitted and inheritable set of the calling thread.
    ///
    /// # Errors
    /// What capget(2) answers, under a filter.
    pub fn current() -> std::io::Result<[Self; 3]> {
        let sets = embryo_syscall::capget();
        let sets = sets.map_err(|e| std::io::Error::from_raw_os_error(e.number().into()))?;
        Ok(sets.map(Self))
    }

    /// The bounding set of the calling thread.
    #[must_use]
    pub fn current_bounding() -> Self {
        Self::each(|number| embryo_syscall::in_bounding_set(number) == Ok(true))
    }

    /// The ambient set of the calling thread.
    #[must_use]
    pub fn current_ambient() -> Self {
        Self::each(|number| embryo_syscall::in_ambient_set(number) == Ok(true))
    }

    fn each(has: impl Fn(u32) -> bool) -> Self {
        let numbers = (0..64).filter(|number| has(*number));
        Self(numbers.fold(0, |set, number| set | 1 << number))
    }
}

impl BitOr for CapSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for CapSet {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        embryo_plan::ArgText::Capabilities(self.0).fmt(f)
    }
}

/// A name that is no capability, and the nearest that is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapSetError {
    name: String,
    nearest: &'static str,
}

impl fmt::Display for CapSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no capability; did you mean {}?", self.name, self.nearest)
    }
}

impl std::error::Error for CapSetError {}

impl FromStr for CapSet {
    type Err = CapSetError;

    fn from_str(text: &str) -> Result<Self, CapSetError> {
        match text {
            "" => return Err(unknown("")),
            _ if text.eq_ignore_ascii_case("all") => return Ok(Self::ALL),
            _ if text.eq_ignore_ascii_case("none") => return Ok(Self::NONE),
            _ => {}
        }
        text.split(',').try_fold(Self::NONE, |set, name| Ok(set | one(name)?))
    }
}

fn one(text: &str) -> Result<CapSet, CapSetError> {
    let name = text.trim().to_ascii_lowercase().replace('-', "_");
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    if let Ok(number @ 0..64) = name.parse::<u32>() {
        return Ok(CapSet(1 << number));
    }
    let number = (0..=limits::CAPABILITY_MAX).find(|number| short(*number) == name);
    number.map(|number| CapSet(1 << number)).ok_or_else(|| unknown(text))
}

/// The name without its prefix.
fn short(number: u32) -> &'static str {
    capability_name(number).and_then(|name| name.strip_prefix("cap_")).unwrap_or_default()
}

fn unknown(text: &str) -> CapSetError {
    let name = text.to_ascii_lowercase().replace('-', "_");
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    let away = |number: &u32| crate::nearest::away(name, short(*number));
    let nearest = (0..=limits::CAPABILITY_MAX).min_by_key(away).and_then(capability_name);
    CapSetError { name: text.to_owned(), nearest: nearest.unwrap_or_default() }
}

/// How a set may be written in a file.
#[cfg(feature = "serde")]
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

#[cfg(feature = "serde")]
impl TryFrom<Written> for CapSet {
    type Error = CapSetError;

    fn try_from(written: Written) -> Result<Self, CapSetError> {
        match written {
            Written::Text(text) => text.parse(),
            Written::List(names) => {
                names.iter().try_fold(Self::NONE, |set, name| Ok(set | name.parse()?))
            }
        }
    }
}

#[cfg(feature = "serde")]
impl From<CapSet> for String {
    fn from(set: CapSet) -> Self {
        set.to_string()
    }
}

/// Securebits flags; capabilities(7). As text a list of setpriv(1)'s names with commas, or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct Securebits(u32);

impl Securebits {
    /// Execution by uid 0 gives no capabilities: `SECBIT_NOROOT`.
    pub const NOROOT: Self = Self(1);
    /// Capabilities do not change with uids: `SECBIT_NO_SETUID_FIXUP`.
    pub const NO_SETUID_FIXUP: Self = Self(4);
    /// Nothing can be added to the ambient set: `SECBIT_NO_CAP_AMBIENT_RAISE`.
    pub const NO_CAP_AMBIENT_RAISE: Self = Self(64);

    /// Flags from their bits, `SECBIT_*`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Their bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether it has all of another.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of the calling thread.
    #[must_use]
    pub fn current() -> Self {
        let bits = embryo_syscall::tell(embryo_syscall::Tell::Securebits).unwrap_or_default();
        Self(bits as u32)
    }
}

impl BitOr for Securebits {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for Securebits {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for Securebits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        embryo_plan::ArgText::Securebits(self.0).fmt(f)
    }
}

impl FromStr for Securebits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(0));
        }
        text.split(',').try_fold(Self(0), |bits, name| {
            let name = name.trim().to_ascii_lowercase().replace('-', "_");
            let names = || (0..8u32).filter_map(|bit| Some((bit, securebit_name(bit)?)));
            match names().find(|(_, known)| *known == name) {
                Some((bit, _)) => Ok(bits | Self(1 << bit)),
                None => {
                    let away = |(_, known): &(u32, &str)| crate::nearest::away(&name, known);
                    let nearest = names().min_by_key(away).map(|(_, name)| name);
                    let nearest = nearest.unwrap_or_default();
                    Err(format!("{name:?} is no securebits flag; did you mean {nearest}?"))
                }
            }
        })
    }
}

#[cfg(feature = "serde")]
impl TryFrom<String> for Securebits {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(feature = "serde")]
impl From<Securebits> for String {
    fn from(bits: Securebits) -> Self {
        bits.to_string()
    }
}

/// What a process may do besides its ids. `None` leaves it as the caller has it.
///
/// # What the kernel demands
/// These are arranged when a plan is made, so that what is said here is what the program has:
/// - Capabilities die when the last of the user ids changes from 0 to another one. If the user changes and
///   something is to be permitted afterwards, they are kept across the change, and dropped right after
///   it as far as they were not asked for.
/// - A capability can be ambient only if it is permitted and inheritable: those that are ambient are
///   made inheritable, and where the user changes, permitted and effective.
/// - An exec as another user than root gives a program its ambient set, and nothing of the
///   permitted and effective ones. An exec as root gives it all of the bounding set, whatever is permitted,
///   unless [`Securebits::NOROOT`] is set. [`Privileges::only`] says all of it at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct Privileges {
    /// Everything else leaves the bounding set. It takes CAP_SETPCAP for what is there to leave.
    pub bounding: Option<CapSet>,
    /// The effective set.
    pub effective: Option<CapSet>,
    /// The permitted set.
    pub permitted: Option<CapSet>,
    /// The inheritable set, to which those that are ambient are added.
    pub inheritable: Option<CapSet>,
    /// The ambient set.
    pub ambient: Option<CapSet>,
    /// The securebits flags. They take CAP_SETPCAP.
    pub securebits: Option<Securebits>,
    /// Permitted capabilities outlive the change of the user id, until exec.
    pub keep_capabilities: bool,
    /// A new session keyring.
    pub session_keyring: Option<SessionKeyring>,
    /// Memory is never writable and executable. Linux 6.3.
    pub mdwe: bool,
    /// Transparent huge pages are off.
    pub thp_disable: Option<ThpDisable>,
}

/// A session keyring to join; keyctl(2). As text its name, or nothing for a new one without one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum SessionKeyring {
    /// A new one that nobody else can join.
    Anonymous,
    /// The one of this name, which is made if there is none that the user may search.
    Named(String),
}

/// When transparent huge pages are off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum ThpDisable {
    /// Always.
    Always,
    /// Where madvise(2) does not ask for them. Linux 6.18.
    ExceptAdvised,
}

impl Privileges {
    /// Exactly these capabilities, whoever the program runs as: in the bounding set, permitted, effective,
    /// inheritable and ambient. bubblewrap's `--cap-add` and `--cap-drop` come to this.
    #[must_use]
    pub fn only(set: CapSet) -> Self {
        let set = Some(set);
        let [effective, permitted, inheritable] = [set; 3];
        let (bounding, ambient) = (set, set);
        Self { bounding, effective, permitted, inheritable, ambient, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_printed() {
        for number in 0..64 {
            let set = CapSet::from_bits(1 << number);
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        let some = CapSet::from_bits(0b1011);
        assert_eq!(some.to_string(), "cap_chown,cap_dac_override,cap_fowner");
        for set in [some, CapSet::ALL, CapSet::NONE] {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
    }

    #[test]
    fn names_may_be_written_as_people_do() {
        let check = |text: &str, expect: u64| {
            assert_eq!(text.parse(), Ok(CapSet::from_bits(expect)), "{text:?}");
        };
        check("CAP_CHOWN", 1);
        check("chown", 1);
        check("Cap-Dac-Override, cap_chown", 3);
        check("ALL", u64::MAX);
        check("cap_63", 1 << 63);
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_nearest_that_is_one() {
        let check = |text: &str, nearest: &str| {
            let error = text.parse::<CapSet>().expect_err(text).to_string();
            assert!(error.contains(nearest), "{text:?}: {error}");
        };
        check("cap_sys_adm", "cap_sys_admin");
        check("net_bind", "cap_net_");
        check("CAP_CHWON", "cap_chown");
        check("chown,", "\"\"");
        check("", "\"\"");
        check("64", "cap_");
        let error = "no_root".parse::<Securebits>().expect_err("no such flag");
        assert!(error.contains("noroot"), "{error}");
    }

    #[test]
    fn securebits_are_read_as_they_are_printed() {
        for bits in 0..=0xff {
            let bits = Securebits::from_bits(bits);
            assert_eq!(bits.to_string().parse(), Ok(bits));
        }
    }
}
