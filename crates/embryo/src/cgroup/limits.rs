//! What a cgroup may use, as data: each field is a file of cgroup v2 and what is written to it.

use crate::error::{CgroupError, Error};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// A cgroup that is made for a child and goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct TransientCgroup {
    /// The directory of the cgroup to make it in, which has to be delegated to the caller.
    pub parent: PathBuf,
    /// What is written to its files.
    #[cfg_attr(feature = "serde", serde(default))]
    pub limits: CgroupLimits,
    /// Whether controllers that the limits need are enabled in the parent, for good
    /// (`cgroup.subtree_control`). Otherwise one that is not is an error.
    #[cfg_attr(feature = "serde", serde(default))]
    pub enable_controllers: bool,
}

impl TransientCgroup {
    /// One without limits.
    pub fn in_parent(parent: impl Into<PathBuf>) -> Self {
        let limits = CgroupLimits::default();
        Self { parent: parent.into(), limits, enable_controllers: false }
    }
}

/// An amount, or `max`. As text a number, with K, M, G or T for powers of 1024, or `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Written", into = "String"))]
pub enum Amount {
    /// So many.
    Of(u64),
    /// No limit.
    Max,
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(amount) => amount.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "max" | "infinity" | "unlimited") {
            return Ok(Self::Max);
        }
        let (digits, unit) = match text.char_indices().last() {
            Some((at, last)) if last.is_ascii_alphabetic() => {
                let power = "KMGT".find(last.to_ascii_uppercase());
                (&text[..at], power.map(|power| 1u64 << (10 * (power + 1))))
            }
            _ => (text, Some(1)),
        };
        let amount = digits.parse::<u64>().ok().zip(unit);
        let amount = amount.and_then(|(number, unit)| number.checked_mul(unit));
        amount
            .map(Self::Of)
            .ok_or_else(|| format!("{text:?} is no amount: a number with K, M, G or T, or max"))
    }
}

/// How an amount may be written in a file.
#[cfg(feature = "serde")]
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

#[cfg(feature = "serde")]
impl TryFrom<Written> for Amount {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(number) => Ok(Self::Of(number)),
            Written::Text(text) => text.parse(),
        }
    }
}

#[cfg(feature = "serde")]
impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

/// CPU time in each period: `cpu.max`. As text `50%` of one CPU, `QUOTA/PERIOD` in microseconds, or `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct CpuMax {
    /// Microseconds on CPUs, all together, in each period.
    pub quota: Amount,
    /// Microseconds; the kernel takes 1 000 to 1 000 000.
    pub period: u64,
}

impl CpuMax {
    const PERIOD: u64 = 100_000;

    /// A quota in the kernel's default period, 100 ms.
    #[must_use]
    pub fn of(quota: Duration) -> Self {
        let quota = u64::try_from(quota.as_micros()).unwrap_or(u64::MAX);
        Self { quota: Amount::Of(quota), period: Self::PERIOD }
    }
}

impl fmt::Display for CpuMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.quota, self.period)
    }
}

impl FromStr for CpuMax {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no CPU time: 50%, QUOTA/PERIOD in microseconds, or max");
        if let Some(percent) = text.strip_suffix('%') {
            let percent: u64 = percent.parse().map_err(|_| bad())?;
            let quota = percent.checked_mul(Self::PERIOD / 100).ok_or_else(bad)?;
            return Ok(Self { quota: Amount::Of(quota), period: Self::PERIOD });
        }
        let (quota, period) = text.split_once(['/', ' ']).unwrap_or((text, "100000"));
        let quota = match quota {
            "max" => Amount::Max,
            number => Amount::Of(number.parse().map_err(|_| bad())?),
        };
        Ok(Self { quota, period: period.parse().map_err(|_| bad())? })
    }
}

#[cfg(feature = "serde")]
impl TryFrom<String> for CpuMax {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(feature = "serde")]
impl From<CpuMax> for String {
    fn from(max: CpuMax) -> Self {
        max.to_string()
    }
}

/// Input and output on one block device: a line of `io.max`. What is `None` has no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub struct IoMax {
    /// `MAJOR:MINOR`.
    pub device: String,
    /// Bytes read in a second.
    #[cfg_attr(feature = "serde", serde(default))]
    pub rbps: Option<Amount>,
    /// Bytes written in a second.
    #[cfg_attr(feature = "serde", serde(default))]
    pub wbps: Option<Amount>,
    /// Reads in a second.
    #[cfg_attr(feature = "serde", serde(default))]
    pub riops: Option<Amount>,
    /// Writes in a second.
    #[cfg_attr(feature = "serde", serde(default))]
    pub wiops: Option<Amount>,
}

