//! One field of an entry: from its bits to what a file holds, and back.
//!
//! What `write` makes of an entry, `read` makes the same entry of. It must never guess.

use crate::value::Text;
use embryo_plan::{Entry, IdRange, Plan, signal_name};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Slot,
    Flags,
    Arg(usize),
    /// The low half of an argument.
    Low(usize),
    /// The high half of an argument.
    High(usize),
    /// These bits of an argument.
    Bits {
        arg: usize,
        shift: u32,
        width: u32,
    },
    Data(usize),
}

/// What a number is called.
pub(crate) type NameOf = fn(u32) -> Option<&'static str>;

/// How it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Number,
    Signed,
    /// A number, or `unlimited`.
    Limit,
    Octal,
    Hex,
    /// A name, or the number.
    Name(NameOf),
    /// Any of these, a bit each: a list of names, or of numbers of bits.
    Set(NameOf),
    /// Any of these rights, a bit each.
    Rights(&'static [&'static str]),
    Strings,
    /// Ranges of ids: `INSIDE:OUTSIDE:COUNT`.
    Ranges,
    /// A number, or `new` for 0.
    Pgid,
    /// A number, or `keep` for the largest.
    Id,
    /// One of these, by position.
    Word(&'static [&'static str]),
    /// Any of these, a bit each.
    Flags(&'static [&'static str]),
    /// As /proc/PID/maps has it.
    Protection,
    Signals,
    /// A string with its NUL.
    Text,
    /// CPU numbers, of a mask of whole words.
    Cpus,
    /// Little-endian u32s.
    Ids,
    /// Hexadecimal digits.
    Bytes,
}

/// What a file holds for a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Value>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a string or a list of those")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
                Ok(match i64::try_from(number) {
                    Ok(number) => Value::Number(number),
                    Err(_) => Value::Text(number.to_string()),
                })
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    let deep = |value: &Value| matches!(value, Value::List(_));
                    if matches!(&value, Value::List(items) if items.iter().any(deep)) {
                        return Err(A::Error::custom("a list is too deep"));
                    }
                    values.push(value);
                }
                Ok(Value::List(values))
            }
        }

        from.deserialize_any(Any)
    }
}

impl Value {
    fn word(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    fn named(name: Option<&'static str>, number: u64) -> Self {
        name.map_or_else(|| Value::number(number), Value::word)
    }

    /// A number; a file of this kind holds no larger ones than an i64.
    fn number(number: u64) -> Self {
        match i64::try_from(number) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Text(number.to_string()),
        }
    }

    /// An unsigned number, in whatever base.
    fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Number(number) => u64::try_from(*number).ok(),
            Value::Text(text) => match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            },
            Value::List(_) => None,
        }
    }

    fn as_word(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; one item alone is a list too.
    fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            one => std::slice::from_ref(one),
        }
    }
}

/// An entry with its data, in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) flags: u16,
    pub(crate) slot: Option<u32>,
    pub(crate) args: [u64; 4],
    pub(crate) data: [Vec<u8>; 2],
}

impl Parts {
    /// Those of an entry of a checked plan.
    pub(crate) fn of(entry: &Entry, plan: &Plan<'_>) -> Self {
        let slot = entry.slot.get();
        Self {
            flags: entry.flags.get(),
            slot: (slot != embryo_plan::NO_SLOT).then_some(slot),
            args: entry.args.map(|arg| arg.get()),
            data: entry.data.map(|at| plan.data(at).unwrap_or_default().to_vec()),
        }
    }

    fn bits(&self, place: Place) -> u64 {
        match place {
            Place::Slot => self.slot.unwrap_or_default().into(),
            Place::Flags => self.flags.into(),
            Place::Arg(index) => self.args[index],
            Place::Low(index) => self.args[index] & u64::from(u32::MAX),
            Place::High(index) => self.args[index] >> 32,
            Place::Bits { arg, shift, width } => self.args[arg] >> shift & ((1 << width) - 1),
            Place::Data(_) => 0,
        }
    }

