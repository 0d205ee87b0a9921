//! A file in TOML that holds something of its reader's own, with errors that point into it.
//!
//! It must never know what the file is about.

use crate::document::{DocumentError, from_toml, utf8};
use serde::de::DeserializeOwned;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A text in TOML.
#[derive(Clone, Debug)]
pub struct TomlFile {
    name: String,
    text: String,
}

impl TomlFile {
    /// A file called `name`.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, DocumentError> {
        let name = name.into();
        let text = utf8(&name, bytes)?;
        Ok(Self { name, text })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    ///
    /// # Errors
    /// What is wrong, and where; an unknown key with the known one that is nearest.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        from_toml(&self.name, &self.text)
    }

    /// Something is wrong with the value below these keys, an index being one in an array. What is not there
    /// is pointed at by the table that it is missed in.
    #[must_use]
    pub fn mistake<K: AsRef<str>>(
        &self,
        keys: &[K],
        message: impl Into<String>,
        hint: Option<String>,
    ) -> DocumentError {
        let span = DeTable::parse(&self.text).ok().and_then(|table| below(table.get_ref(), keys));
        DocumentError::new(&self.name, &self.text, span, message.into(), hint)
    }

    /// The nearest of these words, if one is near.
    #[must_use]
    pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
        crate::document::nearest(word, known)
    }
}

/// Where the deepest value stands that these keys lead to.
fn below<K: AsRef<str>>(table: &DeTable<'_>, keys: &[K]) -> Option<Range<usize>> {
    let (first, rest) = keys.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == first.as_ref())?;
    Some(within(value, rest).unwrap_or_else(|| match value.get_ref() {
        // A table is pointed at by its head, anything else by what stands there.
        DeValue::Table(_) => key.span(),
        _ => value.span(),
    }))
}

fn within<K: AsRef<str>>(value: &Spanned<DeValue<'_>>, keys: &[K]) -> Option<Range<usize>> {
    let (first, rest) = keys.split_first()?;
    match value.get_ref() {
        DeValue::Table(table) => below(table, keys),
        DeValue::Array(values) => {
            let value = values.get(first.as_ref().parse::<usize>().ok()?)?;
            Some(within(value, rest).unwrap_or_else(|| value.span()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::TomlFile;

    #[test]
    fn a_mistake_is_where_its_keys_lead() {
        let text = "[[listen]]\npath = '/a'\n[[listen]]\nmode = '9'\n[m.ci]\nx.y = [1, 2]\n";
        let file = TomlFile::new("f", text.into()).expect("it is UTF-8");
        for (keys, at) in [
            (&["listen", "1", "mode"][..], Some((4, 8))),
            (&["listen", "1", "path"], Some((3, 1))),
            (&["listen", "7"], Some((1, 1))),
            (&["m", "ci"], Some((5, 4))),
            (&["m", "ci", "z"], Some((5, 4))),
            (&["m", "ci", "x", "y", "1"], Some((6, 11))),
            (&["n"], None),
        ] {
            assert_eq!(file.mistake(keys, "wrong", None).at(), at, "{keys:?}");
        }
    }
}