impl fmt::Display for IoMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)?;
        let given = [
            ("rbps", self.rbps),
            ("wbps", self.wbps),
            ("riops", self.riops),
            ("wiops", self.wiops),
        ];
        given
            .into_iter()
            .filter_map(|(key, amount)| Some((key, amount?)))
            .try_for_each(|(key, amount)| write!(f, " {key}={amount}"))
    }
}

impl FromStr for IoMax {
    type Err = String;

    /// `MAJOR:MINOR KEY=AMOUNT...`, with spaces or commas between.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let device = words.next().unwrap_or_default().to_owned();
        let mut max = Self { device, rbps: None, wbps: None, riops: None, wiops: None };
        for word in words {
            let (key, amount) = word.split_once('=').ok_or("KEY=AMOUNT is needed")?;
            let field = match key {
                "rbps" => &mut max.rbps,
                "wbps" => &mut max.wbps,
                "riops" => &mut max.riops,
                "wiops" => &mut max.wiops,
                _ => return Err(format!("{key:?} is none of rbps, wbps, riops and wiops")),
            };
            *field = Some(amount.parse()?);
        }
        Ok(max)
    }
}

/// What is written to the files of a new cgroup; `None` leaves the kernel's default. Each needs its
/// controller in the parent's `cgroup.subtree_control`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct CgroupLimits {
    /// `memory.max`: bytes; who needs more is killed.
    pub memory_max: Option<Amount>,
    /// `memory.high`: bytes; who needs more is slowed down.
    pub memory_high: Option<Amount>,
    /// `memory.low`: bytes that are taken away last.
    pub memory_low: Option<Amount>,
    /// `memory.swap.max`: bytes of swap.
    pub memory_swap_max: Option<Amount>,
    /// `memory.oom.group`: whether all are killed when one has to be.
    pub memory_oom_group: Option<bool>,
    /// `cpu.max`.
    pub cpu_max: Option<CpuMax>,
    /// `cpu.weight`: 1 to 10 000; 100 is the default.
    pub cpu_weight: Option<u32>,
    /// `pids.max`: processes and threads.
    pub pids_max: Option<Amount>,
    /// `io.max`, a line for each device.
    pub io_max: Vec<IoMax>,
    /// `io.weight`: 1 to 10 000; 100 is the default.
    pub io_weight: Option<u32>,
    /// `cpuset.cpus`: numbers and ranges with commas.
    pub cpuset_cpus: Option<String>,
    /// `cpuset.mems`: memory nodes, likewise.
    pub cpuset_mems: Option<String>,
    /// Any other file, such as `hugetlb.2MB.max` or `cgroup.max.descendants`, and what is written to
    /// it.
    pub other: BTreeMap<String, String>,
}

impl CgroupLimits {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The files to write, and what. A file comes again for each line that it is to get.
    ///
    /// # Errors
    /// [`Error::Cgroup`] for a value that no kernel takes.
    pub fn files(&self) -> Result<Vec<(String, String)>, Error> {
        let mut files = Vec::new();
        let mut add = |file: &str, value: Option<String>| {
            files.extend(value.map(|value| (file.to_owned(), value)));
        };
        let text = |amount: Option<Amount>| amount.map(|amount| amount.to_string());
        add("memory.max", text(self.memory_max));
        add("memory.high", text(self.memory_high));
        add("memory.low", text(self.memory_low));
        add("memory.swap.max", text(self.memory_swap_max));
        add("memory.oom.group", self.memory_oom_group.map(|group| u8::from(group).to_string()));
        if let Some(CpuMax { quota, period }) = self.cpu_max {
            within((1_000..=1_000_000).contains(&period), "cpu.max", "the period", period)?;
            within(quota >= Amount::Of(1_000), "cpu.max", "the quota (below 1 ms)", quota)?;
            add("cpu.max", Some(format!("{quota} {period}")));
        }
        for (file, weight) in [("cpu.weight", self.cpu_weight), ("io.weight", self.io_weight)] {
            if let Some(weight) = weight {
                within((1..=10_000).contains(&weight), file, "the weight", weight)?;
                add(file, Some(weight.to_string()));
            }
        }
        add("pids.max", text(self.pids_max));
        for max in &self.io_max {
            let numbers = max.device.split_once(':');
            let numbers = numbers.map(|(a, b)| a.parse::<u32>().and(b.parse::<u32>()));
            within(matches!(numbers, Some(Ok(_))), "io.max", "the device", &max.device)?;
            add("io.max", Some(max.to_string()));
        }
        for (file, list) in [("cpuset.cpus", &self.cpuset_cpus), ("cpuset.mems", &self.cpuset_mems)]
        {
            if let Some(list) = list {
                let plain = |byte: u8| byte.is_ascii_digit() || b",-".contains(&byte);
                within(!list.is_empty() && list.bytes().all(plain), file, "the list", list)?;
                add(file, Some(list.clone()));
            }
        }
        for (file, value) in &self.other {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let named = file.contains('.') && !file.starts_with('.') && file.bytes().all(plain);
            within(named, file, "the name", file)?;
            // What would move somebody, or end the new cgroup before it is used.
            let taken = ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze"];
            within(!taken.contains(&file.as_str()), file, "the name", file)?;
            within(!value.contains('\0'), file, "the value (a NUL is in it)", "")?;
            add(file, Some(value.clone()));
        }
        Ok(files)
    }
}