    /// `None` if it does not fit.
    fn set_bits(&mut self, place: Place, bits: u64) -> Option<()> {
        match place {
            Place::Slot => self.slot = Some(u32::try_from(bits).ok()?),
            Place::Flags => self.flags = u16::try_from(bits).ok()?,
            Place::Arg(index) => self.args[index] = bits,
            Place::Low(index) => self.args[index] |= u64::from(u32::try_from(bits).ok()?),
            Place::High(index) => self.args[index] |= u64::from(u32::try_from(bits).ok()?) << 32,
            Place::Bits { arg, shift, width } => {
                (bits < 1 << width).then_some(())?;
                self.args[arg] |= bits << shift;
            }
            Place::Data(_) => return None,
        }
        Some(())
    }

    fn bytes(&self, place: Place) -> &[u8] {
        match place {
            Place::Data(index) => &self.data[index],
            _ => &[],
        }
    }

    fn set_bytes(&mut self, place: Place, bytes: Vec<u8>) -> Option<()> {
        match place {
            Place::Data(index) => self.data[index] = bytes,
            _ => return None,
        }
        Some(())
    }

    /// Whether there is nothing at a place.
    pub(crate) fn is_nothing(&self, place: Place) -> bool {
        match place {
            Place::Data(index) => self.data[index].is_empty(),
            Place::Slot => self.slot.is_none(),
            place => self.bits(place) == 0,
        }
    }
}

