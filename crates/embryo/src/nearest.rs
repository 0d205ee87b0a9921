//! Which known name somebody may have meant.

/// How far a known name is from what was written: one that begins so is nearest.
pub(crate) fn away(written: &str, known: &str) -> (bool, usize) {
    let begins = !written.is_empty() && known.starts_with(written);
    (!begins, distance(written, known))
}

/// How many letters have to be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{away, distance};

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("chown", "chown"), 0);
        assert_eq!(distance("sys_adm", "sys_admin"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert!(away("net_bind", "net_bind_service") < away("net_bind", "setgid"));
    }
}
