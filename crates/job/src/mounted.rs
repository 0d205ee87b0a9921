//! What is mounted, in files: the library's own words, with the descriptor that it is about beside it.
//!
//! It must never take a descriptor for what has no use for one.

use crate::value::Source;
use embryo::Mount;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{
    DeserializeSeed, EnumAccess, Error, IntoDeserializer, MapAccess, VariantAccess, Visitor,
};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// One thing that is mounted or made, such as `{ bind = { source = "/usr", target = "/usr" } }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mounted {
    /// What.
    pub mount: Mount,
    /// What it is about, if it is about a descriptor.
    pub fd: Option<Source>,
}

impl From<Mount> for Mounted {
    fn from(mount: Mount) -> Self {
        Self { mount, fd: None }
    }
}

impl Serialize for Mounted {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(fd) = &self.fd {
            map.serialize_entry("fd", fd)?;
        }
        // It is an enum, whose only key is its kind.
        let mount = serde_json::to_value(&self.mount).map_err(serde::ser::Error::custom)?;
        for (kind, fields) in mount.as_object().into_iter().flatten() {
            map.serialize_entry(kind, &without_nothing(fields))?;
        }
        map.end()
    }
}

/// Fields that say nothing are left out, as in everything else.
fn without_nothing(fields: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let Value::Object(fields) = fields else { return fields.clone() };
    let kept = fields.iter().map(|(name, value)| (name.clone(), without_nothing(value)));
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => text != "none",
        Value::Number(number) => number.as_u64() != Some(0),
        _ => true,
    };
    Value::Object(
        kept.filter(|(name, value)| says(value) || name == "target" || name == "mode").collect(),
    )
}

impl<'de> Deserialize<'de> for Mounted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entry;

        impl<'de> Visitor<'de> for Entry {
            type Value = Mounted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mount, such as { tmpfs = { target = \"/tmp\" } }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Mounted, A::Error> {
                let (mut mount, mut fd) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "fd" => fd = Some(map.next_value()?),
                        _ if mount.is_some() => {
                            return Err(A::Error::custom(format!(
                                "`{key}`: one entry mounts one thing"
                            )));
                        }
                        _ => mount = Some(Mount::deserialize(Kind { key, map: &mut map })?),
                    }
                }
                let mount: Mount =
                    mount.ok_or_else(|| A::Error::custom("what is mounted has to be said"))?;
                match (mount.takes_fd(), fd.is_some()) {
                    (true, false) => Err(A::Error::custom("it needs `fd`, what it is about")),
                    (false, true) => Err(A::Error::custom("it takes no `fd`")),
                    _ => Ok(Mounted { mount, fd }),
                }
            }
        }

        from.deserialize_map(Entry)
    }
}

/// A key and what stands behind it, as an enum: so that places in the file are not lost.
struct Kind<'a, A> {
    key: String,
    map: &'a mut A,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Kind<'_, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, 'a, A: MapAccess<'de>> EnumAccess<'de> for Kind<'a, A> {
    type Error = A::Error;
    type Variant = Fields<'a, A>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), A::Error> {
        Ok((seed.deserialize(self.key.into_deserializer())?, Fields(self.map)))
    }
}

struct Fields<'a, A>(&'a mut A);

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.next_value()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(Visit(visitor, PhantomData))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(Visit(visitor, PhantomData))
    }
}

struct Visit<'de, V>(V, PhantomData<&'de ()>);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Visit<'de, V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        from.deserialize_any(self.0)
    }
}

impl JsonSchema for Mounted {
    fn schema_name() -> Cow<'static, str> {
        "Mounted".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let source = generator.subschema_for::<Source>();
        json_schema!({
            "type": "object",
            "description": "one thing that is mounted or made",
            "properties": { "fd": source },
            "additionalProperties": { "type": "object" },
        })
    }
}
