//! Sources in files: as the option's text, a bare number, or `{ file = ..., mode = ... }`.
//!
//! It must never open anything.

use super::{Ctty, ImageSource, Mode, Source, StdioSource, Text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

/// A file with its mode.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Opened {
    file: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<OpenMode>,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
enum OpenMode {
    #[serde(rename = "r")]
    Read,
    #[serde(rename = "w")]
    Write,
    #[serde(rename = "a")]
    Append,
    #[serde(rename = "rw")]
    ReadWrite,
    #[serde(rename = "x")]
    Exclusive,
    #[serde(rename = "path")]
    Path,
}

impl From<OpenMode> for Mode {
    fn from(mode: OpenMode) -> Self {
        match mode {
            OpenMode::Read => Mode::Read,
            OpenMode::Write => Mode::Write,
            OpenMode::Append => Mode::Append,
            OpenMode::ReadWrite => Mode::ReadWrite,
            OpenMode::Exclusive => Mode::Exclusive,
            OpenMode::Path => Mode::Path,
        }
    }
}

impl From<Mode> for OpenMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Read => OpenMode::Read,
            Mode::Write => OpenMode::Write,
            Mode::Append => OpenMode::Append,
            Mode::ReadWrite => OpenMode::ReadWrite,
            Mode::Exclusive => OpenMode::Exclusive,
            Mode::Path => OpenMode::Path,
        }
    }
}

/// Reads what `parse` makes of a text, or a table that says the same.
struct Either<F> {
    expects: &'static str,
    default: Mode,
    parse: F,
}

impl<'de, T: From<Source>, F: Fn(&OsStr) -> Result<T, String>> Visitor<'de> for Either<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expects)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(OsStr::new(text)).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let Opened { file, mode } = Opened::deserialize(MapAccessDeserializer::new(map))?;
        if file.as_bytes().is_empty() {
            return Err(A::Error::custom("a path is needed"));
        }
        Ok(Source::File(file.0.into(), mode.map_or(self.default, Into::into)).into())
    }
}

impl From<Source> for StdioSource {
    fn from(source: Source) -> Self {
        StdioSource::From(source)
    }
}

fn write<S: Serializer>(path: &Path, mode: Mode, to: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => to.serialize_str(&format!("{text}:{mode}")),
        None => Opened { file: Text::from(path), mode: Some(mode.into()) }.serialize(to),
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Source::Fd(fd) => to.serialize_u32(*fd),
            Source::File(path, mode) => write(path, *mode, to),
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Either {
            expects: "a descriptor, a path, or { file = ..., mode = ... }",
            default: Mode::Read,
            parse: Source::parse,
        })
    }
}

impl Serialize for StdioSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            StdioSource::Inherit => to.serialize_str("inherit"),
            StdioSource::Null => to.serialize_str("null"),
            StdioSource::Closed => to.serialize_str("closed"),
            StdioSource::From(source) => source.serialize(to),
        }
    }
}

const STREAM: &str =
    "\"inherit\", \"null\", \"closed\", a descriptor, a path, or { file = ..., mode = ... }";

/// Reads standard input.
#[cfg_attr(not(feature = "command"), allow(dead_code, reason = "jobs alone read it"))]
pub(crate) fn input<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StdioSource>, D::Error> {
    let parse = |text: &OsStr| StdioSource::parse(text, false);
    from.deserialize_any(Either { expects: STREAM, default: Mode::Read, parse }).map(Some)
}

/// Reads standard output or standard error.
#[cfg_attr(not(feature = "command"), allow(dead_code, reason = "jobs alone read it"))]
pub(crate) fn output<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StdioSource>, D::Error> {
    let parse = |text: &OsStr| StdioSource::parse(text, true);
    from.deserialize_any(Either { expects: STREAM, default: Mode::Write, parse }).map(Some)
}

impl Serialize for ImageSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Source::File(path, _) if path.to_str().is_some_and(|t| t.parse::<u32>().is_ok()) => {
                Text::from(&Path::new(".").join(path)).serialize(to)
            }
            Source::File(path, _) => Text::from(path).serialize(to),
            fd => fd.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for ImageSource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Image;

        impl Visitor<'_> for Image {
            type Value = ImageSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a descriptor or a path")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ImageSource, E> {
                ImageSource::parse(OsStr::new(text)).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<ImageSource, E> {
                match u32::try_from(number) {
                    Ok(_) => self.visit_str(&number.to_string()),
                    Err(_) => Err(E::custom("a descriptor or a path is needed")),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<ImageSource, E> {
                self.visit_str(&number.to_string())
            }
        }

        from.deserialize_any(Image)
    }
}

impl Serialize for Ctty {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Ctty::Own => to.serialize_bool(true),
            Ctty::Path(path) => Text::from(path).serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Ctty {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Terminal;

        impl Visitor<'_> for Terminal {
            type Value = Ctty;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, or the path of a terminal")
            }

            fn visit_bool<E: Error>(self, own: bool) -> Result<Ctty, E> {
                match own {
                    true => Ok(Ctty::Own),
                    false => Err(E::custom("true or the path of a terminal is needed")),
                }
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<Ctty, E> {
                Ok(Ctty::Path(path.into()))
            }
        }

        from.deserialize_any(Terminal)
    }
}

macro_rules! schemas {
    ($($type:ident: $expects:expr, [$($form:literal),*];)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let opened = generator.subschema_for::<Opened>();
                json_schema!({
                    "description": $expects,
                    "anyOf": [{ "type": [$($form),*] }, opened],
                })
            }
        })*
    };
}

schemas! {
    Source: "a descriptor of the caller, or \"PATH:MODE\"", ["integer", "string"];
    StdioSource: STREAM, ["integer", "string"];
}

impl JsonSchema for ImageSource {
    fn schema_name() -> Cow<'static, str> {
        "ImageSource".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "description": "a descriptor or a path" })
    }
}

impl JsonSchema for Ctty {
    fn schema_name() -> Cow<'static, str> {
        "Ctty".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "const": true }, { "type": "string" }],
            "description": "true, or the path of a terminal",
        })
    }
}