fn within(good: bool, file: &str, what: &str, value: impl fmt::Display) -> Result<(), Error> {
    if good {
        return Ok(());
    }
    let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let what = format!("{file}: {what} is out of range: {value}");
    Err(CgroupError::of(what, source, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        let check = |text: &str, expect: Option<Amount>| {
            assert_eq!(text.parse().ok(), expect, "{text:?}");
        };
        check("4096", Some(Amount::Of(4096)));
        check("2K", Some(Amount::Of(2048)));
        check("1g", Some(Amount::Of(1 << 30)));
        check("max", Some(Amount::Max));
        for bad in ["", "K", "-1", "1X", "99999999999T", "1.5G"] {
            check(bad, None);
        }
    }

    #[test]
    fn cpu_time_is_a_share_or_a_quota() {
        let check = |text: &str, expect: Option<(Amount, u64)>| {
            let found = text.parse::<CpuMax>().ok().map(|max| (max.quota, max.period));
            assert_eq!(found, expect, "{text:?}");
        };
        check("50%", Some((Amount::Of(50_000), 100_000)));
        check("250%", Some((Amount::Of(250_000), 100_000)));
        check("20000/50000", Some((Amount::Of(20_000), 50_000)));
        check("max", Some((Amount::Max, 100_000)));
        for bad in ["", "%", "50", "x/1", "1/"] {
            if bad != "50" {
                check(bad, None);
            }
        }
        assert_eq!("10%".parse::<CpuMax>().map(|max| max.to_string()), Ok("10000/100000".into()));
    }

    #[test]
    fn each_limit_is_a_file() {
        let limits = CgroupLimits {
            memory_max: Some(Amount::Of(1 << 20)),
            memory_oom_group: Some(true),
            cpu_max: Some("50%".parse().expect("a share")),
            pids_max: Some(Amount::Max),
            io_max: vec!["8:16 rbps=1M,wiops=120".parse().expect("a line")],
            cpuset_cpus: Some("0-1".into()),
            other: BTreeMap::from([("hugetlb.2MB.max".into(), "0".into())]),
            ..CgroupLimits::default()
        };
        let files = limits.files().expect("all are sound");
        let files: Vec<(&str, &str)> =
            files.iter().map(|(file, value)| (file.as_str(), value.as_str())).collect();
        let expect = [
            ("memory.max", "1048576"),
            ("memory.oom.group", "1"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "max"),
            ("io.max", "8:16 rbps=1048576 wiops=120"),
            ("cpuset.cpus", "0-1"),
            ("hugetlb.2MB.max", "0"),
        ];
        assert_eq!(files, expect);
    }

    #[test]
    fn what_no_kernel_takes_is_refused() {
        let default = CgroupLimits::default;
        let other = |file: &str, value: &str| CgroupLimits {
            other: BTreeMap::from([(file.to_owned(), value.to_owned())]),
            ..default()
        };
        let short = CpuMax { quota: Amount::Of(10), period: 100_000 };
        let long = CpuMax { quota: Amount::Max, period: 2_000_000 };
        for (limits, what) in [
            (CgroupLimits { cpu_weight: Some(0), ..default() }, "cpu.weight"),
            (CgroupLimits { io_weight: Some(10_001), ..default() }, "io.weight"),
            (CgroupLimits { cpu_max: Some(short), ..default() }, "quota"),
            (CgroupLimits { cpu_max: Some(long), ..default() }, "period"),
            (CgroupLimits { cpuset_cpus: Some("a".into()), ..default() }, "cpuset.cpus"),
            (CgroupLimits { io_max: vec!["sda".parse().expect("a word")], ..default() }, "device"),
            (other("../memory.max", "1"), "name"),
            (other("memory.max/x", "1"), "name"),
            (other("cgroup.procs", "0"), "name"),
            (other("pids.max", "1\0"), "NUL"),
        ] {
            let error = limits.files().expect_err(what).to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }
}