impl Kind {
    /// What a file holds for what is at `place`.
    pub(crate) fn write(self, parts: &Parts, place: Place) -> Value {
        let bits = parts.bits(place);
        let bytes = parts.bytes(place);
        let number = u32::try_from(bits).unwrap_or(u32::MAX);
        match self {
            Kind::Number => Value::number(bits),
            Kind::Signed => Value::Number(bits as i64),
            Kind::Limit if bits == u64::MAX => Value::word("unlimited"),
            Kind::Limit => Value::number(bits),
            Kind::Octal => Value::word(format!("{bits:04o}")),
            Kind::Hex => Value::word(format!("{bits:#x}")),
            Kind::Name(name) => Value::named(name(number), bits),
            Kind::Pgid if bits == 0 => Value::word("new"),
            Kind::Pgid => Value::number(bits),
            Kind::Id if number == u32::MAX => Value::word("keep"),
            Kind::Id => Value::number(bits),
            Kind::Word(words) => {
                Value::named(usize::try_from(bits).ok().and_then(|at| words.get(at)).copied(), bits)
            }
            Kind::Flags(words) | Kind::Rights(words) => {
                let set = |index: &usize| bits >> index & 1 == 1;
                let flag = |index: usize| match words.get(index) {
                    Some(word) => Value::word(*word),
                    None => Value::word(format!("{:#x}", 1u64 << index)),
                };
                Value::List((0..64).filter(set).map(flag).collect())
            }
            Kind::Set(name) => {
                let set = |bit: &u32| bits >> bit & 1 == 1;
                let named = (0..64).filter(set).map(|bit| Value::named(name(bit), bit.into()));
                Value::List(named.collect())
            }
            Kind::Ranges => {
                let range =
                    |IdRange { inside, outside, count }| format!("{inside}:{outside}:{count}");
                Value::List(IdRange::read(bytes).map(range).map(Value::word).collect())
            }
            Kind::Strings => {
                let strings = bytes.split_inclusive(|byte| *byte == 0);
                Value::List(strings.map(string_value).collect())
            }
            Kind::Protection => Value::named(
                ["---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"]
                    .get(usize::try_from(bits).unwrap_or(8))
                    .copied(),
                bits,
            ),
            Kind::Signals => {
                let set = |signal: &u32| bits >> (signal - 1) & 1 == 1;
                let named = (1..=64)
                    .filter(set)
                    .map(|signal| Value::named(signal_name(signal), signal.into()));
                Value::List(named.collect())
            }
            Kind::Text => string_value(bytes),
            Kind::Cpus if is_usual_mask(bytes) => {
                let set = |cpu: &usize| bytes[cpu / 8] >> (cpu % 8) & 1 == 1;
                let cpus = (0..bytes.len() * 8).filter(set);
                Value::List(cpus.map(|cpu| Value::number(cpu as u64)).collect())
            }
            Kind::Ids => Value::List(
                bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|id| u32::from_le_bytes(*id).into())
                    .map(Value::number)
                    .collect(),
            ),
            Kind::Cpus | Kind::Bytes => Value::word(hex(bytes)),
        }
    }

    /// Puts what a file holds at `place`; `None` if it is nothing of this kind.
    pub(crate) fn read(self, value: &Value, parts: &mut Parts, place: Place) -> Option<()> {
        let named = |name: fn(u32) -> Option<&'static str>, most: u32| {
            let word = value.as_word()?;
            (0..=most).find(|number| name(*number) == Some(word)).map(u64::from)
        };
        let bits = match self {
            Kind::Number | Kind::Hex => value.as_u64()?,
            Kind::Signed => match value {
                Value::Number(number) => *number as u64,
                _ => return None,
            },
            Kind::Limit if value.as_word() == Some("unlimited") => u64::MAX,
            Kind::Pgid if value.as_word() == Some("new") => 0,
            Kind::Id if value.as_word() == Some("keep") => u32::MAX.into(),
            Kind::Limit | Kind::Pgid | Kind::Id => value.as_u64()?,
            Kind::Octal => u64::from_str_radix(value.as_word()?, 8).ok()?,
            Kind::Name(name) => named(name, 4095).or_else(|| value.as_u64())?,
            Kind::Word(words) => word(words, value)?,
            Kind::Set(name) => value.items().iter().try_fold(0, |all, value| {
                let known = (0..64)
                    .find(|bit| name(*bit).is_some_and(|name| value.as_word() == Some(name)));
                let bit =
                    known.map(u64::from).or_else(|| value.as_u64()).filter(|bit| *bit < 64)?;
                Some(all | 1u64 << bit)
            })?,
            Kind::Flags(words) | Kind::Rights(words) => {
                let flag = |value: &Value| match value.as_word() {
                    Some(text) if text.starts_with("0x") => value.as_u64(),
                    Some(_) => word(words, value).map(|at| 1u64 << at),
                    None => value.as_u64(),
                };
                value.items().iter().try_fold(0, |all, value| Some(all | flag(value)?))?
            }
            Kind::Protection => {
                let words = ["---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"];
                word(&words, value).or_else(|| value.as_u64())?
            }
            Kind::Signals => value.items().iter().try_fold(0, |all, value| {
                let known = (1..=64).find(|signal| {
                    signal_name(*signal).is_some_and(|name| value.as_word() == Some(name))
                });
                let signal = known.map(u64::from).or_else(|| value.as_u64())?;
                (1..=64).contains(&signal).then(|| all | 1u64 << (signal - 1))
            })?,
            Kind::Text => return parts.set_bytes(place, text(value)?),
            Kind::Ranges => {
                let ranges: Option<Vec<[u8; IdRange::BYTES]>> =
                    value.items().iter().map(range).collect();
                return parts.set_bytes(place, ranges?.concat());
            }
            Kind::Strings => {
                let Value::List(items) = value else { return None };
                let strings: Option<Vec<Vec<u8>>> = items.iter().map(text).collect();
                return parts.set_bytes(place, strings?.concat());
            }
            Kind::Cpus => return parts.set_bytes(place, mask(value)?),
            Kind::Ids => {
                let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
                let ids: Option<Vec<u32>> = value.items().iter().map(id).collect();
                let bytes = ids?.iter().flat_map(|id| id.to_le_bytes()).collect();
                return parts.set_bytes(place, bytes);
            }
            Kind::Bytes => return parts.set_bytes(place, unhex(value.as_word()?)?),
        };
        parts.set_bits(place, bits)
    }

    /// What is expected.
    pub(crate) fn expects(self) -> String {
        match self {
            Kind::Number => "a number".into(),
            Kind::Signed => "a number, perhaps below zero".into(),
            Kind::Limit => "a number, or \"unlimited\"".into(),
            Kind::Octal => "octal digits in quotes".into(),
            Kind::Hex => "a number, or \"0x\" and hexadecimal digits".into(),
            Kind::Name(_) => "a name or a number".into(),
            Kind::Set(_) => "a list of names or numbers of bits".into(),
            Kind::Rights(words) => format!("a list of {}", words.join(", ")),
            Kind::Strings => "a list of strings".into(),
            Kind::Ranges => "a list of \"INSIDE:OUTSIDE:COUNT\"".into(),
            Kind::Pgid => "a number, or \"new\"".into(),
            Kind::Id => "a number, or \"keep\"".into(),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
            Kind::Flags(words) => format!("a list of {}", words.join(", ")),
            Kind::Protection => "such as \"r-x\"".into(),
            Kind::Signals => "a list of signals".into(),
            Kind::Text => "a string, or a list of bytes".into(),
            Kind::Cpus => "a list of CPUs".into(),
            Kind::Ids => "a list of ids".into(),
            Kind::Bytes => "hexadecimal digits in quotes, two for a byte".into(),
        }
    }
}

