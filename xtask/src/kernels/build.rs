//! One build of a kernel, as Debian packages.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
}

/// A kernel's packages: one image, or what newer releases have split that into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    /// What `uname -r` says.
    pub(crate) release: String,
    pub(crate) version: String,
    pub(crate) packages: Vec<Package>,
}

impl Build {
    /// The order in which builds are tried: those without modules last (once a split kernel is
    /// superseded, the archive drops its modules before its image), the newest first.
    pub(crate) fn preference(&self, other: &Self) -> Ordering {
        let complete = other.has_modules().cmp(&self.has_modules());
        complete.then_with(|| compare(&other.version, &self.version))
    }

    fn has_modules(&self) -> bool {
        let is = |kind| self.packages.iter().any(|package| package.name.starts_with(kind));
        is("linux-modules-") || is("linux-image-")
    }
}

/// The builds in apt's records of packages named `linux-KIND-RELEASE[-unsigned]`.
pub(crate) fn parse(records: &str) -> Vec<Build> {
    let mut groups = BTreeMap::<(String, bool), Vec<(String, Package)>>::new();
    for record in records.split("\n\n") {
        let field = |name: &str| {
            let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned());
            record.lines().find_map(value).unwrap_or_default()
        };
        let package =
            Package { name: field("Package"), version: field("Version"), sha256: field("SHA256") };
        let rest = package.name.strip_prefix("linux-").and_then(|rest| rest.split_once('-'));
        let Some((kind, release)) = rest else { continue };
        if field("Description").contains("meta-package") {
            continue;
        }
        let signed = release.strip_suffix("-unsigned");
        let key = (signed.unwrap_or(release).to_owned(), signed.is_some());
        groups.entry(key).or_default().push((kind.to_owned(), package));
    }
    groups.into_iter().filter_map(|((release, _), members)| assemble(release, members)).collect()
}

fn assemble(release: String, mut members: Vec<(String, Package)>) -> Option<Build> {
    // Where the kernel has a package of its own, the one called "image" is empty.
    match members.iter().any(|(kind, _)| kind == "binary") {
        true => members.retain(|(kind, _)| kind != "image"),
        false => members.retain(|(kind, _)| kind == "image"),
    }
    let packages: Vec<_> = members.into_iter().map(|(_, package)| package).collect();
    let version = packages.first()?.version.clone();
    Some(Build { release, version, packages })
}

/// The order of Debian's versions; those of kernels have no epoch.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (words, numbers);
        (words, a, b) = step(a, b, |byte| !byte.is_ascii_digit(), compare_words);
        (numbers, a, b) = step(a, b, u8::is_ascii_digit, compare_numbers);
        if words.then(numbers).is_ne() {
            return words.then(numbers);
        }
    }
    Ordering::Equal
}

/// Compares the longest prefixes of one sort and returns what comes after them.
fn step<'a>(
    a: &'a [u8],
    b: &'a [u8],
    sort: fn(&u8) -> bool,
    by: fn(&[u8], &[u8]) -> Ordering,
) -> (Ordering, &'a [u8], &'a [u8]) {
    let cut = |text: &'a [u8]| text.split_at(text.iter().take_while(|byte| sort(byte)).count());
    let ((a, after_a), (b, after_b)) = (cut(a), cut(b));
    (by(a, b), after_a, after_b)
}

/// A tilde sorts before the end, the end before letters, letters before other signs.
fn compare_words(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let longest = a.len().max(b.len());
    (0..longest)
        .map(|at| rank(a.get(at)).cmp(&rank(b.get(at))))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        digits[zeros..].to_vec()
    };
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ascending = [
            "6.1.158-1~deb11u1",
            "6.1.158-1",
            "6.12.9-1~bpo12+1",
            "6.12.95-1",
            "6.12.107-1",
            "7.3~rc7-1~exp1",
            "7.3.4-1~bpo13+1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.02-a", "1.2-a"), Ordering::Equal);
    }

    #[test]
    fn an_image_alone_is_a_build_and_so_are_the_parts_of_a_split_one() {
        let record = |name: &str, about: &str| {
            format!("Package: linux-{name}\nVersion: 1-1\nSHA256: aa\nDescription: {about}\n\n")
        };
        let records = [
            record("image-6.1-cloud-amd64", "Linux (meta-package)"),
            record("image-6.1.0-9-cloud-amd64", "Linux 6.1"),
            record("image-7.2.1-cloud-amd64", "Linux 7.2"),
            record("binary-7.2.1-cloud-amd64", "Linux 7.2"),
            record("modules-7.2.1-cloud-amd64", "Linux 7.2"),
        ];
        let builds = parse(&records.concat());
        assert_eq!(builds.len(), 2);
        assert_eq!(builds[0].release, "6.1.0-9-cloud-amd64");
        assert_eq!(builds[0].packages[0].sha256, "aa");
        let names: Vec<_> = builds[1].packages.iter().map(|package| &*package.name).collect();
        assert_eq!(names, ["linux-binary-7.2.1-cloud-amd64", "linux-modules-7.2.1-cloud-amd64"]);
    }
}
