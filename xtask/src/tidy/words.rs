//! One word for one thing, and nothing in a file that holds only on somebody's machine.
//!
//! The words are split here, or this file would be its own first finding.

use super::{Broken, Tidy, files};
use std::path::Path;

/// What is said instead of a word of the glossary, in comments and documents, and what to say.
const SYNONYMS: [(&str, &str); 9] = [
    (concat!("sub", "process"), "child, or process"),
    (concat!("sandbox", " child"), "child"),
    (concat!("fork", " server"), "hatchery"),
    (concat!("fork", "server"), "hatchery"),
    (concat!("zy", "gote"), "hatchery"),
    (concat!("template", " process"), "embryo, or snapshot"),
    (concat!("fd", " action"), "op"),
    (concat!("spawn", " attribute"), "op"),
    (concat!("error", " pipe"), "fault"),
];

/// Places and hosts that only one machine or one registry has.
const PLACES: [&str; 8] = [
    concat!("/work", "/main"),
    concat!("/work", "/shared"),
    concat!("/tmp", "/t-"),
    concat!(".cargo", "/registry"),
    concat!("crates", ".io"),
    concat!("deb.", "debian.org"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".com"),
];

pub(super) fn check(tidy: &mut Tidy) -> Result<(), Broken> {
    let mut looked_at = 0;
    for file in files(tidy)? {
        let Ok(text) = std::fs::read_to_string(tidy.path(&file)) else {
            // Not text.
            continue;
        };
        if file.file_name().is_some_and(|name| name == "Cargo.lock") {
            // Written by cargo, and names where each crate comes from.
            continue;
        }
        looked_at += 1;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", file.display(), number + 1);
            for bad in PLACES.iter().filter(|place| line.contains(**place)) {
                tidy.finding(&place, format_args!("{bad} holds on one machine only"));
            }
            let prose = prose(&file, line).to_lowercase();
            for (word, instead) in SYNONYMS.iter().filter(|(word, _)| has_word(&prose, word)) {
                tidy.finding(&place, format_args!("not \"{word}\" but {instead}"));
            }
        }
    }
    tidy.passed("words", format_args!("{looked_at} files speak one language"));
    Ok(())
}

/// The part of a line that is written for people.
fn prose<'a>(file: &Path, line: &'a str) -> &'a str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("md") => line,
        Some("rs") => line.find("//").map_or("", |at| &line[at..]),
        Some("toml") => line.find('#').map_or("", |at| &line[at..]),
        _ => "",
    }
}

/// Whether a line has the word, or its plural, and not merely a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let rest = &line[at + word.len()..];
        let rest = rest.strip_prefix("es").or_else(|| rest.strip_prefix('s')).unwrap_or(rest);
        !letter(line[..at].chars().next_back()) && !letter(rest.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::has_word;

    #[test]
    fn plurals_are_found_and_longer_words_are_not() {
        assert!(has_word("a word", "word"));
        assert!(has_word("words, words", "word"));
        assert!(!has_word("wordy swords a_word", "word"));
    }
}
