//! Reading /proc/PID/maps.

use std::io;
use std::ops::Range;

/// One line of /proc/PID/maps; proc_pid_maps(5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapsEntry {
    /// Where it lies.
    pub range: Range<u64>,
    /// `PROT_*` bits.
    pub prot: u32,
    /// Whether it is shared.
    pub shared: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file, or a name in brackets; empty for plain anonymous memory.
    pub name: String,
}

pub(crate) fn read_maps(pid: u32) -> io::Result<Vec<MapsEntry>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "a line of /proc/PID/maps");
    text.lines().map(|line| parse(line).ok_or_else(bad)).collect()
}

fn parse(line: &str) -> Option<MapsEntry> {
    let mut fields = line.splitn(6, ' ');
    let (from, to) = fields.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let range = hex(from)?..hex(to)?;
    let how = fields.next()?;
    let bit = |letter, bit| if how.contains(letter) { bit } else { 0 };
    let offset = hex(fields.next()?)?;
    let name = fields.nth(2).unwrap_or("").trim_start().to_owned();
    Some(MapsEntry {
        range,
        prot: bit('r', 1) | bit('w', 2) | bit('x', 4),
        shared: how.ends_with('s'),
        offset,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_with_and_without_a_name() {
        let entry = parse("00400000-00401000 r-xp 00001000 fe:00 17                 /bin/a b");
        let entry = entry.expect("it parses");
        assert_eq!((entry.range, entry.prot, entry.shared), (0x40_0000..0x40_1000, 5, false));
        assert_eq!((entry.offset, entry.name.as_str()), (0x1000, "/bin/a b"));
        let entry = parse("7f0000000000-7f0000002000 rw-s 00000000 00:00 0 ").expect("it parses");
        assert_eq!((entry.prot, entry.shared, entry.name.as_str()), (3, true, ""));
    }
}
