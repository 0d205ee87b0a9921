//! The exact form: a plan op by op, which gives back the very bytes that it was made from.
//!
//! It must never lose a bit of a plan, nor add one.

mod field;
mod table;

use crate::error::Error;
use crate::value::Text;
use embryo_plan::{BuildError, Keep, OpCode, OwnedPlan, PlanBuilder, Slot, limits};
use field::{Parts, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A plan, op by op.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Exact {
    /// Ops for an embryo that goes on living, without an image.
    #[serde(default, skip_serializing_if = "is_false")]
    batch: bool,
    /// What is kept of the creator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keep: Vec<Kept>,
    /// How many grants a spawn brings.
    #[serde(default, skip_serializing_if = "is_zero")]
    slots: u32,
    /// The arguments, with the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    argv: Vec<Text>,
    /// The environment, as strings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    envp: Vec<Text>,
    /// The ops, in the order of the plan.
    op: Vec<ExactOp>,
}

/// The fields that an op has in the exact form.
#[must_use]
pub fn fields_of(code: OpCode) -> Vec<&'static str> {
    table::fields(code).iter().map(|field| field.name).collect()
}

/// What can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kept {
    WorkingDirectory,
    Umask,
    Session,
    IgnoredSignals,
    SignalMask,
}

const KEPT: [(Kept, Keep); 5] = [
    (Kept::WorkingDirectory, Keep::CWD),
    (Kept::Umask, Keep::UMASK),
    (Kept::Session, Keep::SESSION),
    (Kept::IgnoredSignals, Keep::IGNORED_SIGNALS),
    (Kept::SignalMask, Keep::SIGNAL_MASK),
];

/// An op by its name, with its fields.
#[derive(Clone, Debug, PartialEq)]
struct ExactOp {
    code: OpCode,
    fields: Vec<(&'static str, Value)>,
}

impl Exact {
    /// A plan, taken apart.
    #[must_use]
    pub fn of(plan: &OwnedPlan) -> Self {
        let view = plan.as_plan();
        let keep = view.keep();
        let kept = KEPT.iter().filter(|(_, bit)| keep.contains(*bit)).map(|(kept, _)| *kept);
        let op = |entry: &embryo_plan::Entry| {
            let code = OpCode::from_number(entry.code.get())?;
            let parts = Parts::of(entry, &view);
            let fields = table::fields(code).into_iter();
            let fields = fields.filter(|f| !(f.optional && parts.is_nothing(f.place)));
            let fields = fields.map(|f| (f.name, f.kind.write(&parts, f.place))).collect();
            Some(ExactOp { code, fields })
        };
        Self {
            batch: view.is_batch(),
            keep: kept.collect(),
            slots: view.slots(),
            argv: view.argv().map(field::string).collect(),
            envp: view.envp().map(field::string).collect(),
            // A checked plan has no other codes.
            op: view.entries().iter().filter_map(op).collect(),
        }
    }

    /// The plan, checked.
    ///
    /// # Errors
    /// What is wrong; [`Error::op`] says with which op.
    pub fn plan(&self) -> Result<OwnedPlan, Error> {
        let mut plan = if self.batch { PlanBuilder::batch() } else { PlanBuilder::new() };
        if self.slots > limits::SLOTS_MAX {
            let message = format!("a plan has at most {} slots", limits::SLOTS_MAX);
            return Err(Error::new(message).at("slots"));
        }
        for _ in 0..self.slots {
            plan.slot();
        }
        for kept in &self.keep {
            let bits = KEPT.iter().filter(|(known, _)| known == kept).map(|(_, bit)| *bit);
            plan.keep(bits.fold(Keep::empty(), Keep::union));
        }
        self.argv.iter().for_each(|arg| _ = plan.arg(arg.as_bytes()));
        self.envp.iter().for_each(|string| _ = plan.env_string(string.as_bytes()));
        for (index, op) in self.op.iter().enumerate() {
            let parts = op.parts().map_err(|message| Error::new(message).at_op(index))?;
            let [first, second] = &parts.data;
            plan.entry(op.code, parts.flags, parts.slot.map(Slot), parts.args, [first, second]);
        }
        plan.build_in_order().map_err(|error| {
            let entry = match &error {
                BuildError::Plan(error) => error.entry,
                _ => None,
            };
            let error = Error::new(error.to_string());
            match entry {
                Some(entry) => error.at_op(entry as usize),
                None => error,
            }
        })
    }
}

impl ExactOp {
    fn parts(&self) -> Result<Parts, String> {
        let mut parts = Parts::default();
        for field in table::fields(self.code) {
            let given = self.fields.iter().find(|(name, _)| *name == field.name);
            match given {
                None if field.optional => {}
                None => return Err(format!("{} needs `{}`", self.code.name(), field.name)),
                Some((_, value)) => {
                    field.kind.read(value, &mut parts, field.place).ok_or_else(|| {
                        let expects = field.kind.expects();
                        format!("`{}` of {}: {expects} is needed", field.name, self.code.name())
                    })?;
                }
            }
        }
        Ok(parts)
    }
}

fn is_false(set: &bool) -> bool {
    !set
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Serialize for ExactOp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.fields.len() + 1))?;
        map.serialize_entry("op", self.code.name())?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ExactOp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Op;

        impl<'de> Visitor<'de> for Op {
            type Value = ExactOp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an op: a table with `op = NAME` and its fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExactOp, A::Error> {
                let (mut name, mut given) = (None, Vec::new());
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "op" => name = Some(map.next_value::<String>()?),
                        _ => given.push((key, map.next_value::<Value>()?)),
                    }
                }
                let name = name.ok_or_else(|| A::Error::missing_field("op"))?;
                let code = OpCode::ALL.iter().copied().find(|code| code.name() == name);
                let code =
                    code.ok_or_else(|| unknown("op", &name, OpCode::ALL.iter().map(|c| c.name())))?;
                let fields = table::fields(code);
                let known = |(key, value): (String, Value)| {
                    let field = fields.iter().find(|field| field.name == key);
                    let field = field
                        .ok_or_else(|| unknown("field", &key, fields.iter().map(|f| f.name)))?;
                    Ok((field.name, value))
                };
                let fields = given.into_iter().map(known).collect::<Result<_, _>>()?;
                Ok(ExactOp { code, fields })
            }
        }

        from.deserialize_map(Op)
    }
}

/// In the words of serde, which whoever shows it looks for.
fn unknown<E: serde::de::Error>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> E {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    match known.is_empty() {
        true => E::custom(format!("unknown {what} `{name}`, there are no fields")),
        false => {
            E::custom(format!("unknown {what} `{name}`, expected one of {}", known.join(", ")))
        }
    }
}

impl JsonSchema for ExactOp {
    fn schema_name() -> Cow<'static, str> {
        "Op".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = OpCode::ALL.iter().map(|code| code.name()).collect();
        let one = |code: &OpCode| {
            let mut properties = serde_json::Map::new();
            properties.insert("op".into(), serde_json::json!({ "const": code.name() }));
            let mut required = vec!["op"];
            for field in table::fields(*code) {
                required.extend((!field.optional).then_some(field.name));
                let about = serde_json::json!({ "description": field.kind.expects() });
                properties.insert(field.name.into(), about);
            }
            serde_json::json!({
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        };
        let each: Vec<serde_json::Value> = OpCode::ALL.iter().map(one).collect();
        json_schema!({
            "type": "object",
            "properties": { "op": { "enum": names } },
            "required": ["op"],
            "oneOf": each,
        })
    }
}