fn range(value: &Value) -> Option<[u8; IdRange::BYTES]> {
    let mut numbers = value.as_word()?.split(':').map(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next()?;
    let range = IdRange { inside: next()?, outside: next()?, count: next()? };
    numbers.next().is_none().then(|| range.to_bytes())
}

/// A string without its NUL, or its bytes.
fn string_value(bytes: &[u8]) -> Value {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::word(text),
        Err(_) => Value::List(bytes.iter().map(|byte| Value::Number((*byte).into())).collect()),
    }
}

fn word(words: &[&str], value: &Value) -> Option<u64> {
    match value.as_word() {
        Some(word) => words.iter().position(|known| *known == word).map(|at| at as u64),
        None => value.as_u64(),
    }
}

fn text(value: &Value) -> Option<Vec<u8>> {
    let mut bytes = match value {
        Value::Text(text) => text.as_bytes().to_vec(),
        Value::List(bytes) => {
            let byte = |value: &Value| u8::try_from(value.as_u64()?).ok();
            bytes.iter().map(byte).collect::<Option<_>>()?
        }
        Value::Number(_) => return None,
    };
    bytes.push(0);
    Some(bytes)
}

/// Whether a mask is what a list of its CPUs would make: whole words, and the last of them not
/// empty.
fn is_usual_mask(bytes: &[u8]) -> bool {
    bytes.len().is_multiple_of(8) && bytes.last_chunk::<8>().is_some_and(|last| *last != [0; 8])
}

fn mask(value: &Value) -> Option<Vec<u8>> {
    if let Some(digits) = value.as_word() {
        return unhex(digits);
    }
    let mut mask = Vec::new();
    for cpu in value.items() {
        let cpu = usize::try_from(cpu.as_u64()?).ok()?;
        // More than a plan may hold; the checker says the rest.
        (cpu < 1 << 16).then_some(())?;
        if mask.len() <= cpu / 8 {
            mask.resize((cpu / 8 + 1).next_multiple_of(8), 0);
        }
        mask[cpu / 8] |= 1 << (cpu % 8);
    }
    Some(mask)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

/// argv and envp, as a file holds them.
pub(crate) fn string(text: &std::ffi::CStr) -> Text {
    Text::from(text.to_bytes().to_vec())
}
