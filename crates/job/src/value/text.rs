//! Values in files: a string as the option would have it, a bare number, or a list.
//!
//! It must never take a text that the option would refuse.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;

/// A value that a file holds as the text of an option.
pub(crate) trait Textual: FromStr<Err = String> + fmt::Display {
    /// What is expected, for errors and for the schema.
    const EXPECTS: &'static str;
    /// Whether a number may stand there without quotes.
    const NUMBER: bool;
    /// Whether a list may stand there, as commas would make one.
    const LIST: bool;
}

/// Reads one.
pub(crate) fn deserialize<'de, T: Textual, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    struct Any<T>(PhantomData<T>);

    impl<'de, T: Textual> Visitor<'de> for Any<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTS)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            if !T::NUMBER {
                return Err(E::invalid_type(Unexpected::Signed(number), &self));
            }
            self.visit_str(&number.to_string())
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
            if !T::NUMBER {
                return Err(E::invalid_type(Unexpected::Unsigned(number), &self));
            }
            self.visit_str(&number.to_string())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
            if !T::LIST {
                return Err(A::Error::invalid_type(Unexpected::Seq, &self));
            }
            let mut parts = Vec::new();
            while let Some(Item(part)) = list.next_element()? {
                parts.push(part);
            }
            let text = if parts.is_empty() { "none".to_owned() } else { parts.join(",") };
            text.parse().map_err(A::Error::custom)
        }
    }

    from.deserialize_any(Any(PhantomData))
}

/// One of a list: text or a number.
struct Item(String);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Item, E> {
                Ok(Item(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Item, E> {
                Ok(Item(number.to_string()))
            }
        }

        from.deserialize_any(Either)
    }
}

/// Writes one: a number if it is nothing else.
pub(crate) fn serialize<T: Textual, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    let text = value.to_string();
    match text.parse::<i64>() {
        Ok(number) if T::NUMBER && number.to_string() == text => to.serialize_i64(number),
        _ => to.serialize_str(&text),
    }
}

/// What a schema says of it.
pub(crate) fn schema<T: Textual>() -> Schema {
    let mut types = vec!["string"];
    types.extend(T::NUMBER.then_some("integer"));
    types.extend(T::LIST.then_some("array"));
    json_schema!({ "type": types, "description": T::EXPECTS })
}

/// Makes a value with `FromStr` and `Display` one that files hold.
macro_rules! textual {
    ($type:ident: $expects:literal $(, $may:ident)*) => {
        impl $crate::value::Textual for $type {
            const EXPECTS: &'static str = $expects;
            const NUMBER: bool = false $(|| $crate::value::textual!(@number $may))*;
            const LIST: bool = false $(|| $crate::value::textual!(@list $may))*;
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::value::text::deserialize(from)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::value::text::serialize(self, to)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::value::text::schema::<Self>()
            }
        }
    };
    (@number number) => { true };
    (@number list) => { false };
    (@list list) => { true };
    (@list number) => { false };
}
pub(crate) use textual;

/// A string of the kernel's: any bytes but NUL. In a file it is a string, or a list of its bytes if
/// it is not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub OsString);

impl Text {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<T: AsRef<OsStr> + ?Sized> From<&T> for Text {
    fn from(text: &T) -> Self {
        Self(text.as_ref().to_owned())
    }
}

impl From<OsString> for Text {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(OsString::from_vec(bytes))
    }
}

impl AsRef<OsStr> for Text {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

impl AsRef<std::path::Path> for Text {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => to.serialize_str(text),
            None => to.collect_seq(self.as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                no_nul(text.as_bytes())?;
                Ok(Text(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element::<u8>()? {
                    bytes.push(byte);
                }
                no_nul(&bytes)?;
                Ok(bytes.into())
            }
        }

        from.deserialize_any(Bytes)
    }
}

fn no_nul<E: Error>(bytes: &[u8]) -> Result<(), E> {
    if bytes.contains(&0) { Err(E::custom("it has a NUL inside")) } else { Ok(()) }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "items": { "type": "integer", "minimum": 1, "maximum": 255 }
        })
    }
}
