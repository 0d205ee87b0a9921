//! Bytes the kernel gave, kept exactly: argument, environment and path strings need not be UTF-8.
//!
//! It must never replace a byte. In JSON it is a string where the bytes are UTF-8 and a list of
//! numbers where they are not, so that no escape of ours can collide with the text itself.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A string as the kernel has it: any bytes but NUL.
///
/// It compares with `&str`, [`OsStr`] and [`Path`], byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(OsString);

impl Text {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The string, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.to_str()
    }

    /// The same bytes as a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(OsString::from_vec(bytes))
    }
}

impl From<OsString> for Text {
    fn from(string: OsString) -> Self {
        Self(string)
    }
}

impl From<PathBuf> for Text {
    fn from(path: PathBuf) -> Self {
        Self(path.into())
    }
}

impl From<&str> for Text {
    fn from(string: &str) -> Self {
        Self(string.into())
    }
}

impl AsRef<OsStr> for Text {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

impl AsRef<Path> for Text {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<OsStr> for Text {
    fn eq(&self, other: &OsStr) -> bool {
        self.0 == other
    }
}

impl PartialEq<Path> for Text {
    // A path compares by components and would take `/a/` for `/a`; a report is about the bytes.
    fn eq(&self, other: &Path) -> bool {
        self.0 == other.as_os_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(string) => serializer.serialize_str(string),
            None => serializer.collect_seq(self.as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            String(String),
            Bytes(Vec<u8>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::String(string) => Self(string.into()),
            Form::Bytes(bytes) => Self(OsString::from_vec(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn every_byte_survives_json() {
        let all: Vec<Text> = vec![
            Text::from(""),
            Text::from("a b\n\"\\x41"),
            Text::from((1..=255).collect::<Vec<u8>>()),
            Text::from(vec![0xff]),
        ];
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Text>>(&json).unwrap(), all);
    }
}
