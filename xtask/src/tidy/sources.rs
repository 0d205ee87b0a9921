//! Rust files: each opens by saying what it is for, and `unsafe` stands where it is counted.

use super::{Broken, Tidy, files};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeMap;
use std::path::Path;

const HEAD: &str = "| crate | `unsafe` |";

pub(super) fn check(tidy: &mut Tidy) -> Result<(), Broken> {
    let mut heads = 0;
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for file in files(tidy)? {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = tidy.read(&file)?;
        heads += 1;
        if !text.starts_with("//!") {
            tidy.finding(file.display(), "it does not open with //! and what it is for");
        }
        if let Some(name) = crate_of(&file) {
            let tokens: TokenStream =
                text.parse().map_err(|error| format!("{}: {error}", file.display()))?;
            *counted.entry(name).or_default() += unsafes(tokens);
        }
    }
    tidy.passed("heads", format_args!("{heads} Rust files say what they are for"));
    unsafe_code(tidy, &counted)
}

/// Compares the counts with the table, and wants `forbid(unsafe_code)` wherever there is none.
fn unsafe_code(tidy: &mut Tidy, counted: &BTreeMap<String, usize>) -> Result<(), Broken> {
    let written: BTreeMap<String, String> = tidy
        .table(HEAD)?
        .into_iter()
        .filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone())))
        .collect();
    for (name, count) in counted {
        match written.get(name).map(String::as_str) {
            None => tidy.finding(
                format_args!("crates/{name}"),
                "ARCHITECTURE.md does not count its `unsafe`",
            ),
            Some("forbidden") => {
                let roots = ["lib.rs", "main.rs"].map(|file| format!("crates/{name}/src/{file}"));
                for root in roots {
                    let there = tidy.path(&root).exists();
                    if there && !tidy.read(&root)?.contains("#![forbid(unsafe_code)]") {
                        tidy.finding(root, "it does not forbid unsafe code");
                    }
                }
            }
            Some(number) if number == count.to_string() => {}
            Some(number) => tidy.finding(
                format_args!("crates/{name}"),
                format_args!(
                    "`unsafe` stands there {count} times; ARCHITECTURE.md says {number}. \
                     If that is meant, say so there"
                ),
            ),
        }
    }
    let said: Vec<_> = counted.iter().map(|(name, count)| format!("{name} {count}")).collect();
    tidy.passed("unsafe", said.join(", "));
    Ok(())
}

/// The crate whose code a file is part of: not of its tests, and not of what builds it.
fn crate_of(file: &Path) -> Option<String> {
    let mut parts = file.strip_prefix("crates").ok()?.components();
    let name = parts.next()?.as_os_str().to_str()?;
    (parts.next()?.as_os_str() == "src").then(|| name.to_owned())
}

/// How often the keyword stands in the code; comments and strings are no code.
fn unsafes(tokens: TokenStream) -> usize {
    let one = |token| match token {
        TokenTree::Group(group) => unsafes(group.stream()),
        TokenTree::Ident(word) if word == "unsafe" => 1,
        _ => 0,
    };
    tokens.into_iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::unsafes;

    #[test]
    fn the_keyword_counts_and_the_word_does_not() {
        let code = r#"
            /// unsafe
            #[unsafe(no_mangle)]
            unsafe fn f() { /* unsafe */ let _ = "unsafe"; unsafe { g(unsafe_too) } }
        "#;
        assert_eq!(unsafes(code.parse().expect("it is Rust")), 3);
    }
}
